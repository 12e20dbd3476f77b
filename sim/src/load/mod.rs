//! A load generator that remembers what became of every request: how "nothing was lost" and "five percent were green" are
//! seen from the user's side, where they count.
//!
//! It is open-loop: requests leave on a clock whether or not earlier ones were answered, as users do. Most travel on kept
//! connections, a part on fresh ones, and some belong to sessions that send back the load balancer's cookie.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    http::{HeaderValue, Request, header},
};
use http_body_util::{BodyExt, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub mod record;

use record::{Answer, Kind, Record};

/// How often the clock looks for requests that are due.
const TICK: Duration = Duration::from_millis(2);
/// Requests under way at a time; beyond it the clock waits.
const IN_FLIGHT_MAX: usize = 4096;
/// Separate sets of kept connections, used in turn. One set would settle on one connection, and so on one node.
const KEPT_SETS: usize = 8;
/// How long an idle connection is kept: below the load balancer's own timeout.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// The longest answer that is read.
const BODY_BYTES_MAX: usize = 1 << 20;
/// The share of requests that belong to sessions, if there are any.
const SESSION_SHARE: f64 = 0.1;

/// What to send.
#[derive(Debug, Clone)]
pub struct Plan {
    pub requests_per_second: u32,
    /// Used in turn; a session stays on one.
    pub routes: Vec<Route>,
    /// The share of requests that open a connection of their own, 0 to 1.
    pub fresh_share: f64,
    /// Users that keep the load balancer's sticky cookie.
    pub sessions: usize,
    /// A request without its whole answer after this time is lost.
    pub timeout: Duration,
    pub seed: u64,
}

/// Where requests go.
#[derive(Debug, Clone)]
pub struct Route {
    pub address: SocketAddr,
    /// The `Host` header.
    pub host: String,
    pub path: String,
}

/// A running load generator. Dropping it stops it.
#[derive(Debug)]
pub struct Load {
    record: Arc<Record>,
    stop: CancellationToken,
    clock: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts sending.
    #[must_use]
    pub fn start(plan: Plan) -> Self {
        let record = Arc::new(Record::starting_at(Instant::now()));
        let stop = CancellationToken::new();
        let senders = Arc::new(Senders::new(plan));
        let clock = tokio::spawn(send_on_time(senders, record.clone(), stop.clone()));
        Self { record, stop, clock: Some(clock) }
    }

    /// What has become of the requests so far.
    #[must_use]
    pub fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// Stops sending, waits for the answers under way and returns everything.
    pub async fn finish(mut self) -> Arc<Record> {
        self.stop.cancel();
        if let Some(clock) = self.clock.take() {
            // The clock ends by itself; only a panic, which its own task has already reported, makes this an error.
            let _ = clock.await;
        }
        self.record.clone()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn send_on_time(senders: Arc<Senders>, record: Arc<Record>, stop: CancellationToken) {
    let under_way = TaskTracker::new();
    let room = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let started = Instant::now();
    let mut sent = 0_u64;
    'sending: loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => break,
        }
        let due = started.elapsed().as_secs_f64() * f64::from(senders.plan.requests_per_second);
        while (sent as f64) < due {
            let permit = tokio::select! {
                permit = room.clone().acquire_owned() => permit,
                () = stop.cancelled() => break 'sending,
            };
            let (senders, record, number) = (senders.clone(), record.clone(), sent);
            under_way.spawn(async move {
                senders.send(number, &record).await;
                drop(permit);
            });
            sent += 1;
        }
    }
    under_way.close();
    under_way.wait().await;
}

type Http = Client<HttpConnector, Body>;

#[derive(Debug)]
struct Senders {
    plan: Plan,
    kept: Vec<Http>,
    fresh: Http,
    /// Each session's sticky cookie, `name=value`.
    cookies: Vec<Mutex<Option<HeaderValue>>>,
    chance: Mutex<StdRng>,
}

impl Senders {
    fn new(plan: Plan) -> Self {
        let client = |idle_connections_max| {
            let mut connector = HttpConnector::new();
            connector.set_nodelay(true);
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_MAX)
                .pool_max_idle_per_host(idle_connections_max)
                .build(connector)
        };
        Self {
            kept: (0..KEPT_SETS).map(|_| client(usize::MAX)).collect(),
            fresh: client(0),
            cookies: (0..plan.sessions).map(|_| Mutex::default()).collect(),
            chance: Mutex::new(StdRng::seed_from_u64(plan.seed)),
            plan,
        }
    }

    fn draw(&self) -> Lot {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        let in_session = !self.cookies.is_empty() && chance.random_bool(SESSION_SHARE);
        Lot {
            session: in_session.then(|| chance.random_range(0..self.cookies.len())),
            fresh: chance.random_bool(self.plan.fresh_share.clamp(0.0, 1.0)),
            set: chance.random_range(0..KEPT_SETS),
        }
    }

    async fn send(&self, number: u64, record: &Record) {
        let Lot { session, fresh, set } = self.draw();
        // A session is a user of one site, a cookie belongs to one host.
        let turn = session.unwrap_or(number as usize);
        let Some(route) = turn.checked_rem(self.plan.routes.len()).and_then(|at| self.plan.routes.get(at)) else { return };
        let session = session.map(|session| &self.cookies[session]);
        let client = if fresh { &self.fresh } else { &self.kept[set] };
        let kind = Kind { session: session.is_some(), fresh };
        let sent = Instant::now();
        record.sent(kind);
        let answer = match request(route, fresh, session) {
            Ok(request) => match timeout(self.plan.timeout, ask(client, request, session)).await {
                Ok(answer) => answer,
                Err(_) => Answer::Failed(format!("no whole answer within {:?}", self.plan.timeout)),
            },
            Err(error) => Answer::Failed(format!("the route makes no request: {error}")),
        };
        record.answered(kind, sent, Instant::now(), answer);
    }
}

/// What chance says about one request.
struct Lot {
    session: Option<usize>,
    fresh: bool,
    set: usize,
}

type Session = Mutex<Option<HeaderValue>>;

fn request(route: &Route, fresh: bool, session: Option<&Session>) -> Result<Request<Body>, axum::http::Error> {
    let mut request = Request::get(format!("http://{}{}", route.address, route.path)).header(header::HOST, &route.host);
    if fresh {
        request = request.header(header::CONNECTION, "close");
    }
    if let Some(cookie) = session.and_then(|cookie| cookie.lock().unwrap_or_else(PoisonError::into_inner).clone()) {
        request = request.header(header::COOKIE, cookie);
    }
    request.body(Body::empty())
}

async fn ask(client: &Http, request: Request<Body>, session: Option<&Session>) -> Answer {
    let response = match client.request(request).await {
        Ok(response) => response,
        Err(error) => return Answer::Failed(with_causes(&error)),
    };
    let (parts, body) = response.into_parts();
    if let Err(error) = Limited::new(body, BODY_BYTES_MAX).collect().await {
        return Answer::Failed(format!("the answer broke off: {error}"));
    }
    if let Some(session) = session
        && let Some(cookie) = parts.headers.get(header::SET_COOKIE).and_then(|cookie| cookie.to_str().ok())
    {
        let pair = cookie.split(';').next().unwrap_or_default();
        *session.lock().unwrap_or_else(PoisonError::into_inner) = HeaderValue::from_str(pair).ok();
    }
    let version = parts.headers.get("x-version").and_then(|version| version.to_str().ok()).map(str::to_owned);
    Answer::Status { status: parts.status.as_u16(), version }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
