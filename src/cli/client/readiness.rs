//! Whether one could go back: asked of the service, and printed for a person at night.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

use super::{
    api::{Again, Api, Call},
    args::{self, Output},
    drill::Took,
    exit::{Exit, Failure},
    render,
};

/// Readiness, in short in a deployment and in full by itself.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Readiness {
    pub(super) state: String,
    pub(super) why: Vec<Reason>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Reason {
    pub(super) detail: String,
    pub(super) to_do: String,
}

/// The answer in full.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Standing {
    pub(super) service: String,
    pub(super) environment: String,
    #[serde(flatten)]
    pub(super) readiness: Readiness,
    mode: Option<String>,
    blue: Option<Blue>,
    seconds: Option<Seconds>,
    drill: Option<LastDrill>,
    calls: Vec<String>,
    pub(super) by_hand: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Blue {
    server_group: String,
    image: Option<String>,
    image_pinned: Option<bool>,
    healthy: Option<u32>,
    of: u32,
    min_pinned: Option<bool>,
    protected: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct LastDrill {
    status: String,
    created_at: String,
    deletion: Took,
}

#[derive(Debug, Clone, Deserialize)]
struct Seconds {
    rollbacks: usize,
    accepted: Spread,
    #[serde(default)]
    observed: Option<Spread>,
}

#[derive(Debug, Clone, Deserialize)]
struct Spread {
    median: f64,
    p95: f64,
}

/// Asks for it; in full as it was answered, and as read.
pub(super) async fn ask(api: &Api, target: &args::Pair, again: Again) -> Result<(Value, Standing), Failure> {
    let path = format!("{}/rollback", target.path());
    let answer = api.call(Call::get(&path), again).await?;
    let standing = Standing::deserialize(&answer.body)
        .map_err(|error| Failure::new(Exit::Error, format!("the answer says nothing of a rollback ({error})")))?;
    Ok((answer.body, standing))
}

/// Prints it as asked for. What it means for a script: ready, a person should look, or no.
pub(super) fn show(raw: &Value, standing: &Standing, output: Output) -> Exit {
    match output {
        Output::Json => render::json(raw),
        Output::Table => render::out(&table(standing)),
        Output::Name => render::out(&format!("{}\n", standing.readiness.state)),
    }
    match standing.readiness.state.as_str() {
        "ready" => Exit::Done,
        "no" => Exit::Rejected,
        _ => Exit::NeedsPerson,
    }
}

/// `✔ ready`.
pub(super) fn signed(readiness: &Readiness) -> String {
    let sign = match readiness.state.as_str() {
        "ready" => "✔",
        "no" => "✖",
        _ => "⚠",
    };
    format!("{sign} {}", readiness.state)
}

/// What is so, and what to do about it.
pub(super) fn told(reason: &Reason) -> String {
    format!("{}: {}", reason.detail, reason.to_do)
}

impl Standing {
    /// How long it would take, by what was measured and by nothing else.
    pub(super) fn price(&self) -> String {
        if self.readiness.state == "no" {
            return "nothing would be sent".to_owned();
        }
        if self.mode.as_deref() == Some("redeploy") {
            return "as long as any deployment: servers have to boot first (redeploy)".to_owned();
        }
        let calls = match self.calls.len() {
            0 => "no call".to_owned(),
            1 => "1 call".to_owned(),
            several => format!("{several} calls"),
        };
        match &self.seconds {
            None => format!("{calls}; how long it takes is unknown: nothing was rolled back here yet"),
            Some(Seconds { rollbacks, accepted, observed }) => {
                let seen = observed.as_ref().map(|seen| format!(", seen after {} s ({} s)", seen.median, seen.p95));
                let seen = seen.unwrap_or_default();
                let Spread { median, p95 } = accepted;
                let of = if *rollbacks == 1 { "the one rollback".to_owned() } else { format!("{rollbacks} rollbacks") };
                format!("{calls}; accepted after about {median} s ({p95} s in 95 of 100){seen}, by {of} here")
            }
        }
    }
}

fn table(standing: &Standing) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<10}{value}");
    };
    row(&format!("{}/{}", standing.service, standing.environment), format!("   {}", signed(&standing.readiness)));
    for reason in &standing.readiness.why {
        row("why", reason.detail.clone());
        row("", format!("-> {}", reason.to_do));
    }
    row("takes", standing.price());
    if let Some(LastDrill { status, created_at, deletion }) = &standing.drill {
        row("drill", format!("{status} ({created_at}): {deletion}"));
    }
    if let Some(blue) = &standing.blue {
        row("blue", told_blue(blue));
    }
    for call in &standing.calls {
        row("call", call.clone());
    }
    for line in &standing.by_hand {
        row("by hand", line.clone());
    }
    text
}

fn told_blue(blue: &Blue) -> String {
    let Blue { server_group, image, image_pinned, healthy, of, min_pinned, protected } = blue;
    let is = |what: &str, known: &Option<bool>| match known {
        Some(true) => what.to_owned(),
        Some(false) => format!("NOT {what}"),
        None => format!("{what}?"),
    };
    let healthy = healthy.map_or_else(|| "?".to_owned(), |healthy| healthy.to_string());
    format!(
        "{server_group}   {healthy}/{of} healthy   {} ({})   {}, {}",
        image.as_deref().unwrap_or("image unknown"),
        is("pinned", image_pinned),
        is("minimum pinned", min_pinned),
        is("protected", protected)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_says_whether_why_what_to_do_and_how() {
        let answer = json!({
            "service": "web", "environment": "prod", "state": "degraded",
            "why": [{"detail": "7 of 8 servers are healthy", "to_do": "see why"}], "mode": "instant", "a_field_of_tomorrow": 1,
            "blue": {"server_group": "web-prod-v041", "image": "ami-0aa1", "image_pinned": false, "healthy": 7, "of": 8,
                     "seen_at": "2026-11-24T12:00:00Z", "min_pinned": true, "protected": null},
            "seconds": {"rollbacks": 12, "accepted": {"median": 0.042, "p95": 0.1}, "observed": {"median": 1.5, "p95": 3}},
            "drill": {"url": "/v1/drills/0193", "status": "passed", "created_at": "2026-11-23T03:00:00Z",
                      "ended_at": "2026-11-23T03:00:04Z", "deletion": {"accepted": 0.04, "seen": 0.3}},
            "calls": ["elasticloadbalancing:DeleteRule arn:o"], "by_hand": ["aws elbv2 delete-rule --rule-arn arn:o"],
        });
        let expected = "\
web/prod     ⚠ degraded
why       7 of 8 servers are healthy
          -> see why
takes     1 call; accepted after about 0.042 s (0.1 s in 95 of 100), seen after 1.5 s (3 s), by 12 rollbacks here
drill     passed (2026-11-23T03:00:00Z): accepted after 0.04 s, seen after 0.3 s
blue      web-prod-v041   7/8 healthy   ami-0aa1 (NOT pinned)   minimum pinned, protected?
call      elasticloadbalancing:DeleteRule arn:o
by hand   aws elbv2 delete-rule --rule-arn arn:o
";
        assert_eq!(table(&Standing::deserialize(&answer).unwrap()), expected);
        let price = |answer: Value| Standing::deserialize(&answer).unwrap().price();
        assert!(price(json!({"state": "ready", "mode": "instant", "seconds": null, "calls": []})).contains("unknown"));
        let one = json!({"rollbacks": 1, "accepted": {"median": 0.042, "p95": 0.042}});
        assert!(
            price(json!({"state": "ready", "mode": "instant", "seconds": one, "calls": ["a"]})).contains("the one rollback")
        );
        // A time that was measured on something else is no answer.
        assert_eq!(price(json!({"state": "no", "seconds": one, "calls": []})), "nothing would be sent");
        assert!(price(json!({"state": "degraded", "mode": "redeploy", "seconds": one})).contains("boot"));
    }
}
