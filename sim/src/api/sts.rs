//! As much of STS as a service needs that signs with a role: who am I, and become another.

use jiff::SignedDuration;
use serde_json::json;

use super::{Answer, Call, Handler, Handler::Read, refusal::Refusal};
use crate::{model::Region, names::ACCOUNT};

const SESSION_SECONDS: u32 = 3_600;

pub fn handler(operation: &str) -> Option<Handler> {
    Some(match operation {
        "GetCallerIdentity" => Read(caller_identity),
        "AssumeRole" => Read(assume_role),
        _ => return None,
    })
}

fn caller_identity(_: &Region, call: &Call<'_>) -> Answer {
    Ok(json!({
        "UserId": call.access_key,
        "Account": ACCOUNT,
        "Arn": format!("arn:aws:iam::{ACCOUNT}:user/{}", call.access_key),
    }))
}

/// Any role may be assumed by anybody: rights are not this region's business.
fn assume_role(_: &Region, call: &Call<'_>) -> Answer {
    let (role, session) = (call.params.required("RoleArn")?, call.params.required("RoleSessionName")?);
    let name = role.rsplit_once(":role/").map(|(_, name)| name);
    let name = name.ok_or_else(|| Refusal::validation(format!("{role} is invalid")))?;
    let seconds = call.params.whole("DurationSeconds", 900..=43_200)?.unwrap_or(SESSION_SECONDS);
    let key = "ASIAPOCKETREGION0000";
    Ok(json!({
        "Credentials": {
            "AccessKeyId": key,
            "SecretAccessKey": "pocket",
            "SessionToken": "pocket",
            "Expiration": format!("{:.0}", call.at + SignedDuration::from_secs(seconds.into())),
        },
        "AssumedRoleUser": {
            "AssumedRoleId": format!("{key}:{session}"),
            "Arn": format!("arn:aws:sts::{ACCOUNT}:assumed-role/{name}/{session}"),
        },
    }))
}
