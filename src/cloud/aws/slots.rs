//! A slot before a deployment: target groups that can take servers of an Auto Scaling group and be weighted.

use std::{collections::BTreeMap, time::Instant};

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
    pub(super) traits: BTreeMap<String, String>,
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
        traits: traits(group),
    }))
}

/// How it reaches servers and judges their health. What AWS does not tell is left out.
fn traits(group: &TargetGroup) -> BTreeMap<String, String> {
    let text = |text: Option<&str>| text.map(str::to_owned);
    let protocol = |protocol: Option<&ProtocolEnum>| text(protocol.map(ProtocolEnum::as_str));
    let number = |number: Option<i32>| number.map(|number| number.to_string());
    let codes = group.matcher().and_then(|matcher| matcher.http_code().or(matcher.grpc_code()));
    let all = [
        ("protocol", protocol(group.protocol())),
        ("protocol version", text(group.protocol_version())),
        ("port", number(group.port())),
        ("health check protocol", protocol(group.health_check_protocol())),
        ("health check port", text(group.health_check_port())),
        ("health check path", text(group.health_check_path())),
        ("health check codes", text(codes)),
        ("health check interval", number(group.health_check_interval_seconds())),
        ("health check timeout", number(group.health_check_timeout_seconds())),
        ("healthy threshold", number(group.healthy_threshold_count())),
        ("unhealthy threshold", number(group.unhealthy_threshold_count())),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
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
    use aws_sdk_elasticloadbalancingv2::types::Matcher;

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
    fn what_a_target_group_asks_of_servers_is_told_by_name() {
        let matcher = Matcher::builder().http_code("200-204").build();
        let group = TargetGroup::builder().protocol(ProtocolEnum::Https).protocol_version("HTTP2").port(8443).matcher(matcher);
        let group = group.health_check_protocol(ProtocolEnum::Http).health_check_port("8081").health_check_path("/ready");
        let group = group.health_check_interval_seconds(10).health_check_timeout_seconds(4);
        let group = group.healthy_threshold_count(2).unhealthy_threshold_count(3).build();
        let told: Vec<_> = traits(&group).into_iter().map(|(name, value)| format!("{name} {value}")).collect();
        let expected = [
            "health check codes 200-204",
            "health check interval 10",
            "health check path /ready",
            "health check port 8081",
            "health check protocol HTTP",
            "health check timeout 4",
            "healthy threshold 2",
            "port 8443",
            "protocol HTTPS",
            "protocol version HTTP2",
            "unhealthy threshold 3",
        ];
        assert_eq!(told, expected);
        let grpc = TargetGroup::builder().matcher(Matcher::builder().grpc_code("12").build()).build();
        assert_eq!(traits(&grpc).into_iter().collect::<Vec<_>>(), [("health check codes".to_owned(), "12".to_owned())]);
    }

    #[test]
    fn a_slot_takes_instances_over_http() {
        let group = |protocol, kind| TargetGroup::builder().protocol(protocol).target_type(kind).build();
        assert_eq!(usable(&group(ProtocolEnum::Http, TargetTypeEnum::Instance)), Ok(()));
        assert!(usable(&group(ProtocolEnum::Tcp, TargetTypeEnum::Instance)).unwrap_err().contains("TCP"));
        assert!(usable(&group(ProtocolEnum::Http, TargetTypeEnum::Ip)).unwrap_err().contains("type ip"));
    }
}
