//! The client's command line. What is typed is checked here as far as the client can; a mistake exits with 2.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use jiff::SignedDuration;
use reqwest::Url;
use uuid::Uuid;

use super::exit::{Exit, Failure};

/// What can be asked of a running service.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Release an image: a new server group, traffic in stages
    Deploy(Deploy),
    /// Show what a release would do: every check, then each step with its calls; changes nothing
    Plan(Plan),
    /// Check everything that a release hangs on: routes, slots, quotas, rights; changes nothing
    Doctor(Doctor),
    /// Show the newest deployment of a service, or one by its id
    Status(Status),
    /// Say whether one could go back now, why not, how long it took before, and by which calls
    Readiness(Readiness),
    /// Wait for a deployment, printing what happens
    Wait(Wait),
    /// Send all traffic back to the old version
    Rollback(Rollback),
    /// Stop a deployment before it has had traffic
    Cancel(Back),
    /// Go on now: skip the rest of this stage, or go to 100 %
    Promote(Promote),
    /// Hold automatic progress; gates stay armed
    Pause(Steer),
    /// Go on after a pause or a weight set by hand
    Resume(Steer),
    /// Set green's share of traffic by hand, in percent; `resume` goes on from there
    Weight(Weight),
    /// Try the way back while nothing is being released; users notice nothing
    Drill(Drill),
    /// List what ended deployments left in the cloud, and when it goes
    Orphans(Orphans),
    /// Take what somebody changed outside Cutover for what was wanted
    Adopt(Steer),
    /// Undo what somebody changed outside Cutover
    Restore(Steer),
}

/// Where the service is and how to speak to it.
#[derive(Debug, Args)]
pub struct Connection {
    /// The service's address
    #[arg(long, env = "CUTOVER_URL", default_value = "http://127.0.0.1:8080", value_parser = url)]
    pub url: Url,
    /// A file with the token; CUTOVER_TOKEN goes before it
    #[arg(long, env = "CUTOVER_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// What to print on stdout
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// The form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Json,
    Table,
    /// The deployment's id, which every command takes for a target; of a list, its names
    Name,
}

#[derive(Debug, Args)]
pub struct Deploy {
    #[command(flatten)]
    pub connection: Connection,
    /// SERVICE/ENVIRONMENT
    #[arg(value_parser = pair)]
    pub target: Pair,
    /// `ami-…`, or `lt:N` for a version of the declared launch template
    #[arg(long)]
    pub image: String,
    /// A free label: a version, a commit
    #[arg(long)]
    pub version: Option<String>,
    /// Why; at most 500 characters
    #[arg(long)]
    pub reason: Option<String>,
    /// Show what would be done, in order, and change nothing
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
    #[command(flatten)]
    pub waiting: Waiting,
}

#[derive(Debug, Args)]
pub struct Plan {
    #[command(flatten)]
    pub connection: Connection,
    /// SERVICE/ENVIRONMENT
    #[arg(value_parser = pair)]
    pub target: Pair,
    /// `ami-…`, or `lt:N` for a version of the declared launch template
    #[arg(long)]
    pub image: String,
}

#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    pub connection: Connection,
    /// SERVICE/ENVIRONMENT
    #[arg(value_parser = pair)]
    pub target: Pair,
    /// Plan a release of this one; left out: of the declared launch template's version
    #[arg(long, value_parser = image)]
    pub image: Option<String>,
}

#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    pub connection: Connection,
    /// SERVICE/ENVIRONMENT, or a deployment's id
    #[arg(value_parser = target)]
    pub target: Target,
}

#[derive(Debug, Args)]
pub struct Readiness {
    #[command(flatten)]
    pub connection: Connection,
    /// SERVICE/ENVIRONMENT
    #[arg(value_parser = pair)]
    pub target: Pair,
}

#[derive(Debug, Args)]
pub struct Wait {
    #[command(flatten)]
    pub connection: Connection,
    /// SERVICE/ENVIRONMENT, or a deployment's id
    #[arg(value_parser = target)]
    pub target: Target,
    #[command(flatten)]
    pub limits: Limits,
}

#[derive(Debug, Args)]
pub struct Rollback {
    #[command(flatten)]
    pub connection: Connection,
    /// SERVICE/ENVIRONMENT, or a deployment's id; with --direct only where the file holds several
    #[arg(value_parser = target, required_unless_present = "direct")]
    pub target: Option<Target>,
    /// Why; kept in the history
    #[arg(long)]
    pub reason: Option<String>,
    #[command(flatten)]
    pub waiting: Waiting,
    /// Show the exact calls and change nothing
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
    /// Past the service, when it and its database are gone: with your own AWS credentials, by what it remembered
    #[arg(long, requires = "bundle", conflicts_with_all = ["wait", "reason"])]
    pub direct: bool,
    /// What it remembered: STATE_DIR/lane/bundles, or a copy of it
    #[arg(long, requires = "direct", value_name = "FILE")]
    pub bundle: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Back {
    #[command(flatten)]
    pub steer: Steer,
    #[command(flatten)]
    pub waiting: Waiting,
}

#[derive(Debug, Args)]
pub struct Promote {
    #[command(flatten)]
    pub steer: Steer,
    /// How far
    #[arg(long, value_enum, default_value_t = To::Next)]
    pub to: To,
}

/// How far a promote goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum To {
    /// Past the rest of this stage; while baking: commit now
    Next,
    /// To 100 %, then bake
    Full,
}

#[derive(Debug, Args)]
pub struct Weight {
    #[command(flatten)]
    pub steer: Steer,
    /// Green's share in percent, with at most one decimal
    #[arg(value_parser = percent)]
    pub green: f64,
}

#[derive(Debug, Args)]
pub struct Drill {
    #[command(flatten)]
    pub connection: Connection,
    /// SERVICE/ENVIRONMENT
    #[arg(value_parser = pair)]
    pub target: Pair,
    /// Why; kept with it
    #[arg(long, conflicts_with = "list")]
    pub reason: Option<String>,
    /// Wait for its end; exit 5 when it failed or was slower than its budget
    #[arg(long, conflicts_with_all = ["list", "dry_run"])]
    pub wait: bool,
    /// Wait no longer than this ("90s", "5m"); then exit 124, and the drill goes on
    #[arg(long, value_parser = duration, requires = "wait")]
    pub timeout: Option<Duration>,
    /// Show what would be done, in order, and change nothing
    #[arg(long, conflicts_with = "list")]
    pub dry_run: bool,
    /// Begin none: show the last ones and what they took
    #[arg(long)]
    pub list: bool,
}

#[derive(Debug, Args)]
pub struct Orphans {
    #[command(flatten)]
    pub connection: Connection,
    /// Only those of this SERVICE/ENVIRONMENT
    #[arg(value_parser = pair)]
    pub target: Option<Pair>,
}

#[derive(Debug, Args)]
pub struct Steer {
    #[command(flatten)]
    pub connection: Connection,
    /// SERVICE/ENVIRONMENT, or a deployment's id
    #[arg(value_parser = target)]
    pub target: Target,
    /// Why; kept in the history
    #[arg(long)]
    pub reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct Waiting {
    /// Wait for the end, printing what happens on stderr
    #[arg(long)]
    pub wait: bool,
    #[command(flatten)]
    pub limits: Limits,
}

#[derive(Debug, Args)]
pub struct Limits {
    /// Wait no longer than this ("90s", "30m"); then exit 124, and the deployment goes on
    #[arg(long, value_parser = duration)]
    pub timeout: Option<Duration>,
    /// terminal (the default), baking, stage:N or approval
    #[arg(long, value_parser = until)]
    until: Option<Until>,
    /// Exit 5 when a person has been needed for this long
    #[arg(long, default_value = "2m", value_parser = duration, value_name = "DURATION")]
    pub attention_patience: Duration,
}

impl Limits {
    /// Until when to wait.
    #[must_use]
    pub fn until(&self) -> Until {
        self.until.unwrap_or(Until::Terminal)
    }
}

impl Waiting {
    /// Nothing is taken and ignored: limits without a waiting are a mistake. A rollback is tried within its timeout either way.
    pub(super) fn check(&self, timeout_counts: bool) -> Result<(), Failure> {
        let idle = self.limits.until.is_some() || (self.limits.timeout.is_some() && !timeout_counts);
        if idle && !self.wait {
            return Err(Failure::new(Exit::Usage, "this is about waiting: add --wait, or leave out --until and --timeout"));
        }
        Ok(())
    }
}

/// A service in an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub service: String,
    pub environment: String,
}

impl Pair {
    /// Its path below the base.
    #[must_use]
    pub fn path(&self) -> String {
        format!("v1/services/{}/environments/{}", self.service, self.environment)
    }
}

impl std::fmt::Display for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.service, self.environment)
    }
}

/// What a command is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Its newest deployment.
    Pair(Pair),
    Deployment(Uuid),
}

/// Until when to wait. An end always ends the waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    Terminal,
    Baking,
    /// Counts from 1.
    Stage(usize),
    Approval,
}

pub(in super::super) fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; wanted is http://HOST:PORT"))?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        Ok(url)
    } else {
        Err("wanted is http://HOST:PORT".to_owned())
    }
}

fn pair(text: &str) -> Result<Pair, String> {
    // The service judges names; here they only must not change the URL's path.
    let plain = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    match text.split_once('/') {
        Some((service, environment)) if plain(service) && plain(environment) => {
            Ok(Pair { service: service.to_owned(), environment: environment.to_owned() })
        }
        _ => Err("wanted is SERVICE/ENVIRONMENT, such as web/prod".to_owned()),
    }
}

/// It becomes a part of the URL, so it must not change the rest of it; the service judges the rest.
fn image(text: &str) -> Result<String, String> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-:".contains(&b));
    if plain { Ok(text.to_owned()) } else { Err("wanted is ami-… or lt:N".to_owned()) }
}

fn target(text: &str) -> Result<Target, String> {
    if let Ok(id) = text.parse::<Uuid>() {
        return Ok(Target::Deployment(id));
    }
    pair(text).map(Target::Pair).map_err(|wanted| format!("{wanted}, or a deployment's id"))
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse().ok();
    number.filter(|percent| (0.0..=100.0).contains(percent)).ok_or_else(|| "wanted is 0 to 100, such as 12.5".to_owned())
}

pub(in super::super) fn duration(text: &str) -> Result<Duration, String> {
    let read = text.parse::<SignedDuration>().ok().and_then(|signed| Duration::try_from(signed).ok());
    read.filter(|duration| !duration.is_zero()).ok_or_else(|| "wanted is a number with its unit, such as 90s or 30m".to_owned())
}

fn until(text: &str) -> Result<Until, String> {
    match text {
        "terminal" => Ok(Until::Terminal),
        "baking" => Ok(Until::Baking),
        "approval" => Ok(Until::Approval),
        _ => text
            .strip_prefix("stage:")
            .and_then(|number| number.parse().ok())
            .filter(|number| *number > 0)
            .map(Until::Stage)
            .ok_or_else(|| "wanted is terminal, baking, approval or stage:N".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_pair_or_an_id() {
        let web = Pair { service: "web".into(), environment: "prod".into() };
        assert_eq!(target("web/prod"), Ok(Target::Pair(web)));
        assert!(matches!(target("01934b2c-7e0d-7c3a-9d9c-1f2e3a4b5c6d"), Ok(Target::Deployment(_))));
        for wrong in ["", "web", "web/", "/prod", "web/prod/x", "web/pr od", "../web/prod", "web/prod?x"] {
            assert!(target(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("30m"), Ok(Duration::from_secs(1800)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        for wrong in ["30", "0s", "-5m", "soon", ""] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn weights_are_percent() {
        assert_eq!(percent("12.5"), Ok(12.5));
        assert_eq!(percent("100%"), Ok(100.0));
        for wrong in ["-1", "100.1", "NaN", "half", ""] {
            assert!(percent(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn waiting_ends_at_a_stage_from_one_on() {
        assert_eq!(until("stage:2"), Ok(Until::Stage(2)));
        for wrong in ["stage:0", "stage:", "stage:-1", "done"] {
            assert!(until(wrong).is_err(), "{wrong:?}");
        }
    }
}
