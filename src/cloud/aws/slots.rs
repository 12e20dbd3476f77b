//! A slot before a deployment: target groups that can take servers of an Auto Scaling group and be weighted.

use std::time::Instant;

use aws_sdk_elasticloadbalancingv2::types::{ProtocolEnum, TargetGroup, TargetGroupAttribute, TargetTypeEnum};
use futures::future::join3;

use super::{
    client::Clients,
    fault,
    groups::{self, Targets},
    operation::Operation,
};
use crate::{
    domain::ids::{LoadBalancerRef, TargetGroupRef},
    engine::ports::{Fault, FaultKind},
};

/// A target group as seen.
#[derive(Debug, Clone)]
pub(super) struct SeenTargetGroup {
    pub(super) targets: Targets,
    /// The one that forwards to it; AWS allows no second.
    pub(super) load_balancer: Option<LoadBalancerRef>,
    /// Its sessions are sticky, for so many seconds where AWS said.
    pub(super) sticky_for: Option<Option<i32>>,
}

/// Looks at one target group; the inner error is a sentence for the person who declared it.
pub(super) async fn look(
    clients: &Clients,
    target_group: &TargetGroupRef,
    deadline: Instant,
) -> Result<Result<SeenTargetGroup, String>, Fault> {
    let group = clients.elb.describe_target_groups().target_group_arns(target_group.as_str());
    let attributes = clients.elb.describe_target_group_attributes().target_group_arn(target_group.as_str());
    let (group, attributes, targets) = join3(
        clients.look(Operation::DescribeTargetGroups, deadline, group.send()),
        clients.look(Operation::DescribeTargetGroupAttributes, deadline, attributes.send()),
        groups::targets_in(clients, target_group, deadline),
    )
    .await;
    let group = match group {
        Err(Fault { kind: FaultKind::Missing, .. }) => return Ok(Err("there is no such target group".to_owned())),
        group => group?,
    };
    let group =
        group.target_groups().first().ok_or_else(|| fault::incomplete(Operation::DescribeTargetGroups, "the target group"))?;
    let (attributes, targets) = (attributes?, targets?);
    Ok(usable(group).and_then(|()| sticky(attributes.attributes())).map(|sticky_for| SeenTargetGroup {
        targets,
        load_balancer: group.load_balancer_arns().first().map(LoadBalancerRef::new),
        sticky_for,
    }))
}

fn usable(group: &TargetGroup) -> Result<(), String> {
    match group.protocol() {
        Some(ProtocolEnum::Http | ProtocolEnum::Https) => {}
        protocol => {
            let protocol = protocol.map_or("no", ProtocolEnum::as_str);
            return Err(format!("a slot is a target group of protocol HTTP or HTTPS; this one has {protocol}"));
        }
    }
    match group.target_type() {
        Some(TargetTypeEnum::Instance) => Ok(()),
        kind => {
            let kind = kind.map_or("unknown", TargetTypeEnum::as_str);
            Err(format!("a slot is a target group of type instance, as Auto Scaling needs; this one is of type {kind}"))
        }
    }
}

/// Whether sessions stick to targets.
fn sticky(attributes: &[TargetGroupAttribute]) -> Result<Option<Option<i32>>, String> {
    let value = |key| attributes.iter().find(|attribute| attribute.key() == Some(key)).and_then(|attribute| attribute.value());
    if value("stickiness.enabled") != Some("true") {
        return Ok(None);
    }
    if value("stickiness.type") == Some("app_cookie") {
        // AWS: "Application-based cookies are not supported with weighted target groups."
        return Err("its stickiness is by application cookie, which AWS does not support with weights: use lb_cookie, or \
                    none"
            .to_owned());
    }
    Ok(Some(value("stickiness.lb_cookie.duration_seconds").and_then(|seconds| seconds.parse().ok())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> Vec<TargetGroupAttribute> {
        pairs.iter().map(|(key, value)| TargetGroupAttribute::builder().key(*key).value(*value).build()).collect()
    }

    #[test]
    fn sticky_sessions_are_seen_and_application_cookies_refused() {
        assert_eq!(sticky(&attributes(&[("stickiness.enabled", "false"), ("stickiness.type", "app_cookie")])), Ok(None));
        let lb = [
            ("stickiness.enabled", "true"),
            ("stickiness.type", "lb_cookie"),
            ("stickiness.lb_cookie.duration_seconds", "900"),
        ];
        assert_eq!(sticky(&attributes(&lb)), Ok(Some(Some(900))));
        let app = [("stickiness.enabled", "true"), ("stickiness.type", "app_cookie")];
        assert!(sticky(&attributes(&app)).unwrap_err().contains("application cookie"));
    }

    #[test]
    fn a_slot_takes_instances_over_http() {
        let group = |protocol, kind| TargetGroup::builder().protocol(protocol).target_type(kind).build();
        assert_eq!(usable(&group(ProtocolEnum::Http, TargetTypeEnum::Instance)), Ok(()));
        assert!(usable(&group(ProtocolEnum::Tcp, TargetTypeEnum::Instance)).unwrap_err().contains("TCP"));
        assert!(usable(&group(ProtocolEnum::Http, TargetTypeEnum::Ip)).unwrap_err().contains("type ip"));
    }
}
