//! Where a rollback is asked for: how a deployment gets there, and what keeps it there.

use std::time::Duration;

use cutover_sim::{
    faults::{Effect, Fault},
    scenario::{ImageOf, Server, Stage},
};
use serde_json::{Value, json};

use super::weather::Weather;
use crate::support::region::Scene;

/// A server that never comes up.
const NEVER_MS: u64 = 3_600_000;

/// A point on a deployment's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    Pending,
    Provisioning,
    Verifying,
    /// Half of the traffic on green, and seen there.
    Shifting,
    /// The call that gives green its half is on its way.
    ShiftingInFlight,
    Baking,
    /// The calls that put the bases on green are on their way.
    CommittingInFlight,
    /// The bases are on green, the overlays above them.
    CommittingQuiet,
    /// On its way back already: somebody asks again.
    RollingBack,
    /// Too late: blue is on its way out.
    Retiring,
}

impl At {
    pub const ALL: [Self; 10] = [
        Self::Pending,
        Self::Provisioning,
        Self::Verifying,
        Self::Shifting,
        Self::ShiftingInFlight,
        Self::Baking,
        Self::CommittingInFlight,
        Self::CommittingQuiet,
        Self::RollingBack,
        Self::Retiring,
    ];

    /// As the API names it.
    pub fn phase(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Provisioning => "provisioning",
            Self::Verifying => "verifying",
            Self::Shifting | Self::ShiftingInFlight => "shifting",
            Self::Baking => "baking",
            Self::CommittingInFlight | Self::CommittingQuiet => "committing",
            Self::RollingBack => "rolling_back",
            Self::Retiring => "retiring",
        }
    }

    /// Whether green has never been given a weight: nothing has to be taken back from anybody.
    pub fn is_before_traffic(self) -> bool {
        matches!(self, Self::Pending | Self::Provisioning | Self::Verifying | Self::ShiftingInFlight)
    }

    pub fn stage(self) -> Stage {
        let image = |version: &str, boot_ms| ImageOf {
            version: version.to_owned(),
            server: Server::BuiltIn { version: version.to_owned(), boot_ms, healthy: true },
        };
        let boot = if self == Self::Provisioning { NEVER_MS } else { 0 };
        Stage {
            routes: 2,
            images: vec![image("v1", 0), image("v2", boot)],
            deregistration_delay_seconds: 60,
            ..Stage::default()
        }
    }

    pub fn strategy(self) -> Value {
        match self {
            Self::Shifting | Self::ShiftingInFlight | Self::RollingBack => {
                json!({"stages": [{"weight": 50, "bake_time": "manual"}, {"weight": 100}], "bake_time": "0s"})
            }
            Self::Baking => json!({"stages": [{"weight": 100}], "bake_time": "manual"}),
            Self::Pending
            | Self::Provisioning
            | Self::Verifying
            | Self::CommittingInFlight
            | Self::CommittingQuiet
            | Self::Retiring => json!({"stages": [{"weight": 100}], "bake_time": "0s"}),
        }
    }

    pub fn preview(self) -> Value {
        match self {
            Self::Verifying => json!({"header": "X-Preview", "value": "green", "bake_time": "manual"}),
            _ => Value::Null,
        }
    }

    /// What befalls its calls until the rollback is accepted. In `weather` a call may have to be under way when its sender stops.
    pub fn holds(self, scene: &Scene, weather: Weather) -> Vec<Fault> {
        let stops = weather == Weather::HolderPaused;
        let held = |operation: &str| Fault::on(operation, Effect::HoldBefore);
        let refused = |operation: &str| Fault::on(operation, Effect::throttled());
        match self {
            Self::Pending => vec![refused("DescribeAutoScalingGroups")],
            Self::Provisioning if stops => vec![held("CreateAutoScalingGroup")],
            // Beyond the overlays': the preview's.
            Self::Verifying if stops => vec![Fault { skip: 2, ..held("CreateRule").times(2) }],
            Self::ShiftingInFlight => vec![held("ModifyRule")],
            Self::CommittingInFlight => {
                let bases = scene.staged.services[0].routes.iter();
                bases.map(|base| Fault { containing: Some(base.clone()), ..held("ModifyRule") }).collect()
            }
            Self::RollingBack | Self::Retiring if stops => vec![held("DeleteAutoScalingGroup")],
            Self::RollingBack | Self::Retiring => vec![refused("DeleteAutoScalingGroup")],
            Self::Provisioning | Self::Verifying | Self::Shifting | Self::Baking | Self::CommittingQuiet => Vec::new(),
        }
    }

    /// Whether it is there: the record says so, and the world shows what this point is about. `met`: a call of `holds` is held or was
    /// refused.
    pub fn is_reached(self, d: &Value, scene: &Scene, weather: Weather, met: bool) -> bool {
        let stops = weather == Weather::HolderPaused;
        let seen = d["weight"]["observed"] == d["weight"]["desired"];
        let there = match self {
            Self::Pending | Self::ShiftingInFlight | Self::CommittingInFlight | Self::Retiring => met,
            Self::Provisioning if stops => met,
            // Its overlays stand, and its servers do not come up.
            Self::Provisioning => scene.extra_rules() == 2 && scene.groups().len() == 2,
            Self::Verifying if stops => met,
            // With the preview's.
            Self::Verifying => scene.extra_rules() == 4,
            Self::Shifting => seen && d["weight"]["desired"] == 50,
            Self::Baking => seen,
            Self::CommittingQuiet => quiet_for(d) > Duration::from_secs(8),
            Self::RollingBack => met && d["rollback"]["observed_at"].is_string(),
        };
        d["phase"] == self.phase() && there
    }

    /// For the one who stops with a call under way: what to hold now, where `holds` does not hold a call already.
    pub fn holds_next(self) -> Option<Fault> {
        match self {
            Self::Shifting => Some(Fault::on("ModifyRule", Effect::HoldBefore)),
            // They only wait: what is under way is a look.
            Self::Pending | Self::Baking | Self::CommittingQuiet => Some(a_look()),
            Self::Provisioning
            | Self::Verifying
            | Self::ShiftingInFlight
            | Self::CommittingInFlight
            | Self::RollingBack
            | Self::Retiring => None,
        }
    }
}

/// The next look at rules.
pub fn a_look() -> Fault {
    Fault::on("DescribeRules", Effect::HoldBefore).times(1)
}

/// How much of the quiet period is left.
fn quiet_for(d: &Value) -> Duration {
    let ends = d["next_change_at"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
    let left = ends.map(|ends| ends.duration_since(jiff::Timestamp::now()));
    left.and_then(|left| Duration::try_from(left).ok()).unwrap_or_default()
}
