//! The holder of the leases is killed in the middle of its ticks. What it held is rolled back by another replica at once, in turn with
//! what nobody held; and where nobody goes back, how soon that replica takes the next step.

use std::time::Duration;

use cutover_sim::{
    bench::fleet::{Fleet, Making},
    faults::{Effect, Fault},
};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Flags, figures::Sample, rolled_back, started};

/// Deployments whose lease the dead one had, and as many that were free. Together with the next, fewer than one replica's ticks at a time.
const HELD: usize = 24;
/// Of those that were held, so many more that nobody rolls back.
const LEFT: usize = 2;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A look of the engine's that is held is given up after four seconds, and the lease with it.
const LEASED_WITHIN: Duration = Duration::from_secs(3);
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(60);

pub struct Holder {
    held: Sample,
    free: Sample,
    takeover: Duration,
}

impl Holder {
    pub fn line(&self) -> String {
        format!(
            "holder killed: {} rollbacks of what it held, p50 {:.2} ms, p99 {:.2} ms · {} of what was free, p50 {:.2} ms, p99 {:.2} ms · the next \
             step by another replica {:.2} s after the kill",
            self.held.len(),
            self.held.p50(),
            self.held.p99(),
            self.free.len(),
            self.free.p50(),
            self.free.p99(),
            self.takeover.as_secs_f64(),
        )
    }

    pub fn killed(&self) -> Value {
        json!({
            "rollbacks": self.held.len(), "p50_ms": self.held.p50(), "p99_ms": self.held.p99(),
            "free_p50_ms": self.free.p50(), "free_p99_ms": self.free.p99(), "added_p50_ms": self.held.p50() - self.free.p50(),
        })
    }

    pub fn takeover(&self) -> Value {
        json!({"seconds": self.takeover.as_secs_f64()})
    }
}

pub async fn measured(flags: &Flags) -> Result<Holder, String> {
    let folder = flags.folder.join("holder");
    let (database, config) = started(&folder).await?;
    let url = database.url().expose_secret().to_owned();
    let interrupt = CancellationToken::new();
    let making = Making {
        program: std::path::Path::new(env!("CARGO_BIN_EXE_cutover")),
        folder: &folder,
        config: &config,
        // One more warms the other replica's connections, as any rollback before would have.
        services: u32::try_from(2 * HELD + LEFT + 1).unwrap_or(u32::MAX),
        latency: Duration::ZERO,
        interrupt: &interrupt,
    };
    let measured = kill(Fleet::start(making).await?, &config, &url).await;
    database.stop().await.map_err(|error| format!("stopping the database: {error}"))?;
    measured
}

async fn kill(fleet: Fleet, config: &str, url: &str) -> Result<Holder, String> {
    eprintln!("holder killed: {} deployments to their bake", 2 * HELD + LEFT + 1);
    fleet.deploy(&json!({"stages": [{"weight": 100, "bake_time": "0s"}], "bake_time": "manual"})).await?;
    fleet.until_all("baking").await?;
    let mut records = PgConnection::connect(url).await.map_err(|error| format!("connecting to the database: {error}"))?;
    // Every tick that begins now holds its lease, and its first call is never answered.
    let every = Fault { operation: None, ..Fault::on("", Effect::HoldBefore) };
    fleet.sim().faults().set(every).ok_or("there is no room for a fault")?;
    for i in 0..HELD + LEFT {
        fleet.weigh(i, 50.0).await?;
    }
    until_leased(&mut records).await?;
    let (fleet, killed) = fleet.replaced(config).await?;
    rolled_back(&fleet, 2 * HELD + LEFT).await?;
    let (mut held, mut free) = (Sample::default(), Sample::default());
    if leases(&mut records).await? < HELD + LEFT {
        return Err("the dead one's leases were over before the first rollback: the machine was too busy".to_owned());
    }
    for i in 0..HELD {
        held.add(rolled_back(&fleet, LEFT + i).await?.0);
        free.add(rolled_back(&fleet, LEFT + HELD + i).await?.0);
    }
    let takeover = taken_over(&fleet, killed).await;
    fleet.stop().await?;
    Ok(Holder { held, free, takeover: takeover? })
}

/// Deployments that were woken and whose lease somebody has.
async fn leases(records: &mut PgConnection) -> Result<usize, String> {
    let count = "select count(*) from deployments where lease_until > now() and intent->>'order' is not null";
    let count: i64 =
        sqlx::query_scalar(count).fetch_one(records).await.map_err(|error| format!("counting the leases: {error}"))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

async fn until_leased(records: &mut PgConnection) -> Result<(), String> {
    let deadline = Instant::now() + LEASED_WITHIN;
    loop {
        let leased = leases(records).await?;
        if leased >= HELD + LEFT {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{leased} of {} deployments were leased in time", HELD + LEFT));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// From the kill until the last of those that nobody rolled back was given its weight. Nothing else changes a rule.
async fn taken_over(fleet: &Fleet, killed: Timestamp) -> Result<Duration, String> {
    let deadline = Instant::now() + TAKEN_OVER_WITHIN;
    loop {
        let steps: Vec<_> = fleet
            .sim()
            .journal()
            .calls(0, None)
            .into_iter()
            .filter(|call| call.operation == "ModifyRule" && call.applied && call.at > killed)
            .map(|call| call.at)
            .collect();
        if let Some(last) = steps.get(LEFT - 1) {
            return Ok(last.duration_since(killed).unsigned_abs());
        }
        if Instant::now() > deadline {
            return Err("the other replica took no step in time".to_owned());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
