//! Drills of the way back: begin one, wait for it, and the trend.

use std::{fmt::Write as _, time::Duration};

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    api::{Again, Api, Call},
    args::{self, Output},
    connect,
    exit::{Exit, Failure},
    planned, render,
    resource::Page,
};

/// How long beginning one is tried: who asks twice gets the same.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the service may be away while one is waited for.
const OUTAGE_MAX: Duration = Duration::from_secs(120);
/// A drill takes seconds.
const TIMEOUT_USUAL: Duration = Duration::from_secs(300);
/// Between two looks, where the service does not say.
const PAUSE_MS: u64 = 500;
/// Drills that a list shows.
const SHOWN: usize = 20;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Drill {
    id: String,
    service: String,
    environment: String,
    status: String,
    created_by: String,
    created_at: String,
    ended_at: Option<String>,
    opening: Took,
    deletion: Took,
    budget: f64,
    failure: Option<String>,
    poll_after_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct Took {
    accepted: Option<f64>,
    seen: Option<f64>,
}

impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |took: Option<f64>| took.map_or_else(|| "?".to_owned(), |seconds| format!("{seconds} s"));
        write!(f, "accepted after {}, seen after {}", shown(self.accepted), shown(self.seen))
    }
}

pub(super) async fn drill(args: args::Drill) -> Result<Exit, Failure> {
    let api = connect(&args.connection)?;
    let output = args.connection.output;
    if args.list {
        let path = format!("{}/drills?limit={SHOWN}", args.target.path());
        let answer = api.call(Call::get(&path), Again::For(PATIENCE)).await?;
        return list(&answer.body, output);
    }
    let mut body = json!({});
    if let Some(reason) = &args.reason {
        body["reason"] = json!(reason);
    }
    let path = format!("{}/drill{}", args.target.path(), if args.dry_run { "?dry_run=true" } else { "" });
    let answer = api.call(Call::send(Method::POST, &path, &body), Again::For(PATIENCE)).await?;
    if args.dry_run {
        planned::show(&answer.body, output);
        return Ok(Exit::Done);
    }
    let begun = read(&answer.body)?;
    if !args.wait {
        show(&answer.body, &begun, output);
        return Ok(Exit::Done);
    }
    let timeout = args.timeout.unwrap_or(TIMEOUT_USUAL);
    let waited = tokio::time::timeout(timeout, until_ended(&api, answer.body)).await;
    let late =
        |_| Failure::new(Exit::Timeout, "the time given by --timeout is over; the drill goes on, and users notice nothing");
    let (raw, ended) = waited.map_err(late)??;
    show(&raw, &ended, output);
    Ok(match ended.status.as_str() {
        "passed" => Exit::Done,
        "skipped" => Exit::Conflict,
        _ => Exit::NeedsPerson,
    })
}

async fn until_ended(api: &Api, mut raw: Value) -> Result<(Value, Drill), Failure> {
    loop {
        let drill = read(&raw)?;
        if drill.ended_at.is_some() {
            return Ok((raw, drill));
        }
        tokio::time::sleep(Duration::from_millis(drill.poll_after_ms.unwrap_or(PAUSE_MS))).await;
        raw = api.call(Call::get(&format!("v1/drills/{}", drill.id)), Again::For(OUTAGE_MAX)).await?.body;
    }
}

fn read(raw: &Value) -> Result<Drill, Failure> {
    Drill::deserialize(raw).map_err(|error| Failure::new(Exit::Error, format!("the answer is no drill: {error}")))
}

fn show(raw: &Value, drill: &Drill, output: Output) {
    match output {
        Output::Json => render::json(raw),
        Output::Table => render::out(&table(drill)),
        Output::Name => render::out(&format!("{}\n", drill.id)),
    }
}

fn list(raw: &Value, output: Output) -> Result<Exit, Failure> {
    let page: Page<Drill> = serde_json::from_value(raw.clone())
        .map_err(|error| Failure::new(Exit::Error, format!("the answer is no list of drills: {error}")))?;
    match output {
        Output::Json => render::json(raw),
        Output::Table => page.items.iter().for_each(|drill| render::out(&line(drill))),
        Output::Name => page.items.iter().for_each(|drill| render::out(&format!("{}\n", drill.id))),
    }
    Ok(Exit::Done)
}

fn sign(status: &str) -> &'static str {
    match status {
        "passed" => "✔",
        "slow" => "⚠",
        "failed" => "✖",
        "skipped" => "•",
        _ => "⟳",
    }
}

fn line(drill: &Drill) -> String {
    let why = drill.failure.as_ref().map_or_else(String::new, |why| format!("   {why}"));
    format!("{}   {} {:<8}{}{why}\n", drill.created_at, sign(&drill.status), drill.status, drill.deletion)
}

fn table(drill: &Drill) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<10}{value}");
    };
    let name = format!("{}/{}", drill.service, drill.environment);
    row(&name, format!("   drill {} {}", sign(&drill.status), drill.status));
    row("id", drill.id.clone());
    row("by", drill.created_by.clone());
    row("opened", drill.opening.to_string());
    row("way back", format!("{} ({} s are allowed)", drill.deletion, drill.budget));
    if let Some(why) = &drill.failure {
        row("why", why.clone());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shows_what_a_rollback_would_have_taken() {
        let answer = json!({
            "id": "0193", "service": "web", "environment": "prod", "status": "slow", "created_by": "ada",
            "created_at": "2026-11-24T12:00:00Z", "ended_at": "2026-11-24T12:00:14Z", "budget": 10.0, "a_field_of_tomorrow": 1,
            "opening": {"accepted": 0.05, "seen": 0.2}, "deletion": {"accepted": 0.042, "seen": 12.5}, "failure": "it took long",
        });
        let expected = "\
web/prod     drill ⚠ slow
id        0193
by        ada
opened    accepted after 0.05 s, seen after 0.2 s
way back  accepted after 0.042 s, seen after 12.5 s (10 s are allowed)
why       it took long
";
        let drill = read(&answer).unwrap();
        assert_eq!(table(&drill), expected);
        assert_eq!(line(&drill), "2026-11-24T12:00:00Z   ⚠ slow    accepted after 0.042 s, seen after 12.5 s   it took long\n");
    }
}
