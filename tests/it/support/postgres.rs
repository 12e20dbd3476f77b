//! One throw-away Postgres for all test processes that run at the same time, and in it one database a test.
//!
//! nextest gives every test a process of its own, so the server is shared between processes: each holds a shared lock on one
//! file while it lives, and a reaper that waits for the exclusive one stops the server and removes its folder when the last
//! has gone, however it went.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    str::FromStr,
    sync::atomic::{AtomicU32, Ordering},
};

use cutover::store::{
    PgStore, StoreSettings,
    embedded::{Embedded, EmbeddedSettings},
    state_dir::StateDir,
};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use tokio::sync::OnceCell;

/// Copied for each test: made once, with every migration.
const TEMPLATE: &str = "template_of_tests";

static SERVER: OnceCell<Server> = OnceCell::const_new();

struct Server {
    connect: PgConnectOptions,
    /// Shared; the reaper waits for it.
    _in_use: File,
}

/// A database of one test's own, dropped with this.
pub struct TestDatabase {
    connect: PgConnectOptions,
    name: String,
}

/// A fresh database with every migration.
pub async fn database() -> TestDatabase {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let server = SERVER.get_or_init(Server::find).await;
    let name = format!("test_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
    run(&server.connect, format!("create database {name} template {TEMPLATE}")).await;
    TestDatabase { connect: server.connect.clone().database(&name), name }
}

impl TestDatabase {
    pub fn url(&self) -> SecretString {
        self.connect.to_url_lossy().to_string().into()
    }

    /// Few connections: many tests share the server.
    pub fn settings(&self) -> StoreSettings {
        StoreSettings { connections_max: 4, lane_connections_max: 2, ..StoreSettings::new(self.url()) }
    }

    pub async fn store(&self) -> PgStore {
        PgStore::open(&self.settings()).await.unwrap()
    }

    /// For what no store would do.
    pub async fn connection(&self) -> PgConnection {
        PgConnection::connect_with(&self.connect).await.unwrap()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (connect, name) = (self.connect.clone().database("postgres"), self.name.clone());
        // A runtime of its own: the test's may be the one that is dropping this.
        let dropped = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
                let mut connection = PgConnection::connect_with(&connect).await?;
                sqlx::query(AssertSqlSafe(format!("drop database {name} with (force)"))).execute(&mut connection).await
            })
        });
        // A database that stays goes with the server.
        let _: Result<Result<_, sqlx::Error>, _> = dropped.join();
    }
}

impl Server {
    /// The running one, or a new one.
    async fn find() -> Self {
        let folder = folder();
        let file = |kind: &str| File::create(folder.with_extension(kind)).unwrap();
        let in_use = file("users");
        in_use.lock_shared().unwrap();
        let starting = file("starting");
        starting.lock().unwrap();
        let note = folder.join("url");
        let noted = fs::read_to_string(&note).ok().and_then(|url| PgConnectOptions::from_str(&url).ok());
        let connect = match noted {
            Some(connect) if PgConnection::connect_with(&connect).await.is_ok() => connect,
            _ => start(&folder, &note).await,
        };
        Self { connect, _in_use: in_use }
    }
}

async fn start(folder: &Path, note: &Path) -> PgConnectOptions {
    let state = StateDir::open(folder).unwrap();
    let settings = EmbeddedSettings { without_fsync: true, ..EmbeddedSettings::default() };
    let url = Embedded::start(&state, &settings).await.unwrap().url();
    reap_when_unused(folder);
    PgStore::open(&StoreSettings::new(url.clone())).await.unwrap().close().await;
    let connect = PgConnectOptions::from_str(url.expose_secret()).unwrap().database("postgres");
    run(&connect, format!("drop database if exists {TEMPLATE}")).await;
    run(&connect, format!("create database {TEMPLATE} template cutover")).await;
    fs::write(note, connect.to_url_lossy().as_str()).unwrap();
    connect
}

/// The same for every process of one build; short, and passable for the user who runs Postgres, wherever the clone is.
fn folder() -> PathBuf {
    let digest = Sha256::digest(env!("CARGO_TARGET_TMPDIR"));
    let short: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    Path::new("/tmp").join(format!("cutover-tests-{short}"))
}

/// Leaves a process behind that ends the server once no test process is left, however the last one went.
fn reap_when_unused(folder: &Path) {
    let mut reaper = Command::new("sh");
    reaper.args(["-c", include_str!("reaper.sh"), "reaper"]).arg(folder).current_dir("/").process_group(0);
    reaper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    #[expect(clippy::zombie_processes, reason = "it outlives this process on purpose")]
    let _left_behind = reaper.spawn().unwrap();
}

async fn run(connect: &PgConnectOptions, statement: String) {
    let mut connection = PgConnection::connect_with(connect).await.unwrap();
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
}
