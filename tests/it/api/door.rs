//! A door to the service, with somebody who knocks: requests go through the real router, in process.

use std::{
    ops::Deref,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, header},
};
use cutover::{
    domain::{
        command::Command,
        declaration::Declaration,
        drill::Drill,
        ids::{DeploymentId, DrillId, Image, Target},
        preflight::OwnHosts,
    },
    engine::{
        api::{
            Actor, Api, Created, Declared, Drilling, Figures, LaneFigures, ListedOrphan, Ready, RollbackOf, RolledBack, Shown,
            Standing, Steps, Trouble, Wanted,
        },
        app::App,
        driver::Pulse,
        ports::{Environment, Filter, ProviderFigures, StoreError, StoredEvent, TokenOwner, Versioned},
        settings::EngineSettings,
        sweeper::ports::OrphanFilter,
        tokens::Tokens,
    },
    http::{self, Edge, auth},
};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::support::{
    fake_cloud::FakeCloud,
    house::{House, at_once, declaration},
    memory::MemoryStore,
};

/// An administrator's token and another one.
pub const ADA: &str = "a-token-of-ada-the-administrator";
pub const CI: &str = "a-token-of-the-continuous-integration";
pub const WEB: &str = "/v1/services/web/environments/prod";

/// The real use cases, with tokens, and with what may go wrong on demand.
pub struct Front {
    app: App<MemoryStore, MemoryStore, FakeCloud>,
    tokens: Mutex<Vec<([u8; 32], TokenOwner)>>,
    /// The database does not answer.
    pub away: AtomicBool,
    /// Reading a deployment panics.
    pub broken: AtomicBool,
    /// How often a token was looked up.
    pub looks: AtomicUsize,
    /// How often all figures of the lane were put together.
    pub figured: AtomicUsize,
    /// How often a deployment was read.
    pub reads: AtomicUsize,
    /// A command's record moves between reading and writing, this often, without showing anything new.
    pub moves: AtomicUsize,
}

impl Front {
    fn here(&self) -> Result<(), Trouble> {
        if self.away.load(Ordering::Relaxed) {
            let source = "connection refused to a secret place".into();
            return Err(Trouble::Store(StoreError::Unreachable { doing: "reading for a test", source }));
        }
        Ok(())
    }
}

type Answered<'a, T> = BoxFuture<'a, Result<T, Trouble>>;

/// Passes a call on, unless the database is away.
macro_rules! pass {
    ($self:ident, $call:ident($($argument:expr),*)) => {
        async move {
            $self.here()?;
            Api::$call(&$self.app, $($argument),*).await
        }
        .boxed()
    };
}

impl Api for Front {
    fn declare(&self, by: Actor, target: Target, new: Declaration, expected: Option<i32>) -> Answered<'_, Declared> {
        pass!(self, declare(by, target, new, expected))
    }
    fn environment(&self, target: Target) -> Answered<'_, Environment> {
        pass!(self, environment(target))
    }
    fn environments(&self, after: Option<Target>, limit: usize) -> Answered<'_, Vec<Environment>> {
        pass!(self, environments(after, limit))
    }
    fn revisions(&self, target: Target, before: Option<i32>, limit: usize) -> Answered<'_, Vec<Environment>> {
        pass!(self, revisions(target, before, limit))
    }
    fn create(&self, by: Actor, wanted: Wanted) -> Answered<'_, Created> {
        pass!(self, create(by, wanted))
    }
    fn plan_create(&self, wanted: Wanted) -> Answered<'_, Steps> {
        pass!(self, plan_create(wanted))
    }
    fn plan_declare(&self, target: Target, new: Declaration) -> Answered<'_, Steps> {
        pass!(self, plan_declare(target, new))
    }
    fn doctor(&self, target: Target, image: Option<Image>) -> Answered<'_, Steps> {
        pass!(self, doctor(target, image))
    }
    fn deployment(&self, id: DeploymentId) -> Answered<'_, Shown> {
        assert!(!self.broken.load(Ordering::Relaxed), "a bug that a test asked for");
        self.reads.fetch_add(1, Ordering::Relaxed);
        pass!(self, deployment(id))
    }
    fn deployments(&self, filter: Filter) -> Answered<'_, Vec<Shown>> {
        pass!(self, deployments(filter))
    }
    fn events(&self, id: DeploymentId, after: i64, limit: usize) -> Answered<'_, Vec<StoredEvent>> {
        pass!(self, events(id, after, limit))
    }
    fn changed(&self, at_most: Duration) -> BoxFuture<'_, ()> {
        Api::changed(&self.app, at_most)
    }
    fn command(
        &self,
        by: Actor,
        id: DeploymentId,
        command: Command,
        reason: Option<String>,
        expected: Option<i64>,
    ) -> Answered<'_, (Versioned, bool)> {
        let left = self.moves.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if expected.is_some() && left.is_ok() {
            return async { Err(Trouble::Precondition) }.boxed();
        }
        pass!(self, command(by, id, command, reason, expected))
    }
    fn rollback(&self, by: Actor, of: RollbackOf, reason: Option<String>) -> Answered<'_, RolledBack> {
        pass!(self, rollback(by, of, reason))
    }
    fn readiness(&self, target: Target) -> Answered<'_, Standing> {
        pass!(self, readiness(target))
    }
    fn plan_rollback(&self, of: RollbackOf) -> Answered<'_, Steps> {
        pass!(self, plan_rollback(of))
    }
    fn begin_drill(&self, by: Actor, target: Target, reason: Option<String>) -> Answered<'_, Drilling> {
        pass!(self, begin_drill(by, target, reason))
    }
    fn plan_drill(&self, target: Target) -> Answered<'_, Steps> {
        pass!(self, plan_drill(target))
    }
    fn drill(&self, id: DrillId) -> Answered<'_, Drill> {
        pass!(self, drill(id))
    }
    fn drills(&self, target: Target, before: Option<DrillId>, limit: usize) -> Answered<'_, Vec<Drill>> {
        pass!(self, drills(target, before, limit))
    }
    fn orphans(&self, filter: OrphanFilter) -> Answered<'_, Vec<ListedOrphan>> {
        pass!(self, orphans(filter))
    }
    fn token_owner(&self, sha256: [u8; 32]) -> Answered<'_, Option<TokenOwner>> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let found = self.tokens.lock().unwrap().iter().find(|(digest, _)| *digest == sha256).map(|(_, owner)| owner.clone());
        async move { self.here().map(|()| found) }.boxed()
    }
    fn token_owner_at_once(&self, sha256: [u8; 32]) -> Answered<'_, Option<TokenOwner>> {
        self.token_owner(sha256)
    }
    fn known_owner(&self, sha256: [u8; 32], at_most: Duration) -> Option<TokenOwner> {
        Api::known_owner(&self.app, sha256, at_most)
    }
    fn database_is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed) || self.app.database_is_away()
    }
    fn lane(&self) -> LaneFigures {
        self.figured.fetch_add(1, Ordering::Relaxed);
        let figures = Api::lane(&self.app);
        LaneFigures { database_is_away: figures.database_is_away || self.away.load(Ordering::Relaxed), ..figures }
    }
    fn ready(&self) -> Answered<'_, Ready> {
        pass!(self, ready())
    }
    fn provider(&self) -> ProviderFigures {
        self.app.provider()
    }
    fn figures(&self) -> Answered<'_, Figures> {
        pass!(self, figures())
    }
}

/// Somebody who knocks, with ci's token where nothing else is said.
pub struct Knocker {
    pub router: Router,
}

pub struct Door {
    pub house: House,
    pub front: Arc<Front>,
    pub knocker: Knocker,
    /// What the replica remembers of tokens: nothing, until a test lets it ask.
    pub tokens: Arc<Tokens>,
    pub stop: CancellationToken,
}

impl Deref for Door {
    type Target = Knocker;

    fn deref(&self) -> &Knocker {
        &self.knocker
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn etag(&self) -> String {
        self.header("etag").expect("a resource has an ETag").to_owned()
    }

    /// The last part of a problem's `type`; fails when it is no problem, or has not the status it says.
    pub fn problem(&self) -> String {
        let body = self.json();
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(body["status"], json!(self.status), "{self:?}");
        assert!(body["title"].is_string() && body["detail"].is_string(), "{self:?}");
        body["type"].as_str().unwrap().strip_prefix("/problems/").unwrap().to_owned()
    }

    /// The places of all faults: pointers, and parameters as `?name`.
    pub fn places(&self) -> Vec<String> {
        assert_eq!(self.problem(), "validation-failed", "{self:?}");
        let place = |fault: &Value| match (&fault["pointer"], &fault["parameter"]) {
            (Value::String(pointer), Value::Null) => pointer.clone(),
            (Value::Null, Value::String(parameter)) => format!("?{parameter}"),
            other => panic!("a fault without one place: {other:?}"),
        };
        self.json()["errors"].as_array().unwrap().iter().map(place).collect()
    }
}

impl Door {
    /// A service that nobody has declared yet.
    pub async fn open() -> Self {
        Self::of(House::undeclared(&declaration(&[50, 250, 1000]), at_once()))
    }

    /// `web/prod`, declared with the stages 5, 25 and 100.
    pub async fn declared() -> Self {
        Self::with(at_once()).await
    }

    /// The same, with other settings.
    pub async fn with(settings: EngineSettings) -> Self {
        Self::of(House::new(declaration(&[50, 250, 1000]), settings).await)
    }

    fn of(house: House) -> Self {
        let tokens = Arc::new(Tokens::default());
        let app = App {
            store: house.store.clone(),
            cloud: house.cloud.clone(),
            lane: house.lane.clone(),
            bundles: house.bundles.clone(),
            journal: house.journal.clone(),
            times: house.worker.times.clone(),
            tokens: tokens.clone(),
            pulse: Arc::new(Pulse::default()),
            past: Arc::default(),
            drilled: Arc::default(),
            settings: house.worker.settings,
            own: OwnHosts::default(),
        };
        let owner = |name: &str, admin| TokenOwner { name: name.to_owned(), admin };
        let known = vec![(auth::digest(ADA), owner("ada", true)), (auth::digest(CI), owner("ci", false))];
        house.store.tokens.lock().unwrap().clone_from(&known);
        let front = Arc::new(Front {
            app,
            tokens: Mutex::new(known),
            away: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            looks: AtomicUsize::new(0),
            figured: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
            moves: AtomicUsize::new(0),
        });
        let stop = CancellationToken::new();
        let router = http::router(Edge::new(front.clone(), house.worker.settings.timing, stop.clone()));
        Self { house, front, knocker: Knocker { router }, tokens, stop }
    }

    /// The same service behind an edge that nobody has come through yet.
    pub fn with_an_empty_memory(self) -> Self {
        let edge = Edge::new(self.front.clone(), self.house.worker.settings.timing, self.stop.clone());
        Self { knocker: Knocker { router: http::router(edge) }, ..self }
    }

    /// Creates a deployment of `ami-0bb2` and returns its id and URL.
    pub async fn deploy(&self) -> (DeploymentId, String) {
        let created = self.post(&format!("{WEB}/deployments"), json!({"image": "ami-0bb2"})).await;
        assert_eq!(created.status, 202, "{created:?}");
        let body = created.json();
        let id = DeploymentId::new(body["id"].as_str().unwrap().parse().unwrap());
        (id, body["url"].as_str().unwrap().to_owned())
    }

    /// The same, paused while its first stage serves 5 %: nothing moves until somebody acts.
    pub async fn deploy_to_first_stage(&self) -> (DeploymentId, String) {
        let (id, url) = self.deploy().await;
        let at_first = |d: &cutover::domain::deployment::Deployment| {
            matches!(d.phase, cutover::domain::phase::Phase::Shifting { seen_at: Some(_), .. })
        };
        self.house.until(id, "the first stage", at_first).await;
        assert_eq!(self.post(&format!("{url}/pause"), json!({})).await.status, 202);
        self.house.tick().await;
        (id, url)
    }
}

impl Knocker {
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 10 << 20).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    /// As ci, with headers.
    pub async fn ask(&self, method: &str, url: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(url).header(header::AUTHORIZATION, format!("Bearer {CI}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).unwrap()).await
    }

    pub async fn get(&self, url: &str) -> Answer {
        self.ask("GET", url, &[], None).await
    }

    pub async fn post(&self, url: &str, body: Value) -> Answer {
        self.ask("POST", url, &[], Some(body)).await
    }

    pub async fn put(&self, url: &str, body: Value) -> Answer {
        self.ask("PUT", url, &[], Some(body)).await
    }
}

/// What the fake cloud of these tests can take.
pub fn declaration_json() -> Value {
    json!({
        "provider": {"kind": "aws", "region": "eu-west-1"},
        "routes": ["public", "internal"],
        "slots": ["a", "b"],
        "blue": "web-old",
        "server_group": {"launch_template": {"id": "lt-1", "version": "7"}, "subnets": ["subnet-1"], "min": 1, "max": 10},
        "strategy": {"stages": [{"weight": 12.5, "bake_time": "5m"}, {"weight": 100}], "bake_time": "manual"}
    })
}
