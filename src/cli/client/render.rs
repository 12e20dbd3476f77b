//! What is printed: the result on stdout, everything else on stderr. Colour is never used, so it can never be the only sign.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write as _},
};

use jiff::{Timestamp, tz::TimeZone};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    args::Output,
    exit::{Exit, Failure},
    readiness,
    resource::{Deployment, Event, Orphan, Resource, Side},
};

const BAR: usize = 40;

/// Prints a deployment as asked for.
pub(super) fn resource(resource: &Resource, output: Output) {
    match output {
        Output::Json => json(&resource.raw),
        Output::Table => out(&table(&resource.view, Timestamp::now())),
        Output::Name => out(&format!("{}\n", resource.view.id)),
    }
}

/// Prints what ended deployments left behind.
pub(super) fn orphans(items: Vec<Value>, output: Output) -> Result<(), Failure> {
    let read = |item: &Value| {
        Orphan::deserialize(item)
            .map_err(|error| Failure::new(Exit::Error, format!("the answer is no list of orphans: {error}")))
    };
    let all = items.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    match output {
        Output::Json => json(&json!({"items": items, "next_cursor": null})),
        Output::Table if all.is_empty() => say("nothing was left behind"),
        Output::Table => out(&all.iter().map(|orphan| left(orphan, Timestamp::now())).collect::<String>()),
        Output::Name => out(&all.iter().map(|orphan| format!("{}\n", orphan.name)).collect::<String>()),
    }
    Ok(())
}

fn left(orphan: &Orphan, now: Timestamp) -> String {
    let Orphan { kind, name, first_seen_at, why, remove_at, kept_because } = orphan;
    let fate = match (kept_because, remove_at) {
        (Some(because), _) => format!("kept: {because}"),
        (None, Some(at)) if *at > now => format!("goes in {}", about(at.duration_since(now).as_secs())),
        (None, Some(_)) => "on its way out".to_owned(),
        (None, None) => "kept".to_owned(),
    };
    let seen = about(now.duration_since(*first_seen_at).as_secs());
    format!("{kind:<13} {name}\n              {why}\n              seen for {seen}; {fate}\n")
}

/// The two largest units are as much as anybody wants to know.
fn about(seconds: i64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (1.., ..) => format!("{days}d{hours}h"),
        (_, 1.., _) => format!("{hours}h{minutes}m"),
        (_, _, 1..) => format!("{minutes}m"),
        _ => format!("{}s", seconds.max(0)),
    }
}

/// Prints an answer as it came.
pub(super) fn json(value: &Value) {
    let text = serde_json::to_string_pretty(value).expect("a JSON value can be written as JSON");
    out(&format!("{text}\n"));
}

/// Data. A reader that went away (`| head`) is no error of ours.
pub(super) fn out(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// Chatter.
pub(super) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// One line of history: local time for a person at a terminal, the full moment in a log.
pub(super) fn event(event: &Event) {
    let at = if io::stderr().is_terminal() {
        event.at.to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string()
    } else {
        format!("{:.3}", event.at)
    };
    say(&format!("{at} {}", event.message));
}

fn table(d: &Deployment, now: Timestamp) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:<10}{value}");
        }
    };
    row(&d.name(), format!("   {}", headline(d, now)));
    row("id", d.id.clone());
    row("image", images(d));
    row("by", by(d));
    row("traffic", traffic(d));
    row("stages", stages(d));
    row("blue", d.blue.as_ref().map(side).unwrap_or_default());
    row("green", d.green.as_ref().map(side).unwrap_or_default());
    row("rollback", rollback(d));
    if let Some(readiness) = &d.readiness {
        row("go back", readiness::signed(readiness));
        for reason in &readiness.why {
            row("", readiness::told(reason));
        }
    }
    for fault in d.refusals() {
        row("refused", fault.to_string());
    }
    for edit in d.drift() {
        row("drift", edit.to_string());
    }
    row("as of", d.as_of.map(|at| format!("{at:.0}: the service's database is away")).unwrap_or_default());
    row("attention", d.attention.iter().map(|why| format!("⚠ {why}")).collect());
    row("allowed", d.allowed_actions.join(", "));
    text
}

fn headline(d: &Deployment, now: Timestamp) -> String {
    let sign = match d.status.as_str() {
        "succeeded" => "✔",
        "rolled_back" | "cancelled" => "↩",
        "failed" => "✖",
        "paused" => "‖",
        "pending" => "◌",
        _ => "⟳",
    };
    let mut line = format!("{sign} {}", if d.ended() || d.status == "paused" { &d.status } else { &d.phase });
    if d.status == "paused" {
        let _ = write!(line, " in {}", d.phase);
    }
    if let Some(stage) = d.stage {
        let _ = write!(line, "   stage {stage}/{}", d.stages.len());
    }
    if let Some(at) = d.next_change_at.filter(|at| *at > now && !d.ended()) {
        let left = at.duration_since(now).as_secs();
        let _ = write!(line, "   {:02}:{:02}:{:02} until the next step", left / 3600, left / 60 % 60, left % 60);
    }
    line
}

fn images(d: &Deployment) -> String {
    let old =
        d.blue.as_ref().and_then(|blue| blue.image.as_deref()).map(|image| format!("{image} (blue)  ->  ")).unwrap_or_default();
    let version = d.version.iter().map(|version| format!("   version {version}")).collect::<String>();
    format!("{old}{} (green){version}", d.image)
}

fn by(d: &Deployment) -> String {
    format!("{}{}", d.created_by, d.reason.iter().map(|reason| format!("   {reason:?}")).collect::<String>())
}

fn percent(weight: f64) -> String {
    format!("{weight}%")
}

fn traffic(d: &Deployment) -> String {
    let shown = d.weight.observed.unwrap_or(d.weight.desired).clamp(0.0, 100.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 40")]
    let green = (shown / 100.0 * 40.0).round() as usize;
    let observed = d.weight.observed.map_or_else(|| "unknown".to_owned(), percent);
    format!(
        "blue {}{} green   desired {}  observed {observed}",
        "█".repeat(BAR - green),
        "░".repeat(green),
        percent(d.weight.desired)
    )
}

fn stages(d: &Deployment) -> String {
    let shown = d.stages.iter().map(|stage| {
        let sign = match stage.state.as_str() {
            "done" => "✔",
            "current" => "⟳",
            _ => "•",
        };
        format!("{sign} {}", percent(stage.weight))
    });
    shown.collect::<Vec<_>>().join("   ")
}

fn side(side: &Side) -> String {
    let group = side.server_group.as_deref().unwrap_or("no group yet");
    let servers = side.servers.as_ref().map(|servers| {
        let healthy = servers.healthy.map_or_else(|| "?".to_owned(), |healthy| healthy.to_string());
        format!("   {healthy}/{} healthy", servers.desired)
    });
    format!("{group}{}", servers.unwrap_or_default())
}

fn rollback(d: &Deployment) -> String {
    let Some(back) = &d.rollback else { return String::new() };
    let mut line = format!("{} by {}", back.trigger, back.by);
    if let Some(reason) = &back.reason {
        let _ = write!(line, " {reason:?}");
    }
    for (what, at) in [("accepted", back.accepted_at), ("seen on every route", back.observed_at)] {
        if let Some(at) = at {
            let took = at.duration_since(back.requested_at).as_millis();
            let _ = write!(line, "   {what} after {took} ms");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orphan_shows_why_it_is_one_and_when_it_goes() {
        let orphan = |remove_at: Option<&str>, kept_because: Option<&str>| Orphan {
            kind: "server_group".to_owned(),
            name: "web-prod-v042".to_owned(),
            first_seen_at: "2026-11-24T12:00:00Z".parse().unwrap(),
            why: "web/prod #42 ended rolled_back, and its server group is still there".to_owned(),
            remove_at: remove_at.map(|at| at.parse().unwrap()),
            kept_because: kept_because.map(str::to_owned),
        };
        let shown = |orphan: Orphan| left(&orphan, "2026-11-24T13:05:09Z".parse().unwrap());
        let expected = "\
server_group  web-prod-v042
              web/prod #42 ended rolled_back, and its server group is still there
              seen for 1h5m; goes in 22h54m
";
        assert_eq!(shown(orphan(Some("2026-11-25T12:00:00Z"), None)), expected);
        assert!(shown(orphan(Some("2026-11-24T13:00:00Z"), None)).contains("on its way out"));
        assert!(shown(orphan(None, Some("it may serve"))).contains("kept: it may serve"));
        assert_eq!([5, 65, 200_000].map(about), ["5s", "1m", "2d7h"]);
    }

    #[test]
    fn a_status_shows_what_a_person_at_night_asks() {
        let raw = json!({
            "id": "0193", "service": "web", "environment": "prod", "number": 42, "image": "ami-0bb2", "version": "8.3.0",
            "reason": "release 8.3.0", "created_by": "ci", "ended_at": null, "status": "in_progress", "phase": "shifting",
            "stage": 2, "stages": [
                {"weight": 5, "state": "done"}, {"weight": 25, "state": "current"}, {"weight": 100, "state": "next"}],
            "weight": {"desired": 25, "observed": 12.5}, "next_change_at": "2026-11-24T12:03:12Z",
            "blue": {"server_group": "web-prod-v041", "image": "ami-0aa1", "servers": {"desired": 8, "in_service": 8, "healthy": 8}},
            "green": {"server_group": "web-prod-v042", "image": "ami-0bb2", "servers": {"desired": 8, "in_service": 8, "healthy": null}},
            "rollback": {"trigger": "manual", "by": "ada", "reason": "INC-1", "requested_at": "2026-11-24T12:00:00Z",
                         "accepted_at": "2026-11-24T12:00:00.040Z", "observed_at": null, "mode": "instant"},
            "readiness": {"state": "degraded", "why": [{"detail": "7 of 8 are healthy", "to_do": "see why"}]},
            "drift": [{"route": "arn:r", "rule": "overlay", "field": "weight", "recorded": "25%", "seen": "60%"}],
            "attention": "launches fail", "allowed_actions": ["rollback", "promote"], "a_field_of_tomorrow": 1
        });
        let shown = table(&Resource::read(raw).unwrap().view, "2026-11-24T12:00:00Z".parse().unwrap());
        let expected = "\
web/prod #42   ⟳ shifting   stage 2/3   00:03:12 until the next step
id        0193
image     ami-0aa1 (blue)  ->  ami-0bb2 (green)   version 8.3.0
by        ci   \"release 8.3.0\"
traffic   blue ███████████████████████████████████░░░░░ green   desired 25%  observed 12.5%
stages    ✔ 5%   ⟳ 25%   • 100%
blue      web-prod-v041   8/8 healthy
green     web-prod-v042   ?/8 healthy
rollback  manual by ada \"INC-1\"   accepted after 40 ms
go back   ⚠ degraded
          7 of 8 are healthy: see why
drift     overlay weight: 25% -> 60%   arn:r
attention ⚠ launches fail
allowed   rollback, promote
";
        assert_eq!(shown, expected);
    }
}
