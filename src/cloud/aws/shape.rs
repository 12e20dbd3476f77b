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
    let Provider::Aws { region } = &declaration.provider;
    region
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
