//! What a service in an environment is declared to be, after parsing: every value here has passed its checks.
//!
//! `spec` makes these from JSON; the store keeps them; a deployment holds the one it started from.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    drill::DrillSpec,
    ids::{GroupName, RouteRef, SlotRef},
    time::{self, BakeTime},
    weight::Weight,
};

/// At most this many routes a service.
pub const ROUTES_MAX: usize = 10;
/// At most this many slots a service.
pub const SLOTS_MAX: usize = 5;
/// At most this many target groups a slot: one for each load balancer.
pub const TARGET_GROUPS_MAX: usize = 5;
/// At most this many stages a strategy.
pub const STAGES_MAX: usize = 20;

/// One service/environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declaration {
    pub provider: Provider,
    /// One to [`ROUTES_MAX`], all different.
    pub routes: Vec<RouteRef>,
    /// Two to [`SLOTS_MAX`], each of as many target groups, up to [`TARGET_GROUPS_MAX`]; none is named twice.
    pub slots: Vec<SlotRef>,
    /// The running group to adopt the first time; ignored once a deployment has succeeded.
    pub blue: Option<GroupName>,
    pub server_group: ServerGroupSpec,
    #[serde(default)]
    pub preview: Option<Preview>,
    /// `None`: as [`DrillSpec::default`] has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<DrillSpec>,
    pub strategy: Strategy,
}

/// How green is reached before any user reaches it: by requests with this header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    pub header: String,
    pub value: String,
    /// How long `verifying` lasts for it.
    pub bake_time: BakeTime,
}

/// Where the servers live.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Provider {
    Aws {
        region: String,
        /// Who acts there; `None`: whoever the service itself is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        role: Option<AssumedRole>,
    },
}

/// A role that the service assumes, as in another account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AssumedRole {
    pub arn: String,
    /// What its owner wants to be told, so that nobody else makes us act there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
}

/// How a new group is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerGroupSpec {
    pub launch_template: LaunchTemplate,
    pub subnets: Vec<String>,
    pub capacity: Capacity,
    pub min: u32,
    pub max: u32,
    pub instance_types: Vec<String>,
    #[serde(with = "time::text")]
    pub health_check_grace: Duration,
    /// How long a new server's figures are left out of scaling; zero leaves it to the provider.
    #[serde(default, with = "time::text")]
    pub instance_warmup: Duration,
    pub tags: BTreeMap<String, String>,
}

/// A launch template pinned by number: `$Latest` may change between two launches of one deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchTemplate {
    pub id: String,
    pub version: u32,
}

/// How many servers green gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capacity {
    /// Blue's size at the time; `min` when there is no blue.
    MatchBlue,
    Fixed(u32),
}

/// How weight moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strategy {
    /// Strictly ascending, the last one 100 %.
    pub stages: Vec<Stage>,
    /// The final bake, after 100 %.
    pub bake_time: BakeTime,
    #[serde(default)]
    pub deadlines: Deadlines,
}

/// One weight stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    pub weight: Weight,
    pub bake_time: BakeTime,
}

/// How long a phase may try without getting somewhere before it rolls back by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadlines {
    #[serde(with = "time::text")]
    pub pending: Duration,
    #[serde(with = "time::text")]
    pub provisioning: Duration,
    #[serde(with = "time::text")]
    pub verifying: Duration,
    /// Of each shift: from wanting a weight to seeing it.
    #[serde(with = "time::text")]
    pub shifting: Duration,
}

impl Declaration {
    /// The JSON pointer of a slot's target group.
    #[must_use]
    pub fn pointer_to(&self, slot: usize, position: usize) -> String {
        match self.slots.get(slot).map(|slot| slot.target_groups().len()) {
            Some(2..) => format!("/slots/{slot}/{position}"),
            Some(_) | None => format!("/slots/{slot}"),
        }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self { pending: minutes(5), provisioning: minutes(20), verifying: minutes(10), shifting: minutes(10) }
    }
}

impl Strategy {
    /// What a first release does whatever is declared: with nothing to go back to, stages would only send errors.
    #[must_use]
    pub fn first_release(&self) -> Self {
        let at_once = BakeTime::For(Duration::ZERO);
        Self { stages: vec![Stage { weight: Weight::ALL, bake_time: at_once }], bake_time: at_once, deadlines: self.deadlines }
    }
}
