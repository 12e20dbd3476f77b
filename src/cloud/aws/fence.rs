//! Signed, then checked, then sent: no change leaves after the deadline that its caller's lease allows.
//!
//! AWS does not fence load-balancer writes, so a process that stalls between signing and sending could overwrite a rollback
//! that has long been acknowledged. `read_before_transmit` is the SDK's last hook after signing. Connecting comes after it,
//! so it narrows the gap; the quiet period closes it.

use std::{sync::Arc, time::Instant};

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{
            Intercept,
            context::{
                BeforeDeserializationInterceptorContextRef, BeforeSerializationInterceptorContextRef,
                BeforeTransmitInterceptorContextRef,
            },
        },
        orchestrator::Metadata,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use jiff::Timestamp;

use super::{clock::ClockLead, operation::Operation};

/// Known not to have been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not sent: its deadline had passed")]
pub(super) struct NotSent;

/// A change that was about to be sent without a deadline: a mistake of ours, caught here.
#[derive(Debug, thiserror::Error)]
#[error("not sent: {0} changes something and was given no deadline")]
struct Unfenced(String);

/// A call that is not in `operation`'s list: no budget counts it and no policy allows it.
#[derive(Debug, thiserror::Error)]
#[error("not sent: {0} is not among the calls that the adapter makes")]
struct Unlisted(String);

/// The latest moment at which one call may be sent; given with each change.
#[derive(Debug, Clone, Copy)]
pub(super) struct SendBefore(pub(super) Instant);

impl Storable for SendBefore {
    type Storer = StoreReplace<Self>;
}

impl Intercept for SendBefore {
    fn name(&self) -> &'static str {
        "CutoverSendBefore"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(*self);
        Ok(())
    }
}

/// Sits on every client: checks each call after signing, and reads AWS's clock from each answer.
#[derive(Debug)]
pub(super) struct Fence {
    pub(super) clock: Arc<ClockLead>,
}

impl Intercept for Fence {
    fn name(&self) -> &'static str {
        "CutoverFence"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        check(config.load::<SendBefore>().copied(), config.load::<Metadata>().map_or("", |call| call.name()), Instant::now())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = context.response().headers().get("date") {
            self.clock.read(date, Timestamp::now(), Instant::now());
        }
        Ok(())
    }
}

fn check(until: Option<SendBefore>, operation: &str, now: Instant) -> Result<(), BoxError> {
    let listed = Operation::named(operation).ok_or_else(|| Unlisted(operation.to_owned()))?;
    match until {
        Some(SendBefore(deadline)) if now >= deadline => Err(NotSent.into()),
        Some(_) => Ok(()),
        // A second pair of eyes: every call of AWS's that only looks is a Describe….
        None if listed.only_looks() && operation.starts_with("Describe") => Ok(()),
        None if listed.gives_credentials() && operation == "AssumeRole" => Ok(()),
        None => Err(Unfenced(operation.to_owned()).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_change_is_refused_after_its_deadline_and_without_one() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        assert!(check(Some(SendBefore(later)), "DeleteRule", now).is_ok());
        assert!(check(Some(SendBefore(now)), "DeleteRule", now).unwrap_err().is::<NotSent>());
        assert!(check(Some(SendBefore(now)), "DeleteRule", later).unwrap_err().is::<NotSent>());
        assert!(check(None, "DescribeRules", now).is_ok());
        assert!(check(None, "AssumeRole", now).is_ok());
        assert!(check(None, "DeleteRule", now).unwrap_err().to_string().contains("DeleteRule"));
    }

    #[test]
    fn what_is_not_listed_is_never_sent() {
        let now = Instant::now();
        let later = Some(SendBefore(now + Duration::from_secs(1)));
        assert!(check(later, "DeleteLoadBalancer", now).unwrap_err().is::<Unlisted>());
        assert!(check(None, "DescribeLoadBalancerAttributes", now).unwrap_err().is::<Unlisted>());
    }
}
