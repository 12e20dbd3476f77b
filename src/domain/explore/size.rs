//! How large a world is, and what one step in it was.

use super::world::Call;
use crate::domain::{
    command::{Command, PromoteTo},
    weight::Weight,
};

/// The size of a world: which dimensions it has, and how large they are.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub name: &'static str,
    pub routes: usize,
    /// Percent at each stage.
    pub stages: &'static [u16],
    /// Each stop is held for a unit; else not at all.
    pub bakes: bool,
    pub deadlines: bool,
    pub replicas: usize,
    /// A replica may stall between claiming and looking.
    pub split_looks: bool,
    pub crashes: bool,
    /// Calls under way at once.
    pub flights: usize,
    /// Calls that are late or lost in one story; `u8::MAX`: any number.
    pub late: u8,
    /// For how many units a read may be stale, the one of the change included; 0: never.
    pub stale: u8,
    /// Absence is believed after two looks this many units apart. A unit is long; where nothing lags, the harder world is
    /// one in which two looks at once will do.
    pub spread: u8,
    pub unknown: bool,
    pub sickness: bool,
    /// Nodes of the load balancer may lag behind.
    pub lags: bool,
    pub lane: bool,
    /// How often a replica with a lane loses the database: it goes by what it remembers from then on.
    pub offline: u8,
    pub commands: &'static [Command],
    /// Acts of a person at the provider's command line, who deletes overlays, raises shields or lowers blue's minimum.
    pub hand: u8,
    /// Edits of rules by a person at the console.
    pub edits: u8,
    /// A preview is declared, open for a unit.
    pub preview: bool,
    /// A second deployment follows the first.
    pub next: bool,
}

/// What one step was, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Claim(usize),
    Look(usize, &'static str),
    Send(usize, u8),
    Settle(usize, bool),
    Crash(usize),
    LeaseEnds,
    Lands(Call),
    Dies(Call),
    Clock,
    Sickens(u8),
    Heals(u8),
    Drained(u8),
    Gone(u8),
    Propagates(u8),
    CatchesUp,
    Command(Command),
    LaneStarts(bool),
    LaneCalls(u8),
    LaneCommits(bool),
    LaneAnswers,
    LaneGivesUp,
    DatabaseLost,
    /// How it knows that it may send.
    OfflineStarts(&'static str),
    OfflineCalls(u8),
    OfflineGivesUp,
    Replayed,
    ShieldsByHand,
    OverlaysDeletedByHand,
    BlueLoweredByHand,
    EditedByHand(&'static str),
    NextDeployment,
}

/// All that an operator may ask for.
pub const ALL_COMMANDS: &[Command] = &[
    Command::Cancel,
    Command::Promote(PromoteTo::Next),
    Command::Promote(PromoteTo::Full),
    Command::Pause,
    Command::Resume,
    Command::Weight(Weight::NONE),
    Command::Weight(Weight::ALL),
    Command::Rollback,
    Command::Abandon,
];

/// What becomes of a drift, and the way back.
pub const ANSWERS: &[Command] = &[Command::Adopt, Command::Restore, Command::Rollback];

/// What moves weight, and the way back.
pub const STEERING: &[Command] =
    &[Command::Rollback, Command::Weight(Weight::NONE), Command::Weight(Weight::ALL), Command::Resume];
