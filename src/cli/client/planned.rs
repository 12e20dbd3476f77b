//! Prints what was looked at and what would be done: a line a check, then the steps with their calls. Signs, never colours.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

use super::{args::Output, render};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Planned {
    plan: Plan,
    checks: Vec<Check>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Plan {
    steps: Vec<Step>,
    warnings: Vec<String>,
    unknown: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Step {
    phase: String,
    action: String,
    detail: String,
    calls: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Check {
    name: String,
    result: String,
    detail: String,
    pointer: Option<String>,
}

impl Check {
    fn failed(&self) -> bool {
        self.result == "failed"
    }
}

/// As asked for.
pub(super) fn show(answer: &Value, output: Output) {
    match output {
        Output::Json => render::json(answer),
        Output::Table | Output::Name => render::out(&table(&read(answer))),
    }
}

/// Whether something stands in the way.
pub(super) fn any_failed(answer: &Value) -> bool {
    read(answer).checks.iter().any(Check::failed)
}

/// What is not there is empty: an older service shows no checks.
fn read(answer: &Value) -> Planned {
    Planned::deserialize(answer).unwrap_or_default()
}

fn table(planned: &Planned) -> String {
    let mut lines = String::new();
    let width = planned.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in &planned.checks {
        let sign = match check.result.as_str() {
            "ok" => "✔",
            "failed" => "✖",
            "warning" => "⚠",
            _ => "?",
        };
        let place = check.pointer.iter().map(|pointer| format!("{pointer}: ")).collect::<String>();
        let _ = writeln!(lines, "{sign} {:width$}  {place}{}", check.name, check.detail);
    }
    for (i, step) in planned.plan.steps.iter().enumerate() {
        let _ = writeln!(lines, "{:>3}  {:<13} {:<18} {}", i + 1, step.phase, step.action, step.detail);
        for call in &step.calls {
            let _ = writeln!(lines, "{:>37} {call}", "→");
        }
    }
    // With checks these have been told already, each with its name.
    let untold = [("warning", &planned.plan.warnings), ("could not be checked", &planned.plan.unknown)];
    for (what, details) in untold.into_iter().filter(|_| planned.checks.is_empty()) {
        for detail in details {
            let _ = writeln!(lines, "{what}: {detail}");
        }
    }
    if !planned.checks.is_empty() {
        let _ = writeln!(lines, "{}", summary(&planned.checks));
    }
    lines.push_str("nothing was changed\n");
    lines
}

/// `12 checks: 10 ok, 1 warning, 1 unknown`, the worst first.
fn summary(checks: &[Check]) -> String {
    let of = |result: &str| checks.iter().filter(|check| check.result == result).count();
    let counts = [("failed", of("failed")), ("warning", of("warning")), ("unknown", of("unknown")), ("ok", of("ok"))];
    let told = counts.iter().filter(|(_, count)| *count > 0).map(|(result, count)| format!("{count} {result}"));
    format!("{} checks: {}", checks.len(), told.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_check_has_its_sign_and_every_step_its_calls() {
        let check = |name: &str, result: &str, pointer: Value| json!({"name": name, "result": result, "detail": "so it is", "pointer": pointer});
        let answer = json!({
            "plan": {"steps": [{"phase": "provisioning", "action": "create_green", "detail": "web-prod-v042", "calls": ["a:Create x"]}],
                     "warnings": ["so it is"], "unknown": []},
            "checks": [check("route", "ok", json!("/routes/0")), check("blue", "warning", Value::Null),
                       check("quota", "failed", Value::Null), check("rights", "unknown", Value::Null)],
        });
        let expected = "\
✔ route   /routes/0: so it is
⚠ blue    so it is
✖ quota   so it is
? rights  so it is
  1  provisioning  create_green       web-prod-v042
                                    → a:Create x
4 checks: 1 failed, 1 warning, 1 unknown, 1 ok
nothing was changed
";
        assert_eq!(table(&read(&answer)), expected);
        assert!(any_failed(&answer) && !any_failed(&json!({"plan": {}})));
    }
}
