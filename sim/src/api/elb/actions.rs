//! What a rule does: read from a request with AWS's own refusals, and shown in both of AWS's forms.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

use super::super::{query::Node, refusal::Refusal};
use crate::{
    model::{Action, Name, Region},
    quotas, targets,
};

const WEIGHT_MAX: u32 = 999;
const STICKINESS_SECONDS_MAX: u32 = 604_800;
const ORDER_MAX: u32 = 50_000;

/// Kinds which are kept as they came, and where their settings are.
const KEPT: [(&str, &str); 3] = [
    ("authenticate-cognito", "AuthenticateCognitoConfig"),
    ("authenticate-oidc", "AuthenticateOidcConfig"),
    ("jwt-validation", "JwtValidationConfig"),
];

/// Reads `Actions` or `DefaultActions` from `key`.
///
/// # Errors
/// AWS's `ValidationError`s and `InvalidLoadBalancerAction`.
pub fn parse(params: Node<'_>, key: &str) -> Result<Vec<Action>, Refusal> {
    let nodes = params.list(key);
    let mut ordered = Vec::with_capacity(nodes.len());
    for (at, node) in nodes.iter().enumerate() {
        let order = node.whole("Order", 1..=ORDER_MAX)?;
        ordered.push((order.unwrap_or_else(|| u32::try_from(at + 1).unwrap_or(ORDER_MAX)), one(*node, at + 1, order)?));
    }
    ordered.sort_by_key(|(order, _)| *order);
    if ordered.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(Refusal::new("InvalidLoadBalancerAction", "The Order value must be unique for each action"));
    }
    let actions: Vec<Action> = ordered.into_iter().map(|(_, action)| action).collect();
    let routing = |action: &Action| !matches!(action, Action::Other { .. });
    if actions.iter().filter(|action| routing(action)).count() != 1 || !actions.last().is_some_and(routing) {
        let told = "A rule must have exactly one forward, redirect or fixed-response action, and it must be the last one";
        return Err(Refusal::new("InvalidLoadBalancerAction", told));
    }
    Ok(actions)
}

fn one(node: Node<'_>, at: usize, order: Option<u32>) -> Result<Action, Refusal> {
    match node.required("Type")? {
        "forward" => forward(node, at),
        "fixed-response" => {
            let config = config(node, "FixedResponseConfig")?;
            let status = config.whole("StatusCode", 200..=599)?.filter(|status| !(300..400).contains(status));
            let status = status.and_then(|status| u16::try_from(status).ok());
            let status = status.ok_or_else(|| Refusal::validation("The status code must be 2XX, 4XX or 5XX"))?;
            let body = config.text("MessageBody").unwrap_or_default().to_owned();
            Ok(Action::FixedResponse { status, body, content_type: config.text("ContentType").map(str::to_owned) })
        }
        "redirect" => {
            config(node, "RedirectConfig")?.required("StatusCode")?;
            Ok(Action::Redirect(node.raw("RedirectConfig")))
        }
        kind => {
            let (kind, name) = KEPT.into_iter().find(|(known, _)| *known == kind).ok_or_else(|| {
                Refusal::validation(format!("Value '{kind}' at 'actions.{at}.member.type' failed to satisfy constraint"))
            })?;
            config(node, name)?;
            Ok(Action::Other { kind: kind.to_owned(), config: node.raw(name), order })
        }
    }
}

fn config<'a>(node: Node<'a>, name: &str) -> Result<Node<'a>, Refusal> {
    node.child(name).ok_or_else(|| Refusal::validation(format!("'{name}' must be specified for this type of action")))
}

/// `{0, 0}` is accepted and then answered 503 by the data plane. What AWS does is not verified; nobody should send it.
fn forward(node: Node<'_>, at: usize) -> Result<Action, Refusal> {
    let short = node.text("TargetGroupArn");
    let Some(config) = node.child("ForwardConfig") else {
        let arn = short.ok_or_else(|| Refusal::validation("A target group must be specified for a forward action"))?;
        return Ok(Action::Forward { groups: vec![(arn.to_owned(), 1)], stickiness: None });
    };
    let mut groups = Vec::new();
    for (number, tuple) in config.list("TargetGroups").into_iter().enumerate() {
        let place = format!("actions.{at}.member.forwardConfig.targetGroups.{}.member.weight", number + 1);
        groups.push((tuple.required("TargetGroupArn")?.to_owned(), weight(tuple, &place)?));
    }
    if groups.is_empty() {
        return Err(Refusal::validation("A target group must be specified for a forward action"));
    }
    let unique: BTreeSet<&Name> = groups.iter().map(|(arn, _)| arn).collect();
    if unique.len() < groups.len() {
        return Err(Refusal::validation("A target group can be specified only once in a forward action"));
    }
    if short.is_some_and(|arn| groups.len() > 1 || groups[0].0 != arn) {
        return Err(Refusal::validation("TargetGroupArn and ForwardConfig must name the same, single target group"));
    }
    Ok(Action::Forward { groups, stickiness: stickiness(config)? })
}

fn weight(tuple: Node<'_>, place: &str) -> Result<u32, Refusal> {
    let Some(text) = tuple.text("Weight") else { return Ok(1) };
    match text.parse::<u32>() {
        Ok(weight) if weight <= WEIGHT_MAX => Ok(weight),
        _ => Err(Refusal::validation(format!(
            "1 validation error detected: Value '{text}' at '{place}' failed to satisfy constraint: Member must have value \
             between 0 and {WEIGHT_MAX}"
        ))),
    }
}

fn stickiness(config: Node<'_>) -> Result<Option<Duration>, Refusal> {
    let Some(config) = config.child("TargetGroupStickinessConfig") else { return Ok(None) };
    if config.flag("Enabled")? != Some(true) {
        return Ok(None);
    }
    let seconds = config.whole("DurationSeconds", 1..=STICKINESS_SECONDS_MAX)?;
    let seconds = seconds.ok_or_else(|| Refusal::validation("DurationSeconds must be specified when stickiness is enabled"))?;
    Ok(Some(Duration::from_secs(seconds.into())))
}

/// Whether `load_balancer` may forward so, in place of the actions `replaced`.
///
/// # Errors
/// `ValidationError`, `TargetGroupNotFound`, `TargetGroupAssociationLimit` (a target group belongs to one load balancer),
/// `TooManyUniqueTargetGroupsPerLoadBalancer`, `InvalidConfigurationRequest` for stickiness that would not work.
pub fn allowed(region: &Region, load_balancer: &str, actions: &[Action]) -> Result<(), Refusal> {
    let groups_max = quotas::of(region, quotas::SLOTS_OF_ACTION);
    if targets::named_by(actions).count() > groups_max {
        return Err(Refusal::validation(format!("A forward action must have between 1 and {groups_max} target groups")));
    }
    for arn in targets::named_by(actions) {
        if !region.target_groups.contains_key(arn) {
            return Err(Refusal::target_group_not_found());
        }
        if targets::load_balancers_of(region, arn).iter().any(|other| other != load_balancer) {
            let told = format!("The following target groups cannot be associated with more than one load balancer: {arn}");
            return Err(Refusal::new("TargetGroupAssociationLimit", told));
        }
    }
    for action in actions {
        if let Action::Forward { groups, stickiness: None } = action
            && groups.len() > 1
            && groups.iter().any(|(arn, _)| sticky(region, arn))
        {
            let told = "Target group stickiness must be enabled on a rule that weights target groups with stickiness";
            return Err(Refusal::new("InvalidConfigurationRequest", told));
        }
    }
    let listeners = region.listeners.values().filter(|listener| listener.load_balancer == load_balancer);
    let default = listeners.clone().flat_map(|listener| targets::named_by(&listener.default_actions));
    let mine: BTreeSet<&Name> = listeners.map(|listener| &listener.arn).collect();
    let rules = region.rules.values().filter(|rule| mine.contains(&rule.listener));
    let held = rules.flat_map(|rule| targets::named_by(&rule.actions));
    let all: BTreeSet<&Name> = default.chain(held).chain(targets::named_by(actions)).collect();
    let slots_max = quotas::of(region, quotas::SLOTS);
    if all.len() > slots_max {
        let told = format!("A load balancer can have at most {slots_max} target groups");
        return Err(Refusal::new("TooManyUniqueTargetGroupsPerLoadBalancer", told));
    }
    Ok(())
}

fn sticky(region: &Region, arn: &str) -> bool {
    let attributes = region.target_groups.get(arn).map(|group| &group.attributes);
    attributes.and_then(|held| held.get("stickiness.enabled")).is_some_and(|value| value == "true")
}

/// As DescribeRules shows them: a forward to one group twice; an order only where there are several.
#[must_use]
pub fn show(actions: &[Action]) -> Vec<Value> {
    let several = actions.len() > 1;
    let shown = actions.iter().enumerate().map(|(at, action)| {
        let mut shown = match action {
            Action::Forward { groups, stickiness } => show_forward(groups, *stickiness),
            Action::FixedResponse { status, body, content_type } => json!({
                "Type": "fixed-response",
                "FixedResponseConfig": { "StatusCode": status.to_string(), "MessageBody": body, "ContentType": content_type },
            }),
            Action::Redirect(config) => json!({ "Type": "redirect", "RedirectConfig": config }),
            Action::Other { kind, config, .. } => {
                let name = KEPT.iter().find(|(known, _)| known == kind).map_or("", |(_, name)| name);
                let mut config = config.clone();
                // AWS never gives the secret back.
                config.as_object_mut().map(|fields| fields.remove("ClientSecret"));
                json!({ "Type": kind, name: config })
            }
        };
        if several {
            shown["Order"] = json!(at + 1);
        }
        shown
    });
    shown.collect()
}

fn show_forward(groups: &[(Name, u32)], stickiness: Option<Duration>) -> Value {
    let tuples: Vec<Value> = groups.iter().map(|(arn, weight)| json!({ "TargetGroupArn": arn, "Weight": weight })).collect();
    let sticky = json!({ "Enabled": stickiness.is_some(), "DurationSeconds": stickiness.map(|time| time.as_secs()) });
    let config = json!({ "TargetGroups": tuples, "TargetGroupStickinessConfig": sticky });
    let only = if let [(arn, _)] = groups { Some(arn) } else { None };
    json!({ "Type": "forward", "TargetGroupArn": only, "ForwardConfig": config })
}
