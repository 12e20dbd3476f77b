//! The probe's command line. Its bounds are bounds of what is sent: nothing below asks for more requests or more time.

use std::time::Duration;

use clap::{Args, ValueEnum};
use reqwest::Url;

use super::super::client::{
    args::{duration, url},
    exit::{Exit, Failure},
};
use crate::{cloud::aws::probe::EmptyGroup, domain::ids::TargetGroupRef};

/// A change that has not shown after this long will not.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// What to measure, and where.
#[derive(Debug, Args)]
pub struct Probe {
    /// The ARN of a listener of a TEST load balancer, never of one that serves users
    #[arg(long, value_name = "ARN")]
    pub listener: String,
    /// Where that listener answers; by itself: the load balancer's DNS name and the listener's port
    #[arg(long, value_parser = url)]
    pub url: Option<Url>,
    /// This rule number and the next one are used and must be free; by itself: found near 49000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..50_000))]
    pub priority: Option<u32>,
    /// The Host that the temporary rules match: one that no user asks for
    #[arg(long, default_value = "probe.cutover.invalid", value_parser = host)]
    pub host: String,
    /// Requests a second, over all connections
    #[arg(long, default_value_t = 40, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200))]
    pub rate: u32,
    /// How often each change is made
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50))]
    pub rounds: u32,
    /// A change is through when nothing but new answers came for this long
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = duration)]
    pub settle: Duration,
    /// A change that is not through after this long is given up, and the measuring ends
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = duration)]
    pub timeout: Duration,
    /// Two target groups of the load balancer, the first with healthy targets: what do weights {0, 0} do?
    #[arg(long, value_name = "ARN,ARN", value_parser = two_groups)]
    pub target_groups: Option<TwoGroups>,
    /// With --image and --subnet: is an image override without an instance type accepted?
    #[arg(long, value_name = "lt-…:VERSION", value_parser = template, requires_all = ["image", "subnet"])]
    launch_template: Option<Template>,
    #[arg(long, value_name = "ami-…", requires = "launch_template")]
    image: Option<String>,
    #[arg(long, value_name = "subnet-…", requires = "launch_template")]
    subnet: Option<String>,
    /// Make the calls without showing them and asking first
    #[arg(long)]
    pub yes: bool,
    /// What to print on stdout
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// The form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Json,
    Table,
}

/// Two different ones.
#[derive(Debug, Clone)]
pub struct TwoGroups(pub [TargetGroupRef; 2]);

/// A launch template, pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Template {
    id: String,
    version: u32,
}

impl Probe {
    /// # Errors
    /// What clap cannot see: bounds between two arguments.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.timeout > TIMEOUT_MAX {
            return Err(Failure::new(Exit::Usage, format!("--timeout is at most {} s", TIMEOUT_MAX.as_secs())));
        }
        if self.settle >= self.timeout {
            return Err(Failure::new(Exit::Usage, "--settle must be shorter than --timeout: no change could ever be through"));
        }
        Ok(())
    }

    /// The group to create, if that was asked for.
    pub(super) fn empty_group(&self) -> Option<EmptyGroup> {
        let Template { id, version } = self.launch_template.clone()?;
        Some(EmptyGroup { launch_template: id, version, image: self.image.clone()?, subnet: self.subnet.clone()? })
    }
}

/// One literal name: a pattern could match what users ask for.
fn host(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    if (1..=128).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err("wanted is one host's name, without a port or a pattern".to_owned())
}

fn two_groups(text: &str) -> Result<TwoGroups, String> {
    match text.split_once(',') {
        Some((one, other)) if !one.is_empty() && !other.is_empty() && !other.contains(',') && one != other => {
            Ok(TwoGroups([TargetGroupRef::new(one), TargetGroupRef::new(other)]))
        }
        _ => Err("wanted are the ARNs of two target groups with a comma between".to_owned()),
    }
}

fn template(text: &str) -> Result<Template, String> {
    let (id, version) = text.split_once(':').unwrap_or((text, ""));
    match version.parse() {
        Ok(version) if version > 0 && id.starts_with("lt-") => Ok(Template { id: id.to_owned(), version }),
        _ => Err("wanted is lt-…:VERSION, such as lt-0123456789abcdef0:7".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        probe: Probe,
    }

    fn parse(args: &str) -> Result<Probe, String> {
        let line = ["probe", "--listener", "arn:…"].into_iter().chain(args.split_whitespace());
        Line::try_parse_from(line).map(|line| line.probe).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_sent_is_bounded() {
        assert!(parse("").is_ok_and(|probe| probe.check().is_ok()));
        for wrong in ["--rate 0", "--rate 201", "--rounds 51", "--rounds 0", "--priority 50000", "--timeout 60", "--settle 0s"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        for wrong in ["--timeout 11m", "--timeout 5s", "--settle 60s"] {
            assert_eq!(parse(wrong).unwrap().check().unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn the_host_is_no_pattern() {
        assert!(parse("--host probe.example.org").is_ok());
        for wrong in ["*.example.org", "pr?be.example.org", "example.org:80", "a/b"] {
            assert!(parse(&format!("--host {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_group_is_asked_for_whole_or_not_at_all() {
        assert!(parse("").unwrap().empty_group().is_none());
        for half in ["--launch-template lt-1:1", "--launch-template lt-1:1 --image ami-1", "--image ami-1", "--subnet subnet-1"]
        {
            assert!(parse(half).is_err(), "{half}");
        }
        let whole = parse("--launch-template lt-1:7 --image ami-1 --subnet subnet-1").unwrap().empty_group().unwrap();
        assert_eq!((whole.launch_template.as_str(), whole.version), ("lt-1", 7));
        assert!(template("lt-1").is_err() && template("lt-1:$Latest").is_err() && template("lt-1:0").is_err());
    }

    #[test]
    fn two_target_groups_are_two() {
        assert!(two_groups("a,b").is_ok());
        for wrong in ["a", "a,", ",b", "a,a", "a,b,c"] {
            assert!(two_groups(wrong).is_err(), "{wrong}");
        }
    }
}
