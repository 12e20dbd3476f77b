//! From answers to figures: when a change of a rule showed in traffic. Pure: moments go in, durations come out.
//!
//! A load balancer has several nodes, and each obeys a change when it does. So *new* answers begin before *old* ones end, and
//! a change is through only when no old answer has come for a while.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Serialize, Serializer};

/// What the probe's own rules say, each text a state of the world that the probe brings about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    /// The lower rule, which stands in for a base.
    Base,
    /// The upper rule, as it was created.
    First,
    /// The upper rule, as it was changed.
    Second,
}

impl Text {
    const ALL: [Self; 3] = [Self::Base, Self::First, Self::Second];

    /// With the probe's id, so that what another one left is not taken for this one's.
    pub(super) fn write(self, id: &str) -> String {
        let name = match self {
            Self::Base => "base",
            Self::First => "1",
            Self::Second => "2",
        };
        format!("cutover-probe {id} {name}")
    }

    pub(super) fn read(id: &str, body: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|text| text.write(id).as_bytes() == body)
    }
}

/// What came of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Text(Text),
    /// An answer by somebody else, with its status.
    Status(u16),
    /// No answer: no connection, a broken one, or not in time.
    Nothing,
}

/// One request and its answer; both moments since the watch began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) sent: Duration,
    pub(super) received: Duration,
    pub(super) said: Said,
}

/// One change of a rule; both moments since the watch began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) called: Duration,
    /// AWS's answer.
    pub(super) accepted: Duration,
    /// What was answered before; `None` when that was somebody else's.
    pub(super) old: Option<Text>,
    pub(super) new: Text,
}

/// Answers that were neither old nor new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Odd {
    Status(u16),
    Nothing,
    /// By a rule that had been changed, and was believed to be through, before.
    Earlier,
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Nothing => f.write_str("no answer"),
            Self::Earlier => f.write_str("earlier rule"),
        }
    }
}

impl Serialize for Odd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Answers, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Heard {
    pub(super) answers: u64,
    pub(super) odd: BTreeMap<Odd, u64>,
}

impl Heard {
    pub(super) fn odd(&mut self, odd: Odd) {
        self.answers += 1;
        *self.odd.entry(odd).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.answers += other.answers;
        for (odd, times) in &other.odd {
            *self.odd.entry(*odd).or_default() += times;
        }
    }

    /// Odd answers that `which` holds for.
    pub(super) fn count(&self, which: impl Fn(Odd) -> bool) -> u64 {
        self.odd.iter().filter(|(odd, _)| which(**odd)).map(|(_, times)| times).sum()
    }
}

/// `200 ×40, 503 ×2`: the odd ones, which is all there is where no text of ours is expected.
impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted: Vec<_> = self.odd.iter().map(|(odd, times)| format!("{odd} ×{times}")).collect();
        f.write_str(if counted.is_empty() { "nothing else" } else { "" })?;
        f.write_str(&counted.join(", "))
    }
}

/// How one change showed. The latter two count from AWS's answer; what showed before it counts as at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    /// From the call to AWS's answer.
    pub(super) accepted: Duration,
    /// Until the first new answer had arrived.
    pub(super) first_new: Duration,
    /// Until the last old answer had arrived.
    pub(super) last_old: Duration,
}

/// One change and what has been heard since it was called. Answers may be told in any order but for its end.
#[derive(Debug)]
pub(super) struct Timeline {
    change: Change,
    settle: Duration,
    first_new: Option<Duration>,
    last_old: Option<Duration>,
    /// Since when nothing but new answers arrived.
    calm_since: Duration,
    through: bool,
    pub(super) heard: Heard,
}

impl Timeline {
    /// `settle`: a change is through when a request that was *sent* so long after the last answer that was not new, and
    /// after AWS's own, got a new one.
    pub(super) fn new(change: Change, settle: Duration) -> Self {
        let calm_since = change.accepted;
        Self { change, settle, first_new: None, last_old: None, calm_since, through: false, heard: Heard::default() }
    }

    pub(super) fn hear(&mut self, answer: Answer) {
        if answer.received < self.change.called {
            return;
        }
        let Change { old, new, .. } = self.change;
        match answer.said {
            Said::Text(text) if text == new => {
                self.heard.answers += 1;
                self.first_new = Some(self.first_new.map_or(answer.received, |first| first.min(answer.received)));
                self.through |= answer.sent >= self.calm_since + self.settle;
                return;
            }
            Said::Text(text) => {
                self.last_old = self.last_old.max(Some(answer.received));
                if Some(text) == old {
                    self.heard.answers += 1;
                } else {
                    self.heard.odd(Odd::Earlier);
                }
            }
            Said::Status(status) => self.heard.odd(Odd::Status(status)),
            Said::Nothing => {
                // A request that was lost says nothing of the rules: it is counted, and does not hold the end up.
                self.heard.odd(Odd::Nothing);
                return;
            }
        }
        self.calm_since = self.calm_since.max(answer.received);
    }

    /// `None` as long as it is not through.
    pub(super) fn shown(&self) -> Option<Shown> {
        let Change { called, accepted, .. } = self.change;
        let since_accepted = |at: Option<Duration>| at.map_or(Duration::ZERO, |at| at.saturating_sub(accepted));
        self.through.then(|| Shown {
            accepted: accepted.saturating_sub(called),
            first_new: since_accepted(self.first_new),
            last_old: since_accepted(self.last_old),
        })
    }

    /// Whether any new answer came.
    pub(super) fn began(&self) -> bool {
        self.first_new.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_millis(500);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Called at 1000, accepted at 1040.
    fn created() -> Timeline {
        let change = Change { called: ms(1000), accepted: ms(1040), old: Some(Text::Base), new: Text::First };
        Timeline::new(change, SETTLE)
    }

    /// Each request is answered 10 ms after it was sent.
    fn tell(timeline: &mut Timeline, sent: u64, said: Said) {
        timeline.hear(Answer { sent: ms(sent), received: ms(sent + 10), said });
    }

    const OLD: Said = Said::Text(Text::Base);
    const NEW: Said = Said::Text(Text::First);

    #[test]
    fn new_answers_begin_before_old_ones_end() {
        let mut timeline = created();
        for (sent, said) in [(900, OLD), (1050, OLD), (1090, NEW), (1190, OLD), (1300, NEW), (1699, NEW)] {
            tell(&mut timeline, sent, said);
        }
        assert_eq!(timeline.shown(), None, "the last old answer is not half a second ago");
        tell(&mut timeline, 1700, NEW);
        let shown = Shown { accepted: ms(40), first_new: ms(60), last_old: ms(160) };
        assert_eq!(timeline.shown(), Some(shown));
        assert_eq!((timeline.heard.answers, timeline.heard.odd.len()), (6, 0), "what came before the call is not counted");
    }

    #[test]
    fn what_shows_before_aws_has_answered_shows_at_once() {
        let mut timeline = created();
        tell(&mut timeline, 995, OLD);
        tell(&mut timeline, 1010, NEW);
        tell(&mut timeline, 1540, NEW);
        assert_eq!(timeline.shown(), Some(Shown { accepted: ms(40), first_new: ms(0), last_old: ms(0) }));
    }

    #[test]
    fn a_request_that_waited_long_does_not_prove_that_the_change_is_through() {
        let mut timeline = created();
        // Sent while the old rule was still about, answered late: which of the nodes' rules it met is not known.
        timeline.hear(Answer { sent: ms(1100), received: ms(3000), said: NEW });
        assert_eq!(timeline.shown(), None);
    }

    #[test]
    fn strangers_answers_are_counted_and_hold_the_end_up() {
        let mut timeline = created();
        for (sent, said) in [(1100, NEW), (1400, Said::Status(404)), (1500, Said::Text(Text::Second)), (1650, NEW)] {
            tell(&mut timeline, sent, said);
        }
        assert_eq!(timeline.shown(), None);
        tell(&mut timeline, 2010, NEW);
        assert_eq!(timeline.shown().map(|shown| shown.last_old), Some(ms(470)), "an earlier rule's answer is an old one");
        let odd = [(Odd::Status(404), 1), (Odd::Earlier, 1)];
        assert_eq!(timeline.heard, Heard { answers: 5, odd: odd.into() });
        assert_eq!(timeline.heard.to_string(), "404 ×1, earlier rule ×1");
    }

    #[test]
    fn lost_requests_are_counted_and_hold_nothing_up() {
        let mut timeline = created();
        for (sent, said) in [(1100, NEW), (1520, Said::Nothing), (1545, NEW)] {
            tell(&mut timeline, sent, said);
        }
        assert!(timeline.shown().is_some());
        assert_eq!(timeline.heard.count(|odd| odd == Odd::Nothing), 1);
    }

    #[test]
    fn a_change_that_never_shows_is_never_through() {
        let mut timeline = created();
        for sent in (1000..60_000).step_by(25) {
            tell(&mut timeline, sent, OLD);
        }
        assert_eq!((timeline.shown(), timeline.began()), (None, false));
    }

    #[test]
    fn only_this_probes_texts_are_its_own() {
        let first = Text::First.write("0123");
        assert_eq!(Text::read("0123", first.as_bytes()), Some(Text::First));
        assert_eq!(Text::read("4567", first.as_bytes()), None);
        assert_eq!(Text::read("0123", b"cutover-probe 0123 10"), None);
    }
}
