//! What the figures have to be. A run that misses one ends with an error, after its figures are written.

use serde_json::{Value, json};

/// Processes that run or want to, beyond which a figure tells of the machine.
const LOAD_MAX: f64 = 1.0;

/// Where a figure stands under `rollback`, and the most that it may be.
const GOALS: [(&str, f64); 8] = [
    ("/idle/ratio_p50", 1.1),
    ("/idle/ratio_p99", 1.25),
    ("/idle/added_p50_ms", 0.5),
    ("/with_1000/ratio_p99", 1.5),
    ("/postgres_stopped/ratio_p99", 1.5),
    ("/burst_200/ratio", 1.05),
    ("/drained_bucket/waited_ms", 0.0),
    ("/cold_start/worst_ms", 300.0),
];

/// One line a goal, and the names of those that were missed. A figure that is not there is missed.
pub fn held(rollback: &Value) -> (String, Vec<&'static str>) {
    let mut lines = String::new();
    let mut missed = Vec::new();
    for (place, most) in GOALS {
        let figure = rollback.pointer(place).and_then(Value::as_f64);
        let is_met = figure.is_some_and(|figure| figure <= most);
        let shown = figure.map_or_else(|| "not measured".to_owned(), |figure| format!("{figure:.3}"));
        let word = if is_met { "  ok  " } else { "MISSED" };
        lines.push_str(&format!("{word} {:<28} {shown} (at most {most})\n", place.trim_start_matches('/').replace('/', ".")));
        if !is_met {
            missed.push(place);
        }
    }
    (lines, missed)
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
            let (row, figure) = place.trim_start_matches('/').split_once('/').unwrap_or((place, place));
            all[row][figure] = json!(most + by);
        }
        all
    };
    let (met, beyond) = (held(&figures(0.0)).1.len(), held(&figures(0.001)).1.len());
    if (met, beyond, held(&json!({})).1.len()) == (0, GOALS.len(), GOALS.len()) {
        return Ok(());
    }
    Err(format!(
        "the goals are not held: of {} {met} were missed by figures that meet them, {beyond} by those that do not",
        GOALS.len()
    ))
}
