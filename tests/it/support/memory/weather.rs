//! A database that does not answer.

use std::{
    future,
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use cutover::engine::ports::StoreError;

/// How a store takes what it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Weather {
    Fine,
    /// Nobody listens.
    Refuses,
    /// Whoever asks waits for ever.
    Hangs,
    /// Only whoever says that a rollback was accepted.
    HangsOnAcceptances,
    /// Only to whoever asks what was released before.
    RefusesReleases,
    /// Each answer comes, and takes its time.
    Slow,
    /// Whatever is read comes; a rollback is waited for, for ever.
    HangsOnRollbacks,
}

/// Well below what makes a database one that is away.
const SLOW: Duration = Duration::from_millis(600);

pub(super) const ACCEPTING: &str = "recording that a rollback was accepted";

pub(super) const RAISING: &str = "raising a rollback";

pub(super) const RELEASES: &str = "reading what was released before";

#[derive(Debug, Default)]
pub struct Sky(AtomicU8);

impl Sky {
    pub fn turns(&self, weather: Weather) {
        self.0.store(weather as u8, Ordering::Relaxed);
    }

    pub(super) async fn asked(&self, doing: &'static str) -> Result<(), StoreError> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            4 if doing != RELEASES => Ok(()),
            1 | 4 => Err(StoreError::Unreachable { doing, source: "as the test wished".into() }),
            3 if doing != ACCEPTING => Ok(()),
            6 if doing != RAISING => Ok(()),
            5 => {
                // What takes long is the answer; nobody here waits for anything.
                let _ = tokio::time::timeout(SLOW, future::pending::<()>()).await;
                Ok(())
            }
            _ => future::pending().await,
        }
    }
}
