//! The rollback lane, step by step: the early call, the commit, what must be accepted after it, the answer.

use super::{
    canon::now,
    mind::{ActId, RecId},
    mutants::Mutant,
    size::Step,
    state::{Lane, State},
    steps::Steps,
};
use crate::domain::{action::Action, command::Command, phase::Phase};

impl Steps<'_> {
    pub fn lane(&mut self, s: &State) {
        match s.lane {
            Lane::Idle => {
                if s.acked || self.mind.facts(s.rec).phase.is_terminal() || !self.mind.rollback_is_legal(s.rec) {
                    return;
                }
                for (fresh, act) in self.early(s.rec) {
                    let mut next = *s;
                    next.lane_of = self.mind.facts(s.rec).number;
                    next.lane = match act {
                        Some(act) => Lane::Early { act },
                        None => Lane::Committing { done: None, late: false },
                    };
                    self.push(Step::LaneStarts(fresh), next);
                }
            }
            Lane::Early { act } => {
                self.lane_gives_up(s);
                for (mask, mut next) in self.sent(s, act) {
                    next.lane = Lane::Committing { done: (mask == 0).then_some(act), late: false };
                    self.push(Step::LaneCalls(mask), next);
                }
            }
            Lane::Committing { done, late } => {
                self.lane_gives_up(s);
                self.lane_commits(s, done, late);
            }
            Lane::Sending { acts: [Some(act), then], late } => {
                self.lane_gives_up(s);
                for (mask, mut next) in self.sent(s, act) {
                    if mask == 0 {
                        next.lane = Lane::Sending { acts: [then, None], late };
                    }
                    self.push(Step::LaneCalls(mask), next);
                }
            }
            Lane::Sending { acts: [None, _], .. } => {
                let mut next = *s;
                // An answer for the last deployment says nothing of this one.
                next.acked |= s.lane_of == self.mind.facts(s.rec).number;
                (next.lane, next.lane_of) = (Lane::Idle, 0);
                self.push(Step::LaneAnswers, next);
            }
        }
    }

    fn lane_gives_up(&mut self, s: &State) {
        let next = State { lane: Lane::Idle, lane_of: 0, ..*s };
        self.push(Step::LaneGivesUp, next);
    }

    /// The copies that a replica may have: as the record is, confirmed just now or long ago; and, while the record has been
    /// `committing` for less than a unit, one from before that.
    fn early(&mut self, rec: RecId) -> Vec<(bool, Option<ActId>)> {
        let mut copies = vec![self.mind.rec(rec).clone()];
        if let Phase::Committing { .. } = copies[0].phase {
            let mut before = copies[0].clone();
            before.phase = Phase::Baking { seen_at: None, commit_now: false };
            copies.push(before);
        }
        let just_committing = copies[0].phase == Phase::Committing { quiet_since: None } && copies[0].phase_since == now();
        let mut all = Vec::new();
        for (i, copy) in copies.iter().enumerate() {
            for fresh in [true, false] {
                // A copy from before `committing` can be fresh only in that phase's first unit.
                if i == 1 && fresh && !just_committing {
                    continue;
                }
                let action = self.mind.lane_at_once(copy, fresh);
                let act = action.map(|action| self.mind.keep_act(rec, &action));
                if !all.iter().any(|(_, known)| *known == act) {
                    all.push((fresh, act));
                }
            }
        }
        all
    }

    fn lane_commits(&mut self, s: &State, done: Option<ActId>, late: bool) {
        let mut next = *s;
        if s.lane_of != self.mind.facts(s.rec).number || !self.mind.rollback_is_legal(s.rec) {
            (next.lane, next.lane_of) = (Lane::Idle, 0);
            self.push(Step::LaneCommits(false), next);
            return;
        }
        if let Some(rec) = self.mind.command(s.rec, Command::Rollback) {
            next.written(rec, None);
        }
        let actions: Vec<Action> = match (self.mind.mutant, done) {
            (Some(Mutant::LaneTrustsItsCopy), Some(_)) => Vec::new(),
            (Some(Mutant::LaneNeverShields), _) => {
                let all = self.mind.lane_after(next.rec);
                all.into_iter().filter(|action| !matches!(action, Action::RaiseShields { .. })).collect()
            }
            _ => self.mind.lane_after(next.rec),
        };
        let acts = actions.iter().map(|action| self.mind.keep_act(next.rec, action)).filter(|act| Some(*act) != done);
        let mut left = [None, None];
        for (place, act) in left.iter_mut().zip(acts) {
            *place = Some(act);
        }
        next.lane = Lane::Sending { acts: left, late };
        self.push(Step::LaneCommits(true), next);
    }
}
