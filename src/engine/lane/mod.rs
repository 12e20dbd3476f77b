//! The rollback lane: the one request that changes the cloud itself, queued behind nothing.
//!
//! The intent's commit and the deletion of the overlay go side by side, on connections and API tokens of their own. It needs no
//! lease, no tick and no look. What may be sent when is decided in `domain::lane`; here it is sent, tried again, and answered.
//! Where the record does not come in time `unrecorded` takes over; what is left after the answer is `work`'s to go on with.

mod direct;
mod journaled;
mod unrecorded;
mod warm;
mod work;

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::{Either, select};
use tokio::{
    sync::{Semaphore, oneshot},
    task::JoinHandle,
    time::{timeout, timeout_at},
};
use tracing::{info, warn};

use super::{
    age::Confirmed,
    api::{Mode, RollbackOf, RolledBack, Trouble},
    bundles::{Bundle, Bundles},
    journal::Journal,
    ports::{Cloud, Commanded, LaneStore, StoreError, Versioned},
    settings::EngineSettings,
};
use crate::domain::{
    action::Action,
    command::Refusal,
    deployment::{Deployment, Given},
    ids::{DeploymentId, Target},
    lane,
    redeploy::{self, Way},
};
pub use direct::Sent;
pub use journaled::keep_brought_about;
pub use warm::keep_warm;
use work::{Ahead, Under, Work, moment};

/// How long a rollback stands behind others of this replica before it is told by its own patience whether the database answers.
const CROWDED_MAX: Duration = Duration::from_secs(1);

/// The lane of one replica.
#[derive(Debug)]
pub struct Lane<L, C> {
    pub store: Arc<L>,
    pub cloud: Arc<C>,
    bundles: Arc<Bundles>,
    journal: Arc<Journal>,
    settings: EngineSettings,
    under: Under,
    /// Commits at a time, as many as the lane has connections.
    commits: Arc<Semaphore>,
}

/// An answer, and what goes on after it.
#[derive(Debug)]
struct Outcome {
    answer: Result<RolledBack, Trouble>,
    rest: Option<Work>,
}

/// What becomes of the intent.
struct Record {
    /// Told once its turn has come.
    begun: Option<oneshot::Receiver<()>>,
    outcome: JoinHandle<Result<Commanded, StoreError>>,
}

/// What the record's answer, or its absence, led to.
enum Heard {
    Recorded(Commanded),
    Unrecorded(Result<Box<unrecorded::Done>, Trouble>, Option<StoreError>),
}

impl Heard {
    /// Whether what comes next does not wait for what is being sent already.
    fn overtakes(&self) -> bool {
        match self {
            Self::Recorded(Commanded::Done { deployment, .. }) => {
                matches!(lane::after_commit(&deployment.deployment).first(), Some(Action::RaiseShields { .. }))
            }
            Self::Recorded(Commanded::Refused { .. } | Commanded::Moved | Commanded::NotFound) => true,
            Self::Unrecorded(..) => false,
        }
    }
}

impl<L: LaneStore, C: Cloud> Lane<L, C> {
    #[must_use]
    pub fn new(store: Arc<L>, cloud: Arc<C>, bundles: Arc<Bundles>, journal: Arc<Journal>, settings: EngineSettings) -> Self {
        let commits = Arc::new(Semaphore::new(settings.lane_commits_max));
        Self { store, cloud, bundles, journal, settings, under: Under::default(), commits }
    }

    /// Rolls back a deployment, or whatever runs for a service/environment.
    ///
    /// # Errors
    /// `NotFound`, an illegal phase, nothing to go back to; without a database also what this replica may not send without it.
    pub async fn rollback(self: Arc<Self>, of: RollbackOf, given: Given) -> Result<RolledBack, Trouble> {
        let (answer, answered) = oneshot::channel();
        // A task of its own: a client that hangs up does not stop a rollback half way, and the answer does not end it.
        tokio::spawn(async move {
            match self.run(of, given).await {
                Ok(Outcome { answer: said, rest }) => {
                    // Nobody may wait for it any more.
                    let _ = answer.send(said);
                    if let Some(work) = rest {
                        // The answer goes out first: what is left takes this thread's time before it waits for anything.
                        tokio::task::yield_now().await;
                        self.go_on(work).await;
                    }
                }
                Err(trouble) => drop(answer.send(Err(trouble))),
            }
        });
        let ended = || StoreError::Broken { doing: "rolling back", source: "it ended without an answer".into() };
        answered.await.unwrap_or_else(|_| Err(Trouble::Store(ended())))
    }

    async fn run(&self, of: RollbackOf, given: Given) -> Result<Outcome, Trouble> {
        let until = Instant::now() + self.settings.rollback_tries_for;
        let (id, bundle) = match of {
            RollbackOf::Deployment(id) => (id, self.bundles.of(id)),
            RollbackOf::Target(target) => return self.of_target(&target, given, until).await,
        };
        self.of_known(id, bundle, given, until).await
    }

    /// Whatever runs for a service/environment. A bundle saves the look-up; one of a deployment that has ended meanwhile says
    /// nothing of the one that runs now.
    async fn of_target(&self, target: &Target, given: Given, until: Instant) -> Result<Outcome, Trouble> {
        let (redeploy, bundle) = match self.bundles.running(target) {
            Some(bundle) if Mode::of(&bundle.deployment) == Mode::Redeploy => (Some(bundle.deployment), None),
            bundle => (None, bundle),
        };
        if let Some(bundle) = bundle {
            match self.of_known(bundle.deployment.id, Some(bundle), given.clone(), until).await {
                Ok(Outcome { answer: Ok(answer), .. }) if answer.deployment.phase.is_terminal() => {}
                Err(Trouble::NotFound(_)) => {}
                Err(Trouble::Refused { deployment, .. }) if deployment.phase.is_terminal() => {}
                answer => return answer,
            }
        }
        let began = Confirmed::now();
        match (self.store.newest(target).await, redeploy) {
            (Ok(Some(newest)), _) => self.of_newest(newest, began, given, until).await,
            (Ok(None), _) => Err(Trouble::NotFound("service/environment with a deployment")),
            // It is the rollback, and goes on when the database is back.
            (Err(_), Some(d)) => Ok(known(Arc::unwrap_or_clone(d))),
            (Err(error), None) => Err(error.into()),
        }
    }

    /// A service whose newest deployment had to be looked up: the running one, or the one that ended last.
    async fn of_newest(&self, newest: Versioned, began: Confirmed, given: Given, until: Instant) -> Result<Outcome, Trouble> {
        match redeploy::way(&newest.deployment, given.at, self.settings.rollback_repeats_for) {
            // What was just read is as good as what is remembered: should its commit not come, it is gone back by.
            Way::Back => self.of_known(newest.deployment.id, Some(Bundle::read(newest, began)), given, until).await,
            Way::Again => Ok(known(newest.deployment)),
            Way::Anew => Err(Trouble::NothingToRollBackTo),
        }
    }

    async fn of_known(
        &self,
        id: DeploymentId,
        bundle: Option<Bundle>,
        given: Given,
        until: Instant,
    ) -> Result<Outcome, Trouble> {
        let began = Instant::now();
        let mut record = self.record(id, &given);
        // The intent is on its way to the database before this thread's time goes into signing the call.
        tokio::task::yield_now().await;
        let Some(bundle) = bundle else {
            // Nothing is known of it but its name: only the record says what to send.
            let commanded = self.after_all(record, None, Some(until)).await?;
            return self.recorded(commanded, Ahead::default(), began, until).await;
        };
        let early = lane::at_once(&bundle.deployment, bundle.confirmed.age(), &self.settings.timing);
        // Not sent, and not tried again, for longer than a copy is trusted: later the base may be on green.
        let early_until = until.min(began + self.settings.timing.commit_delay / 2);
        let mut ahead = Work::new(Deployment::clone(&bundle.deployment), early, None, early_until);
        let heard_of = {
            let hear = pin!(self.hear(&mut record, &bundle, &given, until));
            let call = pin!(self.send(&mut ahead, early_until));
            match select(call, hear).await {
                // Shields wait for nobody, and a refusal is no reason to go on.
                Either::Right((heard, _)) if heard.overtakes() => heard,
                Either::Right((heard, call)) => {
                    call.await;
                    heard
                }
                Either::Left((_, hear)) => hear.await,
            }
        };
        let mut done = ahead.done();
        match heard_of {
            Heard::Recorded(commanded) => self.recorded(commanded, done, began, until).await,
            Heard::Unrecorded(Ok(without), failed) => {
                done.accepted.extend(without.accepted);
                match self.after_all(record, failed, None).await {
                    Ok(commanded) => self.recorded(commanded, done, began, until).await,
                    Err(_) => Ok(without.outcome),
                }
            }
            // Nothing was sent: then only the record helps, and it is waited for.
            Heard::Unrecorded(Err(trouble), failed) => match self.after_all(record, failed, Some(until)).await {
                Ok(commanded) => self.recorded(commanded, done, began, until).await,
                Err(_) => Err(trouble),
            },
        }
    }

    /// Begins to put the intent on record.
    fn record(&self, id: DeploymentId, given: &Given) -> Record {
        let (store, given, commits) = (self.store.clone(), given.clone(), self.commits.clone());
        let (begin, begun) = oneshot::channel();
        let outcome = tokio::spawn(async move {
            // Never closed. Behind one another here, and not for a connection: who waits for others is told from who waits for the database.
            let _turn = commits.acquire().await;
            let _ = begin.send(());
            store.raise_rollback(id, &given).await
        });
        Record { begun: Some(begun), outcome }
    }

    /// Waits for the record as long as it may take, and then goes on without it.
    async fn hear(&self, record: &mut Record, bundle: &Bundle, given: &Given, until: Instant) -> Heard {
        let (crowded, patience) = if self.bundles.database_is_away() {
            (Duration::ZERO, Duration::ZERO)
        } else {
            (CROWDED_MAX, self.settings.record_patience)
        };
        if let Some(begun) = record.begun.take() {
            // A crowd is no reason to go on without the record, which costs each a second call: at two hundred at once, twice the time.
            let _ = timeout(crowded, begun).await;
        }
        let failed = match timeout(patience, &mut record.outcome).await.map(heard) {
            Ok(Ok(commanded)) => return Heard::Recorded(commanded),
            Ok(Err(error)) => {
                warn!(deployment = %bundle.deployment.id, %error, "a rollback goes on without its record");
                Some(error)
            }
            Err(_) => None,
        };
        Heard::Unrecorded(self.unrecorded(bundle, given, until).await.map(Box::new), failed)
    }

    /// The record, if it has come by now, or comes until `until`.
    async fn after_all(
        &self,
        record: Record,
        failed: Option<StoreError>,
        until: Option<Instant>,
    ) -> Result<Commanded, StoreError> {
        if let Some(error) = failed {
            return Err(error);
        }
        match until {
            None if !record.outcome.is_finished() => Err(late()),
            None => heard(record.outcome.await),
            Some(until) => timeout_at(until.into(), record.outcome).await.map_or_else(|_| Err(late()), heard),
        }
    }

    /// Goes back by the record as the commit of the intent left it; `done` was sent already.
    async fn recorded(&self, commanded: Commanded, done: Ahead, began: Instant, until: Instant) -> Result<Outcome, Trouble> {
        let mut d = match commanded {
            Commanded::Done { deployment, .. } => deployment.deployment,
            Commanded::Refused { refusal, deployment } => return Err(refused(refusal, deployment.deployment)),
            Commanded::Moved | Commanded::NotFound => return Err(Trouble::NotFound("deployment")),
        };
        // An earlier answer may not be written down yet.
        self.journal.tell(&mut d);
        let wanted = lane::after_commit(&d);
        let mut work = Work::new(d, wanted, None, began + self.timing().serves()).without(done);
        let accepted = self.send(&mut work, until).await;
        if accepted && is_to_be_noted(&work.d) {
            // Told to the database after the answer: nobody waits for a second commit.
            let at = self.journal.accepts(work.d.id, moment());
            (work.d.intent.rollback_accepted_at, work.note) = (Some(at), Some(at));
        }
        let d = &work.d;
        let by = d.intent.rollback.as_ref().map(|given| given.by.as_str());
        info!(deployment = %d.id, target = %d.target, number = d.number, by, accepted, "rollback asked for");
        let (deployment, routes) = (Box::new(d.clone()), work.outcomes());
        let answer = RolledBack { deployment, mode: Mode::Instant, accepted, durable: true, routes };
        Ok(Outcome { answer: Ok(answer), rest: Some(work) })
    }
}

/// A rollback that was asked for before.
fn known(d: Deployment) -> Outcome {
    let (mode, accepted) = (Mode::of(&d), d.phase.is_terminal());
    let answer = RolledBack { deployment: Box::new(d), mode, accepted, durable: true, routes: Vec::new() };
    Outcome { answer: Ok(answer), rest: None }
}

/// Without a recorded overlay nobody but the record had to accept it.
fn is_to_be_noted(d: &Deployment) -> bool {
    !lane::is_accepted(d) && !d.phase.is_terminal()
}

fn late() -> StoreError {
    StoreError::Unreachable { doing: "raising a rollback", source: "no answer yet".into() }
}

fn heard(ended: Result<Result<Commanded, StoreError>, tokio::task::JoinError>) -> Result<Commanded, StoreError> {
    ended.unwrap_or_else(|panic| Err(StoreError::Broken { doing: "raising a rollback", source: Box::new(panic) }))
}

fn refused(refusal: Refusal, deployment: Deployment) -> Trouble {
    Trouble::Refused { refusal, deployment: Box::new(deployment) }
}
