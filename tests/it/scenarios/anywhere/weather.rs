//! What is broken while somebody asks to go back: how, and for how long.

use std::time::Duration;

use cutover_sim::faults::{Effect, Fault};

use crate::support::{false_clock::FalseClock, small_disk::SmallDisk};

/// AWS is away for longer than any one wait: the 5 s of trying, a lease (3 s), a look (4 s), a change (2 s).
pub const OUTAGE: Duration = Duration::from_secs(8);
/// Ten minutes are twice as long as a signed request lives, which is 6 s here, and as a whole quiet period; and a little more, because
/// that is lengthened by what a clock of whole seconds may be ahead.
const CLOCK_SECONDS: i64 = 18;

/// The state of the world in which a rollback is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weather {
    Healthy,
    PostgresDown,
    /// It is back at once, and every connection is dead.
    PostgresRestarted,
    /// 95 of 100 calls.
    Throttled,
    ServerErrors,
    Blackhole,
    /// Whoever works on it stops with a call under way, and goes on when the rollback is accepted: so does the call.
    HolderPaused,
    /// Whoever does not hold the lease is asked.
    TwoReplicas,
    ClockAhead,
    ClockBehind,
    DiskFull,
    DiskFullPostgresDown,
}

impl Weather {
    pub const ALL: [Self; 12] = [
        Self::Healthy,
        Self::PostgresDown,
        Self::PostgresRestarted,
        Self::Throttled,
        Self::ServerErrors,
        Self::Blackhole,
        Self::HolderPaused,
        Self::TwoReplicas,
        Self::ClockAhead,
        Self::ClockBehind,
        Self::DiskFull,
        Self::DiskFullPostgresDown,
    ];

    /// Why it cannot be made here, if so.
    pub fn cannot(self) -> Option<String> {
        match self {
            Self::ClockAhead | Self::ClockBehind => FalseClock::cannot(),
            Self::DiskFull | Self::DiskFullPostgresDown => SmallDisk::cannot(),
            _ => None,
        }
    }

    pub fn replicas(self) -> usize {
        if matches!(self, Self::HolderPaused | Self::TwoReplicas) { 2 } else { 1 }
    }

    pub fn has_small_disk(self) -> bool {
        matches!(self, Self::DiskFull | Self::DiskFullPostgresDown)
    }

    /// How far the service's clock is stepped.
    pub fn clock_seconds(self) -> Option<i64> {
        match self {
            Self::ClockAhead => Some(CLOCK_SECONDS),
            Self::ClockBehind => Some(-CLOCK_SECONDS),
            _ => None,
        }
    }

    pub fn is_without_database(self) -> bool {
        matches!(self, Self::PostgresDown | Self::DiskFullPostgresDown)
    }

    /// What befalls every call of AWS's.
    pub fn of_aws(self) -> Option<Fault> {
        let each = |effect| Fault { operation: None, ..Fault::on("", effect) };
        match self {
            Self::Throttled => Some(Fault { chance: Some(0.95), ..each(Effect::throttled()) }),
            Self::ServerErrors => Some(each(Effect::internal_failure())),
            Self::Blackhole => Some(each(Effect::Hang)),
            _ => None,
        }
    }

    /// Whether no call at all is accepted while it lasts.
    pub fn accepts_nothing(self) -> bool {
        matches!(self, Self::ServerErrors | Self::Blackhole)
    }
}
