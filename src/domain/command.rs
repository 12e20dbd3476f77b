//! Commands and where they are legal. A command changes the intent, never the phase.

use jiff::Timestamp;

use super::{
    deployment::{Answered, Deployment, Given, Intent, Order, Steer},
    drift::{self, Answer},
    observation::Field,
    phase::Phase,
    time,
    weight::Weight,
};

/// What a person or CI asks of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    Rollback,
    Cancel,
    Promote(PromoteTo),
    Pause,
    Resume,
    Weight(Weight),
    /// The drift becomes the record.
    Adopt,
    /// The record undoes the drift.
    Restore,
    Approve,
    Reject,
    Abandon,
}

/// How far a promote goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PromoteTo {
    Next,
    Full,
}

/// What a legal command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The intent as it is to be from now on.
    Changed(Box<Intent>),
    /// Nothing to do: it is so already.
    Unchanged,
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Not in this phase; with the commands that are.
    IllegalInPhase { phase: &'static str, allowed: Vec<&'static str> },
    /// No gate waits for an answer.
    GateNotOpen,
    /// The drift cannot be adopted, or not restored; with every reason.
    DriftStays { command: &'static str, reasons: Vec<String> },
}

impl Command {
    /// Its name in the API.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rollback => "rollback",
            Self::Cancel => "cancel",
            Self::Promote(_) => "promote",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Weight(_) => "weight",
            Self::Adopt => "adopt",
            Self::Restore => "restore",
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Abandon => "abandon",
        }
    }
}

/// Whether a command may be given now. The table of the API reference, and its only home.
fn legal(d: &Deployment, command: Command) -> bool {
    let (forward, held) = (!d.intent.is_back(), d.held.is_some());
    match command {
        Command::Rollback => d.phase.may_go_back(),
        Command::Cancel => matches!(d.phase, Phase::Pending | Phase::Provisioning | Phase::Verifying) && forward,
        Command::Promote(_) => {
            matches!(d.phase, Phase::Verifying | Phase::Shifting { .. } | Phase::Baking { .. }) && forward && !held
        }
        Command::Pause => d.phase.can_pause() && forward,
        // What a drift holds is answered first: where to go on from hangs on it.
        Command::Resume => d.phase.can_pause() && forward && !held,
        Command::Weight(_) => matches!(d.phase, Phase::Shifting { .. } | Phase::Baking { .. }) && forward && !held,
        Command::Adopt | Command::Restore => d.phase.can_pause() && forward && held,
        Command::Approve | Command::Reject => {
            matches!(d.phase, Phase::Verifying | Phase::Shifting { .. } | Phase::Baking { .. }) && forward
        }
        Command::Abandon => !d.phase.is_terminal(),
    }
}

/// The commands that make sense now, in the order people look for them. `abandon` is an administrator's last resort and
/// `approve`/`reject` need an open gate: none of them is offered here.
#[must_use]
pub fn allowed(d: &Deployment) -> Vec<&'static str> {
    if d.intent.abandon.is_some() {
        return Vec::new();
    }
    let back_already = d.intent.rollback.is_some();
    let paused = d.intent.is_paused();
    [
        (Command::Rollback, !back_already),
        (Command::Promote(PromoteTo::Next), true),
        (Command::Pause, !paused),
        (Command::Resume, paused),
        (Command::Weight(Weight::NONE), true),
        (Command::Adopt, stays(d, Answer::Adopt).is_empty()),
        (Command::Restore, stays(d, Answer::Restore).is_empty()),
        (Command::Cancel, true),
    ]
    .into_iter()
    .filter(|(command, offered)| *offered && legal(d, *command))
    .map(|(command, _)| command.name())
    .collect()
}

/// Gives a command to a deployment: the intent that it leaves, or why not.
///
/// # Errors
/// The phase and the commands that are legal in it, or that no gate is open.
pub fn give(d: &Deployment, command: Command, given: Given) -> Result<Outcome, Refusal> {
    if repeats(d, command) {
        return Ok(Outcome::Unchanged);
    }
    if !legal(d, command) || d.intent.abandon.is_some() {
        return Err(Refusal::IllegalInPhase { phase: d.phase.name(), allowed: allowed(d) });
    }
    let mut intent = d.intent.clone();
    match command {
        Command::Rollback => intent.rollback = Some(given),
        Command::Cancel => intent.cancel = Some(given),
        Command::Abandon => intent.abandon = Some(given),
        Command::Pause => intent.paused_since = Some(given.at),
        Command::Promote(to) => {
            end_pause(&mut intent, given.at);
            let to = match to {
                PromoteTo::Next => Steer::Next,
                PromoteTo::Full => Steer::Full,
            };
            order(&mut intent, to, given);
        }
        Command::Resume => {
            end_pause(&mut intent, given.at);
            if let Some(weight) = weight_by_hand(d) {
                order(&mut intent, Steer::OnFrom { weight }, given);
            }
        }
        Command::Weight(weight) => {
            intent.paused_since = intent.paused_since.or(Some(given.at));
            order(&mut intent, Steer::Weight { weight }, given);
        }
        Command::Adopt => answer(d, &mut intent, Answer::Adopt, command, given)?,
        Command::Restore => answer(d, &mut intent, Answer::Restore, command, given)?,
        Command::Approve | Command::Reject => return Err(Refusal::GateNotOpen),
    }
    Ok(Outcome::Changed(Box::new(intent)))
}

/// What keeps a drift from being answered so.
fn stays(d: &Deployment, answer: Answer) -> Vec<String> {
    d.held.as_ref().map_or_else(Vec::new, |held| match answer {
        Answer::Adopt => held.not_adoptable.clone(),
        Answer::Restore => drift::not_restorable(held),
    })
}

fn answer(d: &Deployment, intent: &mut Intent, answer: Answer, command: Command, given: Given) -> Result<(), Refusal> {
    let reasons = stays(d, answer);
    let Some(held) = d.held.as_ref().filter(|_| reasons.is_empty()) else {
        return Err(Refusal::DriftStays { command: command.name(), reasons });
    };
    // An adopted weight is one set by hand: it stays until somebody resumes.
    let moves_weight = held.differences.iter().any(|difference| difference.edit.field == Field::Weight);
    if answer == Answer::Adopt && moves_weight {
        intent.paused_since = intent.paused_since.or(Some(given.at));
    }
    let restored = answer == Answer::Restore || d.answer().is_some_and(|before| before.restored);
    intent.answer = Some(Answered { drift: held.number, answer, restored, given });
    Ok(())
}

/// Whether what is asked for is so already.
fn repeats(d: &Deployment, command: Command) -> bool {
    match command {
        Command::Rollback => d.intent.rollback.is_some() || matches!(d.phase, Phase::RollingBack { .. } | Phase::RolledBack),
        Command::Cancel => d.intent.cancel.is_some() && !matches!(d.phase, Phase::RolledBack | Phase::Failed),
        Command::Abandon => d.intent.abandon.is_some(),
        Command::Pause => legal(d, command) && d.intent.is_paused(),
        Command::Resume => legal(d, command) && !d.intent.is_paused(),
        Command::Adopt => d.answer().is_some_and(|answered| answered.answer == Answer::Adopt),
        Command::Restore => d.answer().is_some_and(|answered| answered.answer == Answer::Restore),
        Command::Weight(weight) => legal(d, command) && d.intent.is_paused() && weight_by_hand(d) == Some(weight),
        Command::Promote(_) | Command::Approve | Command::Reject => false,
    }
}

/// The operator's own weight, whether or not the engine has taken it up.
fn weight_by_hand(d: &Deployment) -> Option<Weight> {
    match (d.open_order().map(|order| order.to), &d.phase) {
        (Some(Steer::Weight { weight }), _) => Some(weight),
        (Some(Steer::Next | Steer::Full | Steer::OnFrom { .. }), _) => None,
        (None, Phase::Shifting { by_hand: true, weight, .. }) => Some(*weight),
        (None, _) => None,
    }
}

fn end_pause(intent: &mut Intent, now: Timestamp) {
    if let Some(since) = intent.paused_since.take() {
        let lasted = u64::try_from(time::between(since, now).as_millis()).unwrap_or(u64::MAX);
        intent.paused_ms = intent.paused_ms.saturating_add(lasted);
    }
}

fn order(intent: &mut Intent, to: Steer, given: Given) {
    let number = intent.order.as_ref().map_or(0, |order| order.number) + 1;
    intent.order = Some(Order { number, to, given });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{
        phase::BackAs,
        sample::{at, deployment, given, percent},
    };

    const ALL: [Command; 12] = [
        Command::Rollback,
        Command::Cancel,
        Command::Promote(PromoteTo::Next),
        Command::Promote(PromoteTo::Full),
        Command::Pause,
        Command::Resume,
        Command::Weight(Weight::ALL),
        Command::Adopt,
        Command::Restore,
        Command::Approve,
        Command::Reject,
        Command::Abandon,
    ];

    fn phases() -> Vec<Phase> {
        vec![
            Phase::Pending,
            Phase::Provisioning,
            Phase::Verifying,
            Phase::Shifting { stage: 0, weight: percent(50), by_hand: false, hurry: false, seen_at: None },
            Phase::Baking { seen_at: None, commit_now: false },
            Phase::Committing { quiet_since: None },
            Phase::Retiring,
            Phase::RollingBack { shield: false, ends: BackAs::RolledBack },
            Phase::Succeeded,
            Phase::RolledBack,
            Phase::Cancelled,
            Phase::Failed,
        ]
    }

    /// In the order of `phases`: changed, unchanged, refused, or without an open gate.
    fn row(command: Command) -> String {
        let answer = |phase| match give(&deployment(1, phase), command, given()) {
            Ok(Outcome::Changed(_)) => 'x',
            Ok(Outcome::Unchanged) => '=',
            Err(Refusal::IllegalInPhase { .. }) => '.',
            Err(Refusal::GateNotOpen) => '?',
            Err(Refusal::DriftStays { .. }) => '!',
        };
        phases().into_iter().map(answer).collect()
    }

    #[test]
    fn the_table_of_commands_and_phases() {
        let table = ALL.map(|command| format!("{:8} {}", command.name(), row(command)));
        let wanted = [
            "rollback xxxxxx.=.=..",
            "cancel   xxx.........",
            "promote  ..xxx.......",
            "promote  ..xxx.......",
            "pause    xxxxx.......",
            "resume   =====.......",
            "weight   ...xx.......",
            "adopt    ............",
            "restore  ............",
            "approve  ..???.......",
            "reject   ..???.......",
            "abandon  xxxxxxxx....",
        ];
        assert_eq!(table, wanted);
    }

    #[test]
    fn a_weight_by_hand_pauses_and_resuming_goes_on_from_there() {
        let mut d =
            deployment(1, Phase::Shifting { stage: 0, weight: percent(50), by_hand: false, hurry: false, seen_at: None });
        let Ok(Outcome::Changed(intent)) = give(&d, Command::Weight(percent(12)), given()) else { panic!("it is legal") };
        d.intent = *intent;
        assert!(d.intent.is_paused());
        assert_eq!(give(&d, Command::Weight(percent(12)), given()), Ok(Outcome::Unchanged));
        let later = Given { at: at(90), ..given() };
        let Ok(Outcome::Changed(intent)) = give(&d, Command::Resume, later) else { panic!("it is legal") };
        assert_eq!((intent.is_paused(), intent.paused_ms), (false, 90_000));
        assert_eq!(intent.order.map(|order| order.to), Some(Steer::OnFrom { weight: percent(12) }));
    }

    proptest! {
        // The two sources that people read must say the same.
        #[test]
        fn what_is_offered_is_legal(
            phase in prop::sample::select(phases()), before in prop::collection::vec(prop::sample::select(ALL.to_vec()), 0..4),
        ) {
            let mut d = deployment(1, phase);
            for command in before {
                if let Ok(Outcome::Changed(intent)) = give(&d, command, given()) {
                    d.intent = *intent;
                }
            }
            for command in ALL {
                let answer = give(&d, command, given());
                prop_assert!(answer.is_ok() || !allowed(&d).contains(&command.name()), "{}: {:?}", command.name(), answer);
            }
        }

        // A rollback that was asked for is never taken back by any command.
        #[test]
        fn no_command_takes_a_rollback_back(
            phase in prop::sample::select(phases()), after in prop::collection::vec(prop::sample::select(ALL.to_vec()), 0..6),
        ) {
            let mut d = deployment(1, phase);
            if let Ok(Outcome::Changed(intent)) = give(&d, Command::Rollback, given()) {
                d.intent = *intent;
                for command in after {
                    if let Ok(Outcome::Changed(intent)) = give(&d, command, given()) {
                        d.intent = *intent;
                    }
                    prop_assert!(d.intent.rollback.is_some());
                    prop_assert_eq!(d.desired(), Weight::NONE);
                    prop_assert!(d.open_order().is_none());
                }
            }
        }
    }
}
