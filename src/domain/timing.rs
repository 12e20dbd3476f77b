//! The engine's settings that decisions hang on.

use std::time::Duration;

use jiff::Timestamp;

use super::time;

/// Times and counts of the protocol; `config` fills them in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Twice as long as a signed request lives: what was signed in its first half is dead at its end.
    pub quiet_period: Duration,
    /// How far our clock runs ahead of the provider's: what we sign lives longer by that much.
    pub clock_lead: Duration,
    /// The base is written no sooner than this after the record entered `committing`.
    pub commit_delay: Duration,
    /// Absence is believed after this many looks …
    pub absence_looks: u32,
    /// … the first and the last of them at least this far apart.
    pub absence_spread: Duration,
    /// How long a load balancer may still do what a rule said that was deleted: a group leaves its slot no sooner.
    pub propagation: Duration,
    /// How long green may have fewer healthy servers than its weight needs.
    pub health_patience: Duration,
    /// How long `committing`, `retiring` and `rolling_back` may take before a person is called (waits of the protocol aside).
    pub attention_after: Duration,
    /// How often a phase that is trying to get somewhere looks.
    pub look_every: Duration,
    /// How often a phase that only waits looks.
    pub watch_every: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            quiet_period: Duration::from_secs(600),
            clock_lead: Duration::ZERO,
            commit_delay: Duration::from_secs(2),
            absence_looks: 3,
            absence_spread: Duration::from_secs(2),
            propagation: Duration::from_secs(10),
            health_patience: Duration::from_secs(60),
            attention_after: Duration::from_secs(20 * 60),
            look_every: Duration::from_secs(1),
            watch_every: Duration::from_secs(5),
        }
    }
}

impl Timing {
    /// The whole quiet period, our clock's lead added to each half.
    #[must_use]
    pub fn quiet(&self) -> Duration {
        self.half_quiet().saturating_mul(2)
    }

    /// How long a signed request may still land.
    #[must_use]
    pub fn half_quiet(&self) -> Duration {
        (self.quiet_period / 2).saturating_add(self.clock_lead)
    }

    /// For how long after it was last read a record may be acted on without the database: what is signed last is dead before a
    /// quiet period that began right after that read is over. A tenth less, for clocks that differ and for the call itself.
    #[must_use]
    pub fn serves(&self) -> Duration {
        (self.quiet_period / 2).saturating_sub(self.clock_lead).mul_f64(0.9)
    }

    /// From when on all that was signed by `signed_by` has landed or is dead, *and* every look shows it: what lands last is
    /// not in a read that is stale.
    #[must_use]
    pub fn landed(&self, signed_by: Timestamp) -> Timestamp {
        time::after(time::after(signed_by, self.half_quiet()), self.absence_spread)
    }
}
