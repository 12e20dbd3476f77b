//! AWS's errors, told apart by code: what the engine may conclude from one, and no more.

use std::{error::Error, fmt, time::Duration};

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::{
    client::{orchestrator::HttpResponse, result::SdkError},
    http::Headers,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::{fence::NotSent, operation::Operation, session::NotGiven};
use crate::engine::ports::{Fault, FaultKind};

/// The fault of a failed call.
pub(super) fn of<E>(operation: Operation, error: &SdkError<E, HttpResponse>) -> Fault
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let request_id = error.raw_response().and_then(|response| request_id(response.headers()));
    let Said { kind, code, message } = said(error);
    Fault { kind, operation: operation.name(), code, message, request_id }
}

/// What a failed call tells, whichever API it was made to.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) kind: FaultKind,
    pub(super) code: Option<String>,
    pub(super) message: String,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{code}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

pub(super) fn said<E>(error: &SdkError<E, HttpResponse>) -> Said
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    if let SdkError::ServiceError(context) = error
        && let Some(code) = context.err().code()
    {
        let message = context.err().message().unwrap_or("no message").to_owned();
        return Said { kind: kind_of(code, &message, status), code: Some(code.to_owned()), message };
    }
    let kind = match error {
        _ if in_chain::<NotSent>(error).is_some() => FaultKind::NotSent,
        _ if let Some(error) = in_chain::<CredentialsError>(error) => kind_without_credentials(error),
        // Built wrongly: nothing was sent, and nothing ever will be.
        SdkError::ConstructionFailure(_) => FaultKind::Rejected,
        _ => status.map_or(FaultKind::Transient, kind_of_status),
    };
    Said { kind, code: None, message: chain(error) }
}

/// Nothing was sent. Whoever gives credentials may only not have answered.
fn kind_without_credentials(error: &CredentialsError) -> FaultKind {
    let may_pass = match in_chain::<NotGiven>(error) {
        Some(not_given) => not_given.may_pass,
        None => matches!(error, CredentialsError::ProviderTimedOut(_)),
    };
    if may_pass { FaultKind::Transient } else { FaultKind::Denied }
}

/// A call that did not answer in time: whether it was applied is unknown.
pub(super) fn late(operation: Operation, after: Duration) -> Fault {
    let message = format!("no answer within {} ms", after.as_millis());
    Fault { kind: FaultKind::Transient, operation: operation.name(), code: None, message, request_id: None }
}

/// A call that was not made, because its deadline had passed.
pub(super) fn not_sent(operation: Operation) -> Fault {
    Fault { kind: FaultKind::NotSent, operation: operation.name(), code: None, message: NotSent.to_string(), request_id: None }
}

/// A call that was not made, because the request budget had no token for it in time.
pub(super) fn no_token(operation: Operation, after: Duration) -> Fault {
    let message = format!("not sent: the request budget had no token for it within {} ms", after.as_millis());
    Fault { kind: FaultKind::Throttled, operation: operation.name(), code: None, message, request_id: None }
}

/// A call that was not made, because there was nothing to sign it with.
pub(super) fn unsigned(operation: Operation, why: &NotGiven) -> Fault {
    let kind = if why.may_pass { FaultKind::Transient } else { FaultKind::Denied };
    Fault { kind, operation: operation.name(), code: None, message: format!("not sent: {why}"), request_id: None }
}

/// An answer that lacks what AWS always gives.
pub(super) fn incomplete(operation: Operation, what: &'static str) -> Fault {
    Fault {
        kind: FaultKind::Transient,
        operation: operation.name(),
        code: None,
        message: format!("the answer lacks {what}"),
        request_id: None,
    }
}

/// Refused by us, in AWS's place: what it names is not what was recorded. `operation` may also be an action of the engine's.
pub(super) fn rejected(operation: &'static str, message: String) -> Fault {
    Fault { kind: FaultKind::Rejected, operation, code: None, message, request_id: None }
}

/// The worse of two: what will never work before what may, what may have been applied before what was not.
pub(super) fn worse(a: Fault, b: Fault) -> Fault {
    let rank = |fault: &Fault| match fault.kind {
        FaultKind::Rejected => 0,
        FaultKind::Denied => 1,
        FaultKind::Missing => 2,
        FaultKind::Transient => 3,
        FaultKind::Throttled => 4,
        FaultKind::NotSent => 5,
    };
    if rank(&b) < rank(&a) { b } else { a }
}

/// The worst fault of several calls.
pub(super) fn worst(results: Vec<Result<(), Fault>>) -> Result<(), Fault> {
    results.into_iter().filter_map(Result::err).reduce(worse).map_or(Ok(()), Err)
}

/// Refused for its rate, as AWS's SDKs know it.
const THROTTLED: &[&str] = &[
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "SlowDown",
    "BandwidthLimitExceeded",
];
/// No rights, or nobody we can say we are.
const DENIED: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "AuthFailure",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "IncompleteSignature",
    "MissingAuthenticationToken",
    "OptInRequired",
    "NotAuthorized",
];
/// It may be accepted later, as it is. Credentials that ran out in mid-run are renewed; a request that was too long on its
/// way is signed anew.
const PASSING: &[&str] = &[
    "ScalingActivityInProgress",
    "ResourceInUse",
    "ResourceContention",
    "InternalFailure",
    "InternalError",
    "ServiceUnavailable",
    "Unavailable",
    "RequestTimeout",
    "RequestExpired",
];
/// The credentials are too old: with others it may be accepted.
const EXPIRED: &[&str] = &["ExpiredToken", "ExpiredTokenException"];

/// Whether a code says that the credentials which a call was signed with are too old.
pub(super) fn is_expired(code: &str) -> bool {
    EXPIRED.contains(&code)
}

/// What a code says. Codes are from AWS's API models and its pages of "Common errors".
fn kind_of(code: &str, message: &str, status: Option<u16>) -> FaultKind {
    let says = |words: &str| message.contains(words);
    let gone = code.ends_with("NotFound") || code.ends_with("NotFoundException");
    match code {
        // "Signature expired: … is now earlier than …", which others call RequestExpired, or "not yet current": the answer's own date is
        // signed by next.
        "SignatureDoesNotMatch" if says("expired") || says("not yet current") => FaultKind::Transient,
        // A group on its way out takes no changes; once it is gone it is missing. Auto Scaling has no code for either.
        "ValidationError" if says("pending delete") => FaultKind::Transient,
        "ValidationError" if says("not found") => FaultKind::Missing,
        code if THROTTLED.contains(&code) => FaultKind::Throttled,
        code if DENIED.contains(&code) => FaultKind::Denied,
        code if PASSING.contains(&code) || is_expired(code) => FaultKind::Transient,
        _ if gone => FaultKind::Missing,
        _ if status.is_some_and(|status| status >= 500) => FaultKind::Transient,
        _ => FaultKind::Rejected,
    }
}

fn kind_of_status(status: u16) -> FaultKind {
    match status {
        429 => FaultKind::Throttled,
        401 | 403 => FaultKind::Denied,
        400 | 404 => FaultKind::Rejected,
        _ => FaultKind::Transient,
    }
}

fn request_id(headers: &Headers) -> Option<String> {
    headers.get("x-amzn-requestid").or_else(|| headers.get("x-amz-request-id")).map(str::to_owned)
}

fn in_chain<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    causes(error).find_map(|cause| cause.downcast_ref::<T>())
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

/// The whole chain in one line: an SDK's own text says only "dispatch failure".
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    for text in causes(error).map(ToString::to_string) {
        if said.last() != Some(&text) {
            said.push(text);
        }
    }
    said.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_what_may_be_concluded() {
        let kind = |code: &str| kind_of(code, "", Some(400));
        assert_eq!(kind("Throttling"), FaultKind::Throttled);
        assert_eq!(kind("AccessDenied"), FaultKind::Denied);
        assert_eq!(kind("ExpiredToken"), FaultKind::Transient, "once is no failure");
        for beside in ["Signature expired: …", "Signature not yet current: …"] {
            assert_eq!(kind_of("SignatureDoesNotMatch", beside, Some(403)), FaultKind::Transient, "{beside}");
        }
        assert_eq!(kind("SignatureDoesNotMatch"), FaultKind::Denied);
        assert_eq!(kind("RuleNotFound"), FaultKind::Missing);
        assert_eq!(kind("ScalingActivityInProgress"), FaultKind::Transient);
        for passing in ["ResourceInUse", "ResourceContention"] {
            // Auto Scaling gives one with 400 and the other with 500; somebody else's change is under way.
            assert_eq!(kind_of(passing, "", Some(400)), FaultKind::Transient, "{passing}");
            assert_eq!(kind_of(passing, "", Some(500)), FaultKind::Transient, "{passing}");
        }
        assert_eq!(kind("PriorityInUse"), FaultKind::Rejected);
        assert_eq!(kind("AlreadyExists"), FaultKind::Rejected);
        assert_eq!(kind("TooManyRules"), FaultKind::Rejected);
        assert_eq!(kind_of("ValidationError", "AutoScalingGroup name not found - no such", Some(400)), FaultKind::Missing);
        assert_eq!(kind_of("ValidationError", "AutoScalingGroup web is pending delete", Some(400)), FaultKind::Transient);
        assert_eq!(kind_of("ValidationError", "Max size is below min", Some(400)), FaultKind::Rejected);
        assert_eq!(kind_of("SomethingNew", "", Some(503)), FaultKind::Transient);
    }

    #[test]
    fn what_will_never_work_is_worse_than_what_may() {
        let fault = |kind| Fault { kind, operation: "X", code: None, message: String::new(), request_id: None };
        let results = vec![Ok(()), Err(fault(FaultKind::Throttled)), Err(fault(FaultKind::Rejected)), Ok(())];
        assert_eq!(worst(results).unwrap_err().kind, FaultKind::Rejected);
        assert_eq!(worst(vec![Ok(()), Ok(())]), Ok(()));
    }
}
