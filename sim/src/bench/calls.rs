//! How often AWS is asked: for one deployment from its request to its end, and a minute while many bake.

use std::{collections::BTreeMap, fmt::Write as _, path::Path, time::Duration};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::fleet::Fleet;
use crate::journal::Counts;

/// How often a bake is looked at becomes rarer for a while: counted from then on.
const SETTLE: Duration = Duration::from_secs(60);
const COUNTED: Duration = Duration::from_secs(60);
/// Stages of the deployment that is followed to its end.
const STAGES: [u32; 3] = [10, 50, 100];

/// A bake is counted at Cutover's defaults.
const AT_DEFAULTS: &str = "";
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

/// Counts with the program `service`, whose state goes into `folder`; `fleets` are how many bake at a time.
///
/// # Errors
/// What did not go as it should.
pub async fn count(service: &Path, folder: &Path, fleets: &[u32], say: impl Fn(&str)) -> Result<Calls, String> {
    say("one deployment to its end");
    let whole = of_one(service, folder).await?;
    let (looks, changes) = whole.into_iter().partition(|(operation, _)| operation.contains(":Describe"));
    let mut baking = BTreeMap::new();
    for n in fleets {
        say(&format!("{n} deployments that bake: a minute to settle, a minute counted"));
        baking.insert(*n, of_baking(service, folder, *n).await?);
    }
    Ok(Calls { changes, looks, baking })
}

async fn of_one(service: &Path, folder: &Path) -> Result<Vec<(String, u64)>, String> {
    let fleet = Fleet::start(service, folder, IN_SECONDS, 1).await?;
    let stages: Vec<_> = STAGES.iter().map(|weight| json!({"weight": weight, "bake_time": "0s"})).collect();
    let ended = async {
        fleet.deploy(&json!({"stages": stages, "bake_time": "0s"})).await?;
        fleet.until_all("succeeded").await
    };
    let (ended, counts) = (ended.await, fleet.counts());
    fleet.stop().await?;
    ended.map(|()| by_operation(&counts))
}

async fn of_baking(service: &Path, folder: &Path, n: u32) -> Result<Vec<(String, u64)>, String> {
    let fleet = Fleet::start(service, folder, AT_DEFAULTS, n).await?;
    let counted = async {
        fleet.deploy(&json!({"stages": [{"weight": 100, "bake_time": "0s"}], "bake_time": "1h"})).await?;
        fleet.until_all("baking").await?;
        sleep(SETTLE).await;
        let mark = fleet.counts();
        sleep(COUNTED).await;
        Ok(by_operation(&fleet.counts().since(&mark)))
    };
    let counted = counted.await;
    fleet.stop().await?;
    counted
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
