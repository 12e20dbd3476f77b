//! Bad input, each with its own clear problem, before anything is changed; and images that come to nothing, with AWS's words.

use cutover_sim::{
    model::{Action, Condition, Rule},
    scenario::{ImageOf, Server, Stage},
};
use serde_json::{Value, json};

use super::crash::declaration;
use crate::support::{process::Service, region::Scene};

const HOME: &str = "/v1/services/web/environments/prod";

/// Where each fault lies, and what is said of it.
fn faults(problem: &Value) -> Vec<(String, String)> {
    let text = |fault: &Value, key: &str| fault[key].as_str().unwrap_or_default().to_owned();
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|fault| (text(fault, "pointer"), text(fault, "detail"))).collect()
}

/// Declares and expects a refusal at `pointer` that says `words`.
async fn refused(service: &Service, declaration: &Value, pointer: &str, words: &str) {
    let (status, problem) = service.call("PUT", HOME, Some(declaration.clone())).await;
    let found = faults(&problem);
    assert_eq!((status, problem["type"].as_str()), (422, Some("/problems/validation-failed")), "{words}: {problem:#}");
    assert!(found.iter().any(|(at, said)| at == pointer && said.contains(words)), "{pointer} {words}: {found:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declaration_that_does_not_fit_the_world_is_refused_with_what_is_wrong_where() {
    let scene = Scene::new(&Stage { routes: 2, ..Stage::default() }).await;
    let service = Service::start(scene.sim.endpoint()).await;
    let fine = declaration(&scene);
    let staged = &scene.staged.services[0];
    let region = scene.sim.shared();

    let mut gone = fine.clone();
    gone["routes"][0] = json!(staged.routes[0].replace(|c: char| c.is_ascii_hexdigit(), "0"));
    let (status, problem) = service.call("PUT", HOME, Some(gone)).await;
    assert_eq!(status, 422, "{problem:#}");
    assert!(faults(&problem).iter().any(|(at, _)| at == "/routes/0"), "{problem:#}");

    let mut wrong_blue = fine.clone();
    wrong_blue["blue"] = json!("nobody");
    refused(&service, &wrong_blue, "/blue", "nobody").await;

    // A base that forwards to several groups, and one that asks users to log in: each is put back afterwards.
    let route = &staged.routes[0];
    let before = region.now().rules[route].actions.clone();
    let act = |actions: Vec<Action>| {
        region.change(|region| region.rules.get_mut(route).expect("the route is a rule").actions = actions);
    };
    let several =
        Action::Forward { groups: vec![(staged.slots[0][0].clone(), 1), (staged.slots[1][0].clone(), 1)], stickiness: None };
    act(vec![several]);
    refused(&service, &fine, "/routes/0", "2 target groups").await;
    let oidc =
        Action::Other { kind: "authenticate-oidc".to_owned(), config: json!({"Issuer": "https://id.example"}), order: Some(1) };
    act([vec![oidc], before.clone()].concat());
    refused(&service, &fine, "/routes/0", "oidc").await;
    let fixed = Action::FixedResponse { status: 200, body: String::new(), content_type: None };
    act(vec![fixed]);
    refused(&service, &fine, "/routes/0", "does not forward").await;
    act(before);

    // A rule right above the base that could match the same requests.
    let base = region.now().rules[route].clone();
    let in_the_way = Rule {
        arn: format!("{}0", base.arn),
        priority: base.priority - 1,
        conditions: vec![Condition::Host(vec!["*".to_owned()])],
        ..base
    };
    let arn = in_the_way.arn.clone();
    region.change(|region| region.rules.insert(arn.clone(), in_the_way));
    refused(&service, &fine, "/routes/0", &arn).await;
    region.change(|region| region.rules.remove(&arn));

    assert_eq!((scene.groups(), scene.extra_rules()), (vec![scene.blue().to_owned()], 0), "nothing was changed");
    assert_eq!(service.call("PUT", HOME, Some(fine)).await.0, 201, "and without the faults it is taken");
    service.stop().await;
    scene.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_supported_yet_and_what_is_no_image_is_refused_and_a_second_deployment_is_shown_the_first() {
    let scene = Scene::new(&Stage::default()).await;
    let service = Service::start(scene.sim.endpoint()).await;
    let mut strange = declaration(&scene);
    strange["preview"] = json!({"header": "Host", "value": "green"});
    strange["server_group"]["launch_template"]["version"] = json!("$Latest");
    strange["strategy"]["stages"] = json!([{"weight": 50}, {"weight": 25}]);
    strange["slots"] = json!([strange["slots"][0]]);
    strange["colour"] = json!("green");
    let (status, problem) = service.call("PUT", HOME, Some(strange)).await;
    assert_eq!(status, 422);
    let mut pointers: Vec<_> = faults(&problem).into_iter().map(|(at, _)| at).collect();
    pointers.dedup();
    for pointer in ["/preview/header", "/server_group/launch_template/version", "/slots", "/colour"] {
        assert!(pointers.iter().any(|at| at == pointer), "{pointer} is missing: {problem:#}");
    }
    assert!(pointers.iter().any(|at| at.starts_with("/strategy/stages")), "{problem:#}");

    service.done("PUT", HOME, Some(declaration(&scene))).await;
    for wrong in [
        json!({"image": "latest"}),
        json!({"image": "ami-1", "force": true}),
        json!({"image": "ami-1", "on_conflict": "queue"}),
    ] {
        assert_eq!(service.call("POST", &format!("{HOME}/deployments"), Some(wrong.clone())).await.0, 422, "{wrong}");
    }
    let nothing = service.call("POST", &format!("{HOME}/rollback"), None).await;
    assert_eq!((nothing.0, nothing.1["type"].as_str()), (409, Some("/problems/nothing-to-roll-back-to")), "{nothing:?}");

    let first = service.done("POST", &format!("{HOME}/deployments"), Some(json!({"image": scene.image("v2")}))).await;
    let (status, problem) =
        service.call("POST", &format!("{HOME}/deployments"), Some(json!({"image": scene.image("v3")}))).await;
    assert_eq!((status, problem["type"].as_str()), (409, Some("/problems/deployment-in-progress")), "{problem:#}");
    assert!(problem.to_string().contains(first["url"].as_str().unwrap()), "with its link: {problem:#}");
    let url = first["url"].as_str().unwrap();
    service.until(url, "the end", |d| !d["ended_at"].is_null()).await;
    service.stop().await;
    scene.sim.shutdown().await;
}

/// Deploys an image that comes to nothing; returns how it ended.
async fn comes_to_nothing(server: Server, deadline: &str) -> Value {
    let images = vec![
        ImageOf { version: "v1".to_owned(), server: Server::built_in("v1") },
        ImageOf { version: "v2".to_owned(), server },
    ];
    let scene = Scene::new(&Stage { images, ..Stage::default() }).await;
    let service = Service::start(scene.sim.endpoint()).await;
    let mut declared = declaration(&scene);
    declared["strategy"]["deadlines"] = json!({"provisioning": deadline});
    service.done("PUT", HOME, Some(declared)).await;
    let load = scene.load(50);
    let created = service.done("POST", &format!("{HOME}/deployments"), Some(json!({"image": scene.image("v2")}))).await;
    let ended = service.until(created["url"].as_str().unwrap(), "the end", |d| !d["ended_at"].is_null()).await;
    scene.until("one group", || scene.groups() == [scene.blue()]).await;
    assert_eq!(scene.extra_rules(), 0, "nothing is left behind");
    let record = load.finish().await;
    assert_eq!((record.totals().lost, record.last_answer("v2")), (0, None), "no user met it");
    service.stop().await;
    scene.sim.shutdown().await;
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_never_become_healthy_go_back_by_deadline() {
    let sick = Server::BuiltIn { version: "v2".to_owned(), boot_ms: 0, healthy: false };
    let ended = comes_to_nothing(sick, "3s").await;
    assert_eq!((&ended["status"], &ended["rollback"]["trigger"]), (&json!("rolled_back"), &json!("deadline")), "{ended:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launch_that_fails_for_good_goes_back_at_once_with_awss_words() {
    let words = "The image id '[ami-0bad]' does not exist. Launching EC2 instance failed.";
    let ended = comes_to_nothing(Server::Fails(words.to_owned()), "20m").await;
    assert_eq!((&ended["status"], &ended["rollback"]["trigger"]), (&json!("rolled_back"), &json!("launch")), "{ended:#}");
    assert!(ended["rollback"]["reason"].as_str().unwrap().contains("does not exist"), "{ended:#}");
}
