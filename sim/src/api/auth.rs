//! Who is called and when it was signed. The signature itself is not verified: there are no secrets here.
//!
//! Its age is: a late write would otherwise live for ever in this region, and for minutes on AWS.

use std::time::Duration;

use axum::http::{HeaderMap, header::AUTHORIZATION};
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};

use super::{Service, refusal::Refusal};

/// What a signed request says about itself.
#[derive(Debug, Clone)]
pub struct Signed {
    pub service: Service,
    pub region: String,
    pub access_key: String,
    /// Of a session.
    pub token: Option<String>,
    pub at: Timestamp,
}

/// Reads the credential scope and the date.
///
/// # Errors
/// AWS's refusals for a missing or unreadable signature.
pub fn signed(headers: &HeaderMap) -> Result<Signed, Refusal> {
    let missing = || Refusal::new("MissingAuthenticationToken", "Request is missing Authentication Token").with_status(403);
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(missing)?;
    let incomplete = |what: &str| Refusal::new("IncompleteSignature", format!("Authorization header requires {what}"));
    let fields = header.strip_prefix("AWS4-HMAC-SHA256 ").ok_or_else(|| incomplete("the AWS4-HMAC-SHA256 algorithm"))?;
    let field =
        |name: &str| fields.split(',').find_map(|field| field.trim().strip_prefix(name)).filter(|value| !value.is_empty());
    field("Signature=").ok_or_else(|| incomplete("a 'Signature' parameter"))?;
    let scope = field("Credential=").ok_or_else(|| incomplete("a 'Credential' parameter"))?;
    let [access_key, _day, region, service, "aws4_request"] = scope.split('/').collect::<Vec<_>>()[..] else {
        return Err(incomplete("a credential scope of key/date/region/service/aws4_request"));
    };
    let service = Service::of_scope(service).ok_or_else(|| {
        let told = format!("Credential should be scoped to a service of this region, not to '{service}'.");
        Refusal::new("SignatureDoesNotMatch", told).with_status(403)
    })?;
    let date = headers.get("x-amz-date").and_then(|value| value.to_str().ok()).ok_or_else(|| incomplete("'X-Amz-Date'"))?;
    let at = DateTime::strptime("%Y%m%dT%H%M%SZ", date)
        .and_then(|date| date.to_zoned(TimeZone::UTC))
        .map_err(|_| incomplete("a valid 'X-Amz-Date'"))?;
    let token = headers.get("x-amz-security-token").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (access_key, region) = (access_key.to_owned(), region.to_owned());
    Ok(Signed { service, region, access_key, token, at: at.timestamp() })
}

/// Whether the signature is still alive. The date has no fractions, so a request that may be young enough passes.
///
/// # Errors
/// `SignatureDoesNotMatch`, which is what these services answer where others say `RequestExpired`.
pub fn fresh(signed_at: Timestamp, now: Timestamp, life: Duration) -> Result<(), Refusal> {
    let life = SignedDuration::try_from(life).unwrap_or(SignedDuration::MAX);
    let age = now.duration_since(signed_at);
    let refuse = |told: String| Err(Refusal::new("SignatureDoesNotMatch", told).with_status(403));
    if age.saturating_sub(SignedDuration::from_secs(1)) > life {
        return refuse(format!("Signature expired: {signed_at} is now earlier than {now} less {life:#}"));
    }
    if age.saturating_add(life) < SignedDuration::ZERO {
        return refuse(format!("Signature not yet current: {signed_at} is still later than {now} plus {life:#}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(authorization: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        headers.insert("x-amz-date", "20261101T020000Z".parse().unwrap());
        headers
    }

    #[test]
    fn the_scope_tells_the_service() {
        let text =
            "AWS4-HMAC-SHA256 Credential=AK/20261101/eu-west-1/autoscaling/aws4_request, SignedHeaders=host, Signature=0f";
        let signed = signed(&headers(text)).unwrap();
        assert_eq!((signed.service, signed.at.to_string()), (Service::AutoScaling, "2026-11-01T02:00:00Z".to_owned()));
    }

    #[test]
    fn an_unsigned_request_is_refused() {
        assert_eq!(signed(&HeaderMap::new()).unwrap_err().code, "MissingAuthenticationToken");
        assert_eq!(signed(&headers("AWS4-HMAC-SHA256 Credential=x")).unwrap_err().code, "IncompleteSignature");
    }

    #[test]
    fn a_signature_dies_of_age_and_is_not_accepted_from_the_future() {
        let signed_at: Timestamp = "2026-11-01T02:00:00Z".parse().unwrap();
        let life = Duration::from_secs(300);
        let at = |seconds: i64| signed_at + SignedDuration::from_secs(seconds);
        assert!(fresh(signed_at, at(301), life).is_ok());
        assert!(fresh(signed_at, at(302), life).unwrap_err().message.starts_with("Signature expired"));
        assert!(fresh(signed_at, at(-299), life).is_ok());
        assert!(fresh(signed_at, at(-301), life).unwrap_err().message.starts_with("Signature not yet current"));
    }
}
