//! Bundles: what this replica remembers of every running deployment, so that a rollback need not ask first.
//!
//! A bundle is a copy of the record with the time at which it was last *confirmed* to be the newest in the database. The lane
//! trusts a copy for one second (`domain::lane`); an older one tells it whom the rollback is about, and what to go by when the
//! database is away. `keeping` puts them on the disk.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    age::Confirmed,
    local::KeptBundle,
    ports::{Current, Store, StoreError, Versioned},
    settings::EngineSettings,
};
use crate::domain::{
    deployment::Deployment,
    ids::{DeploymentId, Target},
};

/// An answer that takes longer than this will hardly come: the database is taken to be away.
const OVERDUE: Duration = Duration::from_secs(1);

/// Records fetched by one question.
const FETCHED_MAX: usize = 100;

/// One remembered deployment.
#[derive(Debug, Clone)]
pub struct Bundle {
    pub deployment: Arc<Deployment>,
    pub version: i64,
    /// When a look that showed this version *began*.
    pub confirmed: Confirmed,
    /// When it was last looked at, if that changed nothing of the record.
    pub seen_at: Option<Timestamp>,
    /// It came from the database, or went to it, in this run: one from the disk has a version of whichever database there was then.
    of_this_run: bool,
}

impl Bundle {
    /// Of a record that the database has just given; `began`: before it was asked.
    #[must_use]
    pub fn read(read: Versioned, began: Confirmed) -> Self {
        let Versioned { deployment, version } = read;
        Self { deployment: Arc::new(deployment), version, confirmed: began, seen_at: None, of_this_run: true }
    }

    /// The record as it was last confirmed.
    #[must_use]
    pub fn record(&self) -> Deployment {
        let mut d = Deployment::clone(&self.deployment);
        d.seen.at = d.seen.at.max(self.seen_at);
        d
    }
}

/// How the database answers.
#[derive(Debug, Default)]
struct Contact {
    asked: Option<Instant>,
    failed: bool,
}

/// Those of this replica.
#[derive(Debug, Default)]
pub struct Bundles {
    by_id: RwLock<HashMap<DeploymentId, Bundle>>,
    contact: Mutex<Contact>,
}

impl Bundles {
    /// What an earlier run kept: nobody has confirmed it yet.
    #[must_use]
    pub fn kept(kept: Vec<KeptBundle>) -> Self {
        let bundle = |kept: KeptBundle| {
            let confirmed = Confirmed::kept(kept.confirmed_at);
            let KeptBundle { deployment, version, .. } = kept;
            (deployment.id, Bundle { deployment, version, confirmed, seen_at: None, of_this_run: false })
        };
        let contact = Contact { asked: None, failed: !kept.is_empty() };
        Self { by_id: RwLock::new(kept.into_iter().map(bundle).collect()), contact: Mutex::new(contact) }
    }

    #[must_use]
    pub fn of(&self, id: DeploymentId) -> Option<Bundle> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// The record in this version, if it is known: it is what reading it would give, but for what changes without the version.
    #[must_use]
    pub fn at(&self, id: DeploymentId, version: i64) -> Option<Arc<Deployment>> {
        let by_id = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        by_id.get(&id).filter(|bundle| bundle.of_this_run && bundle.version == version).map(|bundle| bundle.deployment.clone())
    }

    /// Takes what this replica has read, or has just put on record itself: it need not be read again. Which deployments are kept is for
    /// [`Self::confirm`] to say.
    ///
    /// `began`: before the database was asked.
    pub fn learn(&self, d: &Deployment, version: i64, began: Confirmed) {
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        let Some(bundle) = by_id.get_mut(&d.id).filter(|bundle| !bundle.of_this_run || bundle.version < version) else {
            return;
        };
        if d.phase.is_terminal() {
            by_id.remove(&d.id);
        } else {
            let (deployment, seen_at) = (Arc::new(d.clone()), bundle.seen_at);
            *bundle = Bundle { deployment, version, confirmed: began, seen_at, of_this_run: true };
        }
    }

    /// Whether the last question to the database failed, or should have been answered long ago.
    #[must_use]
    pub fn database_is_away(&self) -> bool {
        let contact = self.contact.lock().unwrap_or_else(PoisonError::into_inner);
        contact.failed || contact.asked.is_some_and(|asked| asked.elapsed() > OVERDUE)
    }

    /// All of them, to be kept on disk.
    #[must_use]
    pub fn to_keep(&self) -> Vec<KeptBundle> {
        let by_id = self.by_id.read().unwrap_or_else(PoisonError::into_inner);
        let kept = |bundle: &Bundle| KeptBundle {
            confirmed_at: bundle.confirmed.at(),
            version: bundle.version,
            deployment: bundle.deployment.clone(),
        };
        by_id.values().map(kept).collect()
    }

    /// The running deployment of a service/environment.
    #[must_use]
    pub fn running(&self, target: &Target) -> Option<Bundle> {
        self.by_id
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .find(|bundle| &bundle.deployment.target == target)
            .cloned()
    }

    /// Takes what the database says of what runs: unchanged ones are confirmed, new versions fetched, ended ones dropped.
    ///
    /// # Errors
    /// When the database does not answer: the bundles stay as they are and grow old.
    pub async fn confirm<S: Store>(&self, store: &S, max: usize) -> Result<(), StoreError> {
        let began = Confirmed::now();
        let current = self.asked(store.running_versions(max)).await?;
        let current: HashMap<_, _> = current.into_iter().map(|current| (current.id, current)).collect();
        for ids in self.confirmed(&current, began).chunks(FETCHED_MAX) {
            let began = Confirmed::now();
            let read = self.asked(store.some(ids)).await?;
            let mut bundles = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
            for Versioned { deployment, version } in read {
                let id = deployment.id;
                if deployment.phase.is_terminal() {
                    bundles.remove(&id);
                } else if bundles.get(&id).is_none_or(|known| !known.of_this_run || known.version <= version) {
                    let (deployment, seen_at) = (Arc::new(deployment), None);
                    bundles.insert(id, Bundle { deployment, version, confirmed: began, seen_at, of_this_run: true });
                }
            }
        }
        Ok(())
    }

    /// One question. How the database answers is told by each alone: a hundred quick answers in a row are no slow one.
    async fn asked<T>(&self, question: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let contact = || self.contact.lock().unwrap_or_else(PoisonError::into_inner);
        contact().asked = Some(Instant::now());
        let answer = question.await;
        *contact() = Contact { asked: None, failed: answer.is_err() };
        answer
    }

    /// Drops what has ended, confirms what is as it was, and says what is not.
    fn confirmed(&self, current: &HashMap<DeploymentId, Current>, began: Confirmed) -> Vec<DeploymentId> {
        let mut bundles = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        bundles.retain(|id, _| current.contains_key(id));
        for (id, bundle) in bundles.iter_mut() {
            if let Some(current) = current.get(id).filter(|current| current.version == bundle.version) {
                (bundle.confirmed, bundle.seen_at) = (began, current.seen_at);
            }
        }
        let is_stale = |current: &&Current| bundles.get(&current.id).is_none_or(|bundle| bundle.version != current.version);
        current.values().filter(is_stale).map(|current| current.id).collect()
    }

    /// For each provider with something running, the deployment with the most routes; at most `max`.
    #[must_use]
    pub fn one_of_each_provider(&self, max: usize) -> Vec<Arc<Deployment>> {
        let mut found: Vec<Arc<Deployment>> = Vec::new();
        for bundle in self.by_id.read().unwrap_or_else(PoisonError::into_inner).values() {
            let d = &bundle.deployment;
            match found.iter().position(|known| known.declaration.provider == d.declaration.provider) {
                Some(i) if found[i].declaration.routes.len() < d.declaration.routes.len() => found[i] = d.clone(),
                Some(_) => {}
                None if found.len() < max => found.push(d.clone()),
                None => {}
            }
        }
        found
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// Keeps the bundles fresh until `stop` is cancelled.
pub async fn keep_fresh<S: Store>(bundles: Arc<Bundles>, store: Arc<S>, settings: EngineSettings, stop: CancellationToken) {
    let mut complained = false;
    loop {
        // Subscribed before the look, so that no change falls between the two.
        let changed = store.changed(settings.poll_every);
        match bundles.confirm(store.as_ref(), settings.bundles_max).await {
            Ok(()) => complained = false,
            Err(error) if !complained => {
                complained = true;
                warn!(%error, "running deployments could not be confirmed; a rollback goes by what is remembered of them until they can");
            }
            Err(_) => {}
        }
        // With nothing running only a notification can bring news.
        let at_most = if bundles.is_empty() { settings.poll_every } else { settings.confirm_every };
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(at_most) => {}
            // Not at every change: a busy fleet notifies many times a second.
            () = async { sleep(settings.confirm_every / 4).await; changed.await } => {}
        }
    }
}
