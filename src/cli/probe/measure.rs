//! The measuring: one change at a time, each watched until it is through, and then the questions that were asked.
//!
//! A lower rule stands in for a base, a rule above it with the same conditions for an overlay: what is measured is what
//! Cutover does. An order to stop is heard between calls, never in one, so that what was made is always known.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{
    args,
    report::{Finding, Report, human, told},
    timeline::{Change, Heard, Odd, Said, Shown, Text, Timeline},
    watch::Watch,
};
use crate::{
    cloud::aws::probe::{EmptyGroup, Probe, Reply},
    domain::ids::RuleRef,
    engine::ports::{Fault, FaultKind},
};

/// Between two looks for a group that was just made.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// Why the measuring ended before its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Halt {
    #[error("interrupted")]
    Interrupted,
    #[error("gave up: {what} was not through within {}: of {} answers {heard}", human(*after), heard.answers)]
    GaveUp {
        what: &'static str,
        after: Duration,
        heard: Heard,
        /// Some new answers came.
        began: bool,
    },
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// All that it works with.
pub(super) struct Measuring<'a> {
    pub(super) aws: &'a Probe,
    pub(super) watch: Watch,
    pub(super) asked: &'a args::Probe,
    pub(super) id: &'a str,
    /// Of the upper rule; the lower one's is the next.
    pub(super) number: u32,
    pub(super) stop: &'a CancellationToken,
}

impl Measuring<'_> {
    /// Measures everything that was asked for. What was found before it halted is in the report.
    pub(super) async fn run(&mut self, report: &mut Report) -> Result<(), Halt> {
        let base = self.base().await?;
        for round in 1..=self.asked.rounds {
            match self.round(round, report).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(halt) => {
                    if let Halt::GaveUp { heard, .. } = &halt {
                        report.heard.add(heard);
                    }
                    return Err(halt);
                }
            }
        }
        if let Some(args::TwoGroups(groups)) = &self.asked.target_groups {
            let split = |weights| Reply::Split(groups.clone(), weights);
            report.zero_weights = self.weights(&base, &split([1, 0]), &split([0, 0])).await?;
        }
        if let Some(group) = self.asked.empty_group() {
            report.image_override = self.image(&group).await?;
        }
        Ok(())
    }

    /// The lower rule, there and seen everywhere.
    async fn base(&mut self) -> Result<RuleRef, Halt> {
        say("creating the lower rule");
        let (aws, reply) = (self.aws, self.reply(Text::Base));
        let call = aws.create_rule(self.number + 1, &self.asked.host, &reply);
        match self.change("the lower rule", None, Text::Base, call).await {
            Ok(Watched { made, .. }) => Ok(made),
            Err(Halt::GaveUp { after, heard, began, .. }) => {
                let what =
                    "the lower rule (is there a rule with a lower number for every host, or is --url another listener's?)";
                Err(Halt::GaveUp { what, after, heard, began })
            }
            Err(halt) => Err(halt),
        }
    }

    /// One round; false when AWS does not allow the upper rule, so that no round can be made.
    async fn round(&mut self, round: u32, report: &mut Report) -> Result<bool, Halt> {
        let (aws, [first, second]) = (self.aws, [Text::First, Text::Second].map(|text| self.reply(text)));
        let create = aws.create_rule(self.number, &self.asked.host, &first);
        let created = match self.change("CreateRule", Some(Text::Base), Text::First, create).await {
            Err(Halt::Fault(fault)) if round == 1 && refuses_conditions(&fault) => {
                report.same_conditions = Finding::of(&fault);
                return Ok(false);
            }
            Err(halt) => {
                if let (1, Halt::GaveUp { began, .. }) = (round, &halt) {
                    let said = if *began { "both went on answering" } else { "the lower number was not seen to answer" };
                    report.same_conditions = Finding::Accepted(said.to_owned());
                }
                return Err(halt);
            }
            Ok(created) => created,
        };
        report.same_conditions = Finding::Accepted("the lower number answers".to_owned());
        let rule = created.note(&mut report.created, &mut report.heard);
        let modify = self.change("ModifyRule", Some(Text::First), Text::Second, aws.modify_rule(&rule, &second)).await?;
        modify.note(&mut report.modified, &mut report.heard);
        let delete = self.change("DeleteRule", Some(Text::Second), Text::Base, aws.delete_rule(&rule)).await?;
        delete.note(&mut report.deleted, &mut report.heard);
        let last_old = |each: &[Shown]| each.last().map_or_else(String::new, |shown| human(shown.last_old));
        let (created, modified, deleted) = (last_old(&report.created), last_old(&report.modified), last_old(&report.deleted));
        let rounds = self.asked.rounds;
        say(&format!(
            "round {round} of {rounds}: last old answer after creating {created}, modifying {modified}, deleting {deleted}"
        ));
        Ok(true)
    }

    /// Makes one change and watches until it is through.
    async fn change<T>(
        &mut self,
        what: &'static str,
        old: Option<Text>,
        new: Text,
        call: impl Future<Output = Result<T, Fault>>,
    ) -> Result<Watched<T>, Halt> {
        self.not_stopped()?;
        let called = self.watch.now();
        let made = call.await?;
        let accepted = self.watch.now();
        let mut timeline = Timeline::new(Change { called, accepted, old, new }, self.asked.settle);
        let until = self.watch.instant(accepted + self.asked.timeout);
        loop {
            if let Some(shown) = timeline.shown() {
                return Ok(Watched { made, shown, heard: timeline.heard });
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Halt::Interrupted),
                () = tokio::time::sleep_until(until) => {
                    let (after, began) = (self.asked.timeout, timeline.began());
                    return Err(Halt::GaveUp { what, after, heard: timeline.heard, began });
                }
                answer = self.watch.next() => timeline.hear(answer),
            }
        }
    }

    /// What `{0, 0}` does, beside the same two groups with a weight: without that nobody could tell whether there are targets.
    async fn weights(&mut self, rule: &RuleRef, one: &Reply, none: &Reply) -> Result<Finding, Halt> {
        say("asking for weights {1, 0}, then {0, 0}");
        let with_one = match self.listen(rule, one).await? {
            Ok(heard) => heard,
            // It says nothing of {0, 0}.
            Err(fault) => return Ok(Finding::Unknown(format!("{{1, 0}} was not taken: {}", told(&fault)))),
        };
        Ok(match self.listen(rule, none).await? {
            Ok(heard) => Finding::Accepted(format!("answers {heard} (with {{1, 0}}: {with_one})")),
            Err(fault) => Finding::of(&fault),
        })
    }

    /// Changes `rule` and counts what is answered once it has had its time to show.
    async fn listen(&mut self, rule: &RuleRef, reply: &Reply) -> Result<Result<Heard, Fault>, Halt> {
        self.not_stopped()?;
        if let Err(fault) = self.aws.modify_rule(rule, reply).await {
            return Ok(Err(fault));
        }
        let from = self.watch.now() + self.asked.settle;
        let until = from + self.asked.settle;
        let mut heard = Heard::default();
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Halt::Interrupted),
                () = tokio::time::sleep_until(self.watch.instant(until)) => return Ok(Ok(heard)),
                answer = self.watch.next() => if answer.sent >= from {
                    heard.odd(match answer.said {
                        Said::Status(status) => Odd::Status(status),
                        Said::Nothing => Odd::Nothing,
                        Said::Text(_) => Odd::Earlier,
                    });
                },
            }
        }
    }

    /// Whether AWS takes the image without an instance type, and shows it.
    async fn image(&self, group: &EmptyGroup) -> Result<Finding, Halt> {
        say("asking for a group without servers");
        self.not_stopped()?;
        if let Err(fault) = self.aws.create_group(group).await {
            return Ok(Finding::of(&fault));
        }
        let until = tokio::time::Instant::now() + self.asked.timeout;
        loop {
            match self.aws.group_image().await {
                Ok(Some(image)) if image == group.image => {
                    return Ok(Finding::Accepted("the group shows the image".to_owned()));
                }
                Ok(Some(image)) => return Ok(Finding::Accepted(format!("but the group shows {image}"))),
                // Reads are eventually consistent: it may not be there yet.
                Ok(None) | Err(_) if tokio::time::Instant::now() < until => {}
                Ok(None) => return Ok(Finding::Accepted("but no image was shown in time".to_owned())),
                Err(fault) => return Ok(Finding::Accepted(format!("but could not be looked at: {}", fault.message))),
            }
            tokio::select! {
                () = self.stop.cancelled() => return Err(Halt::Interrupted),
                () = tokio::time::sleep(LOOK_PAUSE) => {}
            }
        }
    }

    fn reply(&self, text: Text) -> Reply {
        Reply::Text(text.write(self.id))
    }

    fn not_stopped(&self) -> Result<(), Halt> {
        if self.stop.is_cancelled() { Err(Halt::Interrupted) } else { Ok(()) }
    }
}

/// Refused for what it is, not because somebody took the number or the listener is full.
fn refuses_conditions(fault: &Fault) -> bool {
    fault.kind == FaultKind::Rejected && !matches!(fault.code.as_deref(), Some("PriorityInUse" | "TooManyRules"))
}

/// A change that is through.
struct Watched<T> {
    made: T,
    shown: Shown,
    heard: Heard,
}

impl<T> Watched<T> {
    fn note(self, shown: &mut Vec<Shown>, heard: &mut Heard) -> T {
        shown.push(self.shown);
        heard.add(&self.heard);
        self.made
    }
}

/// Progress, for whoever waits.
pub(super) fn say(text: &str) {
    use std::io::Write as _;
    // Somebody who no longer listens is no reason to leave rules behind.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
