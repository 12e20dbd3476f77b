//! Tags of load balancers, listeners, rules and target groups.

use serde_json::{Value, json};

use super::{
    super::{Answer, Call, query::Node, refusal::Refusal},
    few,
};
use crate::{
    model::{Region, Tags},
    names,
};

/// The tags given with a creating call.
///
/// # Errors
/// `ValidationError` for a tag without a key, `DuplicateTagKeys`.
pub fn given(params: Node<'_>) -> Result<Tags, Refusal> {
    let mut tags = Tags::new();
    for tag in params.list("Tags") {
        let (key, value) = (tag.required("Key")?, tag.text("Value").unwrap_or_default());
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Refusal::new("DuplicateTagKeys", format!("Tag key '{key}' is used twice")));
        }
    }
    Ok(tags)
}

pub fn add(region: &mut Region, call: &Call<'_>) -> Answer {
    let (arns, tags) = (resources(region, call)?, given(call.params)?);
    for arn in arns {
        if let Some(held) = of_mut(region, &arn) {
            held.extend(tags.clone());
        }
    }
    Ok(json!({}))
}

pub fn remove(region: &mut Region, call: &Call<'_>) -> Answer {
    let (arns, keys) = (resources(region, call)?, call.params.texts("TagKeys"));
    for arn in arns {
        if let Some(held) = of_mut(region, &arn) {
            held.retain(|key, _| !keys.contains(key));
        }
    }
    Ok(json!({}))
}

pub fn describe(region: &Region, call: &Call<'_>) -> Answer {
    let none = Tags::new();
    let arns = resources(region, call)?;
    let described = arns.iter().map(|arn| {
        let tags = of(region, arn).unwrap_or(&none);
        let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
        json!({ "ResourceArn": arn, "Tags": tags })
    });
    Ok(json!({ "TagDescriptions": described.collect::<Vec<_>>() }))
}

/// The ARNs named, all of which must exist.
fn resources(region: &Region, call: &Call<'_>) -> Result<Vec<String>, Refusal> {
    let arns = call.params.texts("ResourceArns");
    if arns.is_empty() {
        return Err(Refusal::validation("A resource ARN must be specified"));
    }
    few(arns.len(), "resources")?;
    for arn in &arns {
        let default_rule = names::listener_of(arn)
            .is_some_and(|listener| region.listeners.contains_key(&listener) && names::default_rule(&listener) == *arn);
        if of(region, arn).is_none() && !default_rule {
            return Err(missing(arn));
        }
    }
    Ok(arns)
}

fn missing(arn: &str) -> Refusal {
    if arn.contains(":listener-rule/") {
        Refusal::rules_not_found()
    } else if arn.contains(":listener/") {
        Refusal::listener_not_found()
    } else if arn.contains(":targetgroup/") {
        Refusal::target_group_not_found()
    } else if arn.contains(":loadbalancer/") {
        Refusal::load_balancer_not_found()
    } else {
        Refusal::validation(format!("'{arn}' is not a valid resource ARN"))
    }
}

fn of<'a>(region: &'a Region, arn: &str) -> Option<&'a Tags> {
    let rule = region.rules.get(arn).map(|rule| &rule.tags);
    let rule = rule.or_else(|| region.target_groups.get(arn).map(|group| &group.tags));
    let rule = rule.or_else(|| region.listeners.get(arn).map(|listener| &listener.tags));
    rule.or_else(|| region.load_balancers.get(arn).map(|balancer| &balancer.tags))
}

fn of_mut<'a>(region: &'a mut Region, arn: &str) -> Option<&'a mut Tags> {
    let rule = region.rules.get_mut(arn).map(|rule| &mut rule.tags);
    let rule = rule.or_else(|| region.target_groups.get_mut(arn).map(|group| &mut group.tags));
    let rule = rule.or_else(|| region.listeners.get_mut(arn).map(|listener| &mut listener.tags));
    rule.or_else(|| region.load_balancers.get_mut(arn).map(|balancer| &mut balancer.tags))
}
