//! `cutover serve`: the composition root. Everything is built here, once, and handed down; nothing below finds anything itself.
//!
//! Order matters twice. At the start the port is taken first, so that a mistyped address fails before a database is touched, and
//! answered last. At the end everything stops together and within 10 s, leases given back, the database last.

use std::{
    env,
    error::Error,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{self, Command},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::base::Base;
use crate::{
    cloud::aws::{AwsCloud, Budget},
    config::Config,
    engine::{
        api::Api,
        app::App,
        bundles::{self, Bundles},
        drills::{self, Driller},
        driver::{self, Pulse},
        journal::{self, Journal},
        keeping,
        lane::{self, Lane},
        local::LocalFiles,
        replicas,
        rollback_times::RollbackTimes,
        sweeper::{self, Sweeper},
        tick::Worker,
        tokens::{self, Tokens},
    },
    http,
    store::{
        PgLane, PgStore,
        local::{Found, Local},
        state_dir::StateDir,
    },
};

/// The whole stop takes at most 10 s: this much for requests and ticks under way, the rest for the database.
const STOP_WORK_WITHIN: Duration = Duration::from_secs(8);
/// How long the first look at what runs may hold up the start.
const FIRST_LOOK_WITHIN: Duration = Duration::from_secs(1);

/// What ends the service before it was told to.
pub(super) type Failed = Box<dyn Error + Send + Sync>;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start, or a part of it ends by itself.
pub(super) async fn serve(config: Config) -> Result<(), Failed> {
    let stop = CancellationToken::new();
    tokio::spawn(watch_signals(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, stop.clone()));
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let listen = |on: SocketAddr| TcpListener::bind(on).map_err(|source| CannotListen { on: on.to_string(), source });
    let listeners = Listeners { api: listen(config.listen)?, metrics: config.metrics_listen.map(listen).transpose()? };
    let state = StateDir::open(&state_dir(config.state_dir.clone())?)?;

    let (files, mut kept) = Local::open(&state)?;

    // A start can take half a minute (a database that recovers); an order to stop must not wait for it.
    let base = tokio::select! {
        base = Base::start(&config, &state, &mut kept) => base?,
        () = stop.cancelled() => return Ok(()),
    };
    files.belongs_to(base.installation);
    let worked = work(&config, &base, &state, Kept { files: Arc::new(files), kept }, listeners, stop).await;
    base.stop().await;
    worked
}

/// The local files, and what was found in them.
struct Kept {
    files: Arc<dyn LocalFiles>,
    kept: Found,
}

/// Where it is answered.
struct Listeners {
    api: TcpListener,
    /// `None`: the API's answers for the metrics too.
    metrics: Option<TcpListener>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {on}: give another address with --listen (metrics.listen for the metrics)")]
struct CannotListen {
    on: String,
    source: std::io::Error,
}

/// The engine, the lane and the edge, until `stop`.
async fn work(
    config: &Config,
    base: &Base,
    state: &StateDir,
    Kept { files, kept }: Kept,
    listeners: Listeners,
    stop: CancellationToken,
) -> Result<(), Failed> {
    let (store, settings) = (&base.store, config.engine);
    let installation = base.installation.to_string();
    // Two ways into AWS, each with its own connections: a rollback never waits for one that forward work holds. What AWS
    // grants is the account's, so they share one budget.
    let budget = Arc::new(Budget::new(config.aws.budget));
    let forward = Arc::new(AwsCloud::new(&config.aws, installation.clone(), &budget).await);
    let back = Arc::new(AwsCloud::new(&config.aws, installation.clone(), &budget).await.for_rollbacks());
    let (bundles, pulse) = (Arc::new(Bundles::kept(kept.bundles)), Arc::<Pulse>::default());
    let (journal, tokens) = (Arc::new(Journal::new(files.clone(), kept.journal)), Arc::new(Tokens::kept(kept.tokens)));
    if base.opened.is_cancelled() {
        // Before anybody asks: else the first rollback would go by what an earlier run kept.
        let _ = tokio::time::timeout(FIRST_LOOK_WITHIN, bundles.confirm(store.as_ref(), settings.bundles_max)).await;
    }
    let holder = state.holder().clone();

    let records = Arc::new(store.lane());
    let lane = Arc::new(Lane::new(records.clone(), back.clone(), bundles.clone(), journal.clone(), settings));
    let (times, drilled) = (Arc::new(RollbackTimes::default()), Arc::<Notify>::default());
    let app: App<PgStore, PgLane, AwsCloud> = App {
        store: store.clone(),
        cloud: forward.clone(),
        lane: lane.clone(),
        bundles: bundles.clone(),
        journal: journal.clone(),
        times: times.clone(),
        tokens: tokens.clone(),
        pulse: pulse.clone(),
        past: Arc::default(),
        drilled: drilled.clone(),
        settings,
        own: config.own.clone(),
    };
    let sweeper = Arc::new(Sweeper { store: store.clone(), cloud: forward.clone(), holder: holder.clone(), settings });
    let (woken, cloud) = (drilled, forward.clone());
    let driller = Arc::new(Driller { store: store.clone(), cloud, back, holder: holder.clone(), settings, woken });
    let (cloud, known) = (forward, bundles.clone());
    let worker =
        Arc::new(Worker { store: store.clone(), cloud, holder, journal: journal.clone(), times, bundles: known, settings });
    let edge = http::Edge::new(Arc::new(app) as Arc<dyn Api>, settings.timing, stop.clone());

    let mut parts = Parts { parts: JoinSet::new(), opened: base.opened.clone(), stop: stop.clone() };
    parts.at_once(lane::keep_warm(lane.clone(), stop.clone()));
    parts.at_once(lane::keep_brought_about(lane, stop.clone()));
    parts.at_once(keeping::keep_bundles(bundles.clone(), files.clone(), stop.clone()));
    parts.with_records(driver::drive(worker, pulse, stop.clone()));
    parts.with_records(bundles::keep_fresh(bundles, store.clone(), settings, stop.clone()));
    parts.with_records(tokens::keep_known(tokens, store.clone(), files, stop.clone()));
    parts.with_records(journal::keep_replayed(journal, records, stop.clone()));
    let share = move |alive| budget.share(alive);
    parts.with_records(replicas::keep_count(store.clone(), state.holder().clone(), share, stop.clone()));
    parts.with_records(drills::keep_drilled(driller, stop.clone()));
    if settings.sweeper.enabled {
        parts.with_records(sweeper::keep_swept(sweeper, stop.clone()));
    }
    if let Some(embedded) = &base.embedded {
        parts.with_records(embedded.keep_up(stop.clone()));
    }
    let url = format!("http://{}", listeners.api.local_addr()?);
    let metrics_url = parts.answer(listeners, edge)?;
    info!(%url, installation, metrics = metrics_url, replica = %state.holder(), embedded = base.embedded.is_some(), "listening");
    let working = until_all_stopped(parts.parts, &stop);
    let (worked, opened) = tokio::join!(working, async {
        let opened = base.open_later(stop.clone()).await;
        // Without its records, and with those of another installation, the service ends.
        stop.cancel();
        opened
    });
    opened.and(worked)
}

/// What runs until the order to stop.
struct Parts {
    parts: JoinSet<Result<(), Failed>>,
    opened: CancellationToken,
    stop: CancellationToken,
}

impl Parts {
    fn at_once(&mut self, part: impl Future<Output = ()> + Send + 'static) {
        self.parts.spawn(async {
            part.await;
            Ok(())
        });
    }

    /// What has nothing to do before the records are there.
    fn with_records(&mut self, part: impl Future<Output = ()> + Send + 'static) {
        let (opened, stop) = (self.opened.clone(), self.stop.clone());
        self.at_once(async move {
            if stop.run_until_cancelled(opened.cancelled()).await.is_some() {
                part.await;
            }
        });
    }

    /// Answers the API, and the metrics beside it or on a listener of their own, whose address it returns.
    fn answer(&mut self, listeners: Listeners, edge: http::Edge) -> Result<Option<String>, Failed> {
        let Some(listener) = listeners.metrics else {
            self.parts.spawn(answer(listeners.api, http::router(edge), self.stop.clone()));
            return Ok(None);
        };
        let url = format!("http://{}/metrics", listener.local_addr()?);
        let (api, metrics) = http::apart(edge);
        self.parts.spawn(answer(listeners.api, api, self.stop.clone()));
        self.parts.spawn(answer(listener, metrics, self.stop.clone()));
        Ok(Some(url))
    }
}

async fn answer(listener: TcpListener, router: Router, stop: CancellationToken) -> Result<(), Failed> {
    http::serve(listener, router, stop).await.map_err(|error| format!("the API cannot be served: {error}").into())
}

/// Waits for the order to stop, then for the parts. One that ends before the order stops the others: half a service is worse
/// than a restart.
async fn until_all_stopped(mut parts: JoinSet<Result<(), Failed>>, stop: &CancellationToken) -> Result<(), Failed> {
    let mut outcome = Ok(());
    let early = tokio::select! {
        early = parts.join_next() => early,
        () = stop.cancelled() => None,
    };
    if let Some(ended) = early.filter(|_| !stop.is_cancelled()) {
        outcome =
            Err(ended.map_or_else(Failed::from, |ended| ended.err().unwrap_or_else(|| "a part of the service ended".into())));
        stop.cancel();
    }
    info!("stopping: what is under way is finished, then the leases are given back");
    let rest = async {
        while let Some(ended) = parts.join_next().await {
            outcome = outcome.and(ended.unwrap_or_else(|panic| Err(panic.into())));
        }
        outcome
    };
    match tokio::time::timeout(STOP_WORK_WITHIN, rest).await {
        Ok(outcome) => outcome,
        Err(_) => Err("what was under way did not end in time; its leases will run out".into()),
    }
}

/// The first signal stops gracefully, the second at once.
async fn watch_signals(mut terminate: Signal, mut interrupt: Signal, stop: CancellationToken) {
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => 143,
            _ = interrupt.recv() => 130,
        }
    };
    next().await;
    stop.cancel();
    process::exit(next().await);
}

/// The configured folder, or the one that suits the user.
fn state_dir(configured: Option<PathBuf>) -> Result<PathBuf, Failed> {
    if let Some(dir) = configured {
        return Ok(dir);
    }
    let id = Command::new("id").arg("-u").output();
    if id.is_ok_and(|output| output.stdout.trim_ascii() == b"0") {
        return Ok(PathBuf::from("/var/lib/cutover"));
    }
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|base| base.join("cutover"))
        .ok_or_else(|| "no place for the state: give one with --state-dir".into())
}

/// An error with its causes.
pub(super) fn told(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause: &&(dyn Error + 'static)| (*cause).source());
    causes.fold(error.to_string(), |said, cause| format!("{said}: {cause}"))
}
