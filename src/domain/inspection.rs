//! What a person wants to know before a deployment: the survey, with what could not be seen of it, and the surroundings that no
//! plan hangs on. Each part may be missing by itself; `preflight` judges what is there.

use std::collections::BTreeSet;

use super::{
    ids::{LoadBalancerRef, TargetGroupRef},
    survey::{Naming, Survey},
};

/// A look that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unseen {
    /// For lack of rights or credentials: it will not heal by itself.
    pub denied: bool,
    /// The call, the provider's code, its words and the request's id.
    pub why: String,
}

/// What one look showed.
pub type Looked<T> = Result<T, Unseen>;

/// A part of the survey that may not have been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A route, by its index in the declaration.
    Route(usize),
    Slot(usize),
    /// The group that serves, and whether green's name is taken.
    Groups,
    /// What scales the group that serves.
    Scaling,
}

/// Everything that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Without what is in `unseen`; with the namings of every listener that could be seen.
    pub survey: Survey,
    pub unseen: Vec<(Part, Unseen)>,
    /// Those that the routes are on.
    pub load_balancers: Vec<BalancerSurvey>,
    pub quotas: Looked<Quotas>,
    pub groups: Looked<Groups>,
}

/// One load balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalancerSurvey {
    pub load_balancer: LoadBalancerRef,
    pub seen: Looked<Balancer>,
    pub rules: Looked<Rules>,
}

/// What it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balancer {
    /// It has rules, and so room for overlays.
    pub takes_rules: bool,
    /// Its kind in the provider's words.
    pub kind: String,
    /// The host name that it is reached by.
    pub host: String,
}

/// The rules of all its listeners.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Default actions aside.
    pub count: u32,
    /// Where any of them forwards, default actions included.
    pub target_groups: BTreeSet<TargetGroupRef>,
    /// By listeners that no route is on.
    pub namings: Vec<Naming>,
}

/// What the account may have; `None` where the provider did not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quotas {
    pub rules_per_load_balancer: Option<u32>,
    pub target_groups_per_action: Option<u32>,
    pub target_groups_per_load_balancer: Option<u32>,
}

/// Server groups in the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Groups {
    pub there: u32,
    pub at_most: u32,
}
