//! One tick at a time for each deployment of this process.
//!
//! A command makes a deployment due while a tick of it may still be waiting for the cloud, and our own lease does not keep us
//! out. The second tick waits for the first: two at once would be the stalled replica that the protocol guards against, for
//! no gain.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OwnedMutexGuard;

use crate::domain::ids::DeploymentId;

type Gates = Mutex<HashMap<DeploymentId, Arc<tokio::sync::Mutex<()>>>>;

/// Who is at work on what.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns {
    gates: Arc<Gates>,
}

/// A turn; the next one begins when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    gates: Arc<Gates>,
    id: DeploymentId,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits until nobody else is at work on `id`: no longer than a tick may last.
    pub(super) async fn take(&self, id: DeploymentId) -> Turn {
        let gate = self.gates.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default().clone();
        Turn { gates: self.gates.clone(), id, guard: Some(gate.lock_owned().await) }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        // Our guard holds one share of the gate and the map another: more than two, and somebody waits.
        if gates.get(&self.id).is_some_and(|gate| Arc::strong_count(gate) <= 2) {
            gates.remove(&self.id);
        }
        self.guard.take();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn the_second_waits_for_the_first_and_nothing_is_kept_after_the_last() {
        let (turns, id) = (Turns::default(), DeploymentId::new(Uuid::now_v7()));
        let first = turns.take(id).await;
        let mut second = Box::pin(turns.take(id));
        assert!(second.as_mut().now_or_never().is_none(), "two at once");
        let other = turns.take(DeploymentId::new(Uuid::now_v7())).now_or_never();
        assert!(other.is_some(), "another deployment does not wait");
        drop((first, other));
        drop(second.await);
        assert!(turns.gates.lock().unwrap().is_empty());
    }
}
