//! `cutover rollback --direct`: break-glass. No service, no database; a file that a service left, and somebody's own credentials.
//!
//! What is sent when is decided in `domain::lane::by_person` and sent by the lane's own code. Here a file is read, a person is told
//! what happens, and the end becomes an exit code. It may be run again at any time: the end is the same.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::client::{
    args::{Rollback, Target},
    exit::{Exit, Failure},
};
use crate::{
    cloud::aws::{AwsCloud, AwsSettings, Budget, BudgetSettings},
    domain::{
        action::Action,
        declaration::Provider,
        deployment::Deployment,
        lane::{ByPerson, Orders},
        time,
    },
    engine::{
        lane::{Lane, Sent},
        local::KeptBundle,
        ports::Cloud,
        settings::EngineSettings,
    },
    store::local,
};

/// How long it is tried, unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the first look is tried: without it nothing is sent, and a person should know why.
const LOOK_PATIENCE: Duration = Duration::from_secs(15);

/// Runs it to its exit code.
pub(super) async fn run(args: Rollback) -> ExitCode {
    let exit = go_back(args).await.unwrap_or_else(|failure| {
        eprintln!("cutover: {}", failure.message);
        failure.exit
    });
    exit.into()
}

async fn go_back(args: Rollback) -> Result<Exit, Failure> {
    // Clap has seen to it that there is one.
    let path: PathBuf = args.bundle.unwrap_or_default();
    let (installation, bundles) = local::bundles_in(&path).map_err(|error| unreadable(&path, &error))?;
    let bundle = chosen(bundles, args.target.as_ref(), &path)?;
    say_what_it_is(&bundle, &path);
    let mut d = Arc::unwrap_or_clone(bundle.deployment);
    // Your own credentials, as they are: who may assume the declared role is another question.
    let Provider::Aws { role, .. } = &mut d.declaration.provider;
    *role = None;
    let budget = Arc::new(Budget::new(BudgetSettings::default()));
    let cloud = Arc::new(AwsCloud::new(&AwsSettings::default(), installation.to_string(), &budget).await.for_rollbacks());
    let lane = Lane::by_itself(cloud, EngineSettings::default());
    let until = Instant::now() + args.waiting.limits.timeout.unwrap_or(PATIENCE);
    match lane.judge(&d, until.min(Instant::now() + LOOK_PATIENCE)).await {
        ByPerson::Back => {
            eprintln!("all traffic is on blue already: nothing to do");
            Ok(Exit::Done)
        }
        ByPerson::Unseen(why) => Err(Failure::new(Exit::Error, format!("nothing was sent: {why}"))),
        ByPerson::Refused(why) => Err(Failure::new(
            Exit::Rejected,
            format!("nothing was sent: {why}. Look at the listener yourself before you go on"),
        )),
        ByPerson::Send(orders) if args.dry_run => {
            show(&lane, &d, &orders);
            Ok(Exit::Done)
        }
        ByPerson::Send(orders) => sent(&lane, &d, orders, until).await,
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::InvalidData => Failure::new(
            Exit::Rejected,
            format!("{path} is damaged and is not used ({error}): take another replica's, or a copy of before"),
        ),
        _ => Failure::new(Exit::Usage, format!("{path} cannot be read: {error}")),
    }
}

/// The one that is meant.
fn chosen(bundles: Vec<KeptBundle>, target: Option<&Target>, path: &Path) -> Result<KeptBundle, Failure> {
    let held: Vec<_> = bundles.iter().map(|bundle| name(&bundle.deployment)).collect();
    let meant = |d: &Deployment| match target {
        None => true,
        Some(Target::Deployment(id)) => d.id.uuid() == *id,
        Some(Target::Pair(pair)) => {
            d.target.service.as_str() == pair.service && d.target.environment.as_str() == pair.environment
        }
    };
    let mut found = bundles.into_iter().filter(|bundle| meant(&bundle.deployment));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) if held.is_empty() => Err(Failure::new(
            Exit::Rejected,
            format!("{} holds nothing: no deployment ran when it was written", path.display()),
        )),
        (None, _) => {
            Err(Failure::new(Exit::Rejected, format!("{} does not hold that, but: {}", path.display(), held.join(", "))))
        }
        (Some(_), Some(_)) => {
            Err(Failure::new(Exit::Usage, format!("{} holds several, say which: {}", path.display(), held.join(", "))))
        }
    }
}

fn name(d: &Deployment) -> String {
    format!("{} #{}", d.target, d.number)
}

fn say_what_it_is(bundle: &KeptBundle, path: &Path) {
    let (d, now) = (&bundle.deployment, Timestamp::now());
    let age = Duration::from_secs(time::between(bundle.confirmed_at, now).as_secs());
    let written =
        if bundle.confirmed_at > now { "in the future, by this machine's clock".to_owned() } else { format!("{age:?} ago") };
    eprintln!(
        "{}: {}, {} when it was last read from the database, {written} ({:.0})",
        path.display(),
        name(d),
        d.phase.name(),
        bundle.confirmed_at
    );
}

/// The calls on stdout, in order.
fn show<C: Cloud>(lane: &Lane<(), C>, d: &Deployment, orders: &Orders) {
    for action in [&orders.shields].into_iter().chain(&orders.overlays) {
        let calls = d.plan.iter().flat_map(|plan| lane.cloud.calls(plan, action));
        calls.for_each(|call| println!("{call}"));
    }
    eprintln!("nothing was changed");
}

async fn sent<C: Cloud>(lane: &Lane<(), C>, d: &Deployment, orders: Orders, until: Instant) -> Result<Exit, Failure> {
    let sent = lane.send_directly(d, orders, until).await;
    sent.iter().for_each(print);
    let again = "run the same again: the end is the same";
    if !sent.first().is_some_and(|shields| shields.accepted) {
        let said = format!("the load balancer has not accepted it on every route; {again}, or take the lines by hand");
        return Err(Failure::new(Exit::NeedsPerson, said));
    }
    if !lane.is_seen_back(d, until).await {
        let said = format!(
            "it was accepted, but not seen on every route in time. Look at the listener, for rules too that somebody added; {again}"
        );
        return Err(Failure::new(Exit::Timeout, said));
    }
    eprintln!(
        "seen: every route sends all its traffic to blue. A service that comes back takes this for a rollback, and ends it"
    );
    Ok(Exit::Done)
}

/// One line a route, on stdout: what became of it there.
fn print(sent: &Sent) {
    let done = match &sent.action {
        Action::RaiseShields { .. } => "shield raised",
        _ => "overlay deleted",
    };
    for outcome in &sent.routes {
        match &outcome.said {
            None if outcome.accepted => println!("{}: {done}", outcome.route),
            said => println!("{}: NOT {done}: {}", outcome.route, said.as_deref().unwrap_or("not tried")),
        }
    }
}
