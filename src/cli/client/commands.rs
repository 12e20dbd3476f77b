//! One function a command: call, print, exit.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    api::{Again, Answer, Api, Call, Trouble},
    args::{self, Back, Command, Connection, Deploy, Limits, Pair, Steer, Target, To, Waiting},
    connect, drill,
    exit::{Exit, Failure},
    follow::{self, ByHand, Followed},
    planned, readiness, render,
    resource::{Deployment, Drift, Page, Resource},
};

/// How long reading and repeatable commands are tried.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a rollback is tried, unless told otherwise: at 3 a.m. nobody wants to press the key again.
const ROLLBACK_PATIENCE: Duration = Duration::from_secs(60);
/// Pages of one list.
const PAGES_MAX: usize = 100;
/// How long a rollback is tried before a word is said of it.
const ROLLBACK_QUIET: Duration = Duration::from_secs(2);
/// Between two tries of a rollback that was taken on but not accepted by the load balancer yet.
const ROLLBACK_PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn run(command: Command, followed: &Followed) -> Result<Exit, Failure> {
    match command {
        Command::Deploy(args) => deploy(args, followed).await,
        Command::Plan(args) => plan(args).await,
        Command::Doctor(args) => doctor(args).await,
        Command::Status(args) => status(args).await,
        Command::Readiness(args) => {
            let (raw, standing) = readiness::ask(&connect(&args.connection)?, &args.target, Again::For(PATIENCE)).await?;
            Ok(readiness::show(&raw, &standing, args.connection.output))
        }
        Command::Wait(args) => {
            let api = connect(&args.connection)?;
            let id = resolve(&api, &args.target).await?.view.id;
            wait(&api, &id, &args.limits, &args.connection, followed, None).await
        }
        Command::Rollback(args) => rollback(args, followed).await,
        Command::Cancel(args) => cancel(args, followed).await,
        Command::Promote(args) => {
            let to = match args.to {
                To::Next => "next",
                To::Full => "full",
            };
            // Once received, a second promote would skip a second stage.
            steer(&args.steer, "promote", json!({"to": to}), Again::UnlessReceived(PATIENCE)).await
        }
        Command::Pause(args) => steer(&args, "pause", json!({}), Again::For(PATIENCE)).await,
        Command::Resume(args) => steer(&args, "resume", json!({}), Again::For(PATIENCE)).await,
        Command::Drill(args) => drill::drill(args).await,
        Command::Orphans(args) => orphans(args).await,
        Command::Weight(args) => steer(&args.steer, "weight", json!({"green": args.green}), Again::For(PATIENCE)).await,
        Command::Adopt(args) => answer_drift(&args, "adopt").await,
        Command::Restore(args) => answer_drift(&args, "restore").await,
    }
}

async fn deploy(args: Deploy, followed: &Followed) -> Result<Exit, Failure> {
    args.waiting.check(false)?;
    let api = connect(&args.connection)?;
    let output = args.connection.output;
    let mut body = json!({"image": args.image});
    put(&mut body, "version", args.version.as_ref());
    put(&mut body, "reason", args.reason.as_ref());
    let path = format!("{}/deployments{}", args.target.path(), if args.dry_run { "?dry_run=true" } else { "" });
    let answer = match api.call(Call::send(Method::POST, &path, &body), Again::For(PATIENCE)).await {
        Ok(answer) => answer,
        // An earlier try was received and its answer lost: what runs now may be what it began.
        Err(Trouble::Refused { status: 409, problem, repeated: true }) => {
            match begun_by_us(&api, &args, problem.deployment.as_ref().map(|link| link.id.as_str())).await? {
                Some(answer) => answer,
                None => return Err(Trouble::Refused { status: 409, problem, repeated: true }.into()),
            }
        }
        Err(trouble) => return Err(trouble.into()),
    };
    if args.dry_run {
        planned::show(&answer.body, output);
        return Ok(Exit::Done);
    }
    if answer.body.get("outcome").and_then(Value::as_str) == Some("noop") {
        render::say(&format!("{} runs {} already: nothing to do", args.target, args.image));
        if output == args::Output::Json {
            render::json(&answer.body);
        }
        return Ok(Exit::Done);
    }
    let created = Resource::read(answer.body)?;
    render::say(&format!("{} created: {}", created.view.name(), created.view.id));
    say_how_to_go_back(&api, &args.target);
    if !args.waiting.wait {
        render::resource(&created, output);
        return Ok(Exit::Done);
    }
    wait(&api, &created.view.id, &args.waiting.limits, &args.connection, followed, Some(ByHand::of(args.target))).await
}

async fn plan(args: args::Plan) -> Result<Exit, Failure> {
    let path = format!("{}/deployments?dry_run=true", args.target.path());
    let body = json!({"image": args.image});
    checked(&args.connection, Call::send(Method::POST, &path, &body)).await
}

async fn doctor(args: args::Doctor) -> Result<Exit, Failure> {
    let image = args.image.map(|image| format!("?image={image}")).unwrap_or_default();
    checked(&args.connection, Call::get(&format!("{}/doctor{image}", args.target.path()))).await
}

async fn checked(connection: &Connection, call: Call<'_>) -> Result<Exit, Failure> {
    let answer = connect(connection)?.call(call, Again::For(PATIENCE)).await?;
    planned::show(&answer.body, connection.output);
    Ok(if planned::any_failed(&answer.body) { Exit::Rejected } else { Exit::Done })
}

/// The running deployment, if it is what this command asked for.
async fn begun_by_us(api: &Api, args: &Deploy, running: Option<&str>) -> Result<Option<Answer>, Failure> {
    let Some(id) = running else { return Ok(None) };
    let path = format!("v1/deployments/{id}");
    let answer = api.call(Call::get(&path), Again::For(PATIENCE)).await?;
    let found = Resource::read(answer.body.clone())?.view;
    let ours = found.image == args.image && found.version == args.version && found.reason == args.reason;
    Ok(ours.then_some(answer))
}

fn say_how_to_go_back(api: &Api, target: &Pair) {
    render::say(&format!("to go back:  cutover rollback {target} --reason WHY"));
    render::say(&format!(
        "        or:  curl -sS --fail-with-body -X POST {}{}/rollback -H \"Authorization: Bearer $CUTOVER_TOKEN\" --json '{{\"reason\":\"WHY\"}}'",
        api.base(),
        target.path()
    ));
}

async fn status(args: args::Status) -> Result<Exit, Failure> {
    let api = connect(&args.connection)?;
    let found = resolve(&api, &args.target).await?;
    render::resource(&found, args.connection.output);
    let d = &found.view;
    if args.connection.output == args::Output::Table && !d.ended() {
        let of = Pair { service: d.service.clone(), environment: d.environment.clone() };
        // An older service does not say: then neither do we.
        if let Ok((_, standing)) = readiness::ask(&api, &of, Again::For(Duration::ZERO)).await {
            render::out(&format!("{:<10}{}\n", "takes", standing.price()));
        }
    }
    Ok(Exit::Done)
}

async fn wait(
    api: &Api,
    id: &str,
    limits: &Limits,
    connection: &Connection,
    followed: &Followed,
    by_hand: Option<ByHand>,
) -> Result<Exit, Failure> {
    followed.set(id);
    let resource = within(limits, follow::follow(api, id, limits, by_hand), followed).await?;
    render::resource(&resource, connection.output);
    let exit = follow::verdict(&resource.view, limits.until());
    let d = &resource.view;
    match exit {
        Exit::RolledBack => render::say(&format!("{} ended {}: users are on the old version", d.name(), d.status)),
        Exit::NeedsPerson => {
            let why = d.attention.as_deref().unwrap_or("it failed");
            render::say(&format!("{} needs a person: {why}", d.name()));
        }
        Exit::Rejected => render::say(&format!("{} was refused before anything was changed", d.name())),
        _ => {}
    }
    Ok(exit)
}

async fn within<T>(limits: &Limits, work: impl Future<Output = Result<T, Failure>>, followed: &Followed) -> Result<T, Failure> {
    match limits.timeout {
        None => work.await,
        Some(timeout) => tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| {
            Err(Failure::new(Exit::Timeout, format!("the time given by --timeout is over; {}", followed.way_back())))
        }),
    }
}

async fn rollback(args: args::Rollback, followed: &Followed) -> Result<Exit, Failure> {
    let args::Rollback { connection, target, reason, waiting, .. } = &args;
    waiting.check(true)?;
    let api = connect(connection)?;
    let (of, path) = match target {
        Some(of @ Target::Pair(pair)) => (of, format!("{}/rollback", pair.path())),
        Some(of @ Target::Deployment(id)) => (of, format!("v1/deployments/{id}/rollback")),
        None => return Err(Failure::new(Exit::Usage, "say what is to go back: SERVICE/ENVIRONMENT, or a deployment's id")),
    };
    let mut body = json!({});
    put(&mut body, "reason", reason.as_ref());
    if args.dry_run {
        let path = format!("{path}?dry_run=true");
        let answer = api.call(Call::send(Method::POST, &path, &body), Again::For(PATIENCE)).await?;
        planned::show(&answer.body, connection.output);
        return Ok(Exit::Done);
    }
    let began = Instant::now();
    let resource =
        until_accepted(&api, (of, path.as_str()), &body, waiting.limits.timeout.unwrap_or(ROLLBACK_PATIENCE)).await?;
    let d = &resource.view;
    render::say(&accepted(d, began.elapsed()));
    if d.durable == Some(false) {
        render::say(
            "the service's database is away: the order waits on its disk, and goes on record when the database is back",
        );
    }
    went_back(&api, resource, connection.output, waiting, followed).await
}

/// What the answer to a rollback means.
fn accepted(d: &Deployment, took: Duration) -> String {
    let (name, mode) = (d.name(), d.mode.as_deref().unwrap_or("instant"));
    match (mode, d.ended()) {
        ("redeploy", false) => {
            format!("{name}: the old servers are gone, so {} is deployed anew, straight to 100 % (redeploy)", d.image)
        }
        ("redeploy", true) => format!("{name}: {} was deployed anew already and serves: nothing was sent (redeploy)", d.image),
        (_, true) if d.by_route.is_empty() => format!("{name}: it went back already: nothing was sent ({mode})"),
        _ => format!("{name}: rollback accepted after {} ms ({mode})", took.as_millis()),
    }
}

/// Asks until the load balancer has accepted the way back. Every answer but a refusal is a reason to ask again.
async fn until_accepted(
    api: &Api,
    (target, path): (&Target, &str),
    body: &Value,
    patience: Duration,
) -> Result<Resource, Failure> {
    let until = Instant::now() + patience;
    let mut told = String::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let answer = match api.call(Call::send(Method::POST, path, body), Again::For(left.min(ROLLBACK_QUIET))).await {
            // Said while it is tried on: it may hold what a person can do meanwhile.
            Err(Trouble::Passing { said, .. }) if Instant::now() + ROLLBACK_PAUSE < until => {
                if told != said {
                    let left = until.saturating_duration_since(Instant::now()).as_secs();
                    render::say(&format!("{said}\ntrying again for {left} s more"));
                    if told.is_empty() {
                        render::say(&without_the_service(target));
                    }
                    told = said;
                }
                tokio::time::sleep(ROLLBACK_PAUSE).await;
                continue;
            }
            answer => answer?,
        };
        let accepted_only = answer.accepted_only;
        let resource = Resource::read(answer.body)?;
        let redeploy = resource.view.mode.as_deref() == Some("redeploy");
        if !accepted_only || redeploy {
            return Ok(resource);
        }
        if Instant::now() + ROLLBACK_PAUSE >= until {
            let (name, id) = (resource.view.name(), resource.view.id);
            let said = format!(
                "{name}: the rollback is taken down and the service goes on with it, but the load balancer has not accepted it yet; \
                 come back with: cutover wait {id}"
            );
            return Err(Failure::new(Exit::Timeout, said));
        }
        render::say("the rollback is taken down; the load balancer has not accepted it yet, asking again");
        tokio::time::sleep(ROLLBACK_PAUSE).await;
    }
}

/// The way back that needs no service, for whoever does not want to wait for this one.
fn without_the_service(target: &Target) -> String {
    let target = match target {
        Target::Pair(pair) => pair.to_string(),
        Target::Deployment(id) => id.to_string(),
    };
    format!(
        "without the service, with AWS credentials of your own and its state directory:\n  \
         cutover rollback --direct --bundle STATE_DIR/lane/bundles {target}"
    )
}

async fn cancel(args: Back, followed: &Followed) -> Result<Exit, Failure> {
    args.waiting.check(false)?;
    let api = connect(&args.steer.connection)?;
    let (resource, _) = command(&api, &args.steer, "cancel", json!({}), Again::For(PATIENCE)).await?;
    went_back(&api, resource, args.steer.connection.output, &args.waiting, followed).await
}

/// A way back that was asked for: reaching it is success.
async fn went_back(
    api: &Api,
    resource: Resource,
    output: args::Output,
    waiting: &Waiting,
    followed: &Followed,
) -> Result<Exit, Failure> {
    if !waiting.wait {
        render::resource(&resource, output);
        return Ok(Exit::Done);
    }
    let limits = &waiting.limits;
    followed.set(&resource.view.id);
    let redeploy = resource.view.mode.as_deref() == Some("redeploy");
    let ended = within(limits, follow::follow(api, &resource.view.id, limits, None), followed).await?;
    render::resource(&ended, output);
    match follow::verdict(&ended.view, limits.until()) {
        // A redeploy that went back itself has left users where they were.
        Exit::RolledBack if !redeploy => Ok(Exit::Done),
        exit => Ok(exit),
    }
}

async fn steer(args: &Steer, name: &str, body: Value, again: Again) -> Result<Exit, Failure> {
    let api = connect(&args.connection)?;
    let (resource, changed) = command(&api, args, name, body, again).await?;
    if !changed {
        render::say("nothing to do: it is so already");
    }
    render::resource(&resource, args.connection.output);
    Ok(Exit::Done)
}

/// How often an answer is given anew because something else about the deployment has changed meanwhile.
const ANSWERS_MAX: usize = 5;

/// Answers the drift that is shown here, and no other one: the state that was read is named.
async fn answer_drift(args: &Steer, name: &str) -> Result<Exit, Failure> {
    let api = connect(&args.connection)?;
    let id = match &args.target {
        Target::Deployment(id) => id.to_string(),
        target @ Target::Pair(_) => resolve(&api, target).await?.view.id,
    };
    let path = format!("v1/deployments/{id}");
    let (mut body, action) = (json!({}), format!("{path}/{name}"));
    put(&mut body, "reason", args.reason.as_ref());
    let mut shown: Option<Vec<Drift>> = None;
    for _ in 0..ANSWERS_MAX {
        let read = api.call(Call::get(&path), Again::For(PATIENCE)).await?;
        let drift = Resource::read(read.body)?.view.drift().to_vec();
        match &shown {
            None => drift.iter().for_each(|edit| render::say(&format!("{name}: {edit}"))),
            Some(shown) if *shown != drift => {
                let said = format!("what was changed is not what was shown any more: look again with cutover status {id}");
                return Err(Failure::new(Exit::Conflict, said));
            }
            Some(_) => {}
        }
        shown = Some(drift);
        let call = Call { if_match: read.etag.as_deref(), ..Call::send(Method::POST, &action, &body) };
        match api.call(call, Again::For(PATIENCE)).await {
            Ok(answer) => {
                render::resource(&Resource::read(answer.body)?, args.connection.output);
                return Ok(Exit::Done);
            }
            // Something moved: a server more, say. The drift may still be the one that was shown.
            Err(Trouble::Refused { status: 412, .. }) => {}
            Err(trouble) => return Err(trouble.into()),
        }
    }
    Err(Failure::new(Exit::Conflict, format!("the deployment keeps changing: try again, or look with cutover status {id}")))
}

/// Gives a command to the deployment; `true` where that changed something.
async fn command(api: &Api, args: &Steer, name: &str, mut body: Value, again: Again) -> Result<(Resource, bool), Failure> {
    let id = match &args.target {
        Target::Deployment(id) => id.to_string(),
        target @ Target::Pair(_) => resolve(api, target).await?.view.id,
    };
    put(&mut body, "reason", args.reason.as_ref());
    let path = format!("v1/deployments/{id}/{name}");
    let method = if name == "weight" { Method::PUT } else { Method::POST };
    let answer = api.call(Call::send(method, &path, &body), again).await.map_err(|trouble| match trouble {
        Trouble::Passing { said, received: true } if matches!(again, Again::UnlessReceived(_)) => {
            let said = format!("{said}\n  it may have been done: look with cutover status {id} before you repeat it");
            Failure::new(Exit::Error, said)
        }
        trouble => trouble.into(),
    })?;
    let changed = answer.accepted_only || answer.repeated;
    Ok((Resource::read(answer.body)?, changed))
}

async fn orphans(args: args::Orphans) -> Result<Exit, Failure> {
    let api = connect(&args.connection)?;
    let of = args.target.map(|pair| format!("&service={}&environment={}", pair.service, pair.environment)).unwrap_or_default();
    let mut items = Vec::new();
    let mut cursor = String::new();
    for _ in 0..PAGES_MAX {
        let path = format!("v1/orphans?limit=100{of}{cursor}");
        let answer = api.call(Call::get(&path), Again::For(PATIENCE)).await?;
        let page: Page<Value> = serde_json::from_value(answer.body)
            .map_err(|error| Failure::new(Exit::Error, format!("the answer is no list of orphans: {error}")))?;
        items.extend(page.items);
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return render::orphans(items, args.connection.output).map(|()| Exit::Done),
        }
    }
    Err(Failure::new(Exit::Error, format!("there are more than {} orphans: ask for one service's", PAGES_MAX * 100)))
}

/// The deployment that a target means: the one named, or the newest.
async fn resolve(api: &Api, target: &Target) -> Result<Resource, Failure> {
    let path = match target {
        Target::Deployment(id) => format!("v1/deployments/{id}"),
        Target::Pair(pair) => format!("v1/deployments?service={}&environment={}&limit=1", pair.service, pair.environment),
    };
    let answer = api.call(Call::get(&path), Again::For(PATIENCE)).await?;
    let Target::Pair(pair) = target else { return Resource::read(answer.body) };
    let page: Page<Value> = serde_json::from_value(answer.body)
        .map_err(|error| Failure::new(Exit::Error, format!("the answer is no list of deployments: {error}")))?;
    match page.items.into_iter().next() {
        Some(newest) => Resource::read(newest),
        None => {
            // A typo is told from a first day, in the service's own words.
            api.call(Call::get(&pair.path()), Again::For(PATIENCE)).await?;
            Err(Failure::new(Exit::Rejected, format!("{pair} has had no deployment yet")))
        }
    }
}

fn put(body: &mut Value, key: &str, value: Option<&String>) {
    if let Some(value) = value {
        body[key] = json!(value);
    }
}
