//! Faults in a declaration that show without a look at AWS.

use super::{arn, names};
use crate::domain::{
    declaration::{Declaration, Provider},
    survey::FieldFault,
};

/// Tags on one Auto Scaling group (AWS's limit is 50), less our own.
const TAGS_MAX: usize = 44;

/// The region that a declaration names.
pub(super) fn region(declaration: &Declaration) -> &str {
    let Provider::Aws { region, .. } = &declaration.provider;
    region
}

/// The role's form, and that all things named are of one account: what a role may do ends there.
fn accounts(declaration: &Declaration) -> Vec<FieldFault> {
    let Provider::Aws { role, .. } = &declaration.provider;
    let mut faults = Vec::new();
    let mut home = None;
    if let Some(role) = role {
        match arn::role_account(&role.arn) {
            Ok(account) => home = Some((account, "the role")),
            Err(detail) => faults.push(FieldFault::new("/provider/role_arn", detail)),
        }
        if role.external_id.as_deref().is_some_and(|id| !is_external_id(id)) {
            faults.push(FieldFault::new(
                "/provider/external_id",
                "an external id has 2 to 1224 letters, digits and characters of `+=,.@:/-_`",
            ));
        }
    }
    let routes = declaration.routes.iter().enumerate().map(|(i, route)| (format!("/routes/{i}"), route.as_str()));
    let slots = declaration.slots.iter().enumerate().flat_map(|(i, slot)| {
        let target_groups = slot.target_groups().iter().enumerate();
        target_groups.map(move |(position, named)| (declaration.pointer_to(i, position), named.as_str()))
    });
    for (pointer, named) in routes.chain(slots) {
        let Some(account) = arn::account(named) else { continue };
        let (home, whose) = *home.get_or_insert((account, "the first route"));
        if account != home {
            faults.push(FieldFault::new(
                pointer,
                format!(
                    "it is in account {account}, {whose} in {home}: name things of one account, and a role of that account"
                ),
            ));
        }
    }
    faults
}

/// By STS's own rule.
fn is_external_id(text: &str) -> bool {
    (2..=1224).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@:/-_".contains(&b))
}

/// Every fault of form.
pub(super) fn faults(declaration: &Declaration) -> Vec<FieldFault> {
    let region = region(declaration);
    let mut faults = Vec::new();
    if !is_region(region) {
        faults.push(FieldFault::new("/provider/region", "a region is named like `eu-west-1`"));
        return faults;
    }
    for (i, route) in declaration.routes.iter().enumerate() {
        if let Err(detail) = arn::route(route, region) {
            faults.push(FieldFault::new(format!("/routes/{i}"), detail));
        }
    }
    for (i, slot) in declaration.slots.iter().enumerate() {
        for (position, target_group) in slot.target_groups().iter().enumerate() {
            if let Err(detail) = arn::target_group(target_group, region) {
                faults.push(FieldFault::new(declaration.pointer_to(i, position), detail));
            }
        }
    }
    faults.extend(accounts(declaration));
    let spec = &declaration.server_group;
    if !is_id(&spec.launch_template.id, "lt-") {
        faults.push(FieldFault::new("/server_group/launch_template/id", "a launch template's id begins with `lt-`"));
    }
    for (i, subnet) in spec.subnets.iter().enumerate() {
        if !is_id(subnet, "subnet-") {
            faults.push(FieldFault::new(format!("/server_group/subnets/{i}"), "a subnet's id begins with `subnet-`"));
        }
    }
    for key in spec.tags.keys().filter(|key| key.starts_with(names::PREFIX) || key.starts_with("aws:")) {
        let pointer = format!("/server_group/tags/{}", key.replace('~', "~0").replace('/', "~1"));
        faults.push(FieldFault::new(pointer, "tags that begin with `cutover:` or `aws:` are not yours to give"));
    }
    if spec.tags.len() > TAGS_MAX {
        faults.push(FieldFault::new("/server_group/tags", format!("at most {TAGS_MAX} tags")));
    }
    faults
}

/// `eu-west-1`, `us-gov-east-1`, `ap-southeast-3`.
fn is_region(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let Some((number, words)) = parts.split_last() else { return false };
    words.len() >= 2
        && words.iter().all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()))
        && (1..=2).contains(&number.len())
        && number.bytes().all(|b| b.is_ascii_digit())
}

fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix)
        .is_some_and(|id| !id.is_empty() && id.len() <= 32 && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_told_from_zones_and_cities() {
        for right in ["eu-west-1", "us-gov-east-1", "ap-southeast-13"] {
            assert!(is_region(right), "{right}");
        }
        for wrong in ["", "eu-west-1a", "Ireland", "eu-west", "eu--1", "-1"] {
            assert!(!is_region(wrong), "{wrong}");
        }
    }
}
