//! The lane of a replica that has lost the database: what it remembers grows old, a rollback is asked for, perhaps a look, the
//! shields, the answer, the overlays after it, and what is put on record when the database is back. What may be sent is `lane::without_record`'s and `lane::after_look`'s to say.

use super::{
    canon::{HALF_QUIET, UNIT},
    mind::{ActId, RecId},
    mutants::Mutant,
    sight::Sight,
    size::Step,
    state::{Offline, State},
    steps::Steps,
};
use crate::domain::{
    command::Command,
    lane::{Orders, Unrecorded},
};

impl Steps<'_> {
    pub fn offline(&mut self, s: &State) {
        self.replays(s);
        match s.offline {
            Offline::Not => {
                if s.offline_left > 0 && !self.mind.facts(s.rec).phase.is_terminal() {
                    let offline = Offline::Since { bundle: s.rec, age: 0 };
                    self.push(Step::DatabaseLost, State { offline, offline_left: s.offline_left - 1, ..*s });
                }
            }
            Offline::Since { bundle, age } => self.asked_offline(s, bundle, age),
            Offline::Sending { act, then, of, answers, left } => {
                self.push(Step::OfflineGivesUp, State { offline: Offline::Not, ..*s });
                for (mask, mut next) in self.sent(s, act) {
                    if mask == 0 {
                        // An answer for the last deployment says nothing of this one.
                        next.acked |= answers && of == self.mind.facts(s.rec).number;
                        next.offline = match then {
                            Some(act) => Offline::Sending { act, then: None, of, answers: !answers, left },
                            None => Offline::Not,
                        };
                    }
                    self.push(Step::OfflineCalls(mask), next);
                }
            }
        }
    }

    /// The database is back, and takes what was answered without it.
    fn replays(&mut self, s: &State) {
        if s.acked
            && let Some(rec) = self.mind.command(s.rec, Command::Rollback)
        {
            let mut next = *s;
            next.written(rec, None);
            self.push(Step::Replayed, next);
        }
    }

    /// Somebody asks it for a rollback.
    fn asked_offline(&mut self, s: &State, bundle: RecId, age: u8) {
        let of = self.mind.facts(bundle).number;
        if s.acked && of == self.mind.facts(s.rec).number || !self.mind.rollback_is_legal(bundle) {
            return;
        }
        match self.mind.without_record(bundle, age) {
            Unrecorded::Send(orders) => self.begins_offline(s, bundle, &orders, "without a look"),
            Unrecorded::Look(left) => {
                let mut seen: Vec<Sight> = Vec::new();
                for (name, sight) in self.sights(s) {
                    if !seen.contains(&sight)
                        && let Unrecorded::Send(orders) = self.mind.after_look(bundle, left.clone(), sight)
                    {
                        self.begins_offline(s, bundle, &orders, name);
                    }
                    seen.push(sight);
                }
            }
            Unrecorded::Nothing | Unrecorded::TooLate(_) => {}
        }
    }

    fn begins_offline(&mut self, s: &State, bundle: RecId, orders: &Orders, how: &'static str) {
        let of = self.mind.facts(bundle).number;
        let left = u8::try_from(orders.within.as_secs() / UNIT.as_secs()).unwrap();
        let shields = self.mind.keep_act(bundle, &orders.shields);
        let overlays: Option<ActId> = orders.overlays.as_ref().map(|action| self.mind.keep_act(bundle, action));
        let (act, then, answers) = match (self.mind.mutant, overlays) {
            (Some(Mutant::OverlaysBeforeShields), Some(overlays)) => (overlays, Some(shields), false),
            _ => (shields, overlays, true),
        };
        let offline = Offline::Sending { act, then, of, answers, left };
        self.push(Step::OfflineStarts(how), State { offline, ..*s });
    }

    /// A unit of time later.
    pub fn offline_older(&mut self, offline: Offline) -> Offline {
        match offline {
            Offline::Not | Offline::Sending { left: 0, .. } => Offline::Not,
            Offline::Since { bundle, age } => {
                Offline::Since { bundle: self.mind.older(bundle), age: (age + 1).min(HALF_QUIET) }
            }
            Offline::Sending { act, then, of, answers, left } => Offline::Sending { act, then, of, answers, left: left - 1 },
        }
    }
}
