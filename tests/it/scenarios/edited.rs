//! Rules edited with the SDK in mid-flight, under traffic: held, adopted, restored, and at last deleted.

use aws_sdk_elasticloadbalancingv2::{
    Client,
    types::{
        Action, ActionTypeEnum, ForwardActionConfig, HostHeaderConditionConfig, HttpHeaderConditionConfig, Rule, RuleCondition,
        TargetGroupTuple,
    },
};
use cutover::{
    domain::{
        command::Command,
        deployment::{Deployment, Status, Trigger},
        ids::DeploymentId,
        phase::Phase,
        time::BakeTime,
        weight::Weight,
    },
    engine::ports::{Commanded, Store},
};
use cutover_sim::scenario::Stage;
use jiff::Timestamp;

use super::region::NOW;
use crate::support::{
    house::{by, target},
    region::Scene,
    replica::{Replica, quick},
};

fn percent(percent: f64) -> Weight {
    Weight::from_percent(percent).unwrap()
}

/// A deployment at a quarter, and somebody with the SDK.
struct Story {
    scene: Scene,
    replica: Replica,
    elb: Client,
    id: DeploymentId,
}

impl Story {
    async fn at_25(routes: u32) -> Self {
        let scene = Scene::new(&Stage { routes, ..Stage::default() }).await;
        let replica = Replica::start(&scene);
        let declared = scene.declaration(&[(250, BakeTime::Manual), (1000, NOW)], BakeTime::Manual);
        replica.store.declare(&target(), &declared, "ada", None).await.unwrap();
        let id = replica.deploy(scene.image("v2")).await;
        let elb = scene.elb();
        let story = Self { scene, replica, elb, id };
        story.seen(percent(25.0)).await;
        story
    }

    async fn until(&self, what: &str, there: impl Fn(&Deployment) -> bool) -> Deployment {
        self.replica.until(self.id, what, there).await
    }

    /// Until a weight is seen, and for so long that no call of ours can be late any more.
    async fn seen(&self, weight: Weight) {
        let settled = |d: &Deployment| {
            let landed = quick().timing.landed(d.phase_since);
            matches!(d.phase, Phase::Shifting { weight: w, seen_at: Some(_), .. } if w == weight) && Timestamp::now() > landed
        };
        self.until("the weight, and time for late calls", settled).await;
    }

    async fn give(&self, command: Command) {
        let given = self.replica.store.command(self.id, command, by("ada"), None).await.unwrap();
        assert!(matches!(given, Commanded::Done { changed: true, .. }), "{given:?}");
    }

    async fn rule(&self, arn: &str) -> Rule {
        self.elb.describe_rules().rule_arns(arn).send().await.unwrap().rules()[0].clone()
    }

    /// Green's weight on the first overlay, as the provider has it.
    async fn weight(&self, d: &Deployment) -> i32 {
        let rule = self.rule(d.overlays[0].as_str()).await;
        rule.actions()[0].forward_config().unwrap().target_groups()[1].weight().unwrap()
    }

    /// Somebody gives the overlays a weight at the console.
    async fn weigh(&self, d: &Deployment, green: i32) {
        for overlay in &d.overlays {
            let rule = self.rule(overlay.as_str()).await;
            let groups = rule.actions()[0].forward_config().unwrap().target_groups().to_vec();
            let tuple = |(group, weight): (&TargetGroupTuple, i32)| {
                TargetGroupTuple::builder()
                    .set_target_group_arn(group.target_group_arn().map(str::to_owned))
                    .weight(weight)
                    .build()
            };
            let tuples = groups.iter().zip([1000 - green, green]).map(tuple).collect();
            let config = ForwardActionConfig::builder().set_target_groups(Some(tuples)).build();
            let action = Action::builder().r#type(ActionTypeEnum::Forward).forward_config(config).build();
            self.elb.modify_rule().rule_arn(overlay.as_str()).actions(action).send().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_weight_set_at_the_console_holds_is_adopted_restored_and_the_overlays_deletion_is_a_rollback() {
    let story = Story::at_25(2).await;
    let load = story.scene.load(200);
    let d = story.until("25 %", |_| true).await;

    story.weigh(&d, 600).await;
    let d = story.until("the hold", |d| d.held.is_some()).await;
    assert!(d.attention.as_ref().unwrap().contains("weight 25% -> 60%"), "{d:#?}");
    assert_eq!(d.status(), Status::Paused);
    let looked = d.seen.at;
    let d = story.until("another look", |d| d.seen.at > looked && d.held.is_some()).await;
    assert_eq!(story.weight(&d).await, 600, "it is not fought over");
    story.give(Command::Adopt).await;
    let d = story.until("60 % by hand", |d| matches!(d.phase, Phase::Shifting { by_hand: true, seen_at: Some(_), .. })).await;
    assert_eq!((d.phase.wants(), d.status(), d.held.is_none()), (percent(60.0), Status::Paused, true));

    story.give(Command::Weight(percent(25.0))).await;
    story.seen(percent(25.0)).await;
    story.weigh(&d, 600).await;
    story.until("the hold", |d| d.held.is_some()).await;
    story.give(Command::Restore).await;
    let d = story.until("25 % again", |d| d.held.is_none()).await;
    assert_eq!((story.weight(&d).await, d.seen.weight), (250, Some(percent(25.0))));

    for overlay in &d.overlays {
        story.elb.delete_rule().rule_arn(overlay.as_str()).send().await.unwrap();
    }
    let d = story.until("the end", |d| d.phase.is_terminal()).await;
    assert_eq!((d.status(), d.going_back.unwrap().trigger), (Status::RolledBack, Trigger::Outside));
    let record = load.finish().await;
    assert_eq!(record.totals().lost, 0, "{:?}", record.losses());
    assert_eq!((story.scene.groups(), story.scene.extra_rules()), (vec![story.scene.blue().to_owned()], 0));
    story.replica.stop().await;
    story.scene.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_edited_at_the_console_are_adopted_by_the_overlay_and_go_on_to_the_commit() {
    let story = Story::at_25(1).await;
    let load = story.scene.load(200);
    let d = story.until("25 %", |_| true).await;
    let base = d.declaration.routes[0].as_str();
    let config =
        HostHeaderConditionConfig::builder().values(&story.scene.staged.services[0].host).values("other.example.com").build();
    let host = RuleCondition::builder().field("host-header").host_header_config(config).build();
    assert_eq!(story.rule(base).await.conditions().len(), 1, "it is known by its host alone");
    story.elb.modify_rule().rule_arn(base).conditions(host).send().await.unwrap();

    let d = story.until("the hold", |d| d.held.is_some()).await;
    assert!(d.attention.as_ref().unwrap().contains("base of"), "{:?}", d.attention);
    story.give(Command::Adopt).await;
    let d = story.until("no drift", |d| d.held.is_none()).await;
    assert_eq!(story.rule(d.overlays[0].as_str()).await.conditions(), story.rule(base).await.conditions());
    assert_eq!((story.weight(&d).await, d.status()), (250, Status::InProgress), "nobody paused it");
    story.give(Command::Promote(cutover::domain::command::PromoteTo::Full)).await;
    story.until("the bake", |d| matches!(d.phase, Phase::Baking { seen_at: Some(_), .. })).await;
    story.give(Command::Promote(cutover::domain::command::PromoteTo::Next)).await;
    let d = story.until("the end", |d| d.phase.is_terminal()).await;
    assert_eq!(d.status(), Status::Succeeded, "{d:#?}");
    let record = load.finish().await;
    assert_eq!(record.totals().lost, 0, "{:?}", record.losses());
    story.replica.stop().await;
    story.scene.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_added_beside_the_overlay_holds_is_adopted_and_no_rollback_is_called_done_while_it_stands() {
    let story = Story::at_25(1).await;
    let load = story.scene.load(200);
    let d = story.until("25 %", |_| true).await;
    let host = HostHeaderConditionConfig::builder().values(&story.scene.staged.services[0].host).build();
    let host = RuleCondition::builder().field("host-header").host_header_config(host).build();
    let testers = HttpHeaderConditionConfig::builder().http_header_name("x-tester").values("yes").build();
    let testers = RuleCondition::builder().field("http-header").http_header_config(testers).build();
    let plan = d.plan.as_ref().unwrap();
    let to_green = plan.green.slot.target_groups()[0].as_str();
    let to_green = Action::builder().r#type(ActionTypeEnum::Forward).target_group_arn(to_green).build();
    let made = story.elb.create_rule().listener_arn(plan.routes[0].listener.as_str()).priority(1);
    let made = made.conditions(host).conditions(testers).actions(to_green).send().await.unwrap();
    let added = made.rules()[0].rule_arn().unwrap().to_owned();

    let d = story.until("the hold", |d| d.held.is_some()).await;
    let attention = d.attention.clone().unwrap();
    let line = format!("aws elbv2 delete-rule --rule-arn {added} --region ");
    assert!(attention.contains("(1: host-header ") && attention.contains(&line), "{attention}");
    story.give(Command::Adopt).await;
    let d = story.until("no drift", |d| d.held.is_none()).await;
    assert_eq!((story.weight(&d).await, d.status()), (250, Status::InProgress));

    story.give(Command::Rollback).await;
    let waits = |d: &Deployment| d.attention.as_ref().is_some_and(|told| told.starts_with("green still gets traffic"));
    let d = story.until("a word on the rule", waits).await;
    assert!(d.attention.as_ref().unwrap().contains(&line), "{:?}", d.attention);
    let looked = d.seen.at;
    let d = story.until("another look", |d| d.seen.at > looked).await;
    let back = d.going_back.as_ref().unwrap();
    assert!(d.overlays.is_empty() || back.accepted_at.is_some(), "{d:#?}");
    assert_eq!((back.observed_at, story.rule(&added).await.priority()), (None, Some("1")), "nobody's rule but theirs");
    story.elb.delete_rule().rule_arn(&added).send().await.unwrap();
    let d = story.until("the end", |d| d.phase.is_terminal()).await;
    assert!(d.status() == Status::RolledBack && d.going_back.unwrap().observed_at.is_some());
    let record = load.finish().await;
    assert_eq!(record.totals().lost, 0, "{:?}", record.losses());
    assert_eq!((story.scene.groups(), story.scene.extra_rules()), (vec![story.scene.blue().to_owned()], 0));
    story.replica.stop().await;
    story.scene.sim.shutdown().await;
}
