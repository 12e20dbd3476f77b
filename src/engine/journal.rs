//! Rollbacks that were asked for while the database was away: kept here and on the disk, and put on record when it is back.
//!
//! The traffic does not hang on it: a shield at the load balancer is an order by itself. What hangs on it is who asked, when and
//! why, and that no replica that still remembers something older goes forward first.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    local::{Entry, Line, LocalFiles},
    ports::{Commanded, LaneStore, StoreError},
    sending::Sending,
};
use crate::domain::{
    deployment::{Deployment, GoingBack},
    ids::DeploymentId,
};

/// How often the database is asked whether it takes what waits.
const REPLAY_EVERY: Duration = Duration::from_millis(250);

/// One that waits.
#[derive(Debug)]
struct Waiting {
    entry: Entry,
    /// It is on the disk, and outlives this process.
    written: bool,
    /// In this run; whoever asked tries it then for as long as they wait.
    asked: Option<Instant>,
}

/// What waits for its record.
#[derive(Debug)]
pub struct Journal {
    files: Arc<dyn LocalFiles>,
    waiting: Mutex<BTreeMap<DeploymentId, Waiting>>,
    /// What was accepted is answered before the database knows when that was.
    accepted: Mutex<BTreeMap<DeploymentId, Timestamp>>,
    /// What the lane is at.
    pub sending: Sending,
    news: Notify,
}

impl Journal {
    /// With what an earlier run left.
    #[must_use]
    pub fn new(files: Arc<dyn LocalFiles>, left: Vec<Entry>) -> Self {
        let waiting = left.into_iter().map(|entry| (entry.deployment, Waiting { entry, written: true, asked: None })).collect();
        Self {
            files,
            waiting: Mutex::new(waiting),
            accepted: Mutex::default(),
            sending: Sending::default(),
            news: Notify::new(),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<DeploymentId, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[must_use]
    pub fn of(&self, id: DeploymentId) -> Option<Entry> {
        self.waiting().get(&id).map(|waiting| waiting.entry.clone())
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting().len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting().is_empty()
    }

    /// Writes a rollback down and returns once it is on the disk. Of two who ask for the same the first stays.
    ///
    /// # Errors
    /// When the disk does not take it. It is remembered all the same, for as long as this process lives.
    pub async fn asked(&self, entry: Entry) -> io::Result<()> {
        let id = entry.deployment;
        let known = self.waiting().get(&id).is_some_and(|waiting| waiting.written);
        let outcome = if known { Ok(()) } else { self.files.append(Line::Asked(entry.clone())).await };
        let asked = Some(Instant::now());
        self.waiting().entry(id).or_insert(Waiting { entry, written: false, asked }).written |= outcome.is_ok();
        self.news.notify_one();
        outcome
    }

    /// Remembers when the load balancer had accepted it. `false`: it is no longer here, but on record.
    pub async fn accepted(&self, id: DeploymentId, at: Timestamp) -> bool {
        match self.waiting().get_mut(&id) {
            Some(Waiting { entry, .. }) => entry.accepted_at = entry.accepted_at.or(Some(at)),
            None => return false,
        }
        // Not worth failing for: only the exact time is lost with it.
        if let Err(error) = self.files.append(Line::Accepted { deployment: id, at }).await {
            warn!(deployment = %id, %error, "the acceptance of a rollback could not be written down");
        }
        true
    }

    /// Remembers when all of it was seen at the load balancer.
    pub(super) async fn observed(&self, id: DeploymentId, at: Timestamp) {
        match self.waiting().get_mut(&id) {
            Some(Waiting { entry, .. }) => entry.observed_at = entry.observed_at.or(Some(at)),
            None => return,
        }
        // Not worth failing for: it would be seen again.
        if let Err(error) = self.files.append(Line::Observed { deployment: id, at }).await {
            warn!(deployment = %id, %error, "that a rollback was seen could not be written down");
        }
    }

    /// Those that were not seen at the load balancer yet; but for the ones that somebody asked for so recently.
    pub(super) fn not_seen(&self, recently: Duration) -> Vec<DeploymentId> {
        let is_left = |waiting: &Waiting| {
            let accepted = waiting.entry.accepted_at.is_some();
            waiting.entry.observed_at.is_none() && (accepted || waiting.asked.is_none_or(|asked| asked.elapsed() >= recently))
        };
        self.waiting().iter().filter(|(_, waiting)| is_left(waiting)).map(|(id, _)| *id).collect()
    }

    /// A rollback that is on record was accepted; the database is told next. The first time stays.
    pub fn accepts(&self, id: DeploymentId, at: Timestamp) -> Timestamp {
        *self.times().entry(id).or_insert(at)
    }

    /// The database knows when that was, or will not be told.
    pub fn noted(&self, id: DeploymentId) {
        self.times().remove(&id);
    }

    fn times(&self) -> MutexGuard<'_, BTreeMap<DeploymentId, Timestamp>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what is not on record yet on a copy that does not know of it.
    pub fn tell(&self, d: &mut Deployment) {
        let accepted_at = self.times().get(&d.id).copied().filter(|_| d.intent.rollback.is_some() || d.going_back.is_some());
        d.intent.rollback_accepted_at = d.intent.rollback_accepted_at.or(accepted_at);
        if let Some(entry) = self.of(d.id)
            && d.phase.may_go_back()
        {
            d.intent.rollback_accepted_at = d.intent.rollback_accepted_at.or(entry.accepted_at);
            // The engine looks for itself once it has the order; until then this is who has.
            if d.going_back.is_none() && entry.observed_at.is_some() {
                let accepted_at = d.intent.rollback_accepted_at;
                d.going_back =
                    Some(GoingBack { accepted_at, observed_at: entry.observed_at, ..GoingBack::ordered(&entry.given) });
            }
            // Of two who asked the first stays.
            d.intent.rollback = Some(entry.given);
        }
    }

    async fn over(&self, id: DeploymentId, accepted_at: Option<Timestamp>) -> bool {
        {
            let mut waiting = self.waiting();
            if waiting.get(&id).is_some_and(|waiting| waiting.entry.accepted_at != accepted_at) {
                return false;
            }
            waiting.remove(&id);
        }
        if let Err(error) = self.files.append(Line::Over { deployment: id }).await {
            warn!(deployment = %id, %error, "the journal could not be told that a rollback is on record; it will be put there again, which changes nothing");
        }
        true
    }

    /// Puts one on record.
    ///
    /// # Errors
    /// When the database does not answer: it goes on waiting.
    async fn replay<L: LaneStore>(&self, store: &L, entry: &Entry) -> Result<(), StoreError> {
        let id = entry.deployment;
        match store.raise_rollback(id, &entry.given).await? {
            Commanded::Done { changed, .. } => {
                info!(deployment = %id, target = %entry.target, by = entry.given.by, changed, "a rollback taken without the database is on record");
            }
            Commanded::Refused { deployment, .. } => {
                let phase = deployment.deployment.phase.name();
                warn!(deployment = %id, target = %entry.target, by = entry.given.by, phase, "a rollback taken without the database came too late to be put on record");
            }
            Commanded::Moved | Commanded::NotFound => {
                warn!(deployment = %id, target = %entry.target, "a rollback taken without the database is of a deployment that is not on record");
            }
        }
        // It may be accepted while it is put on record: then once more, and never again, for the first time stays.
        for _ in 0..2 {
            let accepted_at = self.of(id).and_then(|entry| entry.accepted_at);
            if let Some(at) = accepted_at {
                store.accepted(id, at).await?;
            }
            if self.over(id, accepted_at).await {
                break;
            }
        }
        Ok(())
    }
}

/// Puts on record what waits, whenever the database takes it, until `stop` is cancelled.
pub async fn keep_replayed<L: LaneStore>(journal: Arc<Journal>, store: Arc<L>, stop: CancellationToken) {
    loop {
        let all: Vec<_> = journal.waiting().values().map(|waiting| waiting.entry.clone()).collect();
        for entry in all {
            match stop.run_until_cancelled(journal.replay(store.as_ref(), &entry)).await {
                None => return,
                Some(Ok(())) => {}
                // Neither are the others taken.
                Some(Err(StoreError::Unreachable { .. })) => break,
                Some(Err(broken)) => {
                    error!(deployment = %entry.deployment, error = %broken, "a rollback taken without the database cannot be put on record; it goes on waiting");
                }
            }
        }
        let empty = journal.is_empty();
        let next = async { if empty { journal.news.notified().await } else { tokio::time::sleep(REPLAY_EVERY).await } };
        if stop.run_until_cancelled(next).await.is_none() {
            return;
        }
    }
}
