//! Settings of the service: built-in defaults < file < environment < flags.
//!
//! `config/default.toml` is both the reference for people and the lowest layer, so a default cannot be documented wrongly.
//! `Config::read` is the one place that knows a key's type and bounds.

mod reader;

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    cloud::aws::{AwsSettings, BudgetSettings, Grant},
    domain::{orphan::Terms, preflight::OwnHosts, time::show_duration, timing::Timing},
    engine::settings::{EngineSettings, SweeperSettings},
    store::StoreSettings,
};

use reader::Reader;
pub use reader::{DEFAULTS, Fault};

/// AWS accepts a signed request for 5 minutes; the quiet period is twice that.
const QUIET_PERIOD_SAFE: Duration = Duration::from_secs(600);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Everything `cutover serve` can be told.
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    /// `None`: the place that suits the user who starts it.
    pub state_dir: Option<PathBuf>,
    /// What the doctor compares with the routes.
    pub own: OwnHosts,
    pub database: Database,
    pub engine: EngineSettings,
    pub aws: AwsSettings,
    /// Where the metrics are, and then only there; `None`: beside the API.
    pub metrics_listen: Option<SocketAddr>,
    pub log: Log,
    /// Accepted, but somebody should know.
    pub warnings: Vec<String>,
}

/// Postgres.
#[derive(Debug, Clone)]
pub struct Database {
    /// `None`: an embedded one.
    pub url: Option<SecretString>,
    /// Binaries of the embedded one; `None` looks for them.
    pub bin_dir: Option<PathBuf>,
    pub connections_max: u32,
    pub rollback_connections_max: u32,
    pub statement_timeout: Duration,
    pub rollback_statement_timeout: Duration,
    pub acquire_timeout: Duration,
}

/// Log lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    pub filter: String,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    Text,
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

/// Where settings come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    pub file: Option<PathBuf>,
    /// The process's environment; only `CUTOVER__…` is looked at.
    pub environment: HashMap<String, String>,
    /// Key, flag, value.
    pub flags: Vec<(&'static str, &'static str, String)>,
}

/// All that is wrong with the settings, at once.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} fault(s):{}", .0.len(), .0.iter().map(|fault| format!("\n  {fault}")).collect::<String>())]
pub struct Faults(pub Vec<Fault>);

impl Config {
    /// Reads all layers.
    ///
    /// # Errors
    /// Every fault, each with its key and where it was set.
    pub fn load(sources: Sources) -> Result<Self, Faults> {
        let mut reader = Reader::new();
        if let Some(path) = &sources.file {
            reader.file(path);
        }
        reader.environment(sources.environment.into_iter().collect());
        for (key, flag, value) in sources.flags {
            reader.flag(key, flag, value);
        }
        let config = Self::read(&mut reader);
        match reader.into_faults() {
            faults if faults.is_empty() => Ok(config),
            faults => Err(Faults(faults)),
        }
    }

    fn read(from: &mut Reader) -> Self {
        let listen = address(from, "listen");
        let metrics_listen = from.optional("metrics.listen").map(|_| address(from, "metrics.listen"));
        if metrics_listen == Some(listen) && listen.port() != 0 {
            from.wrong("metrics.listen", "must not be the address in listen: leave it empty to have the metrics there");
        }
        let mut engine = engine(from);
        let mut warnings = Vec::new();
        if engine.timing.quiet_period < QUIET_PERIOD_SAFE {
            warnings.push(format!(
                "engine.quiet_period is {}, shorter than {}: on AWS a late request could still land after it; for tests only",
                show_duration(engine.timing.quiet_period),
                show_duration(QUIET_PERIOD_SAFE)
            ));
        }
        let database = Database::read(from);
        engine.lane_commits_max = database.rollback_connections_max as usize;
        let own = OwnHosts { api: public_host(from), database: database.host() };
        if database.url.is_some() && from.is_given("database.bin_dir") {
            warnings.push("database.bin_dir is not used, because database.url is set".to_owned());
        }
        Self {
            listen,
            metrics_listen,
            state_dir: from.optional("state_dir").map(PathBuf::from),
            own,
            database,
            aws: AwsSettings {
                region: from.text("aws.region"),
                connect_timeout: from.duration("aws.connect_timeout", ms(100)..=secs(30)),
                look_timeout: engine.look_timeout.max(engine.survey_timeout),
                change_timeout: engine.act_timeout,
                budget: budget(from),
            },
            engine,
            log: Log {
                format: from.parsed("log.format", "\"auto\", \"text\" or \"json\"", LogFormat::Auto),
                filter: from.text("log.filter"),
            },
            warnings,
        }
    }
}

impl Database {
    /// What the store is opened with, on the configured database or on the embedded one at `url`.
    #[must_use]
    pub fn store(&self, url: SecretString) -> StoreSettings {
        StoreSettings {
            url,
            connections_max: self.connections_max,
            lane_connections_max: self.rollback_connections_max,
            acquire_timeout: self.acquire_timeout,
            statement_timeout: self.statement_timeout,
            lane_statement_timeout: self.rollback_statement_timeout,
        }
    }

    /// The host that it is on; `None`: this machine.
    fn host(&self) -> Option<String> {
        let url = Url::parse(self.url.as_ref()?.expose_secret()).ok()?;
        url.host_str().filter(|host| !host.is_empty() && !host.starts_with('%')).map(str::to_owned)
    }

    fn read(from: &mut Reader) -> Self {
        let url = from.optional("database.url");
        if url.as_ref().is_some_and(|url| !url.starts_with("postgres://") && !url.starts_with("postgresql://")) {
            from.wrong("database.url", "must be postgres://user:password@host/name, or empty for an embedded Postgres");
        }
        Self {
            url: url.map(SecretString::from),
            bin_dir: from.optional("database.bin_dir").map(PathBuf::from),
            connections_max: from.number("database.connections_max", 2..=200),
            rollback_connections_max: from.number("database.rollback_connections_max", 1..=50),
            statement_timeout: from.duration("database.statement_timeout", ms(100)..=secs(60)),
            rollback_statement_timeout: from.duration("database.rollback_statement_timeout", ms(100)..=secs(10)),
            acquire_timeout: from.duration("database.acquire_timeout", ms(100)..=secs(60)),
        }
    }
}

fn address(from: &mut Reader, key: &str) -> SocketAddr {
    from.parsed(key, "an address and a port, such as \"127.0.0.1:8080\"", SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
}

fn public_host(from: &mut Reader) -> Option<String> {
    let url = from.optional("public_url")?;
    let read = Url::parse(&url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let host = read.as_ref().and_then(Url::host_str).map(str::to_owned);
    if host.is_none() {
        from.wrong("public_url", "must be http://HOST or https://HOST, or empty");
    }
    host
}

fn timing(from: &mut Reader) -> Timing {
    Timing {
        // Measured while running, never configured.
        clock_lead: Duration::ZERO,
        quiet_period: from.duration("engine.quiet_period", secs(1)..=DAY),
        commit_delay: from.duration("engine.commit_delay", secs(0)..=secs(60)),
        absence_looks: from.number("engine.absence_looks", 2..=20),
        absence_spread: from.duration("engine.absence_spread", ms(100)..=secs(60)),
        propagation: from.duration("engine.propagation", ms(0)..=secs(300)),
        health_patience: from.duration("engine.health_patience", secs(1)..=secs(3600)),
        attention_after: from.duration("engine.attention_after", secs(10)..=DAY),
        look_every: from.duration("engine.look_every", ms(50)..=secs(60)),
        watch_every: from.duration("engine.watch_every", ms(50)..=secs(300)),
    }
}

fn engine(from: &mut Reader) -> EngineSettings {
    let timing = timing(from);
    // What is sent later than this could meet the next deployment.
    let late = timing.half_quiet().mul_f64(0.9);
    let engine = EngineSettings {
        timing,
        lease: from.duration("engine.lease", secs(1)..=secs(300)),
        lease_margin: from.duration("engine.lease_margin", ms(50)..=secs(60)),
        look_timeout: from.duration("engine.look_timeout", ms(100)..=secs(60)),
        act_timeout: from.duration("engine.act_timeout", ms(100)..=secs(60)).min(late),
        concurrency_max: from.number("engine.concurrency_max", 1..=1000),
        poll_every: from.duration("engine.poll_every", ms(100)..=secs(60)),
        confirm_every: from.duration("engine.confirm_every", ms(50)..=secs(5)),
        bundles_max: from.number("engine.bundles_max", 1..=100_000),
        rollback_tries_for: from.duration("engine.rollback_tries_for", ms(100)..=secs(9)).min(late),
        record_patience: from.duration("offline.record_patience", ms(10)..=secs(5)),
        tokens_kept_for: from.duration("offline.tokens_kept_for", secs(0)..=DAY * 30),
        survey_timeout: from.duration("engine.survey_timeout", ms(100)..=secs(10)),
        rollback_repeats_for: from.duration("engine.rollback_repeats_for", secs(1)..=DAY),
        sweeper: sweeper(from),
        // What is not the engine's own to say.
        ..EngineSettings::default()
    };
    if from.is_sound() && engine.timing.watch_every < engine.timing.look_every {
        from.wrong("engine.watch_every", "must not be shorter than engine.look_every");
    }
    if from.is_sound() && engine.lease < engine.lease_margin * 2 {
        from.wrong("engine.lease", "must be at least twice engine.lease_margin: calls are made in what is left");
    }
    engine
}

fn budget(from: &mut Reader) -> BudgetSettings {
    let mut grant = |class: &str| {
        let key = |name: &str| format!("aws.budget.{class}.{name}");
        let grant = Grant {
            size: from.number(&key("size"), 2..=100_000),
            per_second: from.number(&key("per_second"), 1..=100_000),
            reserve: from.number(&key("reserve"), 1..=99_999),
        };
        if from.is_sound() && grant.reserve >= grant.size {
            from.wrong(&key("reserve"), "must be smaller than size: forward work would stand still");
        }
        grant
    };
    BudgetSettings { elb_changes: grant("elb_changes"), elb_looks: grant("elb_looks"), auto_scaling: grant("auto_scaling") }
}

fn sweeper(from: &mut Reader) -> SweeperSettings {
    let terms = Terms {
        remove: from.boolean("sweeper.remove"),
        report_after: from.duration("sweeper.report_after", secs(1)..=DAY),
        remove_after: from.duration("sweeper.remove_after", secs(1)..=DAY * 30),
    };
    if from.is_sound() && terms.remove_after < terms.report_after {
        from.wrong("sweeper.remove_after", "must not be shorter than sweeper.report_after: nothing goes before it was listed");
    }
    SweeperSettings { enabled: from.boolean("sweeper.enabled"), every: from.duration("sweeper.every", secs(1)..=DAY), terms }
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests;
