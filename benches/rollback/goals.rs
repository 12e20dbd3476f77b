//! What the figures have to be. A run that misses one ends with an error, after its figures are written.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

/// Processes that run or want to, beyond which a figure tells of the machine.
const LOAD_MAX: f64 = 1.0;

/// Where a figure stands in `bench.json`, and the most that it may be.
const GOALS: [(&str, f64); 14] = [
    ("/rollback/idle/ratio_p50", 1.1),
    ("/rollback/idle/ratio_p99", 1.25),
    ("/rollback/idle/added_p50_ms", 0.5),
    ("/rollback/with_1000/ratio_p99", 1.5),
    ("/rollback/postgres_stopped/ratio_p99", 1.5),
    ("/rollback/holder_killed/added_p50_ms", 5.0),
    ("/rollback/burst_200/ratio", 1.05),
    ("/rollback/drained_bucket/waited_ms", 0.0),
    ("/rollback/cold_start/worst_ms", 300.0),
    // The lease, and one look of a phase that takes steps.
    ("/takeover/seconds", 11.0),
    ("/memory/empty_mb", 40.0),
    ("/memory/added_per_1000_mb", 10.0),
    ("/cpu/empty_percent", 0.2),
    ("/cpu/with_1000_percent", 2.0),
];

/// A goal, and what was measured.
#[derive(Debug, Serialize)]
pub struct Held {
    pub name: String,
    pub figure: Option<f64>,
    pub most: f64,
    /// A figure that is not there misses its goal.
    pub met: bool,
}

/// One of each goal.
pub fn held(figures: &Value) -> Vec<Held> {
    let one = |(place, most): (&str, f64)| {
        let figure = figures.pointer(place).and_then(Value::as_f64);
        let name = place.trim_start_matches('/').replace('/', ".");
        Held { name, figure, most, met: figure.is_some_and(|figure| figure <= most) }
    };
    GOALS.into_iter().map(one).collect()
}

/// The names of those that were missed.
pub fn missed(goals: &[Held]) -> Vec<&str> {
    goals.iter().filter(|goal| !goal.met).map(|goal| goal.name.as_str()).collect()
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.figure.map_or_else(|| "not measured".to_owned(), |figure| format!("{figure:.3}"));
        let word = if self.met { "  ok  " } else { "MISSED" };
        write!(f, "{word} {:<28} {shown} (at most {})", self.name, self.most)
    }
}

/// Whether the machine was quiet enough to be believed, as it was before the run began.
pub fn is_to_be_trusted(load: &str) -> bool {
    load.parse::<f64>().is_ok_and(|load| load <= LOAD_MAX)
}

/// Figures that all meet their goals, and figures of which each is just beyond: a check that cannot tell them apart is none.
pub fn can_lose() -> Result<(), String> {
    let figures = |by: f64| {
        let mut all = json!({});
        for (place, most) in GOALS {
            let mut at = &mut all;
            for key in place.trim_start_matches('/').split('/') {
                at = &mut at[key];
            }
            *at = json!(most + by);
        }
        all
    };
    let lost = |figures: &Value| missed(&held(figures)).len();
    let (met, beyond) = (lost(&figures(0.0)), lost(&figures(0.001)));
    if (met, beyond, lost(&json!({}))) == (0, GOALS.len(), GOALS.len()) {
        return Ok(());
    }
    Err(format!(
        "the goals are not held: of {} {met} were missed by figures that meet them, {beyond} by those that do not",
        GOALS.len()
    ))
}
