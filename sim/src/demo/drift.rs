//! The story of drift: somebody with the AWS command line edits the rules of a release in mid-flight.
//!
//! They know nothing of Cutover, so every edit is AWS's own client against the region, and what came of it is read back with the
//! same client: Cutover is not asked whether it left a rule alone.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{sleep, sleep_until};

use super::{
    ground::Ground,
    hand::{Hand, text},
    screen::Screen,
    service::CREDENTIALS,
    timeline::{Act, Timeline},
    verdict::{Line, Rollback, Told},
};
use crate::model::Place;

/// The first two stages last longer than their edits, so that nothing but the hold keeps the weight.
const STRATEGY: &str = r#"{
    "stages": [{"weight": 25, "bake_time": "12s"}, {"weight": 50, "bake_time": "12s"}, {"weight": 75, "bake_time": "1m"}, {"weight": 100}],
    "bake_time": "4s"
  }"#;
const BAKE: Duration = Duration::from_secs(12);
/// How long users look at a weight. Longer than half of the service's quiet period: until then a higher weight may be a late call
/// of Cutover's own.
const LOOK: Duration = Duration::from_secs(4);
/// What `cutover wait` ends with when a person is needed.
const NEEDS_PERSON: i32 = 5;
/// What somebody has to know to edit the overlays, and where an answer of Cutover says it.
const NAMES: [(&str, &str); 4] =
    [("OVERLAY_1", "/routes/0/overlay"), ("OVERLAY_2", "/routes/1/overlay"), ("BLUE", "/blue/slot"), ("GREEN", "/green/slot")];

/// Tells it.
///
/// # Errors
/// What kept it from being told.
pub async fn tell(screen: &Screen, ground: &Ground, hand: &mut Hand, timeline: &Timeline) -> Result<Told, String> {
    let place = Place::default();
    hand.export(&[&CREDENTIALS[..], &[("AWS_DEFAULT_REGION", &place.region), ("AWS_PAGER", "")]].concat());
    screen.act("the service is declared: where its traffic enters, two slots to move between, and how");
    hand.declare(&ground.declaration(STRATEGY)).await?;
    let from = Instant::now();
    screen.act("v2 is released, to 25 percent. On each route an overlay rule has the weights");
    hand.deploy(ground.image("v2"), "v2").await?;
    let reached = hand.wait("stage:1").await?;
    for (name, pointer) in NAMES {
        hand.set(name, text(&reached, pointer)?);
    }
    let mut story = Story { screen, timeline, endpoint: ground.sim.endpoint(), hand, lines: Vec::new() };
    story.restored().await?;
    story.adopted().await?;
    let back = story.rolled_back(ground.propagation()).await?;
    story.remembered().await?;
    let act = Act { version: "v2", from, to: Instant::now(), promised: &[0, 250, 400, 500, 750] };
    Ok(Told { acts: vec![act], back, lines: story.lines })
}

struct Story<'a> {
    screen: &'a Screen,
    timeline: &'a Timeline,
    endpoint: &'a str,
    hand: &'a Hand,
    lines: Vec<Line>,
}

impl Story<'_> {
    /// More green on one route: held, and restored.
    async fn restored(&mut self) -> Result<(), String> {
        let over = Instant::now() + BAKE + LOOK / 4;
        sleep(LOOK).await;
        self.screen.act("somebody gives green more on one of the two routes: 60 percent, with AWS's own command line");
        let edited = Instant::now();
        self.weigh("$OVERLAY_1", 600).await?;
        self.hand.show("cutover wait web/prod --attention-patience 1s 2>/dev/null", NEEDS_PERSON).await?;
        self.screen.act("what the API says of it; and beyond the stage's end, the rules are as they were left");
        sleep_until(over.into()).await;
        let held = self.hand.read().await?;
        self.tell_of(&held, &["status", "weight", "attention", "drift", "allowed_actions"]);
        let told = held["attention"].as_str().is_some_and(|sentence| sentence.contains("weight 25% -> 60%"));
        let shown = differences(&held) == [["overlay", "weight", "25%", "60%"]];
        // What one of two routes has cannot be adopted: a deployment has one weight.
        let ways =
            allows(&held, "restore") && allows(&held, "rollback") && !allows(&held, "promote") && !allows(&held, "adopt");
        let is_held = held["status"] == "paused" && told && shown && ways;
        self.promise(is_held, "25 % -> 60 % on one route by hand: held, and the API says what differs");
        let weights = self.weights().await?;
        let left_alone = format!("held beyond the stage's end, green's weights in AWS stayed as they were left: {weights}");
        self.promise(weights == json!([600, 250]), &left_alone);

        self.screen.act("nobody wanted that: restore. The weights go back, and the release goes on by itself");
        self.hand.show("cutover restore web/prod --reason 'nobody asked for 60' >/dev/null", 0).await?;
        self.hand.wait("stage:2").await?;
        let agreed = self.timeline.moments().into_iter().filter(|moment| moment.at > edited).find_map(|moment| moment.shares);
        let back = agreed.as_ref().and_then(|shares| shares.get("v2")).copied();
        self.promise(back == Some(250), "restored: both routes were back at 25 % before anything rose, and it went on to 50 %");
        Ok(())
    }

    /// Less green on both routes: held, adopted, and resumed.
    async fn adopted(&mut self) -> Result<(), String> {
        sleep(LOOK).await;
        self.screen.act("at 50 percent somebody takes a little back, on both routes: 40 percent");
        self.weigh("$OVERLAY_1", 400).await?;
        self.weigh("$OVERLAY_2", 400).await?;
        let held = self.hand.until("a drift that can be adopted", |deployment| allows(deployment, "adopt")).await?;
        self.tell_of(&held, &["status", "drift", "allowed_actions"]);
        let both = differences(&held) == [["overlay", "weight", "50%", "40%"]; 2];
        self.promise(held["status"] == "paused" && both, "50 % -> 40 % on both routes by hand: held");

        self.screen.act("that was a good idea: adopt. It becomes a weight set by hand, and stays until somebody resumes");
        self.hand.show("cutover adopt web/prod --reason 'slower is fine' >/dev/null", 0).await?;
        let adopted = self.hand.until("the end of the drift", |deployment| differences(deployment).is_empty()).await?;
        self.tell_of(&adopted, &["status", "weight", "attention", "allowed_actions"]);
        let by_hand = adopted["status"] == "paused" && adopted["weight"]["desired"].as_f64() == Some(40.0);
        self.promise(by_hand && adopted["attention"].is_null(), "adopted: 40 % is a weight set by hand, and stays");
        sleep(LOOK).await;
        self.hand.show("cutover resume web/prod >/dev/null", 0).await?;
        let on = self.hand.wait("stage:3").await?;
        self.promise(on["status"] == "in_progress" && on["stage"] == 3, "resumed: it went on, to 75 %");
        Ok(())
    }

    /// One overlay deleted: a rollback.
    async fn rolled_back(&mut self, propagation: Duration) -> Result<Rollback, String> {
        sleep(LOOK / 2).await;
        self.screen.act("errors! Somebody deletes the overlay of one route, and that is enough: everything goes back, on both");
        self.hand.answer(&format!("aws elbv2 delete-rule --endpoint-url {} --rule-arn $OVERLAY_1", self.endpoint)).await?;
        let asked = Instant::now();
        let ended = self.hand.ended().await?;
        self.tell_of(&ended, &["status", "weight", "rollback"]);
        let taken = ended["status"] == "rolled_back" && ended["rollback"]["trigger"] == "outside";
        self.promise(taken, "an overlay deleted by hand: adopted as a rollback, on both routes");
        let accepted = moment(text(&ended, "/rollback/observed_at")?)?;
        sleep(LOOK / 2).await;
        Ok(Rollback { by: "an overlay was deleted by hand", asked, accepted, propagation })
    }

    /// What the record has of all this.
    async fn remembered(&mut self) -> Result<(), String> {
        self.screen.act("what the history keeps of it");
        let events = self.hand.history().await?;
        let kind = |event: &Value| event["type"].as_str().unwrap_or_default().to_owned();
        for event in &events {
            let (kind, word) = (kind(event), |key: &str| event[key].as_str().unwrap_or("?"));
            if ["drift.", "command.", "rollback."].iter().any(|of| kind.starts_with(of)) {
                self.screen.line(&format!("  {kind:<18} {} ({})", word("message"), word("actor")));
            }
        }
        let count = |wanted: &str| events.iter().filter(|event| kind(event) == wanted).count();
        let both = count("drift.began") == 2 && count("drift.over") == 2;
        self.promise(both, "the history tells of two drifts, from their beginning to their end");
        Ok(())
    }

    /// Somebody gives an overlay other weights, in thousandths.
    async fn weigh(&self, rule: &str, green: u32) -> Result<(), String> {
        let targets = format!("[{{TargetGroupArn=$BLUE,Weight={}}},{{TargetGroupArn=$GREEN,Weight={green}}}]", 1000 - green);
        let line = format!(
            "aws elbv2 modify-rule --endpoint-url {} --rule-arn {rule} \\\n  --actions \"Type=forward,ForwardConfig={{TargetGroups={targets}}}\"",
            self.endpoint
        );
        self.hand.answer(&line).await.map(drop)
    }

    /// Green's weight on each overlay, by the load balancer's account.
    async fn weights(&self) -> Result<Value, String> {
        let line = format!(
            "aws elbv2 describe-rules --endpoint-url {} --rule-arns $OVERLAY_1 $OVERLAY_2 \\\n  --query 'Rules[].Actions[0].ForwardConfig.TargetGroups[1].Weight'",
            self.endpoint
        );
        let weights = self.hand.answer(&line).await?;
        self.screen.line(&weights.to_string());
        Ok(weights)
    }

    /// Shows some fields of an answer as they are.
    fn tell_of(&self, answer: &Value, fields: &[&str]) {
        for field in fields {
            self.screen.line(&format!("  \"{field}\": {}", answer[field]));
        }
    }

    fn promise(&mut self, holds: bool, text: &str) {
        self.lines.push(Line::new(holds, text.to_owned()));
    }
}

/// Rule, field, recorded and seen of each difference.
fn differences(deployment: &Value) -> Vec<[&str; 4]> {
    let edits = deployment["drift"].as_array().into_iter().flatten();
    edits.map(|edit| ["rule", "field", "recorded", "seen"].map(|key| edit[key].as_str().unwrap_or("?"))).collect()
}

fn allows(deployment: &Value, action: &str) -> bool {
    deployment["allowed_actions"].as_array().is_some_and(|all| all.iter().any(|allowed| allowed == action))
}

/// A moment of the service's clock, which is this machine's too.
fn moment(at: &str) -> Result<Instant, String> {
    let at: Timestamp = at.parse().map_err(|error| format!("{at} is no time: {error}"))?;
    let ago = Duration::try_from(Timestamp::now().duration_since(at)).unwrap_or_default();
    Instant::now().checked_sub(ago).ok_or_else(|| format!("{at} was before this machine began to count"))
}
