//! What goes wrong with its changes.

use cutover::{
    domain::{action::Action, deployment::Deployment, lane},
    engine::ports::{Fault, FaultKind},
};

use super::{World, fault};

impl World {
    /// Whether this change is never answered.
    pub(super) fn takes_a_hang(&mut self) -> bool {
        self.attempts += 1;
        let left = self.hang;
        self.hang = left.saturating_sub(1);
        left > 0
    }

    pub(super) fn refuses(&self, d: &Deployment, action: &Action) -> Result<(), Fault> {
        if let Some(kind) = self.refuse {
            return Err(fault(kind));
        }
        match lane::by_route(action, d).iter().any(|(route, _)| Some(*route) == self.refuse_on) {
            true => Err(fault(FaultKind::Transient)),
            false => Ok(()),
        }
    }
}
