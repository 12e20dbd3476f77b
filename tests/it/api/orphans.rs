//! What ended deployments left behind, as callers see it.

use std::time::Duration;

use cutover::{
    domain::{
        ids::{DeploymentId, GroupName, HolderId, RouteRef, SlotRef},
        orphan::Terms,
        survey::Role,
    },
    engine::{
        settings::{EngineSettings, SweeperSettings},
        sweeper::Sweeper,
    },
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::door::Door;
use crate::support::house::at_once;

const LIST: &str = "/v1/orphans";
pub(super) const TERM: Duration = Duration::from_secs(3600);

pub(super) fn settings(terms: Terms) -> EngineSettings {
    EngineSettings { sweeper: SweeperSettings { enabled: true, every: Duration::ZERO, terms }, ..at_once() }
}

pub(super) async fn sweep(door: &Door) {
    let (store, cloud) = (door.house.store.clone(), door.house.cloud.clone());
    let sweeper = Sweeper { store, cloud, holder: HolderId::new("replica-1"), settings: door.house.worker.settings };
    sweeper.turn().await.unwrap();
}

/// A service whose first deployment went back, and left its group, an overlay, and one that nobody knows.
pub(super) async fn left_behind(door: &Door) -> DeploymentId {
    let (id, url) = door.deploy_to_first_stage().await;
    assert_eq!(door.post(&format!("{url}/rollback"), json!({})).await.status, 200);
    door.house.until(id, "the end", |d| d.phase.is_terminal()).await;
    let slot = SlotRef::new("b");
    let mut world = door.house.cloud.world();
    world.leave_group(&GroupName::new("web-prod-v001"), &slot, Some(id));
    world.leave_rule(&RouteRef::new("public"), Role::Overlay, id, &SlotRef::new("a"));
    world.leave_group(&GroupName::new("web-prod-v009"), &slot, Some(DeploymentId::new(Uuid::from_u128(9))));
    id
}

fn named<'a>(items: &'a Value, name: &str) -> &'a Value {
    items["items"].as_array().unwrap().iter().find(|item| item["name"] == name).expect("it is listed")
}

#[tokio::test]
async fn orphans_are_listed_with_whose_they_were_and_what_becomes_of_them() {
    let door = Door::with(settings(Terms { remove: true, report_after: Duration::ZERO, remove_after: TERM })).await;
    assert_eq!(door.get(LIST).await.json(), json!({"items": [], "next_cursor": null}));
    let id = left_behind(&door).await;
    sweep(&door).await;
    let page = door.get(LIST).await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 3, "{page:#}");
    let group = named(&page, "web-prod-v001");
    assert_eq!(group["deployment"]["url"], format!("/v1/deployments/{id}"));
    assert_eq!(
        (&group["kind"], &group["service"], &group["environment"]),
        (&json!("server_group"), &json!("web"), &json!("prod"))
    );
    assert_eq!(group["provider"]["region"], "eu-west-1");
    assert_eq!(group["why"], "web/prod #1 ended rolled_back, and its server group is still there");
    let at = |field: &str| group[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(at("remove_at"), at("first_seen_at") + TERM);
    assert_eq!((&group["kept_because"], &group["removal_began_at"]), (&Value::Null, &Value::Null));
    let unknown = named(&page, "web-prod-v009");
    assert_eq!((&unknown["deployment"], &unknown["remove_at"]), (&Value::Null, &Value::Null));
    assert!(unknown["kept_because"].as_str().unwrap().contains("by hand"), "{unknown:#}");

    let metrics = door.get("/metrics").await.text;
    for line in ["cutover_orphans{kind=\"server_group\"} 2", "cutover_orphans{kind=\"rule\"} 1"] {
        assert!(metrics.lines().any(|shown| shown == line), "{metrics}");
    }
}

#[tokio::test]
async fn the_list_comes_in_pages_and_by_service() {
    let door = Door::with(settings(Terms { remove: true, report_after: Duration::ZERO, remove_after: TERM })).await;
    left_behind(&door).await;
    sweep(&door).await;
    let mut names = Vec::new();
    let mut url = format!("{LIST}?limit=2");
    for size in [2, 1] {
        let page = door.get(&url).await;
        let items = page.json()["items"].as_array().unwrap().clone();
        assert_eq!(items.len(), size);
        names.extend(items.iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        let link = page.header("link").map(|link| link.trim_start_matches('<').split('>').next().unwrap().to_owned());
        assert_eq!(link.is_some(), size == 2);
        url = link.unwrap_or_default();
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 3, "each once: {names:?}");
    let of = async |query: &str| door.get(&format!("{LIST}?{query}")).await.json()["items"].as_array().unwrap().len();
    assert_eq!((of("service=web&environment=prod").await, of("service=api").await), (2, 0), "a stranger is of no service");
    let refused = door.get(&format!("{LIST}?cursor=x&service=WEB&kind=rule")).await;
    assert_eq!((refused.problem().as_str(), refused.json()["errors"].as_array().unwrap().len()), ("validation-failed", 3));
}

#[tokio::test]
async fn without_removal_the_list_says_what_keeps_everything() {
    let terms = Terms { remove: false, report_after: Duration::ZERO, remove_after: Duration::ZERO };
    let door = Door::with(settings(terms)).await;
    left_behind(&door).await;
    sweep(&door).await;
    let page = door.get(LIST).await.json();
    let group = named(&page, "web-prod-v001");
    assert_eq!(
        (&group["remove_at"], &group["kept_because"]),
        (&Value::Null, &json!("sweeper.remove is off: orphans are listed only"))
    );
}

#[tokio::test]
async fn what_was_seen_only_once_is_not_listed() {
    let door = Door::with(settings(Terms { remove: true, report_after: TERM, remove_after: TERM })).await;
    left_behind(&door).await;
    sweep(&door).await;
    sweep(&door).await;
    assert_eq!(door.get(LIST).await.json()["items"], json!([]));
}
