//! As much of STS as a service needs that signs with a role: who am I, and become another.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::json;

use super::{Answer, Call, Handler, Handler::Identity, refusal::Refusal};
use crate::sessions::Sessions;

/// By default; and at most, when a session assumes another role.
const SESSION_SECONDS: u32 = 3_600;

pub fn handler(operation: &str) -> Option<Handler> {
    Some(match operation {
        "GetCallerIdentity" => Identity(caller_identity),
        "AssumeRole" => Identity(assume_role),
        _ => return None,
    })
}

fn caller_identity(_: &Sessions, call: &Call<'_>) -> Answer {
    let caller = call.caller;
    Ok(json!({ "UserId": call.access_key, "Account": caller.account, "Arn": caller.arn }))
}

/// Anybody may assume any role, whose account is then where the session's calls go; but a role may want an external id.
fn assume_role(sessions: &Sessions, call: &Call<'_>) -> Answer {
    let (role, session) = (call.params.required("RoleArn")?, call.params.required("RoleSessionName")?);
    let (account, name) = parts(role).ok_or_else(|| Refusal::validation(format!("{role} is invalid")))?;
    let fine = |letter: char| letter.is_ascii_alphanumeric() || "_+=,.@-".contains(letter);
    if !(2..=64).contains(&session.len()) || !session.chars().all(fine) {
        return Err(Refusal::validation(format!("'{session}' at 'roleSessionName' failed to satisfy constraint")));
    }
    let seconds = call.params.whole("DurationSeconds", 900..=43_200)?.unwrap_or(SESSION_SECONDS);
    if call.caller.session && seconds > SESSION_SECONDS {
        let told = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining";
        return Err(Refusal::validation(told));
    }
    if !sessions.admits(role, call.params.text("ExternalId")) {
        let told = format!("User: {} is not authorized to perform: sts:AssumeRole on resource: {role}", call.caller.arn);
        return Err(Refusal::new("AccessDenied", told).with_status(403));
    }
    let arn = format!("arn:aws:sts::{account}:assumed-role/{name}/{session}");
    let life = Duration::from_secs(seconds.into()).mul_f64(call.scale);
    let given = sessions.give(account, &arn, call.now, life);
    let ends = call.at + SignedDuration::try_from(life).unwrap_or(SignedDuration::ZERO);
    Ok(json!({
        "Credentials": {
            "AccessKeyId": given.key,
            "SecretAccessKey": "pocket",
            "SessionToken": given.token,
            // With fractions: a second is long at some paces.
            "Expiration": format!("{ends:.3}"),
        },
        "AssumedRoleUser": { "AssumedRoleId": format!("AROAPOCKETREGION0000:{session}"), "Arn": arn },
    }))
}

/// The account and the name of a role.
fn parts(role: &str) -> Option<(&str, &str)> {
    let (account, path) = role.strip_prefix("arn:aws:iam::")?.split_once(":role/")?;
    let account = (account.len() == 12 && account.bytes().all(|digit| digit.is_ascii_digit())).then_some(account)?;
    let name = path.rsplit('/').next().filter(|name| !name.is_empty())?;
    Some((account, name))
}
