//! The account's quotas: AWS's defaults, and what a person has set instead. The API shows them, and holds to those that a
//! deployment can hit.

use crate::model::Region;

pub const RULES: &str = "rules-per-application-load-balancer";
pub const SLOTS: &str = "target-groups-per-application-load-balancer";
pub const SLOTS_OF_ACTION: &str = "target-groups-per-action-on-application-load-balancer";
/// Auto Scaling's own has no name in the API; this is the region's.
pub const GROUPS: &str = "auto-scaling-groups";

/// Elastic Load Balancing's, by the names that `DescribeAccountLimits` has for them.
const LOAD_BALANCING: [(&str, u32); 18] = [
    ("application-load-balancers", 50),
    ("listeners-per-application-load-balancer", 50),
    (RULES, 100),
    ("condition-values-per-alb-rule", 5),
    ("condition-wildcards-per-alb-rule", 5),
    ("certificates-per-application-load-balancer", 25),
    ("target-groups", 3_000),
    (SLOTS, 100),
    (SLOTS_OF_ACTION, 5),
    ("targets-per-application-load-balancer", 1_000),
    ("targets-per-target-group", 1_000),
    ("target-id-registrations-per-application-load-balancer", 1_000),
    ("network-load-balancers", 50),
    ("listeners-per-network-load-balancer", 50),
    ("certificates-per-network-load-balancer", 25),
    ("target-groups-per-action-on-network-load-balancer", 1),
    ("targets-per-network-load-balancer", 3_000),
    ("targets-per-availability-zone-per-network-load-balancer", 500),
];
/// More than AWS's 500, so that scale runs are not refused.
const GROUPS_DEFAULT: u32 = 10_000;

/// Elastic Load Balancing's, as they stand.
pub fn of_load_balancing(region: &Region) -> impl Iterator<Item = (&'static str, u32)> {
    LOAD_BALANCING.into_iter().map(|(name, default)| (name, region.quotas.get(name).copied().unwrap_or(default)))
}

/// The quota `name` as it stands; 0 for one that is not [`known`].
#[must_use]
pub fn of(region: &Region, name: &str) -> usize {
    let default = || if name == GROUPS { GROUPS_DEFAULT } else { default(name).unwrap_or(0) };
    region.quotas.get(name).copied().unwrap_or_else(default) as usize
}

/// Whether there is a quota of this name.
#[must_use]
pub fn known(name: &str) -> bool {
    name == GROUPS || default(name).is_some()
}

fn default(name: &str) -> Option<u32> {
    LOAD_BALANCING.iter().find(|(known, _)| *known == name).map(|(_, default)| *default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_awss_own_until_it_is_set() {
        let mut region = Region::default();
        assert_eq!(of(&region, RULES), 100);
        region.quotas.insert(RULES.to_owned(), 3);
        assert_eq!((of(&region, RULES), of(&region, SLOTS)), (3, 100));
        assert!(of_load_balancing(&region).any(|quota| quota == (RULES, 3)));
        assert!(known(GROUPS) && !known("wishes"));
    }
}
