//! A rule held against its plan: what AWS writes otherwise is no edit, what somebody edited is.

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, AuthenticateOidcActionConfig, ForwardActionConfig, HostHeaderConditionConfig,
    PathPatternConditionConfig, RedirectActionConfig, Rule, RuleCondition, TargetGroupStickinessConfig, TargetGroupTuple,
};

use super::{
    edits::of_route,
    form::{Form, Stickiness},
    rules::SeenRule,
    weights,
};
use crate::domain::{
    ids::{ListenerRef, RouteRef, TargetGroupRef},
    observation::Edited,
    plan::RoutePlan,
};

fn slots() -> (TargetGroupRef, TargetGroupRef) {
    (TargetGroupRef::new("arn:targetgroup/web-a/1"), TargetGroupRef::new("arn:targetgroup/web-b/2"))
}

fn host(value: &str) -> RuleCondition {
    let config = HostHeaderConditionConfig::builder().values(value).build();
    RuleCondition::builder().field("host-header").host_header_config(config).build()
}

fn path(values: &[&str]) -> RuleCondition {
    let config =
        PathPatternConditionConfig::builder().set_values(Some(values.iter().map(ToString::to_string).collect())).build();
    RuleCondition::builder().field("path-pattern").path_pattern_config(config).build()
}

fn forward(to: &[(&TargetGroupRef, i32)], sticky: Option<i32>) -> Action {
    let tuple = |(slot, weight): &(&TargetGroupRef, i32)| {
        TargetGroupTuple::builder().target_group_arn(slot.as_str()).weight(*weight).build()
    };
    let sticky = sticky.map(|seconds| TargetGroupStickinessConfig::builder().enabled(true).duration_seconds(seconds).build());
    let config = ForwardActionConfig::builder().set_target_groups(Some(to.iter().map(tuple).collect()));
    let config = config.set_target_group_stickiness_config(sticky).build();
    Action::builder().r#type(ActionTypeEnum::Forward).forward_config(config).build()
}

fn rule(name: &str, number: u32, conditions: Vec<RuleCondition>, actions: Vec<Action>) -> Rule {
    let rule = Rule::builder().rule_arn(name).priority(number.to_string());
    rule.set_conditions(Some(conditions)).set_actions(Some(actions)).build()
}

fn doing(mut rule: Rule, actions: Vec<Action>) -> Rule {
    rule.actions = Some(actions);
    rule
}

fn matching(mut rule: Rule, conditions: Vec<RuleCondition>) -> Rule {
    rule.conditions = Some(conditions);
    rule
}

fn at(mut rule: Rule, number: &str) -> Rule {
    rule.priority = Some(number.to_owned());
    rule
}

fn base() -> Rule {
    rule("base", 100, vec![host("web.example.com"), path(&["/a", "/b"])], vec![forward(&[(&slots().0, 1)], None)])
}

fn overlay() -> Rule {
    let (blue, green) = slots();
    rule("overlay", 99, vec![host("web.example.com"), path(&["/a", "/b"])], vec![forward(&[(&blue, 750), (&green, 250)], None)])
}

fn planned(base: &Rule) -> RoutePlan {
    RoutePlan {
        route: RouteRef::new("base"),
        listener: ListenerRef::new("listener"),
        base_number: Some(100),
        overlay_number: 99,
        shield_number: 98,
        position: 0,
        form: serde_json::to_value(Form::read(base).unwrap()).unwrap(),
        strays: Vec::new(),
    }
}

/// What is told of base and overlay, with further rules beside them.
fn look(planned: &RoutePlan, base: Option<&Rule>, overlay: &Rule, others: &[Rule]) -> Option<Edited> {
    let (blue, green) = slots();
    let seen = |rule: &Rule| SeenRule::read(rule).unwrap();
    let rules: Vec<_> = base.into_iter().chain([overlay]).chain(others).map(seen).collect();
    let with = |name: &str| {
        let rule = rules.iter().find(|rule| rule.rule.as_str() == name)?;
        Some((rule, weights::from_wire(&rule.forwards, &blue, &green)))
    };
    of_route(planned, with("base"), with("overlay"), &rules).map(|edited| *edited)
}

fn told(edited: Option<&Edited>) -> Vec<String> {
    let told = |edited: &Edited| {
        let edits = edited.edits.iter();
        edits.map(|edit| format!("{} {}: {} -> {}", edit.rule.name(), edit.field.name(), edit.recorded, edit.seen)).collect()
    };
    edited.map(told).unwrap_or_default()
}

#[test]
fn what_aws_writes_otherwise_is_no_edit() {
    let planned = planned(&base());
    assert_eq!(told(look(&planned, Some(&base()), &overlay(), &[]).as_ref()), [""; 0]);
    // Twice, in another order, with an order and a stickiness that nobody sent.
    let (blue, green) = slots();
    let twice = |condition: RuleCondition, values: &[&str]| {
        let mut condition = condition;
        condition.values = Some(values.iter().map(ToString::to_string).collect());
        condition
    };
    let conditions = vec![twice(path(&["/b", "/a"]), &["/b", "/a"]), twice(host("web.example.com"), &["web.example.com"])];
    let off = TargetGroupStickinessConfig::builder().enabled(false).build();
    let answered = |mut action: Action, one: bool| {
        action.order = Some(1);
        action.target_group_arn = one.then(|| blue.to_string());
        action.forward_config.as_mut().unwrap().target_group_stickiness_config = Some(off.clone());
        action
    };
    let base = rule("base", 100, conditions.clone(), vec![answered(forward(&[(&blue, 1)], None), true)]);
    let overlay = rule("overlay", 99, conditions, vec![answered(forward(&[(&green, 600), (&blue, 400)], None), false)]);
    assert_eq!(told(look(&planned, Some(&base), &overlay, &[]).as_ref()), [""; 0], "the weight is `domain::drift`'s to judge");
    // The old form alone.
    let short = Action::builder().r#type(ActionTypeEnum::Forward).target_group_arn(blue.as_str()).build();
    let base = doing(base, vec![short]);
    assert_eq!(told(look(&planned, Some(&base), &overlay, &[]).as_ref()), [""; 0]);
}

#[test]
fn an_overlay_is_as_sticky_as_its_slots_ask_for() {
    let mut form = Form::read(&base()).unwrap();
    form.split_stickiness = Some(Stickiness { enabled: true, seconds: Some(900) });
    let planned = RoutePlan { form: serde_json::to_value(form).unwrap(), ..planned(&base()) };
    let (blue, green) = slots();
    let sticky = |seconds| doing(overlay(), vec![forward(&[(&blue, 1), (&green, 1)], seconds)]);
    assert_eq!(told(look(&planned, Some(&base()), &sticky(Some(900)), &[]).as_ref()), [""; 0]);
    let edited = look(&planned, Some(&base()), &sticky(None), &[]).unwrap();
    assert_eq!(told(Some(&edited)), ["overlay actions: forward, sticky for 900 s -> forward"]);
    assert!(edited.as_seen.unwrap_err().contains("restore it"), "it is no overlay of any base");
}

#[test]
fn an_edited_base_can_be_followed_and_its_overlay_is_no_edit_of_its_own() {
    let planned = planned(&base());
    let wider = matching(base(), vec![host("web.example.com"), path(&["/*"])]);
    let edited = look(&planned, Some(&wider), &overlay(), &[]).unwrap();
    assert_eq!(
        told(Some(&edited)),
        ["base conditions: host-header web.example.com; path-pattern /a or /b -> host-header web.example.com; path-pattern /*"]
    );
    assert!(edited.overlay_as_planned && !edited.overlay_as_base);
    let now = edited.as_seen.unwrap();
    assert_eq!(now.form, serde_json::to_value(Form::read(&wider).unwrap()).unwrap());

    let followed = matching(overlay(), wider.conditions().to_vec());
    let edited = look(&planned, Some(&wider), &followed, &[]).unwrap();
    assert_eq!(told(Some(&edited)).len(), 1);
    assert!(!edited.overlay_as_planned && edited.overlay_as_base);
    assert!(look(&now, Some(&wider), &followed, &[]).is_none(), "adopted, it is as recorded");

    // A rule of somebody else's between them that may match what the base matches now.
    let between = rule("shop", 99, vec![host("web.example.com"), path(&["/shop"])], Vec::new());
    let moved = at(overlay(), "90");
    let lower = RoutePlan { overlay_number: 90, shield_number: 89, ..planned };
    assert!(look(&lower, Some(&base()), &moved, std::slice::from_ref(&between)).is_none(), "they were disjoint");
    let edited = look(&lower, Some(&wider), &moved, &[between]).unwrap();
    assert!(edited.as_seen.unwrap_err().contains("rule shop (number 99)"));
}

#[test]
fn numbers_destinations_and_deleted_bases_are_told() {
    let planned = planned(&base());
    let edited = look(&planned, Some(&at(base(), "200")), &overlay(), &[]).unwrap();
    assert_eq!(told(Some(&edited)), ["base number: 100 -> 200"]);
    assert_eq!(edited.as_seen.unwrap().base_number, Some(200));
    let edited = look(&planned, Some(&at(base(), "50")), &overlay(), &[]).unwrap();
    assert!(edited.as_seen.unwrap_err().contains("comes before the overlay"));
    let edited = look(&planned, Some(&base()), &at(overlay(), "70"), &[]).unwrap();
    assert!(edited.as_seen.unwrap_err().contains("number 99 is reserved"));

    let other = TargetGroupRef::new("arn:targetgroup/shop/3");
    let elsewhere = doing(base(), vec![forward(&[(&other, 1)], None)]);
    assert_eq!(told(look(&planned, Some(&elsewhere), &overlay(), &[]).as_ref()), ["base forward: to blue -> to shop 1"]);
    let redirect =
        Action::builder().r#type(ActionTypeEnum::Redirect).redirect_config(RedirectActionConfig::builder().build()).build();
    let redirect = doing(base(), vec![redirect]);
    let edited = look(&planned, Some(&redirect), &overlay(), &[]);
    assert_eq!(told(edited.as_ref()), ["base forward: to blue -> nowhere", "base actions: forward -> no forward"]);
    let edited = look(&planned, None, &overlay(), &[]).unwrap();
    assert_eq!(told(Some(&edited)), ["base rule: there -> deleted"]);
    assert!(edited.overlay_as_planned && edited.as_seen.is_err());
}

#[test]
fn what_cannot_be_copied_is_told_in_the_words_of_preflight() {
    let oidc = AuthenticateOidcActionConfig::builder().client_id("id").build();
    let login = Action::builder().r#type(ActionTypeEnum::AuthenticateOidc).authenticate_oidc_config(oidc).build();
    let secret = doing(base(), vec![login, forward(&[(&slots().0, 1)], None)]);
    let edited = look(&planned(&base()), Some(&secret), &overlay(), &[]).unwrap();
    assert!(told(Some(&edited))[0].starts_with("base actions: forward -> its authenticate-oidc action cannot be copied"));
    assert!(edited.as_seen.unwrap_err().contains("never gives the client secret back"));
}
