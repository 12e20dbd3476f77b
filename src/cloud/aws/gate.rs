//! The gate that every call passes: credentials and a token first, then it is signed and sent, its answer awaited for so long,
//! and told.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::{
    budget::{Budget, Lane, Tokens},
    calls::Outcome,
    fault,
    operation::Operation,
    session::Session,
};
use crate::engine::ports::{Fault, FaultKind};

/// One way to the calls of an account and region.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    /// Who calls.
    pub(super) session: Session,
    pub(super) budget: Arc<Budget>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) lane: Lane,
}

impl Gate {
    /// Makes `call`, whose answer may take `limit`, and ends by `deadline`. Nothing of it runs before there are credentials and it
    /// has its token: from signing to sending is no time at all.
    pub(super) async fn pass<T, E>(
        self,
        operation: Operation,
        limit: Duration,
        deadline: Instant,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Fault>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let started = Instant::now();
        let left = deadline.saturating_duration_since(started);
        if left.is_zero() {
            self.budget.calls.not_sent(self.lane, operation, Duration::ZERO);
            return Err(fault::not_sent(operation));
        }
        // First something to sign with: a token would be lost meanwhile, and an answer that is late be taken for AWS's.
        if let Err(why) = self.session.ready(self.lane, limit.min(left)).await {
            self.budget.calls.not_sent(self.lane, operation, started.elapsed());
            return Err(fault::unsigned(operation, &why));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        // Half of what is left: a token that comes later leaves too little for an answer, which is then lost for nothing.
        let wait_until = Instant::now() + left / 2;
        if let Some(class) = operation.class()
            && self.tokens.take(class, self.lane, wait_until).await.is_err()
        {
            self.budget.calls.not_sent(self.lane, operation, started.elapsed());
            return Err(fault::no_token(operation, started.elapsed()));
        }
        let sent = Instant::now();
        let limit = limit.min(deadline.saturating_duration_since(sent));
        let answer = match tokio::time::timeout(limit, call).await {
            Ok(answer) => answer.map_err(|error| fault::of(operation, &error)),
            Err(_) => Err(fault::late(operation, limit)),
        };
        let outcome = Outcome::of(&answer);
        self.budget.calls.made(self.lane, operation, sent.duration_since(started), outcome, sent.elapsed());
        if let Err(fault) = &answer {
            self.session.heed(fault);
            if fault.kind == FaultKind::Throttled
                && let Some(class) = operation.class()
            {
                self.tokens.throttled(class);
            }
        }
        answer
    }
}
