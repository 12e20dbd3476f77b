//! A call refused, in AWS's own words: code, HTTP status and message.
//!
//! The SDK tells errors apart by code alone, so the codes are AWS's to the letter; the messages are close enough to recognise.

use std::borrow::Cow;

/// What AWS would answer instead of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub code: Cow<'static, str>,
    pub message: String,
}

impl Refusal {
    /// With HTTP status 400, as nearly all of them.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 400, code: Cow::Borrowed(code), message: message.into() }
    }

    /// With a code chosen at run time, for fault switches.
    pub fn injected(status: u16, code: String, message: String) -> Self {
        Self { status, code: Cow::Owned(code), message }
    }

    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationError", message)
    }

    pub fn throttled() -> Self {
        Self::new("Throttling", "Rate exceeded")
    }

    pub fn expired_token() -> Self {
        Self::new("ExpiredToken", "The security token included in the request is expired").with_status(403)
    }

    pub fn rule_not_found(arn: &str) -> Self {
        Self::new("RuleNotFound", format!("Rule '{arn}' not found"))
    }

    pub fn rules_not_found() -> Self {
        Self::new("RuleNotFound", "One or more rules not found")
    }

    pub fn listener_not_found() -> Self {
        Self::new("ListenerNotFound", "One or more listeners not found")
    }

    pub fn load_balancer_not_found() -> Self {
        Self::new("LoadBalancerNotFound", "One or more load balancers not found")
    }

    pub fn target_group_not_found() -> Self {
        Self::new("TargetGroupNotFound", "One or more target groups not found")
    }

    /// Auto Scaling has no NotFound code: a missing group is a validation error.
    pub fn group_not_found(name: &str) -> Self {
        Self::validation(format!("AutoScalingGroup name not found - AutoScalingGroup {name} not found"))
    }
}
