//! A small region set up directly, without the API: what tests of the data plane begin with.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::model::{
    Action, Condition, HealthCheck, Instance, Lifecycle, Listener, Region, Rule, Target, TargetGroup, TargetState,
};

/// A forward to these groups with these weights, without stickiness.
#[must_use]
pub fn forward(groups: &[(&str, u32)]) -> Action {
    let groups = groups.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect();
    Action::Forward { groups, stickiness: None }
}

/// A listener whose default action answers 404.
#[must_use]
pub fn listener(arn: &str) -> Listener {
    Listener {
        arn: arn.to_owned(),
        load_balancer: "lb".to_owned(),
        port: 80,
        address: None,
        default_actions: vec![Action::FixedResponse { status: 404, body: String::new(), content_type: None }],
        tags: BTreeMap::new(),
    }
}

/// A rule named `arn` for one host.
#[must_use]
pub fn rule(arn: &str, listener: &str, priority: u32, host: &str, action: Action) -> Rule {
    Rule {
        arn: arn.to_owned(),
        listener: listener.to_owned(),
        priority,
        conditions: vec![Condition::Host(vec![host.to_owned()])],
        actions: vec![action],
        transforms: serde_json::Value::Null,
        tags: BTreeMap::new(),
    }
}

/// An empty target group, checked every 10 s with thresholds of 2, with AWS's deregistration delay of 300 s.
#[must_use]
pub fn target_group(arn: &str) -> TargetGroup {
    TargetGroup {
        arn: arn.to_owned(),
        name: arn.to_owned(),
        port: 80,
        vpc: "vpc-1".to_owned(),
        health: HealthCheck {
            path: "/healthz".to_owned(),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            healthy_threshold: 2,
            unhealthy_threshold: 2,
        },
        deregistration_delay: Duration::from_secs(300),
        attributes: BTreeMap::new(),
        targets: BTreeMap::new(),
        tags: BTreeMap::new(),
    }
}

/// An instance in service whose server listens at `address`.
#[must_use]
pub fn instance(id: &str, address: SocketAddr) -> Instance {
    Instance {
        id: id.to_owned(),
        group: "group".to_owned(),
        image: "ami-1".to_owned(),
        launch_template_version: "1".to_owned(),
        lifecycle: Lifecycle::InService,
        healthy: true,
        protected: false,
        address: Some(address),
        launched: Instant::now(),
        in_service_at: Some(Instant::now()),
        killed: false,
        sick: false,
    }
}

/// Registers an instance with a target group, as Auto Scaling does.
pub fn register(region: &mut Region, group: &str, instance: Instance, state: TargetState) {
    let target = Target { instance: instance.id.clone(), state, gone_at: None };
    if let Some(group) = region.target_groups.get_mut(group) {
        group.targets.insert(instance.id.clone(), target);
    }
    region.instances.insert(instance.id.clone(), instance);
}
