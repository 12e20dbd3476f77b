//! A record, with what a replica has of it, and what it holds.

use std::time::Instant;

use cutover::{
    domain::{deployment::Deployment, ids::HolderId},
    engine::ports::Versioned,
};
use jiff::Timestamp;

#[derive(Debug)]
pub(super) struct Row {
    pub deployment: Deployment,
    pub version: i64,
    pub lease: Option<(HolderId, Instant)>,
    pub due: Instant,
    pub quiet_from: Option<Timestamp>,
}

impl Row {
    pub fn versioned(&self) -> Versioned {
        Versioned { deployment: self.deployment.clone(), version: self.version }
    }

    pub fn holds(&self) -> Vec<String> {
        let d = &self.deployment;
        if d.phase.is_terminal() {
            return Vec::new();
        }
        let mut held = vec![format!("environment {}", d.target)];
        held.extend(d.declaration.routes.iter().map(|route| format!("route {route}")));
        if let Some(plan) = &d.plan {
            let slots = [&plan.blue_slot, &plan.green.slot].into_iter().flat_map(|slot| slot.target_groups());
            held.extend(slots.map(|target_group| format!("slot {target_group}")));
            held.push(format!("group {}", plan.green.group));
            held.extend(plan.blue.iter().map(|blue| format!("group {}", blue.group)));
            for route in &plan.routes {
                held.extend([route.overlay_number, route.shield_number].map(|n| format!("number {} {n}", route.listener)));
            }
        }
        held
    }
}
