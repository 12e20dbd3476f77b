//! The story of two releases: one that goes well, and one that is sent back.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::sleep;

use super::{
    ground::{Ground, Pair},
    hand::{Hand, text},
    screen::Screen,
    timeline::Act,
    verdict::{self, Line, Rollback, Told},
};

const STRATEGY: &str = r#"{
    "stages": [{"weight": 5, "bake_time": "5s"}, {"weight": 25, "bake_time": "4s"}, {"weight": 50, "bake_time": "4s"}, {"weight": 100}],
    "bake_time": "4s"
  }"#;
/// How long the users look at a weight that was set by hand; half of it at the last stage before the rollback, and at the end.
const LOOK: Duration = Duration::from_secs(4);

/// Tells it.
///
/// # Errors
/// What kept it from being told.
pub async fn tell(screen: &Screen, ground: &Ground, hand: &mut Hand, pair: &Pair) -> Result<Told, String> {
    screen.act("the service is declared: where its traffic enters, two slots to move between, and how");
    hand.declare(&ground.declaration(STRATEGY)).await?;
    let first = Instant::now();

    screen.act("v2 is released: 5, 25, 50, 100 percent, a bake, the commit; then the old servers go");
    hand.deploy(ground.image("v2"), "v2").await?;
    for stage in ["stage:1", "stage:2", "stage:3", "baking"] {
        hand.wait(stage).await?;
    }
    let released = ends(&hand.ended().await?, "v2", "succeeded")?;

    let second = Instant::now();
    pair.set("v2", "v3");
    screen.act(
        "v3 is released, and a person takes the wheel: 12.5 percent by hand, on again, and at 50 percent everything goes back",
    );
    hand.deploy(ground.image("v3"), "v3").await?;
    hand.wait("stage:1").await?;
    sleep(LOOK / 2).await;
    hand.weight(12.5, "a closer look").await?;
    sleep(LOOK).await;
    hand.resume().await?;
    hand.wait("stage:3").await?;
    sleep(LOOK / 2).await;
    let asked = Instant::now();
    let answer = hand.rollback("errors in the checkout").await?;
    let accepted = Instant::now();
    let accepted_after = between(&answer, "/rollback/requested_at", "/rollback/accepted_at");
    let sent_back = ends(&hand.ended().await?, "v3", "rolled_back")?;
    sleep(LOOK / 2).await;
    Ok(Told {
        acts: vec![
            Act { version: "v2", from: first, to: second, promised: &[0, 50, 250, 500, 1000] },
            Act { version: "v3", from: second, to: Instant::now(), promised: &[0, 50, 125, 250, 500] },
        ],
        back: Rollback { by: "the request", asked, accepted, propagation: ground.propagation() },
        lines: vec![verdict::accepted(accepted_after), released, sent_back],
    })
}

/// How a deployment ended, and whether it was to end so.
fn ends(answer: &Value, version: &str, wanted: &str) -> Result<Line, String> {
    let end = text(answer, "/status")?;
    Ok(Line::new(end == wanted, format!("the deployment of {version} ended: {end}")))
}

fn between(answer: &Value, from: &str, to: &str) -> Option<Duration> {
    let at = |pointer| answer.pointer(pointer)?.as_str()?.parse::<Timestamp>().ok();
    Duration::try_from(at(to)?.duration_since(at(from)?)).ok()
}
