//! Listener rules: the place where a deployment moves traffic.
//!
//! A listener's default action is shown as a rule whose priority is `default`; it can be looked at here, but only
//! `ModifyListener` changes it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    super::{Answer, Call, query, refusal::Refusal},
    actions, conditions, few, tags,
};
use crate::{
    model::{Listener, Region, Rule},
    names, quotas,
};

const PRIORITY_MAX: u32 = 50_000;
const PAGE_MAX: u32 = 400;

pub fn create(region: &mut Region, call: &Call<'_>) -> Answer {
    let params = call.params;
    let listener = region.listeners.get(params.required("ListenerArn")?).ok_or_else(Refusal::listener_not_found)?;
    let (listener, load_balancer) = (listener.arn.clone(), listener.load_balancer.clone());
    if region.load_balancers.get(&load_balancer).is_some_and(|balancer| balancer.kind == "network") {
        return Err(Refusal::new("UnsupportedProtocol", "Rules are not supported by listeners of a network load balancer"));
    }
    let priority = params.whole("Priority", 1..=PRIORITY_MAX)?;
    let priority = priority.ok_or_else(|| Refusal::validation("A priority must be specified"))?;
    let (conditions, actions) = (conditions::parse(params)?, actions::parse(params, "Actions")?);
    let tags = tags::given(params)?;
    actions::allowed(region, &load_balancer, &actions)?;
    free(region, &listener, priority)?;
    let listeners: BTreeSet<&String> =
        region.listeners.values().filter(|other| other.load_balancer == load_balancer).map(|other| &other.arn).collect();
    // Default rules do not count.
    let rules_max = quotas::of(region, quotas::RULES);
    if region.rules.values().filter(|rule| listeners.contains(&rule.listener)).count() >= rules_max {
        return Err(Refusal::new("TooManyRules", format!("A load balancer can have at most {rules_max} rules")));
    }
    let arn = names::rule(region, &listener);
    let transforms = listed(params.raw("Transforms"));
    let rule = Rule { arn: arn.clone(), listener, priority, conditions, actions, transforms, tags };
    let shown = show(&rule);
    region.rules.insert(arn, rule);
    Ok(json!({ "Rules": [shown] }))
}

/// Several rules may have the same conditions; not two the same number.
fn free(region: &Region, listener: &str, priority: u32) -> Result<(), Refusal> {
    if region.rules.values().any(|rule| rule.listener == listener && rule.priority == priority) {
        return Err(Refusal::new("PriorityInUse", format!("Priority '{priority}' is currently in use")));
    }
    Ok(())
}

/// An empty list is sent as an empty string.
fn listed(raw: Value) -> Value {
    if raw.is_array() { raw } else { json!([]) }
}

pub fn modify(region: &mut Region, call: &Call<'_>) -> Answer {
    let params = call.params;
    let arn = params.required("RuleArn")?;
    refuse_default(region, arn, "modified")?;
    let rule = region.rules.get(arn).ok_or_else(|| Refusal::rule_not_found(arn))?;
    let load_balancer = region.listeners.get(&rule.listener).map(|listener| listener.load_balancer.clone());
    let load_balancer = load_balancer.ok_or_else(Refusal::listener_not_found)?;
    let conditions = if params.has("Conditions") { Some(conditions::parse(params)?) } else { None };
    let actions = if params.has("Actions") { Some(actions::parse(params, "Actions")?) } else { None };
    actions::allowed(region, &load_balancer, actions.as_deref().unwrap_or_default())?;
    let reset = params.flag("ResetTransforms")? == Some(true);
    if reset && params.has("Transforms") {
        return Err(Refusal::validation("You cannot provide both Transforms and ResetTransforms"));
    }
    let rule = region.rules.get_mut(arn).ok_or_else(|| Refusal::rule_not_found(arn))?;
    rule.conditions = conditions.unwrap_or_else(|| rule.conditions.clone());
    rule.actions = actions.unwrap_or_else(|| rule.actions.clone());
    if reset || params.has("Transforms") {
        rule.transforms = listed(params.raw("Transforms"));
    }
    Ok(json!({ "Rules": [show(rule)] }))
}

pub fn delete(region: &mut Region, call: &Call<'_>) -> Answer {
    let arn = call.params.required("RuleArn")?;
    refuse_default(region, arn, "deleted")?;
    region.rules.remove(arn).map(|_| json!({})).ok_or_else(|| Refusal::rule_not_found(arn))
}

fn refuse_default(region: &Region, arn: &str, verb: &str) -> Result<(), Refusal> {
    match default_of(region, arn) {
        Some(_) => Err(Refusal::new("OperationNotPermitted", format!("Default rule '{arn}' cannot be {verb}"))),
        None => Ok(()),
    }
}

/// The listener whose default rule `arn` is.
fn default_of<'a>(region: &'a Region, arn: &str) -> Option<&'a Listener> {
    let listener = region.listeners.get(&names::listener_of(arn)?)?;
    (names::default_rule(&listener.arn) == arn).then_some(listener)
}

pub fn set_priorities(region: &mut Region, call: &Call<'_>) -> Answer {
    let mut wanted = BTreeMap::new();
    for pair in call.params.list("RulePriorities") {
        let arn = pair.required("RuleArn")?;
        refuse_default(region, arn, "modified")?;
        let priority = pair.whole("Priority", 1..=PRIORITY_MAX)?;
        let priority = priority.ok_or_else(|| Refusal::validation("A priority must be specified"))?;
        let rule = region.rules.get(arn).ok_or_else(Refusal::rules_not_found)?;
        wanted.insert(arn.to_owned(), (rule.listener.clone(), priority));
    }
    if wanted.is_empty() {
        return Err(Refusal::validation("A rule priority must be specified"));
    }
    // All at once, so that two rules can change places.
    let mut taken = BTreeSet::new();
    for rule in region.rules.values() {
        let place = wanted.get(&rule.arn).cloned().unwrap_or_else(|| (rule.listener.clone(), rule.priority));
        let priority = place.1;
        if !taken.insert(place) {
            return Err(Refusal::new("PriorityInUse", format!("Priority '{priority}' is currently in use")));
        }
    }
    let mut shown = Vec::new();
    for (arn, (_, priority)) in wanted {
        if let Some(rule) = region.rules.get_mut(&arn) {
            rule.priority = priority;
            shown.push(show(rule));
        }
    }
    Ok(json!({ "Rules": shown }))
}

/// By listener, or by ARNs; of the latter one that is gone fails the whole call.
pub fn describe(region: &Region, call: &Call<'_>) -> Answer {
    let params = call.params;
    let arns = params.texts("RuleArns");
    few(arns.len(), "listener rules")?;
    let shown = match (params.text("ListenerArn"), arns.is_empty()) {
        (Some(listener), true) => of_listener(region, region.listeners.get(listener).ok_or_else(Refusal::listener_not_found)?),
        (None, false) => {
            let one = |arn: &String| match (region.rules.get(arn), default_of(region, arn)) {
                (Some(rule), _) => Ok((arn.clone(), show(rule))),
                (None, Some(listener)) => Ok((arn.clone(), show_default(listener))),
                (None, None) => Err(Refusal::rules_not_found()),
            };
            arns.iter().map(one).collect::<Result<Vec<_>, _>>()?
        }
        _ => return Err(Refusal::validation("You must specify either listener ARNs or rule ARNs")),
    };
    let size = params.whole("PageSize", 1..=PAGE_MAX)?.unwrap_or(PAGE_MAX);
    let (shown, next) = query::page(shown, params.text("Marker"), size as usize);
    Ok(json!({ "Rules": shown, "NextMarker": next }))
}

/// By priority, the default one last, each with its place as the key of paging.
fn of_listener(region: &Region, listener: &Listener) -> Vec<(String, Value)> {
    let mut rules: Vec<&Rule> = region.rules.values().filter(|rule| rule.listener == listener.arn).collect();
    rules.sort_by_key(|rule| rule.priority);
    let numbered = rules.into_iter().map(|rule| (format!("{:05}", rule.priority), show(rule)));
    numbered.chain(std::iter::once(("default".to_owned(), show_default(listener)))).collect()
}

fn show(rule: &Rule) -> Value {
    json!({
        "RuleArn": rule.arn,
        "Priority": rule.priority.to_string(),
        "Conditions": rule.conditions.iter().map(conditions::show).collect::<Vec<_>>(),
        "Actions": actions::show(&rule.actions),
        "IsDefault": false,
        "Transforms": rule.transforms,
    })
}

fn show_default(listener: &Listener) -> Value {
    json!({
        "RuleArn": names::default_rule(&listener.arn),
        "Priority": "default",
        "Conditions": [],
        "Actions": actions::show(&listener.default_actions),
        "IsDefault": true,
        "Transforms": [],
    })
}
