//! `cutover probe` on the pocket region, whose rules reach their nodes within 0.4 s: what it measures, and that nothing is left.

use std::time::Duration;

use cutover_sim::{
    faults::{Effect, Fault},
    model::{Condition, Rule},
    options::Clocks,
    scenario::Stage,
    table::Table,
};
use serde_json::{Value, json};
use tokio::process::Command;

use super::run::{Ran, end, program};
use crate::support::region::Scene;

/// The longest that the region's nodes take to obey a rule.
const PROPAGATION_MS: f64 = 400.0;
/// What a busy machine may add.
const SLACK_MS: f64 = 1500.0;
/// The rule numbers that a probe takes where nobody else is.
const UPPER: u32 = 49_000;

/// One service on one listener.
struct Region {
    scene: Scene,
    rules: Table<Rule>,
}

impl Region {
    async fn new() -> Self {
        let clocks =
            Clocks { propagation_max: Duration::from_secs(40), signature_life: Duration::from_secs(3000), ..Clocks::default() };
        let scene = Scene::with(&Stage::default(), clocks).await;
        let rules = scene.sim.shared().now().rules.clone();
        Self { scene, rules }
    }

    fn listener(&self) -> &str {
        &self.scene.staged.listeners[0]
    }

    /// The probe on its listener, in a hurry.
    fn probe(&self, more: &[&str]) -> Command {
        let address = self.scene.sim.shared().now().listeners[self.listener()].address.unwrap();
        let url = format!("http://{address}/");
        let paces = if more.contains(&"--settle") { [].as_slice() } else { &["--settle", "500ms", "--timeout", "20s"] };
        let line = [&["probe", "--listener", self.listener(), "--url", &url, "--rate", "120"], more, paces].concat();
        let mut command = program(&line);
        command.env("AWS_ENDPOINT_URL", self.scene.sim.endpoint());
        command.env("AWS_ACCESS_KEY_ID", "AKIATEST").env("AWS_SECRET_ACCESS_KEY", "secret");
        command
    }

    async fn run(&self, more: &[&str]) -> Ran {
        end(self.probe(more).spawn().unwrap()).await
    }

    /// The rules are as they were, and the one group is blue.
    async fn is_as_before(&self) {
        let region = self.scene.sim.shared().now();
        assert_eq!(format!("{:#?}", region.rules), format!("{:#?}", self.rules));
        self.scene.until("the probe's group is gone", || self.scene.groups() == [self.scene.blue()]).await;
    }

    fn meets(&self, operation: &str, effect: Effect, skip: u64, times: Option<u64>) {
        let fault = Fault { skip, times, ..Fault::on(operation, effect) };
        self.scene.sim.faults().set(fault).unwrap();
    }
}

fn refusal(code: &str) -> Effect {
    Effect::Error { code: code.to_owned(), message: "so it is".to_owned(), status: 400 }
}

#[tokio::test]
async fn every_row_says_what_the_region_does_and_nothing_is_left() {
    let region = Region::new().await;
    let service = &region.scene.staged.services[0];
    let groups = format!("{},{}", service.slots[0][0], service.slots[1][0]);
    let template = format!("{}:1", service.launch_template);
    let asked = ["--rounds", "2", "--yes", "-o", "json", "--target-groups", &groups];
    let group = ["--launch-template", &template, "--image", region.scene.image("v2"), "--subnet", "subnet-1"];
    let ran = region.run(&[&asked[..], &group].concat()).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    region.is_as_before().await;

    let found: Value = serde_json::from_str(&ran.out).unwrap();
    let mut longest = 0.0_f64;
    for change in ["CreateRule", "ModifyRule", "DeleteRule"] {
        let each = found["changes"][change]["each"].as_array().unwrap();
        assert_eq!(each.len(), 2, "{found:#}");
        for shown in each {
            for part in ["first_new_ms", "last_old_ms"] {
                let took = shown[part].as_f64().unwrap();
                assert!((0.0..PROPAGATION_MS + SLACK_MS).contains(&took), "{change} {part} {took}");
            }
            longest = longest.max(shown["last_old_ms"].as_f64().unwrap());
        }
    }
    assert!(longest > PROPAGATION_MS / 4.0, "the slowest of twelve times obeyed after {longest} ms");
    assert_eq!(found["odd_answers"], json!({}), "{found:#}");
    assert_eq!(found["same_conditions"], json!({"verdict": "accepted", "detail": "the lower number answers"}));
    let weights = &found["zero_weights"];
    let detail = weights["detail"].as_str().unwrap();
    assert_eq!(weights["verdict"], "accepted");
    assert!(detail.starts_with("answers 503 ×") && detail.contains("(with {1, 0}: 200 ×"), "{detail}");
    assert_eq!(found["image_override"], json!({"verdict": "accepted", "detail": "the group shows the image"}));
    assert_eq!((&found["removed"], &found["ended_early"]), (&json!(true), &Value::Null));
    let told = found.to_string();
    assert!(!told.contains("arn:") && !told.contains("123456789012"), "it can be passed on: {told}");
}

#[tokio::test]
async fn an_interrupted_probe_removes_what_it_made() {
    let region = Region::new().await;
    let child = region.probe(&["--rounds", "50", "--yes"]).spawn().unwrap();
    // The second round's upper rule: a round is over, another one is under way.
    let upper = || region.scene.sim.shared().now().rules.values().find(|rule| rule.priority == UPPER).cloned();
    region.scene.until("the first upper rule", || upper().is_some()).await;
    let first = upper().unwrap();
    region.scene.until("the second upper rule", || upper().is_some_and(|rule| rule.arn != first.arn)).await;
    let made: Vec<_> = region.scene.sim.shared().now().rules.values().filter(|rule| rule.priority >= UPPER).cloned().collect();
    assert_eq!(made.len(), 2);
    for rule in made {
        assert!(rule.tags.contains_key("cutover:probe"), "{rule:?}");
        assert_eq!(rule.conditions, [Condition::Host(vec!["probe.cutover.invalid".to_owned()])]);
    }

    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let ran = end(child).await;
    assert_eq!(ran.code, Some(130), "{ran:?}");
    region.is_as_before().await;
    assert!(ran.out.contains("ended early                     interrupted"), "{ran:?}");
    assert!(ran.out.contains("1 round,"), "what was measured is told: {ran:?}");
}

#[tokio::test]
async fn a_rule_whose_creation_was_not_answered_is_found_and_removed() {
    let region = Region::new().await;
    region.meets("CreateRule", Effect::Lost { hang: false }, 1, Some(1));
    let ran = region.run(&["--rounds", "1", "--yes"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("removed again                   everything"), "{ran:?}");
    region.is_as_before().await;
}

#[tokio::test]
async fn what_cannot_be_removed_is_named_with_the_commands_that_do() {
    let region = Region::new().await;
    region.meets("DeleteRule", refusal("AccessDenied"), 0, None);
    let ran = region.run(&["--rounds", "1", "--yes"]).await;
    assert_eq!(ran.code, Some(5), "{ran:?}");
    let now = region.scene.sim.shared().now();
    let left: Vec<_> = now.rules.keys().filter(|arn| !region.rules.contains_key(arn)).collect();
    assert_eq!(left.len(), 2);
    for arn in left {
        assert!(ran.err.contains(&format!("aws elbv2 delete-rule --region eu-west-1 --rule-arn {arn}")), "{ran:?}");
    }
    assert!(ran.out.contains("NOT everything"), "{ran:?}");
}

#[tokio::test]
async fn conditions_that_aws_refuses_are_a_finding() {
    let region = Region::new().await;
    region.meets("CreateRule", refusal("InvalidConfigurationRequest"), 1, Some(1));
    let ran = region.run(&["--rounds", "1", "--yes"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("same conditions      refused: InvalidConfigurationRequest: so it is"), "{ran:?}");
    region.is_as_before().await;
}

#[tokio::test]
async fn a_rule_that_never_shows_is_given_up_and_removed() {
    let mut region = Region::new().await;
    region.scene.sim.shared().change(|all| {
        let mut hiding = all.rules.values().next().unwrap().clone();
        (hiding.arn, hiding.priority) = ("hiding".to_owned(), 1);
        hiding.conditions = vec![Condition::Path(vec!["*".to_owned()])];
        all.rules.insert(hiding.arn.clone(), hiding);
    });
    region.rules = region.scene.sim.shared().now().rules.clone();
    let ran = region.run(&["--rounds", "1", "--yes", "--settle", "100ms", "--timeout", "2s"]).await;
    assert_eq!(ran.code, Some(124), "{ran:?}");
    assert!(ran.err.contains("a lower number for every host"), "{ran:?}");
    region.is_as_before().await;
}

#[tokio::test]
async fn nobody_to_ask_and_no_yes_is_a_mistake_of_usage_and_makes_no_call() {
    let region = Region::new().await;
    let before = region.scene.sim.journal().counts().total();
    let ran = region.run(&[]).await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("--yes"), "{ran:?}");
    let rule = &region.scene.staged.services[0].routes[0];
    let ran = end(program(&["probe", "--yes", "--listener", rule]).spawn().unwrap()).await;
    assert_eq!(ran.code, Some(2), "a rule is no listener: {ran:?}");
    assert_eq!(region.scene.sim.journal().counts().total(), before);
    let ran = region.run(&["--yes", "--priority", "99"]).await;
    assert_eq!(ran.code, Some(8), "rule 100 is the service's own: {ran:?}");
    region.is_as_before().await;
}
