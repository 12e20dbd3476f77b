//! A drill: the way back, tried on the real route while nothing is being released.
//!
//! A rollback is the deletion of one rule. So a drill opens such a rule, on the number that the next overlay would get, and deletes
//! it. It forwards to where the base forwards *alone*: whatever happens to it, or to whoever holds it, users are served by the same
//! servers. What is measured is what a rollback would take: from sending the deletion until it is seen on every route.
//!
//! It is a record with phases of its own, like a deployment's and much shorter, and it ends only when its rule is seen gone: a
//! drill whose holder died is closed by whoever claims it next. It never starts beside a deployment; one that is created
//! meanwhile waits in `pending` (`decide::start`).

mod decide;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::decide::{Action, Decision, Look, RouteSight, decide, noted};
use super::{
    declaration::Declaration,
    deployment::{Live, ProviderTrouble},
    ids::{DrillId, SlotRef, Target},
    looks::Looks,
    plan::RoutePlan,
    schedule::Schedule,
    time,
};

/// What is declared of a service's drills.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillSpec {
    /// `None`: only when somebody asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// A way back that takes longer needs a person.
    #[serde(with = "time::text")]
    pub budget: Duration,
}

impl Default for DrillSpec {
    fn default() -> Self {
        Self { schedule: None, budget: Duration::from_secs(10) }
    }
}

/// One drill of one service/environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drill {
    pub id: DrillId,
    pub target: Target,
    pub reason: Option<String>,
    pub created_by: String,
    pub created_at: Timestamp,
    /// When it was due; `None` of one that somebody asked for.
    pub scheduled_for: Option<Timestamp>,
    /// As it was when the drill was created.
    pub declaration: Declaration,
    pub live: Option<Live>,

    pub phase: Phase,
    pub phase_since: Timestamp,
    /// Made once, on leaving `pending`; never changed after.
    pub plan: Option<DrillPlan>,
    pub opening: Change,
    pub deletion: Change,
    /// A route: since when its rule is not seen any more, while `closing`.
    pub gone: Vec<Looks>,
    /// The last change that the provider did not accept; `None` once one was.
    pub trouble: Option<ProviderTrouble>,
    /// What went wrong first.
    pub failure: Option<String>,
    pub outcome: Option<Outcome>,
    pub ended_at: Option<Timestamp>,
    /// What happened, in order. A drill has few steps, so these are few.
    pub events: Vec<DrillEvent>,
}

/// Where a drill stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing was changed yet: is anybody at work on the route, and is there room for a rule?
    Pending,
    /// Until the rule is seen on every route.
    Opening,
    /// Until it is seen gone from every route, for as long as it takes.
    Closing,
    Ended,
}

/// How a drill ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Within its budget.
    Passed,
    /// The way back works, and took longer than its budget.
    Slow,
    Failed,
    /// A deployment was there first: nothing was changed.
    Skipped,
}

/// Everything fixed before the first change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillPlan {
    /// Where the base forwards to, and the rule alone.
    pub slot: SlotRef,
    pub routes: Vec<RoutePlan>,
}

/// A change of all routes, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Change {
    /// When it was sent first.
    pub sent_at: Option<Timestamp>,
    /// When it was accepted on every route.
    pub accepted_at: Option<Timestamp>,
    /// When it was seen on every route.
    pub seen_at: Option<Timestamp>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillEvent {
    pub at: Timestamp,
    pub kind: String,
    pub message: String,
}

/// What the records know of drills on a deployment's routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Drilled {
    /// One has not ended: its rule may be there.
    pub running: bool,
    /// When the last one ended that may have made a rule.
    pub ended_at: Option<Timestamp>,
}

impl Phase {
    /// As the API writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Opening => "opening",
            Self::Closing => "closing",
            Self::Ended => "ended",
        }
    }
}

impl Outcome {
    pub const ALL: [Self; 4] = [Self::Passed, Self::Slow, Self::Failed, Self::Skipped];

    /// As the API writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Slow => "slow",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl Change {
    /// From the first sending to the accepting.
    #[must_use]
    pub fn accepted_after(&self) -> Option<Duration> {
        Some(time::between(self.sent_at?, self.accepted_at?))
    }

    /// From the first sending until it was seen everywhere.
    #[must_use]
    pub fn seen_after(&self) -> Option<Duration> {
        Some(time::between(self.sent_at?, self.seen_at?))
    }
}

/// A drill that has not ended by then needs a person.
const ATTENTION_AFTER: Duration = Duration::from_secs(120);

impl Drill {
    /// A way back that takes longer needs a person.
    #[must_use]
    pub fn budget(&self) -> Duration {
        self.declaration.drill.clone().unwrap_or_default().budget
    }

    /// A sentence for a person; `None` when nobody is needed.
    #[must_use]
    pub fn attention(&self, now: Timestamp) -> Option<String> {
        let failure = self.failure.as_deref().unwrap_or("it failed");
        match self.outcome {
            Some(Outcome::Passed | Outcome::Skipped) => None,
            Some(Outcome::Failed) => Some(format!("the last drill of the way back failed: {failure}")),
            Some(Outcome::Slow) => Some(format!("the last drill of the way back was too slow: {failure}")),
            None if time::between(self.created_at, now) < ATTENTION_AFTER => None,
            None => {
                let why = self.trouble.as_ref().map_or("it is not seen gone", |trouble| trouble.words.as_str());
                let phase = self.phase.name();
                Some(format!("a drill does not end ({phase}): {why}; users are served as before, and deployments wait for it"))
            }
        }
    }

    fn entering(&self, phase: Phase, now: Timestamp) -> Self {
        Self { phase, phase_since: now, trouble: None, gone: Vec::new(), ..self.clone() }
    }

    fn telling(mut self, kind: &'static str, message: String, now: Timestamp) -> Self {
        self.events.push(DrillEvent { at: now, kind: kind.to_owned(), message });
        self
    }
}
