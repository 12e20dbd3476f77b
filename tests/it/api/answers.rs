//! Pages for probes and people.

use std::sync::atomic::Ordering;

use cutover::{
    domain::timing::Timing,
    http::{self, Edge, error::Kind},
};
use serde_json::json;

use super::door::{Door, Knocker};

#[tokio::test]
async fn probes_ask_the_database_and_never_the_provider() {
    let door = Door::declared().await;
    door.house.cloud.world().blind = true;
    assert_eq!(door.get("/readyz").await.json(), json!({"status": "ok", "database": "reachable"}));
    door.front.away.store(true, Ordering::Relaxed);
    let away = door.get("/readyz").await;
    assert_eq!((away.status, away.json()), (503, json!({"status": "unavailable", "database": "unreachable"})));
    assert_eq!(door.get("/livez").await.json(), json!({"status": "ok"}));
}

#[tokio::test]
async fn every_problem_has_a_page() {
    let door = Door::declared().await;
    for kind in Kind::ALL {
        let about = kind.about();
        let page = door.get(&format!("/problems/{}", about.slug)).await;
        assert_eq!(page.status, 200, "{}", about.slug);
        assert!(page.text.contains(about.title) && page.text.contains(about.page), "{}", page.text);
        assert!(!about.page.contains('<'), "the page is not escaped");
    }
    assert_eq!(door.get("/problems/none").await.problem(), "not-found");
}

#[tokio::test]
async fn the_metrics_show_the_records_as_they_are_now() {
    let door = Door::declared().await;
    let (id, url) = door.deploy_to_first_stage().await;
    let page = door.get("/metrics").await;
    assert!(page.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    for line in [
        format!("cutover_deployment_info{{service=\"web\",environment=\"prod\",deployment=\"{id}\",status=\"paused\",phase=\"shifting\",stage=\"1\"}} 1"),
        "cutover_traffic_weight_ratio{service=\"web\",environment=\"prod\",color=\"green\",kind=\"desired\"} 0.05".to_owned(),
        "cutover_traffic_weight_ratio{service=\"web\",environment=\"prod\",color=\"blue\",kind=\"observed\"} 0.95".to_owned(),
        "cutover_servers{service=\"web\",environment=\"prod\",color=\"green\",state=\"healthy\"} 4".to_owned(),
        "cutover_database_up 1".to_owned(),
        "cutover_orphans{kind=\"server_group\"} 0".to_owned(),
        "cutover_orphans_removed_total{kind=\"rule\"} 0".to_owned(),
        "http_server_request_duration_seconds_count{http_request_method=\"POST\",http_route=\"/v1/deployments/{id}/pause\",http_response_status_code=\"202\"} 1".to_owned(),
    ] {
        assert!(page.text.lines().any(|shown| shown == line), "{line} is not in\n{}", page.text);
    }
    assert!(page.text.contains("\ncutover_engine_tick_age_seconds ") && page.text.ends_with("# EOF\n"));
    door.post(&format!("{url}/rollback"), json!({})).await;
    let page = door.get("/metrics").await.text;
    let age = "\ncutover_rollback_unobserved_age_seconds{service=\"web\",environment=\"prod\"} ";
    assert!(page.contains(age), "users may still be on green\n{page}");
    door.house.until(id, "the end", |d| d.phase.is_terminal()).await;
    let page = door.get("/metrics").await.text;
    for until in ["accepted", "observed"] {
        let count = format!("\ncutover_rollback_duration_seconds_count{{trigger=\"manual\",until=\"{until}\"}} 1\n");
        assert!(page.contains(&count), "{count} is not in\n{page}");
    }
    let told = door.get(&format!("{url}/events?limit=100")).await.text;
    assert!(
        told.contains("the load balancer has accepted it on every route, ") && told.contains("rollback.observed"),
        "{told}"
    );
    assert!(!page.contains("cutover_rollback_unobserved_age_seconds{"), "{page}");
    assert!(
        page.contains("cutover_deployments_total{service=\"web\",environment=\"prod\",outcome=\"rolled_back\"} 1"),
        "{page}"
    );
    assert!(!page.contains("cutover_deployment_info{"), "{page}");
}

#[tokio::test]
async fn the_metrics_are_served_without_the_database() {
    let door = Door::declared().await;
    door.front.away.store(true, Ordering::Relaxed);
    let page = door.get("/metrics").await;
    assert_eq!(page.status, 200);
    for line in [
        "cutover_database_up 0",
        "cutover_provider_requests_total{lane=\"forward\",operation=\"Fake\",outcome=\"throttled\"} 1",
        "cutover_provider_request_duration_seconds_sum{lane=\"forward\",operation=\"Fake\"} 0.25",
        "cutover_provider_request_duration_seconds_bucket{le=\"0.1\",lane=\"forward\",operation=\"Fake\"} 0",
        "cutover_provider_request_duration_seconds_bucket{le=\"0.25\",lane=\"forward\",operation=\"Fake\"} 1",
        "cutover_provider_request_duration_seconds_bucket{le=\"+Inf\",lane=\"forward\",operation=\"Fake\"} 1",
        "cutover_provider_budget_wait_seconds_total{lane=\"forward\",operation=\"Fake\"} 1.5",
        "cutover_provider_budget_tokens{account=\"own\",region=\"eu-west-1\",class=\"fakes\",lane=\"rollback\"} 10.0",
        "cutover_provider_budget_pace_ratio{account=\"own\",region=\"eu-west-1\",class=\"fakes\"} 0.5",
    ] {
        assert!(page.text.lines().any(|shown| shown == line), "{line} is not in\n{}", page.text);
    }
}

#[tokio::test]
async fn metrics_with_a_listener_of_their_own_are_nowhere_else() {
    let door = Door::declared().await;
    let (api, metrics) = http::apart(Edge::new(door.front.clone(), Timing::default(), door.stop.clone()));
    let (api, metrics) = (Knocker { router: api }, Knocker { router: metrics });
    assert_eq!(api.get("/metrics").await.problem(), "not-found");
    assert_eq!((api.get("/livez").await.status, api.get("/v1/services").await.status), (200, 200));
    assert_eq!(metrics.get("/metrics").await.status, 200);
    assert_eq!(metrics.get("/v1/services").await.problem(), "not-found");
}

#[tokio::test]
async fn the_document_and_its_page_need_no_network() {
    let door = Door::declared().await;
    let served = door.get("/openapi.json").await;
    assert_eq!(served.json(), serde_json::to_value(cutover::http::openapi()).unwrap());
    let page = door.get("/docs/").await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(!page.text.contains("https://"), "{}", page.text);
}
