//! What may be done to the world. Every action is idempotent and names only what the plan or the record named.

use super::{ids::RuleRef, phase::Phase, weight::Weight};

/// Blue or green.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Blue,
    Green,
}

/// What is copied to green.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scaling {
    /// Target-tracking policies: while green is at its pinned minimum they can only add servers.
    Policies,
    /// Scheduled actions set sizes outright, so they come when nobody can go back any more.
    Scheduled,
}

/// One change of the world. Those of several routes are sent side by side.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// Blue's minimum becomes its size, and the provider is told to refuse its deletion.
    PinBlue,
    /// Blue's minimum and protection become what they were.
    UnpinBlue,
    /// Green's group, at the planned size, in its slot.
    CreateGreen,
    /// What scales blue scales green too.
    CopyScaling { what: Scaling },
    /// Green's minimum is raised to blue's present size, and its size with it.
    GrowGreen { size: u32 },
    /// Green's minimum becomes the declared one.
    ReleaseGreen,
    /// One overlay a route (indices into the plan), at weight 0 and never at another.
    OpenOverlays { routes: Vec<usize> },
    /// One rule a route that sends requests with the declared header to green, on the shield's number.
    OpenPreviews { routes: Vec<usize> },
    /// The weight of recorded overlays.
    SetWeight { routes: Vec<(usize, RuleRef)>, weight: Weight },
    /// Overlays that somebody edited, or whose base: conditions, actions and weight of each by one call.
    ReshapeOverlays { shapes: Vec<Shape> },
    /// The base of these routes as the plan has it, forwarding to blue alone. Its number stays as it is.
    RestoreBases { routes: Vec<usize> },
    /// The base of these routes forwards to one side alone.
    SetBase { routes: Vec<usize>, to: Side },
    /// A rule above the overlay that forwards to blue alone.
    RaiseShields { routes: Vec<usize> },
    /// Rules of ours, gone already or not.
    DeleteRules { rules: Vec<RuleRef> },
    /// Takes a group out of its slot; its servers drain.
    Detach { side: Side },
    /// Removes a group whose slot is empty, protection first.
    DeleteGroup { side: Side },
}

/// A recorded overlay as it is to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape {
    pub route: usize,
    pub rule: RuleRef,
    pub weight: Weight,
    /// The base that it is an overlay of, in the adapter's own form.
    pub form: serde_json::Value,
}

impl Action {
    /// Whether, in `phase`, somebody's traffic to green ends by it: nothing else may go before it.
    #[must_use]
    pub fn is_the_way_back(&self, phase: &Phase) -> bool {
        match self {
            Self::RaiseShields { .. } | Self::SetBase { to: Side::Blue, .. } => true,
            Self::DeleteRules { .. } => matches!(phase, Phase::RollingBack { .. }),
            Self::SetBase { to: Side::Green, .. }
            | Self::PinBlue
            | Self::UnpinBlue
            | Self::CreateGreen
            | Self::CopyScaling { .. }
            | Self::GrowGreen { .. }
            | Self::ReleaseGreen
            | Self::OpenOverlays { .. }
            | Self::OpenPreviews { .. }
            | Self::SetWeight { .. }
            | Self::ReshapeOverlays { .. }
            | Self::RestoreBases { .. }
            | Self::Detach { .. }
            | Self::DeleteGroup { .. } => false,
        }
    }

    /// Its name in logs, events and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::PinBlue => "pin_blue",
            Self::UnpinBlue => "unpin_blue",
            Self::CreateGreen => "create_green",
            Self::CopyScaling { what: Scaling::Policies } => "copy_scaling_policies",
            Self::CopyScaling { what: Scaling::Scheduled } => "copy_scheduled_actions",
            Self::GrowGreen { .. } => "grow_green",
            Self::ReleaseGreen => "release_green",
            Self::OpenOverlays { .. } => "open_overlays",
            Self::OpenPreviews { .. } => "open_previews",
            Self::SetWeight { .. } => "set_weight",
            Self::ReshapeOverlays { .. } => "reshape_overlays",
            Self::RestoreBases { .. } => "restore_bases",
            Self::SetBase { .. } => "set_base",
            Self::RaiseShields { .. } => "raise_shields",
            Self::DeleteRules { .. } => "delete_rules",
            Self::Detach { .. } => "detach",
            Self::DeleteGroup { .. } => "delete_group",
        }
    }
}
