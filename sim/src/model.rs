//! What the pocket region holds: plain values, no behaviour beyond look-ups.
//!
//! The control plane (`api`, `life`) changes a [`Region`] under one lock and publishes a snapshot after each change; the data
//! plane (`traffic`, `health`) works from snapshots and reports target health back. Every field here is something AWS
//! shows too, or a clock that AWS keeps to itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::table::Table;

/// An ARN, or an instance's id, kept as AWS writes it.
pub type Name = String;
/// Tags of a resource.
pub type Tags = BTreeMap<String, String>;

/// An account, and a region of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Place {
    pub account: String,
    pub region: String,
}

/// Where a stage is built, and everybody without a role is at home.
impl Default for Place {
    fn default() -> Self {
        Self { account: "123456789012".to_owned(), region: "eu-west-1".to_owned() }
    }
}

/// Everything in one account and region.
#[derive(Debug, Clone, Default)]
pub struct Region {
    pub place: Place,
    /// Raised by one with each change.
    pub version: u64,
    /// Where ids come from: the seed, and how many were drawn. The same calls name the same things.
    pub seed: u64,
    pub drawn: u64,
    pub load_balancers: Table<LoadBalancer>,
    pub listeners: Table<Listener>,
    pub rules: Table<Rule>,
    pub target_groups: Table<TargetGroup>,
    pub groups: Table<ServerGroup>,
    pub instances: Table<Instance>,
    pub launch_templates: Table<LaunchTemplate>,
    pub images: Table<Image>,
    /// Those that are not AWS's own.
    pub quotas: BTreeMap<String, u32>,
    /// Oldest first; shared, since snapshots carry all of them.
    pub activities: Vec<Arc<Activity>>,
}

#[derive(Debug, Clone)]
pub struct LoadBalancer {
    pub arn: Name,
    pub name: String,
    /// `application`, or `network`: the latter has no rules.
    pub kind: String,
    /// `internet-facing` or `internal`: shown, and of no consequence here.
    pub scheme: String,
    pub tags: Tags,
}

#[derive(Debug, Clone)]
pub struct Listener {
    pub arn: Name,
    pub load_balancer: Name,
    pub port: u16,
    /// The loopback address at which this listener takes real connections.
    pub address: Option<SocketAddr>,
    pub default_actions: Vec<Action>,
    pub tags: Tags,
}

/// A listener rule; the default action is no rule here (the API shows it as one, with priority `default`).
#[derive(Debug, Clone)]
pub struct Rule {
    pub arn: Name,
    pub listener: Name,
    pub priority: u32,
    pub conditions: Vec<Condition>,
    pub actions: Vec<Action>,
    /// Host and URL rewrites, kept as they came (the data plane does not apply them).
    pub transforms: serde_json::Value,
    pub tags: Tags,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    Host(Vec<String>),
    Path(Vec<String>),
    Method(Vec<String>),
    Header {
        name: String,
        values: Vec<String>,
    },
    Query(Vec<(Option<String>, String)>),
    SourceIp(Vec<String>),
    /// Regular expressions on host, path or a header: kept and returned, never matched.
    Regex {
        field: String,
        name: Option<String>,
        values: Vec<String>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Forward {
        groups: Vec<(Name, u32)>,
        stickiness: Option<Duration>,
    },
    FixedResponse {
        status: u16,
        body: String,
        content_type: Option<String>,
    },
    Redirect(serde_json::Value),
    /// Authentication and other kinds, kept as they came.
    Other {
        kind: String,
        config: serde_json::Value,
        order: Option<u32>,
    },
}

#[derive(Debug, Clone)]
pub struct TargetGroup {
    pub arn: Name,
    pub name: String,
    pub port: u16,
    pub vpc: String,
    pub health: HealthCheck,
    /// Unscaled, as declared.
    pub deregistration_delay: Duration,
    /// Target stickiness: (enabled, type, seconds).
    pub attributes: BTreeMap<String, String>,
    pub targets: BTreeMap<Name, Target>,
    pub tags: Tags,
}

#[derive(Debug, Clone)]
pub struct HealthCheck {
    pub path: String,
    /// Unscaled.
    pub interval: Duration,
    pub timeout: Duration,
    pub healthy_threshold: u32,
    pub unhealthy_threshold: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetState {
    /// In no rule of any listener.
    Unused,
    Initial,
    Healthy,
    Unhealthy,
    /// Deregistered; connections finish until the delay is over.
    Draining,
}

#[derive(Debug, Clone)]
pub struct Target {
    pub instance: Name,
    pub state: TargetState,
    /// Set while draining.
    pub gone_at: Option<Instant>,
}

/// AWS's cooldown, in seconds, of a group that names none.
pub const COOLDOWN_DEFAULT: u32 = 300;

/// An Auto Scaling group.
#[derive(Debug, Clone)]
pub struct ServerGroup {
    pub name: String,
    pub arn: Name,
    pub min: u32,
    pub max: u32,
    pub desired: u32,
    pub launch_template: String,
    pub launch_template_version: String,
    /// The override of a mixed-instances policy.
    pub image_override: Option<String>,
    pub instance_types: Vec<String>,
    pub mixed_instances: bool,
    pub subnets: String,
    pub target_groups: Vec<Name>,
    pub health_check_type: String,
    pub health_check_grace: Duration,
    /// Seconds. Only policies wait for it, and none of them act here: kept and shown.
    pub warmup: Option<u32>,
    pub cooldown: u32,
    pub deletion_protection: String,
    pub new_instances_protected: bool,
    pub suspended: Vec<String>,
    pub tags: Tags,
    /// The keys of `tags` that its instances get too.
    pub propagated: BTreeSet<String>,
    /// By name.
    pub policies: BTreeMap<String, Policy>,
    pub scheduled: BTreeMap<String, Scheduled>,
    /// Launches that failed in a row, and when the next may be tried.
    pub failures: u32,
    pub retry_at: Option<Instant>,
    pub created_at: jiff::Timestamp,
    /// `DeleteAutoScalingGroup` was accepted, and its instances begin to go at this time; the name stays taken until they
    /// are gone.
    pub delete_at: Option<Instant>,
}

/// A scaling policy. There are no alarms here to fire it: it is kept and shown.
#[derive(Debug, Clone)]
pub struct Policy {
    pub arn: Name,
    pub kind: String,
    pub enabled: bool,
    /// Names of the CloudWatch alarms that AWS would have made for it.
    pub alarms: Vec<String>,
    /// What belongs to its kind, as it came.
    pub settings: serde_json::Value,
}

/// A scheduled action: carried out once, when its start has come.
#[derive(Debug, Clone)]
pub struct Scheduled {
    pub arn: Name,
    pub start: Option<jiff::Timestamp>,
    pub end: Option<jiff::Timestamp>,
    /// In cron's form, and its time zone: kept and shown, never come back to.
    pub recurrence: Option<String>,
    pub time_zone: Option<String>,
    pub min: Option<u32>,
    pub max: Option<u32>,
    pub desired: Option<u32>,
    /// Its start has come; only a recurring one is still listed then.
    pub done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    Pending,
    InService,
    Terminating,
}

#[derive(Debug, Clone)]
pub struct Instance {
    pub id: Name,
    pub group: String,
    pub image: String,
    pub launch_template_version: String,
    pub lifecycle: Lifecycle,
    /// Auto Scaling's verdict: its own look at the server and, with health checks of type `ELB`, the load balancer's.
    pub healthy: bool,
    /// Protected from scale-in.
    pub protected: bool,
    /// Where its server listens, once started.
    pub address: Option<SocketAddr>,
    pub launched: Instant,
    /// When it became `InService`; the grace of its health checks runs from here.
    pub in_service_at: Option<Instant>,
    /// Its server died (a fault switch).
    pub killed: bool,
    /// Whether the health endpoint is told to answer 500 (a fault switch).
    pub sick: bool,
}

#[derive(Debug, Clone)]
pub struct LaunchTemplate {
    pub id: Name,
    pub name: String,
    /// Version number to image.
    pub versions: BTreeMap<u32, String>,
    pub default_version: u32,
}

impl LaunchTemplate {
    /// The number that `version` stands for at this moment: a number, `$Latest` or `$Default`.
    #[must_use]
    pub fn number(&self, version: &str) -> Option<u32> {
        let number = match version {
            "$Latest" => self.versions.keys().next_back().copied(),
            "$Default" => Some(self.default_version),
            number => number.parse().ok(),
        };
        number.filter(|number| self.versions.contains_key(number))
    }
}

/// What servers of an image run.
#[derive(Debug, Clone)]
pub struct Image {
    pub id: Name,
    pub server: ServerKind,
}

#[derive(Debug, Clone)]
pub enum ServerKind {
    /// A child process; `{port}` in its arguments is replaced.
    Command(Vec<String>),
    /// A responder inside this process: for tests and scale runs.
    BuiltIn {
        /// Sent as `x-version` and in the body.
        version: String,
        boot: Duration,
        /// Whether the health endpoint ever answers 200.
        healthy: bool,
    },
    /// Launches fail with this `StatusMessage`.
    FailsToLaunch(String),
}

/// One row of `DescribeScalingActivities`.
#[derive(Debug, Clone)]
pub struct Activity {
    pub id: String,
    pub group: String,
    pub instance: Option<Name>,
    pub status: String,
    pub message: Option<String>,
    pub description: String,
    pub cause: String,
    pub started: jiff::Timestamp,
    pub ended: Option<jiff::Timestamp>,
}

/// The region behind one lock, with snapshots for whoever reads.
#[derive(Debug, Clone)]
pub struct Shared {
    region: Arc<Mutex<Region>>,
    published: watch::Sender<Arc<Region>>,
}

impl Default for Shared {
    fn default() -> Self {
        let region = Region::default();
        let (published, _) = watch::channel(Arc::new(region.clone()));
        Self { region: Arc::new(Mutex::new(region)), published }
    }
}

impl Shared {
    /// Changes the region and publishes the result. Never held across an await.
    pub fn change<T>(&self, change: impl FnOnce(&mut Region) -> T) -> T {
        let mut region = self.region.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let out = change(&mut region);
        region.version += 1;
        self.published.send_replace(Arc::new(region.clone()));
        out
    }

    /// Changes the region unless `change` refuses; then nothing is published. `change` validates before it writes.
    ///
    /// # Errors
    /// What `change` refused with.
    pub fn try_change<T, E>(&self, change: impl FnOnce(&mut Region) -> Result<T, E>) -> Result<T, E> {
        let mut region = self.region.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let out = change(&mut region)?;
        region.version += 1;
        self.published.send_replace(Arc::new(region.clone()));
        Ok(out)
    }

    /// The newest snapshot.
    #[must_use]
    pub fn now(&self) -> Arc<Region> {
        self.published.borrow().clone()
    }

    /// Snapshots as they come.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Region>> {
        self.published.subscribe()
    }
}
