//! Rules in the shapes that AWS gives, and what is sent back for them.

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, ForwardActionConfig, HostHeaderConditionConfig, HostHeaderRewriteConfig, HttpHeaderConditionConfig,
    JwtValidationActionConfig, PathPatternConditionConfig, RewriteConfig, Rule, RuleCondition, RuleTransform,
    TargetGroupStickinessConfig, TargetGroupTuple, TransformTypeEnum,
};

use super::{
    conditions,
    form::{Form, Stickiness, forwards},
};
use crate::domain::{ids::TargetGroupRef, overlap::Condition};

fn tuple(slot: &str, weight: i32) -> TargetGroupTuple {
    TargetGroupTuple::builder().target_group_arn(slot).weight(weight).build()
}

/// A forward to one group as AWS answers it: twice.
fn forward_twice(slot: &str) -> Action {
    let sticky = TargetGroupStickinessConfig::builder().enabled(false).build();
    let config = ForwardActionConfig::builder().target_groups(tuple(slot, 1)).target_group_stickiness_config(sticky).build();
    Action::builder().r#type(ActionTypeEnum::Forward).target_group_arn(slot).forward_config(config).build()
}

/// A host condition as AWS answers it: twice.
fn host_twice(value: &str) -> RuleCondition {
    let config = HostHeaderConditionConfig::builder().values(value).build();
    RuleCondition::builder().field("host-header").values(value).host_header_config(config).build()
}

fn rule(conditions: Vec<RuleCondition>, actions: Vec<Action>) -> Rule {
    Rule::builder().rule_arn("r").priority("7").set_conditions(Some(conditions)).set_actions(Some(actions)).build()
}

/// As the plan keeps it: through JSON and back.
fn kept(rule: &Rule) -> Form {
    let form = Form::read(rule).unwrap();
    let again: Form = serde_json::from_value(serde_json::to_value(&form).unwrap()).unwrap();
    assert_eq!(again, form);
    again
}

#[test]
fn what_aws_answers_twice_is_sent_once() {
    let form = kept(&rule(vec![host_twice("web.example.com")], vec![forward_twice("blue")]));
    let condition = form.conditions[0].write();
    assert_eq!(condition.host_header_config().unwrap().values(), ["web.example.com"]);
    assert!(condition.values().is_empty(), "CreateRule refuses the pair");
    let action = form.to_one(&TargetGroupRef::new("blue")).remove(0);
    assert_eq!(action.target_group_arn(), None);
    assert_eq!(action.forward_config().unwrap().target_groups(), [tuple("blue", 1)]);
}

#[test]
fn the_old_forms_alone_are_read_too() {
    let condition = RuleCondition::builder().field("path-pattern").values("/api/*").build();
    let action = Action::builder().r#type(ActionTypeEnum::Forward).target_group_arn("blue").build();
    let old = rule(vec![condition], vec![action]);
    assert_eq!(forwards(&old), [(TargetGroupRef::new("blue"), 1)]);
    let config = kept(&old).conditions[0].write().path_pattern_config;
    assert_eq!(config, Some(PathPatternConditionConfig::builder().values("/api/*").build()));
}

#[test]
fn regular_expressions_and_rewrites_are_copied_and_prove_nothing() {
    let by_regex = RuleCondition::builder().field("host-header").regex_values("^web\\.").build();
    let header = HttpHeaderConditionConfig::builder().http_header_name("X-Beta").regex_values("y.*").build();
    let header = RuleCondition::builder().field("http-header").http_header_config(header).build();
    let rewrite = RewriteConfig::builder().regex("^old").replace("new").build();
    let transform = RuleTransform::builder()
        .r#type(TransformTypeEnum::HostHeaderRewrite)
        .host_header_rewrite_config(HostHeaderRewriteConfig::builder().rewrites(rewrite).build())
        .build();
    let mut base = rule(vec![by_regex, header.clone()], vec![forward_twice("blue")]);
    base.transforms = Some(vec![transform.clone()]);
    let form = kept(&base);
    let host = form.conditions[0].write();
    assert_eq!(host.host_header_config().unwrap().regex_values(), ["^web\\."]);
    assert_eq!(form.conditions[1].write(), header);
    assert_eq!(form.transforms[0].write(), transform);
    let opaque = |name: &str| Condition::Opaque(name.to_owned());
    assert_eq!(conditions::overlap(base.conditions()), [opaque("host-header"), opaque("http-header")]);
}

#[test]
fn a_login_by_token_keeps_its_order_and_its_claims() {
    let claim = aws_sdk_elasticloadbalancingv2::types::JwtValidationActionAdditionalClaim::builder()
        .format("string-array".into())
        .name("groups")
        .values("staff")
        .build();
    let jwt = JwtValidationActionConfig::builder().jwks_endpoint("https://keys").issuer("https://me").additional_claims(claim);
    let login = Action::builder().r#type(ActionTypeEnum::JwtValidation).order(1).jwt_validation_config(jwt.build()).build();
    let mut forward = forward_twice("blue");
    forward.order = Some(2);
    let form = kept(&rule(vec![host_twice("a")], vec![login.clone(), forward]));
    let actions = form.to_one(&TargetGroupRef::new("green"));
    assert_eq!(actions[0], login);
    assert_eq!((actions[1].order(), actions[1].r#type()), (Some(2), Some(&ActionTypeEnum::Forward)));
}

#[test]
fn what_cannot_be_copied_is_refused_by_name() {
    let refused = |action: Action| Form::read(&rule(vec![host_twice("a")], vec![action, forward_twice("blue")])).unwrap_err();
    let oidc = Action::builder().r#type(ActionTypeEnum::AuthenticateOidc).build();
    assert!(refused(oidc).contains("never gives the client secret back"));
    assert!(refused(Action::builder().r#type("quantum-login".into()).build()).contains("quantum-login"));
    let condition = RuleCondition::builder().field("moon-phase").build();
    let said = Form::read(&rule(vec![condition], vec![forward_twice("blue")])).unwrap_err();
    assert!(said.contains("moon-phase"), "{said}");
}

#[test]
fn a_rule_that_ends_in_a_redirect_forwards_nowhere() {
    let redirect = rule(vec![host_twice("a")], vec![Action::builder().r#type(ActionTypeEnum::Redirect).build()]);
    assert!(Form::read(&redirect).unwrap().actions.is_empty());
    assert!(forwards(&redirect).is_empty());
}

#[test]
fn a_sticky_slot_makes_the_weighted_rule_sticky_and_the_base_stays_as_it_was() {
    let mut form = kept(&rule(vec![host_twice("a")], vec![forward_twice("blue")]));
    form.split_stickiness = Some(Stickiness { enabled: true, seconds: Some(900) });
    let (blue, green) = (TargetGroupRef::new("blue"), TargetGroupRef::new("green"));
    let sticky = |actions: Vec<Action>| {
        let config = actions[0].forward_config().unwrap().target_group_stickiness_config().cloned().unwrap();
        (config.enabled(), config.duration_seconds())
    };
    assert_eq!(sticky(form.to_both(&[(&blue, 999), (&green, 0)])), (Some(true), Some(900)));
    assert_eq!(sticky(form.to_one(&green)), (Some(false), None));
}
