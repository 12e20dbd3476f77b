//! Sets everything up, has one story told, judges it from the users' side, and stops what was started.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::ValueEnum;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    drift,
    events::{Source, follow},
    ground::{Ground, Pair, show},
    hand::Hand,
    picture::{self, Mark},
    release,
    screen::Screen,
    service::{CONFIG, Service, Setup},
    timeline::Timeline,
    verdict::{self, Line, Told},
};
use crate::load::Load;

/// The whole story must be over by then; the promise is two minutes.
const STORY_TIMEOUT: Duration = Duration::from_secs(180);
const PROMISED: Duration = Duration::from_secs(120);
const TOKEN: &str = "demo-token-only-for-this-machine";

/// Which story is told.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum Story {
    /// Two releases: one goes well, one is sent back.
    #[default]
    Release,
    /// Rules edited with the AWS command line while a release runs.
    Drift,
}

/// How the demo is run.
#[derive(Debug, Clone)]
pub struct Settings {
    pub story: Story,
    /// The AWS command line.
    pub aws: PathBuf,
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
    let setup = Setup {
        program: &settings.cutover,
        folder: &settings.folder,
        aws: ground.sim.endpoint(),
        token: TOKEN,
        config: CONFIG,
        interrupt,
    };
    let service = Service::start(setup, |line| screen.command(line)).await?;
    screen.say("ready");
    let stop = CancellationToken::new();
    let _stop_at_the_end = stop.clone().drop_guard();
    let timeline = ground.timeline(stop.clone());
    let users = ground.users(settings.requests_per_second);
    let pair = Pair::new("v1", "v2");
    let showing = tokio::spawn(show(screen.clone(), users.record().clone(), timeline.clone(), pair.clone(), stop.clone()));
    let mut hand = Hand::new(screen.clone(), service.url(), TOKEN);
    let source = Source { url: service.url().to_owned(), token: TOKEN.to_owned() };
    let telling = tokio::spawn(follow(screen.clone(), source, hand.spoken_of(), stop.clone()));
    let told = async {
        match settings.story {
            Story::Release => release::tell(&screen, &ground, &mut hand, &pair).await,
            Story::Drift => {
                hand.put_on_path(&[&settings.cutover, &settings.aws])?;
                drift::tell(&screen, &ground, &mut hand, &timeline).await
            }
        }
    };
    let told = match interrupt.run_until_cancelled(timeout(STORY_TIMEOUT, told)).await {
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
        let here = settings.cutover.parent().map(Path::to_path_buf).unwrap_or_default();
        keep(&screen, &ground, (service.url(), &here), &pair, interrupt).await;
    }
    // It takes seconds: the service ends its round, and its Postgres writes down what it holds.
    screen.say("stopping the service, its Postgres and the region");
    let stopped = service.stop().await;
    ground.sim.shutdown().await;
    stopped.and(judged)
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
    let over = told.acts.last().map_or(started, |act| act.to);
    let windows = timeline.windows(over, ground.propagation());
    let mut lines = verdict::seen(&record, told, &windows);
    lines.extend(told.lines.iter().cloned());
    let groups = ground.groups();
    lines.push(Line::new(groups.len() == 1, format!("server groups left: {} ({})", groups.len(), groups.join(", "))));
    let rules = ground.extra_rules();
    lines.push(Line::new(rules == 0, format!("rules left beside the two bases: {rules}")));
    let took = started.elapsed();
    lines.push(Line::new(took <= PROMISED, format!("all of it took {:.0} s", took.as_secs_f64())));
    screen.act("summary");
    lines.iter().for_each(|line| screen.line(&line.shown()));
    let mut marks = picture::stages(&timeline.moments(), &told.acts);
    marks.push(Mark { at: told.back.asked, text: "rollback".to_owned() });
    picture::draw(&settings.picture, &record, &timeline.moments(), &told.acts, &marks)?;
    screen.line(&format!("  picture: {}", settings.picture.display()));
    Ok(lines.iter().all(|line| line.holds))
}

/// Leaves everything running, with a few users, until `interrupt`.
async fn keep(screen: &Screen, ground: &Ground, (url, programs): (&str, &Path), pair: &Pair, interrupt: &CancellationToken) {
    let (stop, pair) = (CancellationToken::new(), pair.clone());
    let users = ground.users(50);
    let timeline = ground.timeline(stop.clone());
    screen.act("everything is left running; go on by hand, and end it with Ctrl-C");
    screen.line(&by_hand((url, programs), ground, &pair.get().1));
    let showing = tokio::spawn(show(screen.clone(), users.record().clone(), timeline, pair, stop.clone()));
    interrupt.cancelled().await;
    stop.cancel();
    let _ = showing.await;
}

/// What a person would type to go on.
fn by_hand((url, programs): (&str, &Path), ground: &Ground, version: &str) -> String {
    let prod = "\"$CUTOVER_URL/v1/services/web/environments/prod";
    let auth = "-H \"Authorization: Bearer $CUTOVER_TOKEN\"";
    let json = "-H 'Content-Type: application/json' -d";
    format!(
        r#"export CUTOVER_URL={url} CUTOVER_TOKEN={TOKEN} PATH="{programs}:$PATH"
# a user's request, through the load balancer
curl -sS -H 'Host: {host}' http://{address}/
# release {version} again
ID=$(curl -sS {prod}/deployments" {auth} \
  {json} '{{"image": "{image}", "version": "{version}"}}' | grep -o '"id": *"[^"]*"' | head -1 | cut -d'"' -f4)
# see how it is once its first weight is there
curl -sS "$CUTOVER_URL/v1/deployments/$ID?wait=55s&until=stage:1" {auth}
# set a weight by hand, and go on
curl -sS -X PUT "$CUTOVER_URL/v1/deployments/$ID/weight" {auth} {json} '{{"green": 12.5}}'
curl -sS -X POST "$CUTOVER_URL/v1/deployments/$ID/resume" {auth}
# send everything back
curl -sS -X POST {prod}/rollback" {auth} {json} '{{"reason": "INC-1"}}'
# the same with the command line: can I go back, how does it stand, release and wait, go back
cutover readiness web/prod
cutover status web/prod
cutover deploy web/prod --image {image} --wait
cutover rollback web/prod --reason INC-1
# every call, documented: {url}/docs"#,
        programs = programs.display(),
        image = ground.image(version),
        host = ground.host(),
        address = ground.address(),
    )
}
