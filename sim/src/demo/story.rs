//! The story: a release that goes well, and one that is sent back.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    events::{Source, follow},
    ground::{Ground, Pair, show},
    hand::{Hand, text},
    picture::{self, Act, Mark},
    screen::Screen,
    service::{Service, Setup},
    timeline::Timeline,
    verdict::{self, Line, Rollback},
};
use crate::load::Load;

/// The whole story must be over by then; the promise is two minutes.
const STORY_TIMEOUT: Duration = Duration::from_secs(180);
const PROMISED: Duration = Duration::from_secs(120);
/// How long the users look at a weight that was set by hand, at the last stage before the rollback, and at the end.
const LOOK: Duration = Duration::from_secs(4);
/// Long polls before a deployment is given up.
const POLLS_MAX: u32 = 3;
const TOKEN: &str = "demo-token-only-for-this-machine";

/// How the demo is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The `cutover` binary.
    pub cutover: PathBuf,
    /// This program: its `server` command is what the images run.
    pub server: PathBuf,
    /// For the service's state and log.
    pub folder: PathBuf,
    pub picture: PathBuf,
    pub requests_per_second: u32,
    /// Leave everything running afterwards, until interrupted.
    pub keep: bool,
}

/// What the telling leaves for the verdict.
struct Told {
    /// When the first deployment began, when the second did, and when it was over.
    began: [Instant; 3],
    ends: [String; 2],
    rollback: Rollback,
}

/// Plays it until `interrupt`; true if all held.
///
/// # Errors
/// What kept the story from being told.
pub async fn play(settings: &Settings, interrupt: &CancellationToken) -> Result<bool, String> {
    let (screen, started) = (Screen::new(), Instant::now());
    screen.act("a pocket AWS region: one load balancer, two routes to the service web/prod, three servers of v1");
    let ground = Ground::start(&settings.server).await?;
    screen.say(&format!("the region answers at {}; its servers are healthy", ground.sim.endpoint()));
    screen.act("Cutover, with its embedded Postgres");
    let setup =
        Setup { program: &settings.cutover, folder: &settings.folder, aws: ground.sim.endpoint(), token: TOKEN, interrupt };
    let service = Service::start(setup, |line| screen.command(line)).await?;
    screen.say("ready");
    let stop = CancellationToken::new();
    let _stop_at_the_end = stop.clone().drop_guard();
    let timeline = ground.timeline(stop.clone());
    let users = ground.users(settings.requests_per_second);
    let pair = Pair::new("v1", "v2");
    let showing = tokio::spawn(show(screen.clone(), users.record().clone(), timeline.clone(), pair.clone(), stop.clone()));
    let hand = Hand::new(screen.clone(), service.url(), TOKEN);
    let source = Source { url: service.url().to_owned(), token: TOKEN.to_owned() };
    let telling = tokio::spawn(follow(screen.clone(), source, hand.spoken_of(), stop.clone()));
    let story = timeout(STORY_TIMEOUT, tell(&screen, &ground, &hand, &pair));
    let told = match interrupt.run_until_cancelled(story).await {
        Some(Ok(told)) => told.map_err(|error| service.with_log(&error)),
        Some(Err(_)) => Err(service.with_log(&format!("the story was not over after {STORY_TIMEOUT:?}"))),
        None => Err("interrupted".to_owned()),
    };
    stop.cancel();
    let _ = tokio::join!(showing, telling);
    let judged = match told {
        Ok(told) => judge(&screen, &ground, users, &timeline, &told, settings, started).await,
        Err(error) => Err(error),
    };
    if settings.keep && !interrupt.is_cancelled() {
        keep(&screen, &ground, service.url(), interrupt).await;
    }
    let stopped = service.stop().await;
    ground.sim.shutdown().await;
    stopped.and(judged)
}

async fn tell(screen: &Screen, ground: &Ground, hand: &Hand, pair: &Pair) -> Result<Told, String> {
    screen.act("the service is declared: where its traffic enters, two slots to move between, and how");
    hand.declare(&ground.declaration()).await?;
    let first = Instant::now();

    screen.act("v2 is released: 5, 25, 50, 100 percent, a bake, the commit; then the old servers go");
    hand.deploy(ground.image("v2"), "v2").await?;
    for stage in ["stage:1", "stage:2", "stage:3", "baking"] {
        seen(screen, &hand.wait(stage).await?);
    }
    let released = ended(screen, hand).await?;

    let second = Instant::now();
    pair.set("v2", "v3");
    screen.act(
        "v3 is released, and a person takes the wheel: 12.5 percent by hand, on again, and at 50 percent everything goes back",
    );
    hand.deploy(ground.image("v3"), "v3").await?;
    seen(screen, &hand.wait("stage:1").await?);
    sleep(LOOK / 2).await;
    seen(screen, &hand.weight(12.5, "a closer look").await?);
    sleep(LOOK).await;
    seen(screen, &hand.resume().await?);
    seen(screen, &hand.wait("stage:3").await?);
    sleep(LOOK / 2).await;
    let asked = Instant::now();
    let answer = hand.rollback("errors in the checkout").await?;
    let answered = Instant::now();
    seen(screen, &answer);
    let accepted_after = between(&answer, "/rollback/requested_at", "/rollback/accepted_at");
    let sent_back = ended(screen, hand).await?;
    sleep(LOOK / 2).await;
    Ok(Told {
        began: [first, second, Instant::now()],
        ends: [released, sent_back],
        rollback: Rollback { asked, answered, accepted_after, propagation: ground.propagation() },
    })
}

/// Waits until the deployment has ended; how.
async fn ended(screen: &Screen, hand: &Hand) -> Result<String, String> {
    let mut last = String::new();
    for _ in 0..POLLS_MAX {
        let answer = hand.wait("terminal").await?;
        seen(screen, &answer);
        text(&answer, "/status")?.clone_into(&mut last);
        if !matches!(last.as_str(), "pending" | "in_progress" | "paused") {
            return Ok(last);
        }
    }
    Err(format!("the deployment is still {last}"))
}

/// Shows of an answer what a person would read first.
fn seen(screen: &Screen, answer: &Value) {
    let word = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or("?");
    let (status, phase) = (word("status"), word("phase"));
    let phase = if phase == status { String::new() } else { format!(", {phase}") };
    let weight = answer.pointer("/weight/observed").and_then(Value::as_f64);
    let weight = weight.map_or_else(|| "green's weight unknown".to_owned(), |weight| format!("green at {weight} %"));
    let attention =
        answer.get("attention").and_then(Value::as_str).map(|text| format!("; attention: {text}")).unwrap_or_default();
    screen.say(&format!("-> #{} {status}{phase}, {weight}{attention}", answer["number"]));
}

fn between(answer: &Value, from: &str, to: &str) -> Option<Duration> {
    let at = |pointer| answer.pointer(pointer)?.as_str()?.parse::<Timestamp>().ok();
    Duration::try_from(at(to)?.duration_since(at(from)?)).ok()
}

async fn judge(
    screen: &Screen,
    ground: &Ground,
    users: Load,
    timeline: &Timeline,
    told: &Told,
    settings: &Settings,
    started: Instant,
) -> Result<bool, String> {
    let record = users.finish().await;
    let [first, second, over] = told.began;
    let windows = timeline.windows(over, ground.propagation());
    let (released, sent_back): (Vec<_>, Vec<_>) = (
        windows.iter().filter(|window| window.from < second).cloned().collect(),
        windows.iter().filter(|window| window.to > second).cloned().collect(),
    );
    let mut lines = verdict::requests(&record);
    lines.extend(verdict::shares(&record, "v2", &released, &[0, 50, 250, 500, 1000]));
    lines.extend(verdict::shares(&record, "v3", &sent_back, &[0, 50, 125, 250, 500]));
    lines.extend(verdict::rollback(&record, "v3", told.rollback));
    for (version, (end, wanted)) in ["v2", "v3"].iter().zip(told.ends.iter().zip(["succeeded", "rolled_back"])) {
        lines.push(Line::new(end == wanted, format!("the deployment of {version} ended: {end}")));
    }
    let groups = ground.groups();
    lines.push(Line::new(groups.len() == 1, format!("server groups left: {} ({})", groups.len(), groups.join(", "))));
    let took = started.elapsed();
    lines.push(Line::new(took <= PROMISED, format!("all of it took {:.0} s", took.as_secs_f64())));
    screen.act("summary");
    lines.iter().for_each(|line| screen.line(&line.shown()));
    let acts =
        [Act { version: "v2".to_owned(), from: first, to: second }, Act { version: "v3".to_owned(), from: second, to: over }];
    let mut marks = picture::stages(&timeline.moments(), &acts);
    marks.push(Mark { at: told.rollback.asked, text: "rollback".to_owned() });
    picture::draw(&settings.picture, &record, &timeline.moments(), &acts, &marks)?;
    screen.line(&format!("  picture: {}", settings.picture.display()));
    Ok(lines.iter().all(|line| line.holds))
}

/// Leaves everything running, with a few users, until `interrupt`.
async fn keep(screen: &Screen, ground: &Ground, url: &str, interrupt: &CancellationToken) {
    let (stop, pair) = (CancellationToken::new(), Pair::new("v2", "v3"));
    let users = ground.users(50);
    let timeline = ground.timeline(stop.clone());
    screen.act("everything is left running; go on by hand, and end it with Ctrl-C");
    screen.line(&by_hand(url, ground));
    let showing = tokio::spawn(show(screen.clone(), users.record().clone(), timeline, pair, stop.clone()));
    interrupt.cancelled().await;
    stop.cancel();
    let _ = showing.await;
}

/// What a person would type to go on.
fn by_hand(url: &str, ground: &Ground) -> String {
    let prod = "\"$CUTOVER_URL/v1/services/web/environments/prod";
    let auth = "-H \"Authorization: Bearer $CUTOVER_TOKEN\"";
    let json = "-H 'Content-Type: application/json' -d";
    format!(
        r#"export CUTOVER_URL={url} CUTOVER_TOKEN={TOKEN}
# a user's request, through the load balancer
curl -sS -H 'Host: {host}' http://{address}/
# release v3 again
ID=$(curl -sS {prod}/deployments" {auth} \
  {json} '{{"image": "{image}", "version": "v3"}}' | grep -o '"id": *"[^"]*"' | head -1 | cut -d'"' -f4)
# see how it is once its first weight is there
curl -sS "$CUTOVER_URL/v1/deployments/$ID?wait=55s&until=stage:1" {auth}
# set a weight by hand, and go on
curl -sS -X PUT "$CUTOVER_URL/v1/deployments/$ID/weight" {auth} {json} '{{"green": 12.5}}'
curl -sS -X POST "$CUTOVER_URL/v1/deployments/$ID/resume" {auth}
# send everything back
curl -sS -X POST {prod}/rollback" {auth} {json} '{{"reason": "INC-1"}}'
# every call, documented: {url}/docs"#,
        image = ground.image("v3"),
        host = ground.host(),
        address = ground.address(),
    )
}
