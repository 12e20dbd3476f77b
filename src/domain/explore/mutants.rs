//! The design with one rule taken out. Each mutant has to be found, or the walk proves nothing.

use std::time::Duration;

use super::canon::now;
use crate::domain::{
    action::Action,
    decide::Decision,
    deployment::{Answered, Deployment},
    drift::Answer,
    looks::Looks,
    observation::{Known, Observation},
    phase::Phase,
    time,
    timing::Timing,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// A settle is stored although the record has changed since it was read.
    NoVersionCheck,
    /// A call is sent although the lease ended after it was decided on.
    NoDeadlineCheck,
    /// Weight goes to the overlay that is seen, not to the one recorded.
    WeightToWhatIsSeen,
    /// An overlay that is gone is opened again and adopted, in every phase.
    OverlayOpenedAgain,
    /// One look without a thing, and it is taken for gone.
    AbsenceAtOneLook,
    /// The lane judges by its copy of the record, however old, and not by what its commit returned.
    LaneTrustsItsCopy,
    /// The lane deletes overlays and never raises a shield.
    LaneNeverShields,
    /// A lane goes on for as long as it likes.
    LaneNeverGivesUp,
    /// Without a database the overlays go first, and the shields after them.
    OverlaysBeforeShields,
    /// Without a database what a replica remembers serves for ever.
    BundleNeverOld,
    /// A shield that somebody raised is no order.
    ShieldIsNoOrder,
    /// A shield goes as soon as the base is seen on blue.
    ShieldGoesEarly,
    /// A shield goes after half a quiet period, whatever the base says.
    ShieldGoesUnseen,
    /// The next deployment opens its overlay at once.
    NextDoesNotWait,
    /// The overlay goes as soon as the base is seen on green.
    NoQuietPeriod,
    /// The overlay goes before the base is written.
    OverlayGoesFirst,
    /// The base itself is edited: no overlay, so nothing that a rollback could take away.
    EditTheBase,
    /// A drift holds nothing.
    DriftIsIgnored,
    /// A drift is put right without asking anybody.
    DriftIsRepaired,
    /// Blue is pinned again without a word in the record.
    PinsUnrecorded,
    /// An accepted call is taken for done: no look, no drain.
    TearDownOnTheWord,
}

impl Mutant {
    /// Changes what is known before the look is taken in.
    pub fn before(self, d: &mut Deployment, o: &mut Observation) {
        match self {
            Self::ShieldIsNoOrder if d.phase.may_go_back() => {
                for route in &mut o.routes {
                    if let Known::Seen(view) = route {
                        view.shields.clear();
                    }
                }
            }
            Self::WeightToWhatIsSeen | Self::OverlayOpenedAgain if d.phase.can_pause() && !d.overlays.is_empty() => {
                for (recorded, route) in d.overlays.iter_mut().zip(&o.routes) {
                    if let Some(overlay) = route.seen().and_then(|view| view.overlays.first()) {
                        *recorded = overlay.rule.clone();
                    }
                }
            }
            _ => {}
        }
    }

    /// Changes what was looked at before it is decided on, or the time it takes.
    pub fn looking(self, d: &mut Deployment, o: &Observation, timing: Timing) -> Timing {
        match (self, &d.phase) {
            (Self::NoQuietPeriod, Phase::Committing { .. }) => Timing { quiet_period: Duration::ZERO, ..timing },
            (Self::ShieldGoesEarly, Phase::RollingBack { .. }) if shielded(o) => {
                Timing { quiet_period: Duration::ZERO, ..timing }
            }
            (Self::OverlayOpenedAgain, _) => {
                d.seen.absences.overlays.clear();
                timing
            }
            (Self::DriftIsIgnored, _) => {
                d.held = None;
                d.seen.drift.clear();
                timing
            }
            (Self::DriftIsRepaired, _) => {
                if let Some(held) = &d.held {
                    let given = crate::domain::sample::given();
                    let answer = Answered { drift: held.number, answer: Answer::Restore, restored: true, given };
                    d.intent.answer = Some(answer);
                }
                timing
            }
            (Self::AbsenceAtOneLook, _) => {
                let absences = &mut d.seen.absences;
                let routes = absences
                    .overlays
                    .iter_mut()
                    .chain(&mut absences.previews)
                    .chain(&mut absences.shields)
                    .chain(&mut absences.bases_off_green);
                let groups = [&mut absences.green, &mut absences.green_targets, &mut absences.blue, &mut absences.blue_targets];
                for looks in routes.chain(groups).filter(|looks| looks.count > 0) {
                    *looks = Looks { count: 9, first: Some(jiff::Timestamp::MIN), last: d.seen.at };
                }
                timing
            }
            (Self::TearDownOnTheWord, Phase::RollingBack { .. } | Phase::Retiring) => {
                let gone = |looks: &mut Looks| *looks = Looks { count: 9, first: Some(jiff::Timestamp::MIN), last: d.seen.at };
                let absences = &mut d.seen.absences;
                if o.routes.iter().filter_map(Known::seen).all(|view| view.overlays.is_empty()) {
                    absences.overlays.iter_mut().chain(&mut absences.shields).for_each(gone);
                }
                gone(&mut absences.green_targets);
                gone(&mut absences.blue_targets);
                timing
            }
            _ => timing,
        }
    }

    /// Changes the decision.
    pub fn after(self, d: &Deployment, o: &Observation, decision: Decision) -> Decision {
        let missing: Vec<usize> =
            (0..o.routes.len()).filter(|i| o.routes[*i].seen().is_some_and(|view| view.overlays.is_empty())).collect();
        let acts_or_waits = matches!(decision, Decision::Wait { .. } | Decision::Act(_));
        match (self, &d.phase) {
            (Self::OverlayOpenedAgain, phase) if phase.can_pause() && !d.overlays.is_empty() && acts_or_waits => {
                if missing.is_empty() { decision } else { Decision::Act(Action::OpenOverlays { routes: missing }) }
            }
            (Self::OverlayGoesFirst, Phase::Committing { quiet_since: None }) if acts_or_waits => {
                let standing = d.overlays.clone();
                if missing.is_empty() {
                    Decision::Act(Action::DeleteRules { rules: standing })
                } else {
                    Decision::Act(Action::SetBase { routes: missing, to: crate::domain::action::Side::Green })
                }
            }
            (Self::PinsUnrecorded, phase) if phase.may_go_back() => match decision {
                Decision::Advance(next) if d.provisioned_at.is_some() && next.provisioned_at.is_none() => {
                    Decision::Act(Action::PinBlue)
                }
                decision => decision,
            },
            (Self::ShieldGoesUnseen, Phase::RollingBack { .. }) if time::between(d.phase_since, now()) >= half_quiet() => {
                let shields = o.routes.iter().filter_map(Known::seen).flat_map(|view| &view.shields);
                let rules: Vec<_> = shields.map(|shield| shield.rule.clone()).collect();
                if rules.is_empty() { decision } else { Decision::Act(Action::DeleteRules { rules }) }
            }
            _ => decision,
        }
    }
}

fn half_quiet() -> Duration {
    super::mind::timing(0).half_quiet()
}

fn shielded(o: &Observation) -> bool {
    o.routes.iter().filter_map(Known::seen).any(|view| !view.shields.is_empty())
}
