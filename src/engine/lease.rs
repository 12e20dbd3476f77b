//! What a replica has while it works on a deployment, and what it leaves.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::age::RecordClock;
use crate::domain::{
    deployment::{Deployment, Seen},
    event::Event,
};

/// A deployment that this replica may work on until its lease ends.
#[derive(Debug, Clone)]
pub struct Claim {
    pub deployment: Deployment,
    /// The version that was read: every settle names it.
    pub version: i64,
    /// When the lease ends, on this machine's monotonic clock: taken *before* the claim was asked for, so never too late.
    pub lease_ends: Instant,
    /// The same by the database's clock: no two leases of one deployment have it in common.
    pub lease_until: Timestamp,
    /// The time on record.
    pub clock: RecordClock,
}

/// What a settle found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    Stored,
    /// Somebody wrote in between, or the lease is another's: nothing was stored; forget and look again.
    Lost,
    /// Storing it would hold a route, slot, group or rule number that another running deployment holds.
    Held,
}

/// What a tick leaves in the store.
#[derive(Debug)]
pub struct Settlement<'a> {
    pub claim: &'a Claim,
    /// The record as it is to be.
    pub next: &'a Deployment,
    pub events: &'a [Event],
    /// When to look again; the lease is released with it.
    pub due: Duration,
    brings: Brings,
}

/// What is new in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Brings {
    /// Something that somebody may wait for.
    News,
    /// Times and counts of another look.
    Counts,
    /// The time of another look alone.
    SeenAgain,
}

impl<'a> Settlement<'a> {
    /// `glanced`: all that was done was a look that others share, and it showed that all is well.
    #[must_use]
    pub fn new(claim: &'a Claim, next: &'a Deployment, events: &'a [Event], due: Duration, glanced: bool) -> Self {
        let before = &claim.deployment;
        let Seen { at, short, absences, .. } = before.seen.clone();
        let at_that_look = Deployment { seen: Seen { at, short, absences, ..next.seen.clone() }, ..next.clone() };
        let brings = if due.is_zero() || at_that_look != *before {
            Brings::News
        } else if glanced && events.is_empty() && next.seen.short == short {
            Brings::SeenAgain
        } else {
            Brings::Counts
        };
        Self { claim, next, events, due, brings }
    }

    /// Whether anybody but this replica's driver waits for it: not for the times of another look and what it counts, which with many
    /// deployments baking would wake every replica for nothing.
    #[must_use]
    pub fn is_news(&self) -> bool {
        self.brings == Brings::News
    }

    /// Whether it brings nothing but the time of another look: then the record stays as it is, and its version. What was counted stays
    /// too, and is counted on at the next look that changes something; while all is well nothing waits for it.
    #[must_use]
    pub fn is_seen_again(&self) -> bool {
        self.brings == Brings::SeenAgain
    }
}
