//! The command line: `serve` builds the service; the client commands only speak to it.

mod base;
mod bootstrap;
pub mod client;
mod direct;
pub mod probe;
mod serve;

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{
    cloud::aws::Policy,
    config::{Config, Faults, Sources},
    http, telemetry,
};
use client::exit::Exit;

/// Immutable releases: a new server group from an image, traffic in stages, one call back
#[derive(Debug, Parser)]
#[command(name = "cutover", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service
    Serve(Settings),
    /// Print the API's OpenAPI document
    Openapi,
    /// Print an IAM policy for AWS, with placeholders in capitals
    Policy {
        /// For the service, for whoever only rolls back, or for whoever only looks
        #[arg(value_parser = Policy::ALL.map(Policy::name))]
        of: String,
    },
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Measure on a TEST load balancer of yours what AWS does not document
    Probe(Box<probe::args::Probe>),
    #[command(flatten)]
    Client(Box<client::args::Command>),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Read the configuration as `serve` would and name every fault
    Check(Settings),
    /// Print every key with its default and what it means
    Defaults,
}

/// Where the service's settings come from: file < environment (CUTOVER__SECTION__KEY) < flags.
#[derive(Debug, Args)]
struct Settings {
    /// A TOML file; `cutover config defaults` prints all keys
    #[arg(long, env = "CUTOVER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the API answers (listen)
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// postgres://…; without it an embedded Postgres runs (database.url)
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// What this replica keeps between restarts (state_dir)
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

impl Settings {
    fn load(self) -> Result<Config, Faults> {
        let flags = [
            ("listen", "--listen", self.listen),
            ("database.url", "--database-url", self.database_url),
            ("state_dir", "--state-dir", self.state_dir.map(|dir| dir.to_string_lossy().into_owned())),
        ];
        let flags = flags.into_iter().filter_map(|(key, flag, value)| Some((key, flag, value?))).collect();
        // Lossy: a variable that is not UTF-8 is no setting of ours, or is named as a fault by its mangled value.
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let environment = std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect();
        Config::load(Sources { file: self.config, environment, flags })
    }
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    // Two providers may be compiled in by some dependency; rustls then panics at the first client unless one was chosen.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match Cli::parse().command {
        Command::Serve(settings) => serve(settings),
        Command::Openapi => {
            println!(
                "{}",
                http::openapi().to_pretty_json().expect("the API's document can be written as JSON: a test writes it")
            );
            ExitCode::SUCCESS
        }
        Command::Policy { of } => {
            let policy = Policy::ALL.into_iter().find(|policy| policy.name() == of);
            print!("{}", policy.expect("clap takes no other name").text());
            ExitCode::SUCCESS
        }
        Command::Config(ConfigCommand::Check(settings)) => check(settings),
        Command::Config(ConfigCommand::Defaults) => {
            print!("{}", crate::config::DEFAULTS);
            ExitCode::SUCCESS
        }
        Command::Probe(asked) => run(probe::run(*asked)),
        Command::Client(command) => match *command {
            // The one command that is a client of AWS alone.
            client::args::Command::Rollback(args) if args.direct => run(direct::run(args)),
            command => run(client::run(command)),
        },
    }
}

fn serve(settings: Settings) -> ExitCode {
    let config = match settings.load() {
        Ok(config) => config,
        Err(faults) => return refuse(Exit::Usage, &faults),
    };
    if let Err(error) = telemetry::start(&config.log) {
        return refuse(Exit::Usage, error.as_ref());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(Exit::Error, &error),
    };
    let served = runtime.block_on(serve::serve(config));
    // What is still running has had its time.
    runtime.shutdown_background();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(Exit::Error, error.as_ref()),
    }
}

fn refuse(exit: Exit, error: &(dyn Error + 'static)) -> ExitCode {
    eprintln!("cutover: {}", serve::told(error));
    exit.into()
}

fn check(settings: Settings) -> ExitCode {
    match settings.load() {
        Ok(config) => {
            config.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            println!("the configuration is fine");
            ExitCode::SUCCESS
        }
        Err(faults) => refuse(Exit::Usage, &faults),
    }
}

fn run(command: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => refuse(Exit::Error, &error),
    }
}
