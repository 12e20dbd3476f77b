//! Making the weather, and mending it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    ground::{Ground, PATIENCE},
    phase::{At, a_look},
    weather::{OUTAGE, Weather},
};

/// How long something may take to be felt.
const FELT_WITHIN: Duration = Duration::from_secs(10);

/// Several looks' calls.
const CALLS_BY_A_WRONG_CLOCK: u64 = 20;

/// Weather that was made.
pub struct Broken {
    weather: Weather,
    since: Instant,
    /// Of AWS's calls.
    fault: Option<String>,
    is_mended: bool,
    /// Who is asked to go back.
    pub asked: usize,
    /// Who stands still.
    paused: Option<usize>,
}

impl Broken {
    pub async fn make(ground: &mut Ground, at: At, weather: Weather) -> Result<Self, String> {
        let mut broken = Self { weather, since: Instant::now(), fault: None, is_mended: false, asked: 0, paused: None };
        if let (Some(clock), Some(seconds)) = (&ground.clock, weather.clock_seconds()) {
            clock.set(seconds);
            // The service lives by it for a while before anybody asks.
            let made = || ground.scene.sim.journal().counts().total();
            let before = made();
            let looks_on = ground.scene.comes(PATIENCE, || made() > before + CALLS_BY_A_WRONG_CLOCK).await;
            looks_on.then_some(()).ok_or("nothing was called by a wrong clock")?;
        }
        if let Some(disk) = &ground.services[0].disk {
            disk.fill();
        }
        broken.fault = weather.of_aws().and_then(|fault| ground.scene.sim.faults().set(fault));
        match weather {
            Weather::PostgresDown | Weather::DiskFullPostgresDown => ground.postgres.stop().await,
            Weather::PostgresRestarted => {
                ground.postgres.stop().await;
                ground.postgres.again().await;
            }
            Weather::TwoReplicas => {
                ground.hold(a_look());
                broken.asked = 1 - holder(ground).await?;
            }
            Weather::HolderPaused => broken.pause(ground, at).await?,
            Weather::Healthy
            | Weather::Throttled
            | Weather::ServerErrors
            | Weather::Blackhole
            | Weather::ClockAhead
            | Weather::ClockBehind
            | Weather::DiskFull => {}
        }
        Ok(broken)
    }

    /// Stops whoever works on it while a call is under way.
    async fn pause(&mut self, ground: &mut Ground, at: At) -> Result<(), String> {
        if let Some(fault) = at.holds_next() {
            ground.hold(fault);
        }
        if at == At::Shifting {
            ground.services[0].done("POST", &format!("{}/promote", ground.url), Some(json!({"to": "next"}))).await;
        }
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let holder = holder(ground).await?;
            ground.services[holder].stand_still();
            // It may have given the lease back in that very moment.
            if ground.holder().await? == Some(holder) && ground.calls_held() > 0 {
                (self.paused, self.asked) = (Some(holder), 1 - holder);
                return Ok(());
            }
            ground.services[holder].go_on();
        }
        Err("nobody was caught with a call under way".to_owned())
    }

    /// Whether it was felt, or is within a while. What nobody felt proves nothing.
    pub async fn is_felt(&self, ground: &Ground, at: At) -> Result<(), String> {
        let scene = &ground.scene;
        // Each line of its log is dated.
        let dated = || ground.services[0].said().lines().rev().find_map(|line| line.split(' ').next()?.parse().ok());
        let is_off = |at: jiff::Timestamp| at.duration_since(jiff::Timestamp::now()).abs() > jiff::SignedDuration::from_secs(6);
        let felt = match self.weather {
            Weather::Throttled | Weather::ServerErrors | Weather::Blackhole => {
                let met = || self.fault.as_ref().is_some_and(|fault| ground.met(fault) > 0);
                scene.comes(FELT_WITHIN, met).await
            }
            Weather::ClockAhead | Weather::ClockBehind => scene.comes(FELT_WITHIN, || dated().is_some_and(is_off)).await,
            // There is nothing new to be written.
            Weather::DiskFull | Weather::DiskFullPostgresDown if matches!(at, At::RollingBack | At::Retiring) => true,
            Weather::DiskFull | Weather::DiskFullPostgresDown => {
                let words = ["could not be kept on disk", "on this machine's disk", "the disk does not take the order"];
                let said = || words.iter().any(|words| ground.services[0].said().contains(words));
                scene.comes(FELT_WITHIN, said).await
            }
            Weather::PostgresDown => ground.services[0].call("GET", "/readyz", None).await.1["database"] == "unreachable",
            Weather::HolderPaused | Weather::TwoReplicas => ground.calls_held() > 0,
            Weather::Healthy | Weather::PostgresRestarted => true,
        };
        felt.then_some(()).ok_or_else(|| format!("{:?} was not felt\n{}", self.weather, ground.said()))
    }

    /// An outage of AWS lasts longer than anybody waits; whoever asked looks on meanwhile.
    pub async fn outlast(&self, ground: &Ground) {
        while self.weather.accepts_nothing() && self.since.elapsed() < OUTAGE {
            let _ = ground.services[self.asked].call("GET", &format!("{}?wait=1s", ground.url), None).await;
        }
    }

    /// AWS, the database and the clock are as they should be again.
    pub async fn mend(&mut self, ground: &mut Ground) {
        if std::mem::replace(&mut self.is_mended, true) {
            return;
        }
        if let Some(fault) = &self.fault {
            let _known = ground.scene.sim.faults().remove(fault);
        }
        if let Some(clock) = &ground.clock {
            clock.set(0);
        }
        if self.weather.is_without_database() {
            ground.postgres.again().await;
        }
        if let Some(disk) = &ground.services[0].disk {
            disk.clear();
        }
    }

    /// And whoever stood still goes on, after their late call, which lands in the last moment in which it can.
    pub async fn end(&mut self, ground: &mut Ground) {
        self.mend(ground).await;
        ground.until_signatures_die().await;
        ground.let_go();
        if let Some(paused) = self.paused.take() {
            ground.services[paused].go_on();
        }
    }
}

/// Who holds the lease, as soon as somebody does with a call under way.
async fn holder(ground: &Ground) -> Result<usize, String> {
    let started = Instant::now();
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    while started.elapsed() < PATIENCE {
        looks.tick().await;
        if ground.calls_held() == 0 {
            continue;
        }
        if let Some(holder) = ground.holder().await? {
            return Ok(holder);
        }
    }
    Err(format!("nobody ever held the lease with a call under way\n{}", ground.said()))
}
