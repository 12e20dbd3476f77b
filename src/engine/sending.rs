//! What this replica's lane is sending just now. While tokens are short its engine leaves that to it: the second call of one rollback would
//! keep another waiting.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::domain::ids::DeploymentId;

/// Deployments of which rollbacks are being sent, and how many times: two may ask for the same.
#[derive(Debug, Clone, Default)]
pub struct Sending(Arc<Mutex<BTreeMap<DeploymentId, u32>>>);

/// Counted for as long as this lives.
#[derive(Debug)]
pub struct Sends(Sending, DeploymentId);

impl Sending {
    #[must_use]
    pub fn begin(&self, id: DeploymentId) -> Sends {
        *self.lock().entry(id).or_default() += 1;
        Sends(self.clone(), id)
    }

    #[must_use]
    pub fn has(&self, id: DeploymentId) -> bool {
        self.lock().contains_key(&id)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DeploymentId, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sends {
    fn drop(&mut self) {
        let mut sending = self.0.lock();
        if let Some(times) = sending.get_mut(&self.1) {
            *times -= 1;
            if *times == 0 {
                sending.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_once_the_last_of_them_is() {
        let (sending, [id, other]) = (Sending::default(), [1, 2].map(|n| DeploymentId::new(uuid::Uuid::from_u128(n))));
        let (first, second) = (sending.begin(id), sending.begin(id));
        assert!(sending.has(id) && !sending.has(other));
        drop(first);
        assert!(sending.has(id));
        drop(second);
        assert!(!sending.has(id));
    }
}
