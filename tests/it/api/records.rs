//! The same API on a real Postgres: what only real records can get wrong.

use std::{sync::Arc, time::Duration};

use cutover::{
    domain::preflight::OwnHosts,
    engine::{app::App, bundles::Bundles, driver::Pulse, journal::Journal, lane::Lane, ports::TokenOwner},
    http::{self, Edge, auth},
    store::PgStore,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::door::{CI, Knocker, WEB, declaration_json};
use crate::support::{
    disk::Disk,
    fake_cloud::FakeCloud,
    house::{at_once, declaration},
    postgres::{TestDatabase, database},
};

/// Long for a notification, short for a poll that nobody woke.
const WOKEN: Duration = Duration::from_secs(4);

/// A replica of the service, without its engine: nothing moves but by request.
async fn replica(database: &TestDatabase) -> (Knocker, PgStore) {
    let store = database.store().await;
    store.put_token(&TokenOwner { name: "ci".to_owned(), admin: false }, auth::digest(CI)).await.unwrap();
    let settings = at_once();
    let (records, cloud) = (Arc::new(store.clone()), Arc::new(FakeCloud::with_blue(&declaration(&[1000]), "web-old", 4)));
    let bundles = Arc::new(Bundles::default());
    let journal = Arc::new(Journal::new(Arc::new(Disk::default()), Vec::new()));
    let lane = Lane::new(Arc::new(store.lane()), cloud.clone(), bundles.clone(), journal.clone(), settings);
    let app = App {
        past: Arc::default(),
        drilled: Arc::default(),
        store: records,
        cloud,
        lane: Arc::new(lane),
        bundles,
        journal,
        times: Arc::default(),
        tokens: Arc::default(),
        pulse: Arc::new(Pulse::default()),
        settings,
        own: OwnHosts::default(),
    };
    let router = http::router(Edge::new(Arc::new(app), settings.timing, CancellationToken::new()));
    (Knocker { router }, store)
}

#[tokio::test]
async fn what_was_declared_and_created_is_read_back_as_it_was_shown() {
    let database = database().await;
    let (ci, _) = replica(&database).await;
    let new = ci.put(WEB, declaration_json()).await;
    assert_eq!((new.status, new.etag()), (201, ci.get(WEB).await.etag()), "{new:?}");
    let same = ci.ask("PUT", WEB, &[("if-match", &new.etag())], Some(declaration_json())).await;
    assert_eq!((same.status, &same.json()["revision"]), (200, &json!(1)));
    let stale = ci.ask("PUT", WEB, &[("if-match", "\"stale\"")], Some(declaration_json())).await;
    assert_eq!(stale.problem(), "precondition-failed");

    let reason = "Größe 3\n\"quoted\" \\ 🚀";
    let created = ci.post(&format!("{WEB}/deployments"), json!({"image": "ami-0bb2", "reason": reason})).await;
    assert_eq!((created.status, &created.json()["reason"]), (202, &json!(reason)), "{created:?}");
    let url = created.header("location").unwrap();
    assert_eq!(ci.get(url).await.etag(), created.etag(), "not a digit of a time is lost in the records");
    let listed = ci.get("/v1/deployments?service=web&environment=prod&status=pending").await.json();
    assert_eq!(listed["items"], json!([created.json()]));
    assert_eq!(ci.get(&format!("{url}/events")).await.json()["items"][0]["data"]["reason"], reason);
    let second = ci.post(&format!("{WEB}/deployments"), json!({"image": "ami-0cc3"})).await;
    assert_eq!((second.problem().as_str(), &second.json()["deployment"]["url"]), ("deployment-in-progress", &json!(url)));
}

#[tokio::test]
async fn a_command_on_one_replica_wakes_who_waits_on_another() {
    let database = database().await;
    let (here, _) = replica(&database).await;
    let (there, _) = replica(&database).await;
    here.put(WEB, declaration_json()).await;
    let created = here.post(&format!("{WEB}/deployments"), json!({"image": "ami-0bb2"})).await;
    let url = created.header("location").unwrap().to_owned();
    let (known, wait, pause) = (created.etag(), format!("{url}?wait=55s"), format!("{url}/pause"));
    let known = [("if-none-match", known.as_str())];
    let waiting = tokio::time::timeout(WOKEN, there.ask("GET", &wait, &known, None));
    let (woken, paused) = tokio::join!(waiting, here.post(&pause, json!({})));
    assert_eq!(paused.status, 202, "{paused:?}");
    assert_eq!(woken.expect("a notification, not a poll").json()["status"], "paused");
}

#[tokio::test]
async fn of_two_commands_on_one_state_the_second_is_refused() {
    let database = database().await;
    let (here, _) = replica(&database).await;
    let (there, _) = replica(&database).await;
    here.put(WEB, declaration_json()).await;
    let created = here.post(&format!("{WEB}/deployments"), json!({"image": "ami-0bb2"})).await;
    let cancel = format!("{}/cancel", created.header("location").unwrap());
    let pause = cancel.replace("cancel", "pause");
    here.post(&pause, json!({})).await;
    let read = here.get(created.header("location").unwrap()).await.etag();
    let resume = cancel.replace("cancel", "resume");
    let condition = [("if-match", read.as_str())];
    let (one, other) = tokio::join!(here.ask("POST", &cancel, &condition, None), there.ask("POST", &resume, &condition, None));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 412], "{one:?} {other:?}");
}

#[tokio::test]
async fn without_the_database_every_answer_says_so_and_the_process_is_alive() {
    let database = database().await;
    let (ci, store) = replica(&database).await;
    ci.put(WEB, declaration_json()).await;
    store.close().await;
    for url in [WEB, "/v1/services", "/v1/deployments"] {
        let refused = ci.get(url).await;
        assert_eq!((refused.status, refused.problem().as_str()), (503, "database-unreachable"), "{url}");
        assert!(!refused.text.contains("pool"), "{refused:?}");
    }
    assert_eq!(ci.post(&format!("{WEB}/rollback"), json!({})).await.problem(), "database-unreachable");
    assert_eq!(
        (ci.get("/readyz").await.status, ci.get("/livez").await.status, ci.get("/metrics").await.status),
        (503, 200, 200)
    );
}
