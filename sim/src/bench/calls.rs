//! How often AWS is asked: for one deployment from its request to its end, and a minute while many bake.

use std::{collections::BTreeMap, fmt::Write as _, path::Path, time::Duration};

use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::fleet::{Fleet, Making};
use crate::journal::Counts;

/// How often a bake is looked at becomes rarer for a while: counted from then on.
const SETTLE: Duration = Duration::from_secs(60);
const COUNTED: Duration = Duration::from_secs(60);
/// Stages of the deployment that is followed to its end.
const STAGES: [u32; 3] = [10, 50, 100];

/// A bake is counted at Cutover's defaults, but for a budget with which a hundred deployments get there in seconds; it is not met
/// once they bake.
pub const SETTINGS: &str = r#"[aws.budget]
elb_changes = { size = 2000, per_second = 300 }
elb_looks = { size = 4000, per_second = 1000 }
auto_scaling = { size = 1000, per_second = 500 }
"#;
/// A whole deployment in seconds: how often it is changed does not hang on how long it waits.
const IN_SECONDS: &str = "[engine]\nquiet_period = \"6s\"\n";

/// What was counted.
#[derive(Debug)]
pub struct Calls {
    /// Of one deployment.
    changes: Vec<(String, u64)>,
    looks: Vec<(String, u64)>,
    /// By how many baked, a minute.
    baking: BTreeMap<u32, Vec<(String, u64)>>,
}

/// What counts.
#[derive(Debug)]
pub struct Counting<'a> {
    /// The `cutover` binary.
    pub program: &'a Path,
    /// Where its state goes.
    pub folder: &'a Path,
    /// Its settings while many bake.
    pub settings: &'a str,
    pub interrupt: &'a CancellationToken,
}

impl Counting<'_> {
    /// `fleets` are how many bake at a time.
    ///
    /// # Errors
    /// What did not go as it should.
    pub async fn count(&self, fleets: &[u32], say: impl Fn(&str)) -> Result<Calls, String> {
        say("one deployment to its end");
        let (looks, changes) = self.of_one().await?.into_iter().partition(|(operation, _)| operation.contains(":Describe"));
        let mut baking = BTreeMap::new();
        for n in fleets {
            say(&format!("{n} deployments that bake: a minute to settle, a minute counted"));
            let counted = self.of_baking(*n).await?;
            say(&format!("{} calls\n{}", total(&counted), lines(&counted)));
            baking.insert(*n, counted);
        }
        Ok(Calls { changes, looks, baking })
    }

    fn making<'a>(&'a self, config: &'a str, services: u32) -> Making<'a> {
        let Self { program, folder, interrupt, .. } = *self;
        Making { program, folder, config, services, latency: Duration::ZERO, interrupt }
    }

    /// What was started is stopped, however the work ends.
    async fn with<T>(&self, fleet: Fleet, work: impl AsyncFnOnce(&Fleet) -> Result<T, String>) -> Result<T, String> {
        let done = self.interrupt.run_until_cancelled(work(&fleet)).await;
        let stopped = fleet.stop().await;
        let done = done.unwrap_or_else(|| Err("interrupted".to_owned()))?;
        stopped.map(|()| done)
    }

    async fn of_one(&self) -> Result<Vec<(String, u64)>, String> {
        let fleet = Fleet::start(self.making(IN_SECONDS, 1)).await?;
        let stages: Vec<_> = STAGES.iter().map(|weight| json!({"weight": weight, "bake_time": "0s"})).collect();
        let strategy = json!({"stages": stages, "bake_time": "0s"});
        let work = async |fleet: &Fleet| {
            fleet.deploy(&strategy).await?;
            fleet.until_all("succeeded").await?;
            Ok(by_operation(&fleet.counts()))
        };
        self.with(fleet, work).await
    }

    async fn of_baking(&self, n: u32) -> Result<Vec<(String, u64)>, String> {
        let fleet = Fleet::start(self.making(self.settings, n)).await?;
        let strategy = json!({"stages": [{"weight": 100, "bake_time": "0s"}], "bake_time": "1h"});
        let work = async |fleet: &Fleet| {
            fleet.deploy(&strategy).await?;
            fleet.until_all("baking").await?;
            sleep(SETTLE).await;
            let mark = fleet.counts();
            sleep(COUNTED).await;
            Ok(by_operation(&fleet.counts().since(&mark)))
        };
        self.with(fleet, work).await
    }
}

fn by_operation(counts: &Counts) -> Vec<(String, u64)> {
    counts.operations().map(|(name, count)| (name.to_owned(), count)).collect()
}

fn total(of: &[(String, u64)]) -> u64 {
    of.iter().map(|(_, count)| count).sum()
}

fn lines(of: &[(String, u64)]) -> String {
    of.iter().map(|(name, count)| format!("         {count:>4} {name}")).collect::<Vec<_>>().join("\n")
}

impl Calls {
    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text =
            format!("one deployment of {} stages and one route, from its declaration to `succeeded`\n", STAGES.len());
        for (what, of) in [("changes", &self.changes), ("looks", &self.looks)] {
            let _ = writeln!(text, "  {:>6} {what}\n{}", total(of), lines(of));
        }
        for (n, of) in &self.baking {
            let _ = writeln!(text, "{n} deployments that bake, a minute\n  {:>6} calls\n{}", total(of), lines(of));
        }
        text
    }

    /// For machines.
    #[must_use]
    pub fn json(&self) -> Value {
        let operations = |of: &[(String, u64)]| of.iter().cloned().collect::<BTreeMap<String, u64>>();
        let baking: BTreeMap<_, _> = self
            .baking
            .iter()
            .map(|(n, of)| (n.to_string(), json!({"total": total(of), "by_operation": operations(of)})))
            .collect();
        json!({
            "mutations": {"stages": STAGES.len(), "total": total(&self.changes), "by_operation": operations(&self.changes)},
            "reads_per_deployment": {"total": total(&self.looks), "by_operation": operations(&self.looks)},
            "reads_per_minute": baking,
        })
    }
}
