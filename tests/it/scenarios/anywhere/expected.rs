//! What a rollback is to be answered, and how the deployment is to end: by docs/rollback.md and docs/api.md, not by what the code does.

use std::time::Duration;

use serde_json::Value;

use super::{phase::At, press::Pressed, weather::Weather};
use crate::support::oracle::End;

/// Tried for 5 s before the answer 202; a busy machine adds to that.
const TRIED_FOR: std::ops::Range<Duration> = Duration::from_millis(4500)..Duration::from_secs(9);

/// A case's promise.
#[derive(Debug)]
pub struct Promise {
    pub statuses: &'static [u16],
    /// Where it may be one or the other, or is not said: none.
    pub durable: Option<bool>,
    /// The answer comes only after it was tried for so long.
    pub is_tried: bool,
    pub end: End,
}

/// What the documents say.
pub fn promise(at: At, weather: Weather) -> Promise {
    let end = if at == At::Retiring { End::Succeeded } else { End::RolledBack };
    let promise = |statuses, durable| Promise { statuses, durable, is_tried: false, end };
    match (at, weather) {
        // Past the commit: the phase is named, and what comes after is a redeploy.
        (At::Retiring, _) => promise(&[409], None),
        // The same rollback as before, which was accepted.
        (At::RollingBack, _) => promise(&[200], None),
        // "Nothing of it is at the load balancer yet, and the disk does not take the order."
        (At::Pending, Weather::DiskFullPostgresDown) => promise(&[503], None),
        // Without a plan there is nothing to send: it is written down, and answered as taken.
        (At::Pending, Weather::PostgresDown) => promise(&[202], Some(false)),
        (_, Weather::PostgresDown | Weather::DiskFullPostgresDown) => promise(&[200], Some(false)),
        (At::Pending, Weather::PostgresRestarted) => promise(&[200, 202], None),
        (_, Weather::PostgresRestarted) => promise(&[200], None),
        // No overlay is recorded: it is taken as soon as it is on record.
        (At::Pending | At::Provisioning, _) => promise(&[200], Some(true)),
        (_, Weather::Throttled) => promise(&[200, 202], Some(true)),
        (_, Weather::ServerErrors | Weather::Blackhole) => Promise { is_tried: true, ..promise(&[202], Some(true)) },
        // It is signed by AWS's clock.
        (_, Weather::ClockAhead | Weather::ClockBehind) => promise(&[200], Some(true)),
        (_, Weather::Healthy | Weather::HolderPaused | Weather::TwoReplicas | Weather::DiskFull) => promise(&[200], Some(true)),
    }
}

impl Promise {
    /// What is wrong with the answer.
    pub fn faults(&self, at: At, pressed: &Pressed) -> Vec<String> {
        let Pressed { status, answer, second, answered_in, accepted } = pressed;
        let mut faults = Vec::new();
        let mut wrong = |what: String| faults.push(what);
        if !self.statuses.contains(status) {
            wrong(format!("the answer is {status}, not {:?}: {answer:#}", self.statuses));
        }
        if self.durable.is_some_and(|durable| answer["durable"] != durable) {
            wrong(format!("`durable` is {}, not {:?}", answer["durable"], self.durable));
        }
        if self.is_tried && !TRIED_FOR.contains(answered_in) {
            wrong(format!("the answer came after {answered_in:?}, not after 5 s of trying"));
        }
        if let Some((other, said)) = second {
            let asked_at = |answer: &Value| answer["rollback"]["requested_at"].clone();
            if other != status || asked_at(said) != asked_at(answer) || said["durable"] != answer["durable"] {
                wrong(format!("two replicas, asked at once, said {status} {answer:#} and {other} {said:#}"));
            }
        }
        match at {
            At::Retiring => {
                let names_it =
                    answer["type"] == "/problems/illegal-in-phase" && answer["detail"].to_string().contains("retiring");
                if !names_it {
                    wrong(format!("the refusal does not name the phase: {answer:#}"));
                }
            }
            _ if *status < 300 && answer["mode"] != "instant" => wrong(format!("`mode` is {}", answer["mode"])),
            _ if accepted.is_none() => wrong("it was never accepted".to_owned()),
            _ => {}
        }
        faults
    }

    /// What the record does not say of who asked, and when.
    pub fn record(&self, at: At, d: &Value, first: Option<&Value>) -> Vec<String> {
        if self.end == End::Succeeded {
            return Vec::new();
        }
        let reason = if at == At::RollingBack { "INC-0" } else { "INC-1" };
        let back = &d["rollback"];
        let mut faults = Vec::new();
        for (field, wanted) in [("trigger", "manual"), ("by", "bootstrap"), ("reason", reason), ("mode", "instant")] {
            if back[field] != wanted {
                faults.push(format!("the record says rollback.{field} {}, not {wanted}", back[field]));
            }
        }
        if let Some(first) = first.filter(|first| first.is_string() && **first != back["requested_at"]) {
            faults.push(format!("it was asked for at {first}, and the record says {}", back["requested_at"]));
        }
        faults
    }
}
