//! What a probe found, as a table and as JSON. It names no ARN and no account, so that people can pass it on as it is.

use std::{fmt::Write as _, time::Duration};

use jiff::{Timestamp, Unit};
use serde_json::{Value, json};

use super::timeline::{Heard, Odd, Shown};
use crate::engine::ports::{Fault, FaultKind};

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    NotAsked,
    /// AWS took it; what came of it.
    Accepted(String),
    /// AWS will not have it; its words.
    Refused(String),
    /// Asked, and not answered.
    Unknown(String),
}

impl Finding {
    /// Only AWS's own word on the thing itself is a refusal: no rights, or no answer, say nothing about it.
    pub(super) fn of(fault: &Fault) -> Self {
        match fault.kind {
            FaultKind::Rejected => Self::Refused(told(fault)),
            FaultKind::Transient | FaultKind::Throttled | FaultKind::Denied | FaultKind::Missing | FaultKind::NotSent => {
                Self::Unknown(told(fault))
            }
        }
    }

    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::NotAsked => ("not asked", ""),
            Self::Accepted(said) => ("accepted", said),
            Self::Refused(said) => ("refused", said),
            Self::Unknown(said) => ("unknown", said),
        }
    }

    fn line(&self) -> String {
        match self.parts() {
            (verdict, "") => verdict.to_owned(),
            (verdict, said) => format!("{verdict}: {said}"),
        }
    }

    fn json(&self) -> Value {
        let (verdict, detail) = self.parts();
        json!({ "verdict": verdict, "detail": detail })
    }
}

/// AWS's code and words.
pub(super) fn told(fault: &Fault) -> String {
    let code = fault.code.as_ref().map(|code| format!("{code}: ")).unwrap_or_default();
    without_accounts(&format!("{code}{}", fault.message))
}

/// An ARN's fifth part is a number of twelve digits that is nobody else's business.
fn without_accounts(text: &str) -> String {
    let is_account = |part: &str| part.len() == 12 && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split(':').map(|part| if is_account(part) { "…" } else { part }).collect::<Vec<_>>().join(":")
}

/// Everything that was found.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) at: Timestamp,
    pub(super) region: String,
    pub(super) load_balancer: String,
    pub(super) rate: u32,
    pub(super) addresses: usize,
    pub(super) settle: Duration,
    /// Each change that was through, in the order in which they were made.
    pub(super) created: Vec<Shown>,
    pub(super) modified: Vec<Shown>,
    pub(super) deleted: Vec<Shown>,
    /// From the first CreateRule of the rounds to the last change that was through.
    pub(super) heard: Heard,
    pub(super) same_conditions: Finding,
    pub(super) zero_weights: Finding,
    pub(super) image_override: Finding,
    /// Why not everything was measured that was asked for.
    pub(super) ended_early: Option<String>,
    /// Whether nothing is left of it.
    pub(super) removed: bool,
}

/// What is measured of a change: for people, for programs, and where it stands.
type Part = (&'static str, &'static str, fn(&Shown) -> Duration);

const PARTS: [Part; 3] = [
    ("answered by AWS", "accepted_ms", |shown| shown.accepted),
    ("first new answer", "first_new_ms", |shown| shown.first_new),
    ("last old answer", "last_old_ms", |shown| shown.last_old),
];
const PERCENTS: [(&str, usize); 3] = [("p50", 50), ("p90", 90), ("max", 100)];

impl Report {
    fn changes(&self) -> [(&'static str, &[Shown]); 3] {
        [("CreateRule", &self.created), ("ModifyRule", &self.modified), ("DeleteRule", &self.deleted)]
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let at = self.at.round(Unit::Second).unwrap_or(self.at);
        let (rate, addresses) = (self.rate, self.addresses);
        let (round, address) = (plural(self.deleted.len(), "round", "rounds"), plural(addresses, "address", "addresses"));
        let mut text = format!("cutover probe {}   {at}   {}   {}\n", version(), self.region, self.load_balancer);
        let _ = writeln!(text, "{round}, {rate} requests a second to {address}\n");
        let _ = writeln!(text, "{:<32}{:>10}{:>10}{:>10}", "", "p50", "p90", "max");
        for (change, each) in self.changes() {
            for (i, (part, _, of)) in PARTS.into_iter().enumerate() {
                let _ = write!(text, "{:<12}{part:<20}", if i == 0 { change } else { "" });
                for (_, percent) in PERCENTS {
                    let shown = rank(each.iter().map(of).collect(), percent).map_or_else(|| "-".to_owned(), human);
                    let _ = write!(text, "{shown:>10}");
                }
                text.push('\n');
            }
        }
        text.push('\n');
        let mut row = |name: &str, value: &str| {
            let _ = writeln!(text, "{name:<32}{value}");
        };
        row("answers meanwhile", &self.answers());
        row("two rules, same conditions", &self.same_conditions.line());
        row("weights {0, 0}", &self.zero_weights.line());
        row("image without instance type", &self.image_override.line());
        row("removed again", if self.removed { "everything" } else { "NOT everything: see above" });
        if let Some(why) = &self.ended_early {
            row("ended early", why);
        }
        text
    }

    fn answers(&self) -> String {
        let statuses =
            |from: u16, to: u16| self.heard.count(|odd| matches!(odd, Odd::Status(status) if (from..=to).contains(&status)));
        let (earlier, lost) = (self.heard.count(|odd| odd == Odd::Earlier), self.heard.count(|odd| odd == Odd::Nothing));
        let (client, server, other) = (statuses(400, 499), statuses(500, 599), statuses(0, 399));
        let all = self.heard.answers;
        let mut text = format!("{all}: {client} 4xx, {server} 5xx, {other} other, {earlier} by an earlier rule, {lost} lost");
        if !self.heard.odd.is_empty() {
            let _ = write!(text, " ({})", self.heard);
        }
        text
    }

    /// For programs. Times in milliseconds.
    pub(super) fn json(&self) -> Value {
        let changes = self.changes().map(|(change, each)| {
            let whole = |shown: &Shown| PARTS.map(|(_, key, of)| (key, json!(ms(of(shown))))).into_iter().collect::<Value>();
            let mut figures: Value = json!({ "each": each.iter().map(whole).collect::<Vec<_>>() });
            for (name, percent) in PERCENTS {
                let part = |(_, key, of): Part| (key, json!(rank(each.iter().map(of).collect(), percent).map(ms)));
                figures[name] = PARTS.map(part).into_iter().collect();
            }
            (change, figures)
        });
        json!({
            "version": version(),
            "at": self.at,
            "region": self.region,
            "load_balancer": self.load_balancer,
            "requests_per_second": self.rate,
            "addresses": self.addresses,
            "settle_ms": ms(self.settle),
            "changes": changes.into_iter().collect::<Value>(),
            "answers": self.heard.answers,
            "odd_answers": self.heard.odd,
            "same_conditions": self.same_conditions.json(),
            "zero_weights": self.zero_weights.json(),
            "image_override": self.image_override.json(),
            "ended_early": self.ended_early,
            "removed": self.removed,
        })
    }
}

fn plural(n: usize, one: &str, more: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { more })
}

fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The smallest that so many percent are not above.
fn rank(mut all: Vec<Duration>, percent: usize) -> Option<Duration> {
    all.sort_unstable();
    all.get((all.len() * percent).div_ceil(100).saturating_sub(1)).copied()
}

/// Tenths of a millisecond: more is not measured.
fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

pub(super) fn human(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.2} s", duration.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(accepted: u64, first_new: u64, last_old: u64) -> Shown {
        let [accepted, first_new, last_old] = [accepted, first_new, last_old].map(Duration::from_millis);
        Shown { accepted, first_new, last_old }
    }

    fn report() -> Report {
        let mut heard = Heard { answers: 1200, ..Heard::default() };
        for odd in [Odd::Status(404), Odd::Status(503), Odd::Status(503), Odd::Nothing] {
            heard.odd(odd);
        }
        Report {
            at: "2026-11-24T12:00:00.6Z".parse().unwrap(),
            region: "eu-west-1".to_owned(),
            load_balancer: "test".to_owned(),
            rate: 40,
            addresses: 2,
            settle: Duration::from_secs(10),
            created: (1..=10).map(|n| shown(40 + n, 100 * n, 400 * n)).collect(),
            modified: vec![shown(50, 700, 3_000)],
            deleted: Vec::new(),
            heard,
            same_conditions: Finding::Accepted("the lower number answers".to_owned()),
            zero_weights: Finding::NotAsked,
            image_override: Finding::Refused("ValidationError: no".to_owned()),
            ended_early: Some("interrupted".to_owned()),
            removed: true,
        }
    }

    #[test]
    fn the_table_says_what_was_measured_and_what_was_not() {
        let expected = format!(
            "\
cutover probe {}   2026-11-24T12:00:01Z   eu-west-1   test
0 rounds, 40 requests a second to 2 addresses

                                       p50       p90       max
CreateRule  answered by AWS          45 ms     49 ms     50 ms
            first new answer        500 ms    900 ms    1.00 s
            last old answer         2.00 s    3.60 s    4.00 s
ModifyRule  answered by AWS          50 ms     50 ms     50 ms
            first new answer        700 ms    700 ms    700 ms
            last old answer         3.00 s    3.00 s    3.00 s
DeleteRule  answered by AWS              -         -         -
            first new answer             -         -         -
            last old answer              -         -         -

answers meanwhile               1204: 1 4xx, 2 5xx, 0 other, 0 by an earlier rule, 1 lost (404 ×1, 503 ×2, no answer ×1)
two rules, same conditions      accepted: the lower number answers
weights {{0, 0}}                  not asked
image without instance type     refused: ValidationError: no
removed again                   everything
ended early                     interrupted
",
            version()
        );
        assert_eq!(report().table(), expected);
    }

    #[test]
    fn programs_get_every_round() {
        let json = report().json();
        assert_eq!(json["changes"]["CreateRule"]["each"][1]["last_old_ms"], 800.0);
        assert_eq!(json["changes"]["CreateRule"]["p90"]["first_new_ms"], 900.0);
        assert_eq!(json["changes"]["DeleteRule"]["max"]["last_old_ms"], Value::Null);
        assert_eq!(json["odd_answers"], json!({"404": 1, "503": 2, "no answer": 1}));
        assert_eq!(json["zero_weights"]["verdict"], "not asked");
    }

    #[test]
    fn only_a_word_on_the_thing_itself_is_a_refusal_and_no_account_is_told() {
        let fault = |kind, code: &str, message: &str| Fault {
            kind,
            operation: "CreateRule",
            code: Some(code.to_owned()),
            message: message.to_owned(),
            request_id: None,
        };
        let message = "not arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/a/1";
        let refused = Finding::of(&fault(FaultKind::Rejected, "ValidationError", message));
        let told = "ValidationError: not arn:aws:elasticloadbalancing:eu-west-1:…:targetgroup/a/1";
        assert_eq!(refused, Finding::Refused(told.to_owned()));
        let denied = Finding::of(&fault(FaultKind::Denied, "AccessDenied", "no"));
        assert_eq!(denied, Finding::Unknown("AccessDenied: no".to_owned()));
    }
}
