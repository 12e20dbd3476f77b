//! The engine's settings, with the limits that hold whatever is configured.

use std::time::Duration;

use crate::domain::{orphan::Terms, timing::Timing};

/// How the engine paces itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineSettings {
    pub timing: Timing,
    /// How long a claim lasts.
    pub lease: Duration,
    /// A cloud call ends this much before its lease does.
    pub lease_margin: Duration,
    /// How long one look may take.
    pub look_timeout: Duration,
    /// How long one changing call may take, from signing to answer.
    pub act_timeout: Duration,
    /// Ticks at once in this process.
    pub concurrency_max: usize,
    /// Due work is looked for at least this often: the fallback when no notification comes.
    pub poll_every: Duration,
    /// How often the rollback lane's copies of running deployments are held against the database.
    pub confirm_every: Duration,
    /// Running deployments that one replica keeps warm.
    pub bundles_max: usize,
    /// Intents to roll back that are put on record at once: as many as the lane has connections.
    pub lane_commits_max: usize,
    /// How long a request of the rollback lane tries before it answers 202.
    pub rollback_tries_for: Duration,
    /// How long a rollback waits for the database before it goes on without it.
    pub record_patience: Duration,
    /// For how long tokens are known that the database was last asked for: who may roll back while it is away.
    pub tokens_kept_for: Duration,
    /// How long a request that only looks waits for the cloud.
    pub survey_timeout: Duration,
    /// For this long after it ended, a rolled-back deployment answers a further rollback of its service.
    pub rollback_repeats_for: Duration,
    pub sweeper: SweeperSettings,
}

/// How the sweeper paces itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweeperSettings {
    pub enabled: bool,
    /// From the end of one sweep to the beginning of the next, whichever replica makes it.
    pub every: Duration,
    pub terms: Terms,
}

impl Default for SweeperSettings {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        let terms = Terms { remove: true, report_after: minutes(10), remove_after: minutes(24 * 60) };
        Self { enabled: true, every: minutes(10), terms }
    }
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            timing: Timing::default(),
            lease: Duration::from_secs(10),
            lease_margin: Duration::from_secs(1),
            look_timeout: Duration::from_secs(4),
            act_timeout: Duration::from_secs(2),
            concurrency_max: 32,
            poll_every: Duration::from_secs(5),
            confirm_every: Duration::from_millis(500),
            bundles_max: 2000,
            lane_commits_max: 4,
            rollback_tries_for: Duration::from_secs(5),
            record_patience: Duration::from_millis(250),
            tokens_kept_for: Duration::from_secs(24 * 3600),
            survey_timeout: Duration::from_secs(5),
            rollback_repeats_for: Duration::from_secs(600),
            sweeper: SweeperSettings::default(),
        }
    }
}
