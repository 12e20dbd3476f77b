//! The embedded Postgres: killed, found again, and never shared.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use cutover::{
    engine::ports::Store,
    store::{
        PgStore, StoreSettings,
        embedded::{Embedded, EmbeddedError, EmbeddedSettings},
        state_dir::StateDir,
    },
};
use secrecy::ExposeSecret;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A folder that any user can pass, as /var/lib is.
fn folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("cutover-state-").tempdir_in("/tmp").unwrap();
    open_to_pass(folder.path());
    folder
}

fn open_to_pass(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o711)).unwrap();
}

async fn start(state: &StateDir) -> Embedded {
    Embedded::start(state, &EmbeddedSettings::default()).await.unwrap()
}

async fn ask(embedded: &Embedded, question: &'static str) -> String {
    let mut connection = PgConnection::connect(embedded.url().expose_secret()).await.unwrap();
    sqlx::query_scalar(question).fetch_one(&mut connection).await.unwrap()
}

async fn installation(embedded: &Embedded) -> uuid::Uuid {
    let store = PgStore::open(&StoreSettings::new(embedded.url())).await.unwrap();
    let id = store.installation().await.unwrap();
    store.close().await;
    id
}

fn postmaster(state: &StateDir) -> String {
    let file = fs::read_to_string(state.path().join("postgres/data/postmaster.pid")).unwrap();
    file.lines().next().unwrap().to_owned()
}

fn kill_9(pid: &str) {
    assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

#[tokio::test]
async fn a_postgres_that_was_killed_is_started_again_and_finds_its_data() {
    let folder = folder();
    let state = StateDir::open(folder.path()).unwrap();
    let embedded = start(&state).await;
    let before = installation(&embedded).await;
    kill_9(&postmaster(&state));
    let embedded = start(&state).await;
    assert_eq!(installation(&embedded).await, before);
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn a_postgres_that_dies_under_the_running_service_is_started_again() {
    let folder = folder();
    let state = StateDir::open(folder.path()).unwrap();
    let embedded = start(&state).await;
    let stop = CancellationToken::new();
    let keeping = tokio::spawn(embedded.keep_up(stop.clone()));
    let store = PgStore::open(&StoreSettings::new(embedded.url())).await.unwrap();
    let before = store.installation().await.unwrap();
    kill_9(&postmaster(&state));
    let back = async {
        loop {
            // A store that was open finds it again by itself.
            if let Ok(id) = store.installation().await {
                return id;
            }
            store.changed(Duration::from_millis(100)).await;
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(60), back).await.expect("it comes back"), before);
    stop.cancel();
    keeping.await.unwrap();
    store.close().await;
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn a_service_that_was_killed_finds_its_postgres_running() {
    let folder = folder();
    let state = StateDir::open(folder.path()).unwrap();
    let embedded = start(&state).await;
    let (pid, before) = (postmaster(&state), installation(&embedded).await);
    // What is left of a killed service: no lock, and a server that nobody told.
    drop((embedded, state));
    let state = StateDir::open(folder.path()).unwrap();
    let began = Instant::now();
    let embedded = start(&state).await;
    assert_eq!((postmaster(&state), installation(&embedded).await), (pid, before));
    assert!(began.elapsed() < Duration::from_secs(20), "it was found after {:?}", began.elapsed());
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn it_writes_to_disk_listens_on_no_port_and_stops_when_told() {
    let folder = folder();
    let state = StateDir::open(folder.path()).unwrap();
    let embedded = start(&state).await;
    for (setting, value) in
        [("show fsync", "on"), ("show synchronous_commit", "on"), ("show listen_addresses", ""), ("show data_checksums", "on")]
    {
        assert_eq!(ask(&embedded, setting).await, value, "{setting}");
    }
    let before = installation(&embedded).await;
    embedded.stop().await.unwrap();
    assert!(!state.path().join("postgres/data/postmaster.pid").exists());
    let embedded = start(&state).await;
    assert_eq!(installation(&embedded).await, before);
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_found_with_fsync_off_is_refused() {
    let folder = folder();
    let state = StateDir::open(folder.path()).unwrap();
    let careless = EmbeddedSettings { without_fsync: true, ..EmbeddedSettings::default() };
    let embedded = Embedded::start(&state, &careless).await.unwrap();
    let refused = Embedded::start(&state, &EmbeddedSettings::default()).await;
    assert!(matches!(refused, Err(EmbeddedError::Fsync)), "{refused:?}");
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn a_path_too_long_or_too_odd_for_a_socket_is_no_hindrance() {
    let folder = folder();
    let odd = folder.path().join("it's a $long 'path'").join("x".repeat(100));
    fs::create_dir_all(&odd).unwrap();
    open_to_pass(odd.parent().unwrap());
    let state = StateDir::open(&odd).unwrap();
    open_to_pass(&odd);
    let embedded = start(&state).await;
    installation(&embedded).await;
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn as_root_a_closed_folder_above_the_data_is_named() {
    if !is_root() {
        // Anybody else runs Postgres as himself, and is past every folder already.
        return;
    }
    let folder = folder();
    let closed = folder.path().join("closed");
    let state = StateDir::open(&closed.join("state")).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let refused = Embedded::start(&state, &EmbeddedSettings::default()).await.unwrap_err();
    assert!(matches!(&refused, EmbeddedError::Barred(named) if *named == closed), "{refused}");
    assert!(refused.to_string().contains("--state-dir"), "{refused}");
}

#[tokio::test]
async fn a_first_start_cut_short_is_begun_anew() {
    let folder = folder();
    let state = StateDir::open(folder.path()).unwrap();
    start(&state).await.stop().await.unwrap();
    // As a killed initdb leaves it: under its working name, with some files.
    let home = state.path().join("postgres");
    fs::rename(home.join("data"), home.join("data.new")).unwrap();
    fs::remove_dir_all(home.join("data.new/global")).unwrap();
    let embedded = start(&state).await;
    installation(&embedded).await;
    embedded.stop().await.unwrap();
}
