//! One state of a story: the world, the store, the replicas and what is under way. Small, so that many fit.

use super::{
    mind::{ActId, RecId},
    world::{Call, Scene},
};

/// Where a replica is with its tick. It may stall anywhere, for as long as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Replica {
    Idle,
    /// Holds a record as read; `fresh` while nobody has written it since.
    Claimed {
        rec: RecId,
        fresh: bool,
    },
    /// Has looked and decided to act; nothing is sent.
    Acting {
        act: ActId,
        rec: RecId,
        settle: RecId,
        accepted: RecId,
        fresh: bool,
    },
    /// Has something to store.
    Settling {
        rec: RecId,
        fresh: bool,
    },
}

impl Replica {
    /// Somebody else wrote the record.
    pub fn outdated(self) -> Self {
        match self {
            Self::Idle => Self::Idle,
            Self::Claimed { rec, .. } => Self::Claimed { rec, fresh: false },
            Self::Acting { act, rec, settle, accepted, .. } => Self::Acting { act, rec, settle, accepted, fresh: false },
            Self::Settling { rec, .. } => Self::Settling { rec, fresh: false },
        }
    }
}

/// Where the rollback lane is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    Idle,
    /// Sends at once what its copy allows; the commit has not happened yet.
    Early {
        act: ActId,
    },
    /// The early call is over; the commit comes.
    Committing {
        done: Option<ActId>,
        late: bool,
    },
    /// Committed; sends what is still to be accepted, `acts[at]` first.
    Sending {
        acts: [Option<ActId>; 2],
        late: bool,
    },
}

impl Lane {
    /// A unit of time later: an attempt may outlive one end of a unit, never two.
    pub fn older(self) -> Self {
        match self {
            Self::Committing { done, late: false } => Self::Committing { done, late: true },
            Self::Sending { acts, late: false } => Self::Sending { acts, late: true },
            // The early call has a deadline of its own: as long as the copy may be trusted.
            Self::Early { .. } => Self::Committing { done: None, late: true },
            Self::Idle | Self::Committing { late: true, .. } | Self::Sending { late: true, .. } => Self::Idle,
        }
    }
}

/// Where the lane of a replica is that has lost the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Offline {
    /// It has the database.
    Not,
    /// It has not: the record as it was last read, and how many units ago.
    Since { bundle: RecId, age: u8 },
    /// Sends `act`; once it is accepted, `answers` says whether that is the answer. Nothing is signed more than `left` units later.
    Sending { act: ActId, then: Option<ActId>, of: u8, answers: bool, left: u8 },
}

/// A call that was signed and sent and may still land.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flight {
    pub call: Call,
    /// Units since it was signed.
    pub age: u8,
}

/// Everything that the future depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    pub scene: Scene,
    /// What a stale read shows: the world as it was a while ago, and for how many units it has shown that.
    pub stale: Option<(Scene, u8)>,
    /// The record of the deployment that runs, or ran last.
    pub rec: RecId,
    /// Which replica has a live lease.
    pub holder: Option<u8>,
    pub replicas: [Replica; 2],
    pub lane: Lane,
    /// The deployment that the lane was asked to take back.
    pub lane_of: u8,
    pub offline: Offline,
    pub flights: [Option<Flight>; 2],
    /// A rollback of this deployment was acknowledged.
    pub acked: bool,
    /// Units since the last deployment may still have signed something that the next one must not meet.
    pub quiet: u8,
    /// Calls that may still be lost or late, and acts of a person at the console that are left.
    pub late_left: u8,
    pub offline_left: u8,
    pub hand_left: u8,
    /// Edits of rules that are left to a person at the console.
    pub edits_left: u8,
}

impl State {
    pub fn fly(&mut self, call: Call) {
        let free = self.flights.iter_mut().find(|flight| flight.is_none()).expect("asked for room first");
        *free = Some(Flight { call, age: 0 });
        self.flights.sort_unstable();
    }

    /// The record was written by `writer`; everybody else's copy is old.
    pub fn written(&mut self, rec: RecId, writer: Option<usize>) {
        self.rec = rec;
        for (i, replica) in self.replicas.iter_mut().enumerate() {
            if writer != Some(i) {
                *replica = replica.outdated();
            }
        }
    }
}
