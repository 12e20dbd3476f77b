//! Overlays: opened at weight 0, moved by weight, gone by one call.

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, AuthenticateCognitoActionConfig, ForwardActionConfig, HttpHeaderConditionConfig,
    HttpRequestMethodConditionConfig, PathPatternConditionConfig, QueryStringConditionConfig, QueryStringKeyValuePair, Rule,
    RuleCondition, SourceIpConditionConfig, TargetGroupStickinessConfig,
};
use cutover::{
    domain::{
        action::Action as Change,
        declaration::{Declaration, Preview},
        observation::Forward,
        time::BakeTime,
        weight::Weight,
    },
    engine::ports::{Cloud, FaultKind},
};

use super::{
    Story,
    house::{House, forward, host, later, rule},
    story,
    world::World,
};

pub const STORIES: &[Story] = &[
    story!(an_overlay_opens_at_weight_0_above_an_untouched_base),
    story!(an_overlay_opened_twice_is_one_overlay),
    story!(an_overlay_on_somebody_elses_number_is_refused_by_name),
    story!(a_weight_is_sent_in_permille_and_read_back),
    story!(a_deleted_overlay_takes_no_weight_and_is_never_made_again),
    story!(a_rule_that_is_gone_is_deleted),
    story!(an_overlay_says_whose_it_is),
    story!(an_overlay_is_its_base_in_all_but_the_forward),
    story!(stickiness_and_logins_stay_when_the_weight_moves),
    story!(leftovers_are_told_from_rules_of_others),
    story!(a_preview_is_its_base_with_a_header_more_and_all_green),
    story!(a_full_base_has_no_room_for_a_preview),
];

fn permille(n: u16) -> Weight {
    Weight::from_permille(n).unwrap()
}

async fn an_overlay_opens_at_weight_0_above_an_untouched_base(world: &World) {
    let house = House::build(world, "open").await;
    let before = house.rules().await;
    let d = house.opened(house.declaration(&house.base)).await;
    let view = house.route(&d).await;
    assert!(view.base.is_all_blue());
    assert_eq!(view.overlays.len(), 1);
    assert!(view.overlays[0].forward.is_all_blue());
    assert_eq!(view.overlays[0].deployment, Some(d.id));
    assert_eq!((view.shields.len(), view.leftovers.len(), view.in_the_way), (0, 0, None));
    let after = house.rules().await;
    assert_eq!(house.numbers().await, [99, 100]);
    assert_eq!(after[1..], before[..], "the base and the default action are as they were");
}

fn preview() -> Option<Preview> {
    let bake_time = BakeTime::Manual;
    Some(Preview { header: "X-Preview".to_owned(), value: "green".to_owned(), bake_time })
}

async fn a_preview_is_its_base_with_a_header_more_and_all_green(world: &World) {
    let house = House::build(world, "preview").await;
    let d = house.opened(Declaration { preview: preview(), ..house.declaration(&house.base) }).await;
    for _ in 0..2 {
        // Opened twice it is one.
        house.apply(&d, &Change::OpenPreviews { routes: vec![0] }).await.unwrap();
    }
    let view = house.route(&d).await;
    assert_eq!((view.previews.len(), view.shields.len(), house.numbers().await), (1, 0, vec![98, 99, 100]));
    assert!(view.previews[0].forward.is_all_green());
    assert_eq!(view.green_share(), Some(Weight::NONE), "it is nobody's share of the traffic");
    let rule = &house.rules().await[0];
    let fields: Vec<_> = rule.conditions().iter().filter_map(|condition| condition.field()).collect();
    assert_eq!((fields.len(), fields.contains(&"host-header"), fields.contains(&"http-header")), (2, true, true));
    // A restarted process knows it by its tags.
    let again = House { cloud: world.cloud(), ..house };
    let previews = again.route(&d).await.previews;
    again.apply(&d, &Change::DeleteRules { rules: previews.into_iter().map(|rule| rule.rule).collect() }).await.unwrap();
    assert_eq!(again.numbers().await, [99, 100]);
}

async fn a_full_base_has_no_room_for_a_preview(world: &World) {
    let house = House::build(world, "full").await;
    let config = PathPatternConditionConfig::builder().set_values(Some((0..5).map(|i| format!("/part-{i}/*")).collect()));
    let paths = RuleCondition::builder().field("path-pattern").path_pattern_config(config.build()).build();
    let base = rule(world, &house.listener, 200, &paths, forward(&[(&house.slots[0], 1)])).await;
    let declared = |preview| house.pending(Declaration { preview, ..house.declaration(&base) });
    let survey = house.survey(&declared(preview())).await;
    assert!(survey.faults[0].pointer == "/routes/0" && survey.faults[0].detail.contains("no room"), "{:?}", survey.faults);
    assert_eq!(house.survey(&declared(None)).await.faults, []);
}

async fn an_overlay_opened_twice_is_one_overlay(world: &World) {
    let house = House::build(world, "twice").await;
    let d = house.opened(house.declaration(&house.base)).await;
    // The answer was lost, or the look was stale: the number is in use, by ourselves.
    house.apply(&d, &Change::OpenOverlays { routes: vec![0] }).await.unwrap();
    assert_eq!(house.numbers().await, [99, 100]);
    // A process that was restarted remembers no tags, and asks.
    let again = House { cloud: world.cloud(), ..house };
    again.apply(&d, &Change::OpenOverlays { routes: vec![0] }).await.unwrap();
    assert_eq!(again.route(&d).await.overlays.len(), 1);
}

async fn an_overlay_on_somebody_elses_number_is_refused_by_name(world: &World) {
    let house = House::build(world, "taken").await;
    let d = house.planned(house.declaration(&house.base)).await;
    let stranger = rule(world, &house.listener, 99, &host("stranger"), forward(&[(&house.slots[0], 1)])).await;
    let fault = house.apply(&d, &Change::OpenOverlays { routes: vec![0] }).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Rejected);
    assert!(fault.message.contains(&stranger), "{fault}");
    let view = house.route(&d).await;
    assert_eq!(view.in_the_way, Some(stranger));
    assert!(view.overlays.is_empty() && view.leftovers.is_empty());
}

async fn a_weight_is_sent_in_permille_and_read_back(world: &World) {
    let house = House::build(world, "weight").await;
    let d = house.opened(house.declaration(&house.base)).await;
    for weight in [permille(1), permille(125), permille(999), Weight::ALL, Weight::NONE] {
        let routes = vec![(0, d.overlays[0].clone())];
        house.apply(&d, &Change::SetWeight { routes, weight }).await.unwrap();
        let view = house.route(&d).await;
        assert_eq!(view.overlays[0].forward, Forward::Split(weight));
        assert_eq!(view.green_share(), Some(weight));
        assert!(view.base.is_all_blue());
    }
}

async fn a_deleted_overlay_takes_no_weight_and_is_never_made_again(world: &World) {
    let house = House::build(world, "fenced").await;
    let d = house.opened(house.declaration(&house.base)).await;
    house.apply(&d, &Change::DeleteRules { rules: d.overlays.clone() }).await.unwrap();
    // A stalled replica's weight write arrives: AWS itself is the fence.
    let routes = vec![(0, d.overlays[0].clone())];
    let fault = house.apply(&d, &Change::SetWeight { routes, weight: permille(500) }).await.unwrap_err();
    assert_eq!((fault.kind, fault.code.as_deref()), (FaultKind::Missing, Some("RuleNotFound")));
    assert_eq!(house.numbers().await, [100]);
}

async fn a_rule_that_is_gone_is_deleted(world: &World) {
    let house = House::build(world, "gone").await;
    let d = house.opened(house.declaration(&house.base)).await;
    for _ in 0..2 {
        house.apply(&d, &Change::DeleteRules { rules: d.overlays.clone() }).await.unwrap();
    }
    assert!(house.route(&d).await.overlays.is_empty());
}

async fn an_overlay_says_whose_it_is(world: &World) {
    let house = House::build(world, "tags").await;
    let d = house.opened(house.declaration(&house.base)).await;
    let answer = world.elb.describe_tags().resource_arns(d.overlays[0].as_str()).send().await.unwrap();
    let mut tags: Vec<_> = answer.tag_descriptions()[0]
        .tags()
        .iter()
        .map(|tag| (tag.key().unwrap().to_owned(), tag.value().unwrap().to_owned()))
        .collect();
    tags.sort();
    let expected = [
        ("cutover:deployment", d.id.to_string()),
        ("cutover:environment", "prod".to_owned()),
        ("cutover:installation", "contract".to_owned()),
        ("cutover:role", "overlay".to_owned()),
        ("cutover:route", house.base.clone()),
        ("cutover:service", "tags".to_owned()),
    ];
    assert_eq!(tags, expected.map(|(key, value)| (key.to_owned(), value)));
}

/// A base with every kind of condition.
pub fn picky(name: &str) -> Vec<RuleCondition> {
    let on = |field: &str| RuleCondition::builder().field(field);
    let pair = QueryStringKeyValuePair::builder().key("v").value("2").build();
    vec![
        host(name),
        on("path-pattern").path_pattern_config(PathPatternConditionConfig::builder().values("/api/*").build()).build(),
        on("http-header")
            .http_header_config(HttpHeaderConditionConfig::builder().http_header_name("X-Beta").values("yes").build())
            .build(),
        on("http-request-method")
            .http_request_method_config(HttpRequestMethodConditionConfig::builder().values("GET").build())
            .build(),
        on("query-string").query_string_config(QueryStringConditionConfig::builder().values(pair).build()).build(),
        on("source-ip").source_ip_config(SourceIpConditionConfig::builder().values("10.0.0.0/8").build()).build(),
    ]
}

async fn replace_base(house: &House<'_>, conditions: Vec<RuleCondition>, actions: Vec<Action>) -> Rule {
    let call = house.world.elb.modify_rule().rule_arn(&house.base);
    let answer = call.set_conditions(Some(conditions)).set_actions(Some(actions)).send().await.unwrap();
    answer.rules()[0].clone()
}

async fn an_overlay_is_its_base_in_all_but_the_forward(world: &World) {
    let house = House::build(world, "copy").await;
    // AWS allows five values in all; a source network more shows that it, too, is copied.
    let mut conditions = picky("copy");
    conditions.remove(0);
    let base = replace_base(&house, conditions, vec![forward(&[(&house.slots[0], 1)])]).await;
    house.opened(house.declaration(&house.base)).await;
    let overlay = house.rules().await.remove(0);
    assert_eq!(overlay.conditions(), base.conditions());
    assert_eq!(overlay.transforms(), base.transforms());
    assert_eq!(overlay.actions().len(), 1);
}

/// A login, then a forward that keeps each client with its group.
pub fn login_then(forwarded: &Action) -> Vec<Action> {
    let login = AuthenticateCognitoActionConfig::builder()
        .user_pool_arn("arn:aws:cognito-idp:eu-west-1:123456789012:userpool/eu-west-1_a")
        .user_pool_client_id("client")
        .user_pool_domain("login")
        .build();
    let sticky = TargetGroupStickinessConfig::builder().enabled(true).duration_seconds(600).build();
    let config = forwarded.forward_config().unwrap();
    let config = ForwardActionConfig::builder()
        .set_target_groups(Some(config.target_groups().to_vec()))
        .target_group_stickiness_config(sticky)
        .build();
    vec![
        Action::builder().r#type(ActionTypeEnum::AuthenticateCognito).order(1).authenticate_cognito_config(login).build(),
        Action::builder().r#type(ActionTypeEnum::Forward).order(2).forward_config(config).build(),
    ]
}

async fn stickiness_and_logins_stay_when_the_weight_moves(world: &World) {
    let house = House::build(world, "login").await;
    let base = replace_base(&house, vec![host("login")], login_then(&forward(&[(&house.slots[0], 1)]))).await;
    let d = house.opened(house.declaration(&house.base)).await;
    let routes = vec![(0, d.overlays[0].clone())];
    house.apply(&d, &Change::SetWeight { routes, weight: permille(250) }).await.unwrap();
    let overlay = house.rules().await.remove(0);
    assert_eq!(overlay.actions().len(), 2);
    assert_eq!(overlay.actions()[0], base.actions()[0], "the login is copied whole");
    let config = overlay.actions()[1].forward_config().unwrap();
    let sticky = config.target_group_stickiness_config().unwrap();
    assert_eq!((sticky.enabled(), sticky.duration_seconds()), (Some(true), Some(600)));
    let weights: Vec<_> =
        config.target_groups().iter().map(|tuple| (tuple.target_group_arn().unwrap(), tuple.weight())).collect();
    assert_eq!(weights, [(house.slots[0].as_str(), Some(750)), (house.slots[1].as_str(), Some(250))]);
}

async fn leftovers_are_told_from_rules_of_others(world: &World) {
    let house = House::build(world, "leftovers").await;
    let mut d = house.planned(house.declaration(&house.base)).await;
    // Planned before anything was left over, as the two before it were.
    let mut theirs = house.planned(house.declaration(&house.base)).await;
    theirs.plan.as_mut().unwrap().routes[0].overlay_number = 90;
    let ended = house.opened(house.declaration(&house.base)).await;
    world.cloud_of("another").apply(&theirs, &Change::OpenOverlays { routes: vec![0] }, later()).await.unwrap();
    assert_eq!(house.numbers().await, [90, 99, 100]);

    let view = house.route(&d).await;
    assert_eq!(view.leftovers, ended.overlays, "another installation's are none of ours");
    assert!(view.overlays.is_empty());
    d.let_go = vec![ended.id];
    assert!(house.route(&d).await.leftovers.is_empty(), "what was abandoned is let be");
}
