//! Bodies of requests, for the API document. They are read by `domain::spec`, which tells every fault at once.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Percent, StrategyView};

/// A release as asked for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Release)]
#[serde(deny_unknown_fields)]
pub struct ReleaseBody {
    /// `ami-…`, or a version of the declared launch template, `lt:7`.
    #[schema(pattern = "^(ami-[0-9a-f]{1,17}|lt:[1-9][0-9]{0,9})$", example = "ami-0bb2")]
    pub image: String,
    /// A free label: a version, a git sha.
    #[schema(min_length = 1, max_length = 128, example = "8.3.0")]
    pub version: Option<String>,
    #[schema(max_length = 500, example = "release 8.3.0")]
    pub reason: Option<String>,
    /// Replaces the declared strategy whole.
    pub strategy: Option<StrategyView>,
    /// What to do when a deployment runs already.
    pub on_conflict: Option<OnConflict>,
}

/// What a second deployment does.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// It is refused with the link of the one that runs.
    Reject,
}

/// A command with nothing but a reason.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reason)]
#[serde(deny_unknown_fields)]
pub struct ReasonBody {
    #[schema(max_length = 500, example = "INC-1")]
    pub reason: Option<String>,
}

/// How far a promote goes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PromoteWord {
    /// Past the rest of this stage; in `baking`: commit now.
    Next,
    /// To 100 %, then bake; in `baking`: commit now.
    Full,
}

/// `promote`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Promote)]
#[serde(deny_unknown_fields)]
pub struct PromoteBody {
    /// Left out: `next`.
    pub to: Option<PromoteWord>,
    #[schema(max_length = 500)]
    pub reason: Option<String>,
}

/// An operator's own weight.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SetWeight)]
#[serde(deny_unknown_fields)]
pub struct WeightBody {
    #[schema(inline)]
    pub green: Percent,
    #[schema(max_length = 500)]
    pub reason: Option<String>,
}
