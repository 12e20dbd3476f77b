//! A stage to play on: load balancers with rules, two slots a service, images, and a blue group that serves.
//!
//! What users have before they meet Cutover. It is built through the region's own model, so that a person with nothing but
//! the binary (`POST /_sim/stage`), the demo and the tests all begin with the same world.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    model::{
        Action, COOLDOWN_DEFAULT, Condition, HealthCheck, Image, LaunchTemplate, Listener, LoadBalancer, Region, Rule,
        ServerGroup, ServerKind, TargetGroup,
    },
    names,
};

/// Services of one stage.
const SERVICES_MAX: u32 = 5_000;
/// Routes that share a load balancer: each needs a base and, while its service is released, up to three rules more, of AWS's 100.
const ROUTES_PER_LOAD_BALANCER: u32 = 25;
/// Between the priorities of two bases: room for an overlay and a shield above each.
const PRIORITY_STEP: u32 = 100;

/// What to build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stage {
    /// The service's name; with several they are `web-0`, `web-1`, …
    pub service: String,
    pub environment: String,
    /// They share load balancers as far as AWS's quotas reach, each on its own host: 1,000 of them lie on 40.
    pub services: u32,
    /// Routes of each service on each of its load balancers: its host, then `/part-1/*`, … of its host.
    pub routes: u32,
    /// Load balancers that each service has routes on: the first is internet-facing, the others are internal. With more than
    /// one, a slot is a list of target groups.
    pub load_balancers: u32,
    /// The first route on each load balancer is its listener's default action. Services then share no load balancer.
    pub default_action: bool,
    /// Blue's size; 0: a first release, without a blue.
    pub servers: u32,
    /// By version, in order: blue runs the first. None: three built-in ones, `v1` to `v3`.
    pub images: Vec<ImageOf>,
    pub deregistration_delay_seconds: u64,
    pub health_check_interval_seconds: u64,
    pub health_check_path: String,
}

/// A version and what its servers run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageOf {
    pub version: String,
    pub server: Server,
}

/// What the servers of an image run, as it is written in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Server {
    /// A child process; `{port}` in its arguments is replaced.
    Command(Vec<String>),
    BuiltIn {
        version: String,
        #[serde(default)]
        boot_ms: u64,
        #[serde(default = "yes")]
        healthy: bool,
    },
    /// Launches fail with this message.
    Fails(String),
}

fn yes() -> bool {
    true
}

impl Server {
    /// A built-in server that answers at once.
    #[must_use]
    pub fn built_in(version: &str) -> Self {
        Self::BuiltIn { version: version.to_owned(), boot_ms: 0, healthy: true }
    }
}

impl From<Server> for ServerKind {
    fn from(server: Server) -> Self {
        match server {
            Server::Command(command) => Self::Command(command),
            Server::BuiltIn { version, boot_ms, healthy } => {
                Self::BuiltIn { version, boot: Duration::from_millis(boot_ms), healthy }
            }
            Server::Fails(message) => Self::FailsToLaunch(message),
        }
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self {
            service: "web".to_owned(),
            environment: "prod".to_owned(),
            services: 1,
            routes: 1,
            load_balancers: 1,
            default_action: false,
            servers: 2,
            images: Vec::new(),
            deregistration_delay_seconds: 30,
            health_check_interval_seconds: 10,
            health_check_path: "/healthz".to_owned(),
        }
    }
}

/// What was built: everything a declaration names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    pub load_balancers: Vec<String>,
    pub listeners: Vec<String>,
    /// By version: the image's id, and its version of each launch template.
    pub images: BTreeMap<String, String>,
    pub services: Vec<StagedService>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedService {
    pub service: String,
    pub environment: String,
    /// The `Host` its requests carry.
    pub host: String,
    /// The listeners its routes are on.
    pub listeners: Vec<String>,
    /// Rule ARNs, and listener ARNs for default actions.
    pub routes: Vec<String>,
    /// Two slots, each with a target group for each load balancer.
    pub slots: [Vec<String>; 2],
    pub blue: Option<String>,
    pub launch_template: String,
}

/// Builds `stage`.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub fn build(region: &mut Region, stage: &Stage, at: Timestamp) -> Result<Staged, String> {
    check(stage)?;
    let versions = versions(stage);
    let images: Vec<(String, String)> = versions
        .into_iter()
        .map(|ImageOf { version, server }| {
            let id = names::image(region);
            region.images.insert(id.clone(), Image { id: id.clone(), server: server.into() });
            (version, id)
        })
        .collect();
    let mut staged = Staged {
        load_balancers: Vec::new(),
        listeners: Vec::new(),
        images: images.iter().cloned().collect(),
        services: Vec::new(),
    };
    let shared = if stage.default_action { 1 } else { ROUTES_PER_LOAD_BALANCER / stage.routes };
    let mut fronts = Vec::new();
    for number in 0..stage.services {
        if number % shared == 0 {
            fronts = (0..stage.load_balancers).map(|nth| front(region, nth, &mut staged)).collect();
        }
        let service = service(region, stage, number, number % shared * stage.routes, &fronts, &images, at);
        staged.services.push(service);
    }
    Ok(staged)
}

fn check(stage: &Stage) -> Result<(), String> {
    let within = |what: &str, value: u32, max: u32| {
        let fine = (1..=max).contains(&value);
        if fine { Ok(()) } else { Err(format!("`{what}` is {value}; it must be between 1 and {max}")) }
    };
    within("services", stage.services, SERVICES_MAX)?;
    within("routes", stage.routes, 10)?;
    within("load_balancers", stage.load_balancers, 5)
}

fn versions(stage: &Stage) -> Vec<ImageOf> {
    if !stage.images.is_empty() {
        return stage.images.clone();
    }
    let built_in = |version: &str| ImageOf { version: version.to_owned(), server: Server::built_in(version) };
    ["v1", "v2", "v3"].map(built_in).to_vec()
}

/// A load balancer and its one listener, which answers 404 by default.
fn front(region: &mut Region, nth: u32, staged: &mut Staged) -> String {
    let name = format!("edge-{}", region.load_balancers.len() + 1);
    let kind = "application".to_owned();
    let load_balancer = names::load_balancer(region, &name, &kind);
    let scheme = if nth == 0 { "internet-facing" } else { "internal" }.to_owned();
    let balancer = LoadBalancer { arn: load_balancer.clone(), name, kind, scheme, tags: BTreeMap::new() };
    region.load_balancers.insert(load_balancer.clone(), balancer);
    let arn = names::listener(region, &load_balancer);
    let nothing =
        Action::FixedResponse { status: 404, body: "no route".to_owned(), content_type: Some("text/plain".to_owned()) };
    let listener = Listener {
        arn: arn.clone(),
        load_balancer: load_balancer.clone(),
        port: 80,
        address: None,
        default_actions: vec![nothing],
        tags: BTreeMap::new(),
    };
    region.listeners.insert(arn.clone(), listener);
    staged.load_balancers.push(load_balancer);
    staged.listeners.push(arn.clone());
    arn
}

fn service(
    region: &mut Region,
    stage: &Stage,
    number: u32,
    place: u32,
    listeners: &[String],
    images: &[(String, String)],
    at: Timestamp,
) -> StagedService {
    let service = if stage.services == 1 { stage.service.clone() } else { format!("{}-{number}", stage.service) };
    let host = format!("{service}.example.test");
    let mut slots = [Vec::new(), Vec::new()];
    let mut routes = Vec::new();
    for (nth, listener) in listeners.iter().enumerate() {
        for (slot, letter) in slots.iter_mut().zip(["a", "b"]) {
            let suffix = if listeners.len() == 1 { letter.to_owned() } else { format!("{letter}{nth}") };
            slot.push(target_group(region, stage, &format!("{service}-{suffix}")));
        }
        let blue = Action::Forward { groups: vec![(slots[0][nth].clone(), 1)], stickiness: None };
        for route in 0..stage.routes {
            routes.push(self::route(region, stage, listener, &host, place + route, route, blue.clone()));
        }
    }
    let launch_template = launch_template(region, &service, images);
    let blue = (stage.servers > 0).then(|| group(region, stage, &service, &launch_template, &slots[0], at));
    StagedService {
        service,
        environment: stage.environment.clone(),
        host,
        listeners: listeners.to_vec(),
        routes,
        slots,
        blue,
        launch_template,
    }
}

fn target_group(region: &mut Region, stage: &Stage, name: &str) -> String {
    let arn = names::target_group(region, name);
    let interval = Duration::from_secs(stage.health_check_interval_seconds);
    let group = TargetGroup {
        arn: arn.clone(),
        name: name.to_owned(),
        port: 80,
        vpc: "vpc-0pocket".to_owned(),
        health: HealthCheck {
            path: stage.health_check_path.clone(),
            interval,
            timeout: Duration::from_secs(5).min(interval / 2),
            healthy_threshold: 2,
            unhealthy_threshold: 2,
        },
        deregistration_delay: Duration::from_secs(stage.deregistration_delay_seconds),
        attributes: BTreeMap::new(),
        targets: BTreeMap::new(),
        tags: BTreeMap::new(),
    };
    region.target_groups.insert(arn.clone(), group);
    arn
}

/// A route to `blue`: the service's host, a part of it, or the listener's default action.
fn route(region: &mut Region, stage: &Stage, listener: &str, host: &str, place: u32, nth: u32, blue: Action) -> String {
    if stage.default_action && nth == 0 {
        if let Some(listener) = region.listeners.get_mut(listener) {
            listener.default_actions = vec![blue];
        }
        return listener.to_owned();
    }
    let mut conditions = vec![Condition::Host(vec![host.to_owned()])];
    // The whole host comes last, or it would hide its parts.
    let last = stage.routes - 1;
    if nth < last {
        conditions.push(Condition::Path(vec![format!("/part-{}/*", nth + 1)]));
    }
    let arn = names::rule(region, listener);
    let rule = Rule {
        arn: arn.clone(),
        listener: listener.to_owned(),
        priority: PRIORITY_STEP * (place + 1),
        conditions,
        actions: vec![blue],
        transforms: serde_json::json!([]),
        tags: BTreeMap::new(),
    };
    region.rules.insert(arn.clone(), rule);
    arn
}

/// Version `n` of a service's launch template is the `n`-th image.
fn launch_template(region: &mut Region, service: &str, images: &[(String, String)]) -> String {
    let id = names::launch_template(region);
    let template = LaunchTemplate {
        id: id.clone(),
        name: service.to_owned(),
        versions: (1..).zip(images.iter().map(|(_, image)| image.clone())).collect(),
        default_version: 1,
    };
    region.launch_templates.insert(id.clone(), template);
    id
}

fn group(region: &mut Region, stage: &Stage, service: &str, launch_template: &str, slot: &[String], at: Timestamp) -> String {
    let name = format!("{service}-{}-v000", stage.environment);
    let group = ServerGroup {
        name: name.clone(),
        arn: names::group(region, &name),
        min: stage.servers,
        max: stage.servers.saturating_mul(2),
        desired: stage.servers,
        launch_template: launch_template.to_owned(),
        launch_template_version: "1".to_owned(),
        image_override: None,
        instance_types: Vec::new(),
        mixed_instances: false,
        subnets: "subnet-0pocket".to_owned(),
        target_groups: slot.to_vec(),
        health_check_type: "ELB".to_owned(),
        health_check_grace: Duration::from_secs(60),
        warmup: None,
        cooldown: COOLDOWN_DEFAULT,
        deletion_protection: "none".to_owned(),
        new_instances_protected: false,
        suspended: Vec::new(),
        tags: BTreeMap::new(),
        propagated: BTreeSet::new(),
        policies: BTreeMap::new(),
        scheduled: BTreeMap::new(),
        failures: 0,
        retry_at: None,
        created_at: at,
        delete_at: None,
    };
    region.groups.insert(name.clone(), group);
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets;

    fn built(stage: &Stage) -> (Region, Staged) {
        let mut region = Region::default();
        let staged = build(&mut region, stage, Timestamp::UNIX_EPOCH).unwrap();
        (region, staged)
    }

    #[test]
    fn a_thousand_services_lie_on_load_balancers_with_room_for_their_releases() {
        let (region, staged) = built(&Stage { services: 1_000, ..Stage::default() });
        assert_eq!((staged.load_balancers.len(), region.rules.len(), region.groups.len()), (40, 1_000, 1_000));
        for listener in &staged.listeners {
            let own: Vec<&Rule> = region.rules.values().filter(|rule| rule.listener == *listener).collect();
            assert!(own.len() * 4 <= 100, "a base, an overlay, a shield and a preview each");
            let numbers: BTreeSet<u32> = own.iter().map(|rule| rule.priority).collect();
            assert_eq!(numbers.len(), own.len());
        }
        let hosts: BTreeSet<&String> = staged.services.iter().map(|service| &service.host).collect();
        assert_eq!(hosts.len(), 1_000);
        assert!(region.target_groups.values().all(|slot| slot.name.len() <= 32), "AWS's longest name");
    }

    #[test]
    fn services_with_several_routes_on_several_load_balancers_share_none_of_their_numbers() {
        let stage = Stage { services: 11, routes: 3, load_balancers: 2, ..Stage::default() };
        let (region, staged) = built(&stage);
        assert_eq!(staged.load_balancers.len(), 4, "eight services on a pair");
        assert!(staged.services.iter().all(|service| service.routes.len() == 6));
        let places: BTreeSet<(&String, u32)> = region.rules.values().map(|rule| (&rule.listener, rule.priority)).collect();
        assert_eq!(places.len(), region.rules.len());
        for service in &staged.services {
            let [public, internal] = &service.slots[0][..] else { panic!("a slot on each load balancer") };
            let of = |slot: &str| targets::load_balancers_of(&region, slot);
            assert!(of(public).len() == 1 && of(internal).len() == 1 && of(public) != of(internal));
        }
    }
}
