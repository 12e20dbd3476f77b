//! Where the engine is with a deployment. Each phase carries only its own data; nothing else says where a thing stands.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::weight::Weight;

/// Where the engine is. Only the engine writes it; commands write `Intent`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Phase {
    /// Preflight; nothing was changed yet but leftovers of ended deployments.
    Pending,
    /// Blue pinned, green coming up, the overlay open at 0.
    Provisioning,
    /// Green healthy at weight 0.
    Verifying,
    /// `weight` is wanted on the overlay.
    Shifting {
        /// Index of the stage; by hand, of the last one reached before.
        stage: usize,
        weight: Weight,
        /// An operator's own weight: stays until resumed.
        by_hand: bool,
        /// Promoted to full: the stage's own bake is skipped.
        hurry: bool,
        /// When the weight was first seen on every route: the bake runs from here.
        seen_at: Option<Timestamp>,
    },
    /// All traffic on green by overlay; the base still says blue.
    Baking {
        seen_at: Option<Timestamp>,
        /// Promoted: commit without waiting for the bake.
        commit_now: bool,
    },
    /// The base is being moved to green under the overlay.
    Committing {
        /// When the base was first seen on green and the overlay all-green, on every route: the quiet period runs from here.
        quiet_since: Option<Timestamp>,
    },
    /// The overlay goes, then blue. No way back from here.
    Retiring,
    /// The overlay goes, then green.
    RollingBack {
        /// The base may be on green: a shield goes up first.
        shield: bool,
        ends: BackAs,
    },
    Succeeded,
    RolledBack,
    Cancelled,
    /// An administrator's `abandon`: Cutover let go.
    Failed,
}

/// What a deployment that goes back ends as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackAs {
    RolledBack,
    Cancelled,
}

impl Phase {
    /// The phase's name in the API.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Provisioning => "provisioning",
            Self::Verifying => "verifying",
            Self::Shifting { .. } => "shifting",
            Self::Baking { .. } => "baking",
            Self::Committing { .. } => "committing",
            Self::Retiring => "retiring",
            Self::RollingBack { .. } => "rolling_back",
            Self::Succeeded => "succeeded",
            Self::RolledBack => "rolled_back",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing will ever change again.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Succeeded | Self::RolledBack | Self::Cancelled | Self::Failed)
    }

    /// Whether the deployment is still on its way to green and may go back.
    #[must_use]
    pub fn may_go_back(&self) -> bool {
        matches!(
            self,
            Self::Pending
                | Self::Provisioning
                | Self::Verifying
                | Self::Shifting { .. }
                | Self::Baking { .. }
                | Self::Committing { .. }
        )
    }

    /// Whether the base may have been written: from here on going back needs a shield.
    #[must_use]
    pub fn base_may_be_green(&self) -> bool {
        matches!(self, Self::Committing { .. } | Self::Retiring | Self::Succeeded)
    }

    /// Whether a pause holds anything here.
    #[must_use]
    pub fn can_pause(&self) -> bool {
        self.may_go_back() && !self.base_may_be_green()
    }

    /// The weight that this phase wants on the overlay.
    #[must_use]
    pub fn wants(&self) -> Weight {
        match self {
            Self::Shifting { weight, .. } => *weight,
            Self::Baking { .. } | Self::Committing { .. } | Self::Retiring | Self::Succeeded => Weight::ALL,
            Self::Pending
            | Self::Provisioning
            | Self::Verifying
            | Self::RollingBack { .. }
            | Self::RolledBack
            | Self::Cancelled
            | Self::Failed => Weight::NONE,
        }
    }
}
