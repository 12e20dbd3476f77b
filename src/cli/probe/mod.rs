//! `cutover probe`: measures on a test load balancer what AWS does not document, and takes back everything it made.
//!
//! It needs no service and no database: it is run by a person, with their own credentials, before they trust a release to
//! assumptions that nobody could verify for them.
//!
//! ```text
//! args       what is asked for, and the bounds of it
//! plan       the exact calls, shown before any is made
//! watch      requests to the listener, each answer with its moments
//! timeline   PURE: from answers to figures
//! measure    one change at a time, each watched until it is through
//! report     the table, and the JSON
//! ```

pub mod args;
mod measure;
mod plan;
mod report;
mod timeline;
mod watch;

use std::{
    io::{self, IsTerminal as _, Write as _},
    panic::AssertUnwindSafe,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use futures::FutureExt as _;
use jiff::Timestamp;
use reqwest::Url;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::{
    args::Output,
    measure::{Halt, Measuring, say},
    report::{Finding, Report},
    timeline::Heard,
    watch::{Aim, Watch},
};
use super::client::exit::{Exit, Failure};
use crate::{
    cloud::aws::probe::{Ground, Probe},
    engine::ports::{Fault, FaultKind},
};

/// How long removing is tried.
const REMOVE_WITHIN: Duration = Duration::from_secs(60);
/// Where a free pair of numbers is looked for first: behind what users have, before their last thousand.
const NUMBER_FROM: u32 = 49_000;
/// AWS's rule numbers end here.
const NUMBER_MAX: u32 = 50_000;

/// Runs the probe to its exit code.
pub async fn run(asked: args::Probe) -> ExitCode {
    let exit = probe(&asked).await.unwrap_or_else(|failure| {
        say(&format!("cutover: {}", failure.message));
        failure.exit
    });
    exit.into()
}

async fn probe(asked: &args::Probe) -> Result<Exit, Failure> {
    asked.check()?;
    let somebody = io::stdin().is_terminal() && io::stderr().is_terminal();
    if !asked.yes && !somebody {
        let text = "there is nobody to be asked: --yes makes the calls without asking (on a TEST load balancer only)";
        return Err(Failure::new(Exit::Usage, text));
    }
    let id = Uuid::new_v4().simple().to_string()[..12].to_owned();
    let aws = Probe::new(&asked.listener, &id).await.map_err(|said| Failure::new(Exit::Usage, said))?;
    let ground = aws.look().await.map_err(|fault| of_fault(&fault))?;
    let url = url(asked, &ground)?;
    let number = number(asked.priority, &ground)?;
    if !asked.yes {
        say(&plan::of(asked, &aws, &id, number, &url));
        if !agreed() {
            say("nothing was changed");
            return Ok(Exit::Done);
        }
    }
    let (aws, stop) = (Arc::new(aws), CancellationToken::new());
    let signals = (SignalKind::interrupt(), SignalKind::terminate());
    let (interrupt, terminate) = signal(signals.0).and_then(|one| Ok((one, signal(signals.1)?))).map_err(|error| {
        Failure::new(Exit::Error, format!("nothing was changed, because Ctrl-C could not be waited for: {error}"))
    })?;
    tokio::spawn(watch_signals(interrupt, terminate, aws.clone(), stop.clone()));
    let watch = Watch::start(Aim { url, host: asked.host.clone(), rate: asked.rate, id: id.clone() }).await?;
    let mut report = empty(asked, &aws, watch.addresses);
    let mut measuring = Measuring { aws: &aws, watch, asked, id: &id, number, stop: &stop };
    // Whatever happens in there, a mistake of ours included, what was made is removed.
    let outcome = AssertUnwindSafe(measuring.run(&mut report)).catch_unwind().await;
    drop(measuring);
    say("removing what was made");
    let left = aws.remove_all(REMOVE_WITHIN).await;
    let (exit, early) = ended(outcome);
    report.ended_early = early;
    report.removed = left.is_ok();
    Ok(finish(&report, asked.output, exit, left))
}

/// The exit, and why not everything was measured.
fn ended(outcome: std::thread::Result<Result<(), Halt>>) -> (Exit, Option<String>) {
    match outcome {
        Ok(Ok(())) => (Exit::Done, None),
        Ok(Err(halt)) => {
            let exit = match &halt {
                Halt::Interrupted => Exit::Interrupted,
                Halt::GaveUp { .. } => Exit::Timeout,
                Halt::Fault(fault) => of_fault(fault).exit,
            };
            let why = if let Halt::Fault(fault) = &halt {
                format!("{}: {}", fault.operation, report::told(fault))
            } else {
                halt.to_string()
            };
            (exit, Some(why))
        }
        Err(_) => (Exit::Error, Some("a mistake of the probe's own: please report what it said above".to_owned())),
    }
}

fn finish(report: &Report, output: Output, exit: Exit, left: Result<(), Vec<String>>) -> Exit {
    let text = match output {
        Output::Table => report.table(),
        Output::Json => format!("{:#}\n", report.json()),
    };
    let exit = match left {
        Ok(()) => exit,
        Err(commands) => {
            say(&still_there(&commands));
            Exit::NeedsPerson
        }
    };
    // A reader that went away is no error of ours.
    let _ = io::stdout().lock().write_all(text.as_bytes());
    if let Some(why) = &report.ended_early {
        say(&format!("cutover: {why}"));
    }
    exit
}

fn empty(asked: &args::Probe, aws: &Probe, addresses: usize) -> Report {
    Report {
        at: Timestamp::now(),
        region: aws.region().to_owned(),
        load_balancer: aws.load_balancer().to_owned(),
        rate: asked.rate,
        addresses,
        settle: asked.settle,
        created: Vec::new(),
        modified: Vec::new(),
        deleted: Vec::new(),
        heard: Heard::default(),
        same_conditions: not_reached(true),
        zero_weights: not_reached(asked.target_groups.is_some()),
        image_override: not_reached(asked.empty_group().is_some()),
        ended_early: None,
        removed: false,
    }
}

fn not_reached(asked: bool) -> Finding {
    if asked { Finding::Unknown("it did not come to it".to_owned()) } else { Finding::NotAsked }
}

/// Where to ask: as told, or at the load balancer's own name.
fn url(asked: &args::Probe, ground: &Ground) -> Result<Url, Failure> {
    if let Some(url) = &asked.url {
        return Ok(url.clone());
    }
    if ground.protocol != "HTTP" {
        let text = format!("the listener speaks {}: give --url with a name that its certificate is for", ground.protocol);
        return Err(Failure::new(Exit::Usage, text));
    }
    Url::parse(&format!("http://{}:{}/", ground.dns_name, ground.port)).map_err(|error| {
        Failure::new(Exit::Error, format!("the load balancer's name {:?} makes no URL ({error}): give --url", ground.dns_name))
    })
}

/// The upper rule's number: it and the next are free.
fn number(wanted: Option<u32>, ground: &Ground) -> Result<u32, Failure> {
    let free = |number: &u32| !ground.taken.contains(number) && !ground.taken.contains(&(number + 1));
    match wanted {
        Some(number) if free(&number) => Ok(number),
        Some(number) => {
            let text = format!("rule {number} or {} is taken: give another --priority, or none", number + 1);
            Err(Failure::new(Exit::Rejected, text))
        }
        None => (NUMBER_FROM..NUMBER_MAX).chain((1..NUMBER_FROM).rev()).find(free).ok_or_else(|| {
            Failure::new(Exit::Rejected, "no two neighbouring rule numbers of this listener are free".to_owned())
        }),
    }
}

fn agreed() -> bool {
    eprint!("Type yes to make these calls: ");
    let mut line = String::new();
    // No signal is waited for yet: Ctrl-C here ends the program, and nothing was made.
    io::stdin().read_line(&mut line).is_ok() && line.trim() == "yes"
}

/// The first signal ends the measuring, the second one everything: then a person is told what may be left.
async fn watch_signals(mut interrupt: Signal, mut terminate: Signal, aws: Arc<Probe>, stop: CancellationToken) {
    let mut next = async || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    next().await;
    stop.cancel();
    say("interrupted: what was made is being removed; once more to leave it");
    next().await;
    say(&still_there(&aws.by_hand()));
    std::process::exit(Exit::Interrupted.code().into());
}

fn still_there(commands: &[String]) -> String {
    format!("may still be there; to remove it by hand:\n  {}", commands.join("\n  "))
}

fn of_fault(fault: &Fault) -> Failure {
    let exit = match fault.kind {
        FaultKind::Denied => Exit::Denied,
        FaultKind::Missing | FaultKind::Rejected => Exit::Rejected,
        FaultKind::Transient | FaultKind::Throttled | FaultKind::NotSent => Exit::Error,
    };
    Failure::new(exit, fault.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn ground(taken: impl IntoIterator<Item = u32>) -> Ground {
        let (protocol, dns_name) = ("HTTP".to_owned(), "test-1.eu-west-1.elb.amazonaws.com".to_owned());
        Ground { protocol, port: 80, dns_name, taken: taken.into_iter().collect::<BTreeSet<_>>() }
    }

    #[test]
    fn two_free_numbers_side_by_side_are_found() {
        assert_eq!(number(None, &ground([1, 2])), Ok(49_000));
        assert_eq!(number(None, &ground([49_000, 49_002])), Ok(49_003));
        assert_eq!(number(None, &ground((49_001..=50_000).step_by(2).chain([50_000]))), Ok(48_999));
        assert_eq!(number(None, &ground((1..=50_000).step_by(2))).unwrap_err().exit, Exit::Rejected);
        assert_eq!(number(Some(10), &ground([12])), Ok(10));
        assert_eq!(number(Some(11), &ground([12])).unwrap_err().exit, Exit::Rejected);
    }
}
