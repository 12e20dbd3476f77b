//! One action, one or a few calls: each signed, checked against the deadline, then sent, and never repeated here.

use std::time::Instant;

use super::{AwsCloud, budget::Lane, fault, group_changes, rule_changes};
use crate::{
    domain::{
        action::{Action, Side},
        deployment::Deployment,
        ids::{GroupName, SlotRef},
        plan::{BluePlan, Plan},
    },
    engine::ports::Fault,
};

impl AwsCloud {
    /// Makes the change that `action` names.
    pub(super) async fn act(&self, d: &Deployment, action: &Action, deadline: Instant) -> Result<(), Fault> {
        let clients = self.clients(&d.declaration);
        // Also what goes back by itself, without the lane, is a rollback.
        let clients = if action.is_the_way_back(&d.phase) { clients.on(Lane::Rollback) } else { clients };
        let rules = rule_changes::RuleChanges { cloud: self, clients: &clients, whose: d.into(), deadline };
        let groups = group_changes::GroupChanges { cloud: self, clients: &clients, d, deadline };
        if let Action::DeleteRules { rules: named } = action {
            // The one action that needs no plan: leftovers go before there is one.
            return rules.delete(named).await;
        }
        let plan = d.plan.as_ref().ok_or_else(|| fault::rejected(action.name(), "there is no plan yet".to_owned()))?;
        match action {
            Action::DeleteRules { .. } => Ok(()),
            Action::OpenOverlays { routes } => rules.open_overlays(plan, routes).await,
            Action::OpenPreviews { routes } => rules.open_previews(plan, routes).await,
            Action::SetWeight { routes, weight } => rules.set_weight(plan, routes, *weight).await,
            Action::ReshapeOverlays { shapes } => rules.reshape_overlays(plan, shapes).await,
            Action::RestoreBases { routes } => rules.restore_bases(plan, routes).await,
            Action::SetBase { routes, to } => rules.set_base(plan, routes, *to).await,
            Action::RaiseShields { routes } => rules.raise_shields(plan, routes).await,
            Action::PinBlue => groups.pin(blue(plan, action)?).await,
            Action::UnpinBlue => groups.unpin(blue(plan, action)?).await,
            Action::CreateGreen => groups.create(&plan.green).await,
            Action::CopyScaling { what } => groups.copy_scaling(plan, blue(plan, action)?, *what).await,
            Action::GrowGreen { size } => groups.grow(&plan.green, *size).await,
            Action::ReleaseGreen => groups.release(&plan.green).await,
            Action::Detach { side } => {
                let (group, slot) = side_of(plan, *side, action)?;
                groups.detach(group, slot).await
            }
            Action::DeleteGroup { side } => groups.delete(side_of(plan, *side, action)?.0).await,
        }
    }
}

fn blue<'a>(plan: &'a Plan, action: &Action) -> Result<&'a BluePlan, Fault> {
    plan.blue.as_ref().ok_or_else(|| fault::rejected(action.name(), "a first release has no blue".to_owned()))
}

fn side_of<'a>(plan: &'a Plan, side: Side, action: &Action) -> Result<(&'a GroupName, &'a SlotRef), Fault> {
    Ok(match side {
        Side::Blue => (&blue(plan, action)?.group, &plan.blue_slot),
        Side::Green => (&plan.green.group, &plan.green.slot),
    })
}
