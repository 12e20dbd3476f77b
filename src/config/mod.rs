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

use secrecy::SecretString;

use crate::domain::{time::show_duration, timing::Timing};

use reader::Reader;
pub use reader::{DEFAULTS, Fault};

/// AWS accepts a signed request for 5 minutes; the quiet period is twice that.
const QUIET_PERIOD_SAFE: Duration = Duration::from_secs(600);

/// Everything `cutover serve` can be told.
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    /// `None`: the place that suits the user who starts it.
    pub state_dir: Option<PathBuf>,
    pub database: Database,
    pub engine: Engine,
    pub aws: Aws,
    pub http: Http,
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
    pub acquire_timeout: Duration,
}

/// The engine.
#[derive(Debug, Clone)]
pub struct Engine {
    pub lease: Duration,
    pub timing: Timing,
    pub concurrency_max: usize,
}

/// Calls to AWS.
#[derive(Debug, Clone)]
pub struct Aws {
    pub connect_timeout: Duration,
    pub call_timeout: Duration,
}

/// The HTTP edge.
#[derive(Debug, Clone)]
pub struct Http {
    pub body_max: usize,
    pub header_timeout: Duration,
    pub request_timeout: Duration,
    pub wait_max: Duration,
    pub drain_timeout: Duration,
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
        let listen = from.parsed(
            "listen",
            "an address and a port, such as \"127.0.0.1:8080\"",
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        );
        let engine = Engine::read(from);
        let mut warnings = Vec::new();
        if engine.timing.quiet_period < QUIET_PERIOD_SAFE {
            warnings.push(format!(
                "engine.quiet_period is {}, shorter than {}: on AWS a late request could still land after it; for tests only",
                show_duration(engine.timing.quiet_period),
                show_duration(QUIET_PERIOD_SAFE)
            ));
        }
        let database = Database::read(from);
        if database.url.is_some() && from.is_given("database.bin_dir") {
            warnings.push("database.bin_dir is not used, because database.url is set".to_owned());
        }
        Self {
            listen,
            state_dir: from.optional("state_dir").map(PathBuf::from),
            database,
            engine,
            aws: Aws {
                connect_timeout: from.duration("aws.connect_timeout", ms(100)..=secs(30)),
                call_timeout: from.duration("aws.call_timeout", ms(500)..=secs(60)),
            },
            http: Http {
                body_max: from.number("http.body_max", 1024..=1024 * 1024),
                header_timeout: from.duration("http.header_timeout", ms(100)..=secs(60)),
                request_timeout: from.duration("http.request_timeout", secs(1)..=secs(60)),
                wait_max: from.duration("http.wait_max", secs(1)..=secs(60)),
                drain_timeout: from.duration("http.drain_timeout", secs(0)..=secs(9)),
            },
            log: Log {
                format: from.parsed("log.format", "\"auto\", \"text\" or \"json\"", LogFormat::Auto),
                filter: from.text("log.filter"),
            },
            warnings,
        }
    }
}

impl Database {
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
            acquire_timeout: from.duration("database.acquire_timeout", ms(100)..=secs(60)),
        }
    }
}

impl Engine {
    fn read(from: &mut Reader) -> Self {
        const DAY: u64 = 24 * 3600;
        let engine = Self {
            lease: from.duration("engine.lease", secs(2)..=secs(300)),
            timing: Timing {
                // Measured while running, never configured.
                clock_lead: Duration::ZERO,
                quiet_period: from.duration("engine.quiet_period", secs(1)..=secs(DAY)),
                commit_delay: from.duration("engine.commit_delay", secs(0)..=secs(60)),
                absence_looks: from.number("engine.absence_looks", 2..=20),
                absence_spread: from.duration("engine.absence_spread", ms(100)..=secs(60)),
                health_patience: from.duration("engine.health_patience", secs(1)..=secs(3600)),
                attention_after: from.duration("engine.attention_after", secs(10)..=secs(DAY)),
                look_every: from.duration("engine.look_every", ms(50)..=secs(60)),
                watch_every: from.duration("engine.watch_every", ms(50)..=secs(300)),
            },
            concurrency_max: from.number("engine.concurrency_max", 1..=1000),
        };
        if engine.timing.watch_every < engine.timing.look_every {
            from.wrong("engine.watch_every", "must not be shorter than engine.look_every");
        }
        engine
    }
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests;
