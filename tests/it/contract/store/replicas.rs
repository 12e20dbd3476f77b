//! Replicas that say they are alive.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use cutover::engine::{
    ports::{LaneStore, Store},
    replicas,
};
use tokio_util::sync::CancellationToken;

use super::{on_both_stores, replica};
use crate::support::memory::MemoryStore;

const LONG: Duration = Duration::from_secs(3600);

on_both_stores! {
    replicas_that_were_seen_of_late_are_counted,
}

async fn replicas_that_were_seen_of_late_are_counted(store: &impl Store, _: &impl LaneStore) {
    assert_eq!(store.heartbeat(&replica(1), LONG).await.unwrap(), 1);
    assert_eq!(store.heartbeat(&replica(2), LONG).await.unwrap(), 2);
    assert_eq!(store.heartbeat(&replica(1), LONG).await.unwrap(), 2, "nobody counts twice");
    assert_eq!(store.heartbeat(&replica(1), Duration::ZERO).await.unwrap(), 1, "the other was seen too long ago");
}

#[tokio::test]
async fn a_replica_is_told_how_many_there_are_as_soon_as_it_starts() {
    let store = Arc::new(MemoryStore::default());
    store.heartbeat(&replica(1), LONG).await.unwrap();
    let (told, stop) = (Mutex::new(Vec::new()), CancellationToken::new());
    let tell = |alive| {
        told.lock().unwrap().push(alive);
        stop.cancel();
    };
    replicas::keep_count(store, replica(2), tell, stop.clone()).await;
    assert_eq!(*told.lock().unwrap(), [2]);
}
