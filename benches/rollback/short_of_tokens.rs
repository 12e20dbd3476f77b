//! Rollbacks where tokens are short: many at once under AWS's own rates, and a few beside forward work that has taken all it may.

use std::time::Duration;

use cutover_sim::{
    bench::fleet::{Fleet, Making},
    limits::Rates,
};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Flags, PLENTY, ms};

/// Rolled back beside the forward work.
const BESIDE: usize = 5;
/// Of forward work, as many changes at once: far more than the bucket has.
const FORWARD: usize = 60;
/// Seconds that forward work has to have waited in all: asking a bucket that has tokens takes some hundredths of a millisecond, and that is no
/// wait, of a rollback neither.
const IS_A_WAIT: f64 = 1.0;
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// For the last of them to be accepted, and then to be seen.
const PATIENCE: Duration = Duration::from_secs(180);

/// What came of both.
pub struct Short {
    rollbacks: u32,
    /// From the first request to the last acceptance, and what the bucket lets pass in no less.
    took: Duration,
    least: Duration,
    /// From the first request until each of them was seen to be back on every route.
    seen: Duration,
    /// Deletions that were sent meanwhile, and those of them that were throttled.
    sent: (u64, u64),
    /// What the rollbacks beside forward work waited for tokens, and what that work waited meanwhile.
    waited: f64,
    forward_waited: f64,
    beside: Vec<f64>,
}

impl Short {
    pub fn line(&self) -> String {
        format!(
            "{} rollbacks at once: accepted after {:.2} s, the bucket's own limit is {:.2} s (ratio {:.3}), seen on every route \
             after {:.2} s, with {} deletions, {} of them throttled · beside forward work that waited \
             {:.1} s for tokens {} rollbacks waited {:.3} s",
            self.rollbacks,
            self.took.as_secs_f64(),
            self.least.as_secs_f64(),
            self.ratio(),
            self.seen.as_secs_f64(),
            self.sent.0,
            self.sent.1,
            self.forward_waited,
            self.beside.len(),
            self.waited,
        )
    }

    fn ratio(&self) -> f64 {
        self.took.as_secs_f64() / self.least.as_secs_f64()
    }

    pub fn burst(&self) -> Value {
        json!({
            "rollbacks": self.rollbacks, "took_ms": ms(self.took), "least_ms": ms(self.least), "ratio": self.ratio(),
            "seen_ms": ms(self.seen), "deletions": self.sent.0, "throttled": self.sent.1,
        })
    }

    pub fn drained(&self) -> Value {
        json!({"waited_ms": (self.waited * 1000.0).round(), "forward_waited_ms": self.forward_waited * 1000.0, "answered_ms": self.beside})
    }
}

pub async fn measured(flags: &Flags) -> Result<Short, String> {
    let folder = flags.folder.join("short");
    std::fs::create_dir_all(&folder).map_err(|error| format!("creating {}: {error}", folder.display()))?;
    let interrupt = CancellationToken::new();
    let services = flags.burst + u32::try_from(BESIDE).unwrap_or(0);
    let making = Making {
        program: std::path::Path::new(env!("CARGO_BIN_EXE_cutover")),
        folder: &folder,
        config: PLENTY,
        services,
        latency: Duration::ZERO,
        interrupt: &interrupt,
    };
    let fleet = Fleet::start(making).await?;
    eprintln!("short of tokens: {services} deployments to their bake");
    fleet.deploy(&json!({"stages": [{"weight": 100, "bake_time": "0s"}], "bake_time": "manual"})).await?;
    fleet.until_all("baking").await?;
    // The default budget: AWS's own figures. The region keeps to them, too.
    let fleet = fleet.again("").await?;
    fleet.sim().limits().set(Some(Rates::default()));
    let (waited, forward_waited, beside) = beside_forward_work(&fleet).await?;
    let fleet = fleet.again("").await?;
    fleet.sim().limits().set(Some(Rates::default()));
    let mark = fleet.sim().journal().counts();
    let all = BESIDE..services as usize;
    let began = jiff::Timestamp::now();
    for answer in join_all(all.clone().map(|i| fleet.roll_back(i))).await {
        answer?;
    }
    let took = last(&fleet, all.clone(), "accepted_at").await?.duration_since(began).unsigned_abs();
    let sent = fleet.sim().journal().counts().since(&mark);
    let sent = (sent.of("elasticloadbalancing:DeleteRule"), sent.with("Throttling"));
    let seen = last(&fleet, all, "observed_at").await?.duration_since(began).unsigned_abs();
    fleet.stop().await?;
    let change = Rates::default().change;
    let least = Duration::from_secs_f64((f64::from(flags.burst) - change.bucket) / change.refill);
    Ok(Short { rollbacks: flags.burst, took, least, seen, sent, waited, forward_waited, beside })
}

/// Weights by hand, all at once; while they wait in line, rollbacks.
async fn beside_forward_work(fleet: &Fleet) -> Result<(f64, f64, Vec<f64>), String> {
    for outcome in join_all((BESIDE..BESIDE + FORWARD).map(|i| fleet.weigh(i, 50.0))).await {
        outcome?;
    }
    let before = waits(&fleet.metrics().await?);
    let deadline = Instant::now() + Duration::from_secs(60);
    // Drained: somebody waits.
    while waits(&fleet.metrics().await?).0 < before.0 + IS_A_WAIT {
        if Instant::now() > deadline {
            return Err("forward work never had to wait for a token".to_owned());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let mut answered = Vec::new();
    for i in 0..BESIDE {
        answered.push(ms(fleet.roll_back(i).await?.0));
    }
    let after = waits(&fleet.metrics().await?);
    Ok((after.1 - before.1, after.0 - before.0, answered))
}

/// Seconds that calls have waited for tokens so far: those of forward work, and those of rollbacks.
fn waits(metrics: &str) -> (f64, f64) {
    let of = |lane: &str| -> f64 {
        let sums = metrics.lines().filter(|line| {
            line.starts_with("cutover_provider_budget_wait_seconds")
                && line.contains(&format!("lane=\"{lane}\""))
                && !line.contains("_bucket{")
        });
        sums.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    (of("forward"), of("rollback"))
}

/// Of all their rollbacks the last `field`, by the service's own account, once each has one.
async fn last(fleet: &Fleet, all: std::ops::Range<usize>, field: &str) -> Result<jiff::Timestamp, String> {
    let deadline = Instant::now() + PATIENCE;
    let mut last = jiff::Timestamp::UNIX_EPOCH;
    for i in all {
        loop {
            let newest = fleet.newest(i).await?;
            if let Some(at) = newest["rollback"][field].as_str() {
                last = last.max(at.parse().map_err(|error| format!("{field}: {error}"))?);
                break;
            }
            if Instant::now() > deadline {
                return Err(format!("the rollback of service {i} has no {field} after {PATIENCE:?}: {newest:#}"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(last)
}
