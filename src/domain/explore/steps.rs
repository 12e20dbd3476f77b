//! Everything that can happen next. Whatever the world allows is tried; nothing is left to chance or cut off.

use super::{
    canon::HALF_QUIET,
    edits::forget_edits,
    mind::{ActId, Mind, RecId},
    mutants::Mutant,
    sight::{BLUE, GREEN, Sight},
    size::{Size, Step},
    state::{Flight, Lane, Replica, State},
    world::{Call, Group, SIZE, Scene, all_to},
};
use crate::domain::phase::Phase;

/// Grows the tree of stories by one step.
#[derive(Debug)]
pub struct Steps<'a> {
    pub size: &'a Size,
    pub mind: &'a mut Mind,
    pub out: Vec<(Step, State)>,
    /// The first action that `invariants` did not permit.
    pub refused: Option<String>,
}

impl Steps<'_> {
    pub fn from(&mut self, s: &State) {
        self.out.clear();
        for i in 0..self.size.replicas {
            self.replica(s, i);
        }
        if self.size.lane {
            self.lane(s);
        }
        if self.size.offline > 0 {
            self.offline(s);
        }
        self.operator(s);
        self.hand(s);
        self.edits(s);
        self.flights(s);
        self.groups(s);
        self.catches_up(s);
        self.clock(s);
    }

    pub fn push(&mut self, step: Step, next: State) {
        self.out.push((step, next));
    }

    fn replica(&mut self, s: &State, i: usize) {
        let me = u8::try_from(i).unwrap();
        match s.replicas[i] {
            Replica::Idle => {
                if self.mind.facts(s.rec).phase.is_terminal() || s.holder.is_some_and(|holder| holder != me) {
                    return;
                }
                let mut next = *s;
                next.holder = Some(me);
                next.replicas[i] = Replica::Claimed { rec: s.rec, fresh: true };
                if self.size.split_looks {
                    self.push(Step::Claim(i), next);
                } else {
                    self.looks(&next, i, s.rec, true);
                }
            }
            Replica::Claimed { rec, fresh } => {
                self.crash(s, i);
                self.looks(s, i, rec, fresh);
            }
            Replica::Acting { act, rec, settle, accepted, fresh } => {
                self.crash(s, i);
                // Signed, then checked, then sent.
                let live = s.holder == Some(me);
                if !live && self.mind.mutant != Some(Mutant::NoDeadlineCheck) {
                    let mut next = *s;
                    next.replicas[i] = Replica::Idle;
                    self.push(Step::Crash(i), next);
                    return;
                }
                for (mask, landed) in self.sent(s, act) {
                    let mut next = landed;
                    let settle = if mask == 0 { accepted } else { settle };
                    next.replicas[i] = Replica::Settling { rec: settle, fresh };
                    self.push(Step::Send(i, mask), next);
                }
                let _ = rec;
            }
            Replica::Settling { rec, fresh } => {
                self.crash(s, i);
                let mut next = *s;
                next.replicas[i] = Replica::Idle;
                let held = s.holder == Some(me);
                let stored = match self.mind.mutant {
                    Some(Mutant::NoVersionCheck) => held,
                    _ => held && fresh,
                };
                if stored {
                    let rec = if fresh { rec } else { self.mind.with_intent_of(rec, s.rec) };
                    if self.mind.facts(s.rec).held && !self.mind.facts(rec).held {
                        forget_edits(&mut next.scene);
                    }
                    if rec != s.rec {
                        self.quiet_from(s, &mut next, rec);
                        next.written(rec, Some(i));
                    }
                }
                if held {
                    next.holder = None;
                }
                self.push(Step::Settle(i, stored), next);
            }
        }
    }

    fn crash(&mut self, s: &State, i: usize) {
        if self.size.crashes {
            let mut next = *s;
            next.replicas[i] = Replica::Idle;
            if self.size.replicas == 1 {
                // It takes its own lease back at once.
                next.holder = None;
            }
            self.push(Step::Crash(i), next);
        }
    }

    /// The next deployment counts from when this one entered `retiring`, or else from when it ended.
    fn quiet_from(&self, s: &State, next: &mut State, rec: RecId) {
        let (before, after) = (&self.mind.facts(s.rec).phase, &self.mind.facts(rec).phase);
        let enters = before != after && (*after == Phase::Retiring || after.is_terminal() && *before != Phase::Retiring);
        if self.size.next && enters {
            next.quiet = 0;
        }
    }

    /// One step of a tick in which nothing fails.
    pub fn tick_calmly(&mut self, s: &State) {
        self.replica(s, 0);
    }

    pub fn clock_calmly(&mut self, s: &State) {
        self.clock(s);
        self.out.retain(|(step, _)| *step == Step::Clock);
    }

    /// Every look that is possible now.
    pub fn sights(&self, s: &State) -> Vec<(&'static str, Sight)> {
        let mut sights = vec![("as it is", Sight::of(s.scene, 0))];
        if let Some(stale) = s.stale.map(|(scene, _)| scene) {
            let mixed = |routes, groups| Scene { routes, groups };
            sights.push(("stale", Sight::of(stale, 0)));
            sights.push(("with stale rules", Sight::of(mixed(stale.routes, s.scene.groups), 0)));
            sights.push(("with stale groups", Sight::of(mixed(s.scene.routes, stale.groups), 0)));
        }
        if self.size.unknown {
            sights.push(("without the last route", Sight::of(s.scene, 1 << (self.size.routes - 1))));
            sights.push(("without blue", Sight::of(s.scene, BLUE)));
            sights.push(("without green", Sight::of(s.scene, GREEN)));
        }
        sights
    }

    /// Every look of a replica, with what is decided on it.
    fn looks(&mut self, s: &State, i: usize, rec: RecId, fresh: bool) {
        let mut seen: Vec<Sight> = Vec::new();
        for (name, sight) in self.sights(s) {
            if seen.contains(&sight) {
                continue;
            }
            seen.push(sight);
            let tick = match self.mind.tick(rec, sight) {
                Ok(tick) => tick,
                Err(violation) => {
                    self.refused.get_or_insert(violation);
                    continue;
                }
            };
            if tick.waits && name == "as it is" && self.leaves_blue_unpinned(s, rec) {
                self.refused.get_or_insert("3: blue is seen unpinned, and nobody pins it again".to_owned());
            }
            if name == "as it is" && self.moves_over_an_edit(s, rec, tick) {
                self.refused.get_or_insert("2: it moves toward green over what a person edited, unasked".to_owned());
            }
            let mut next = *s;
            next.replicas[i] = match tick.act {
                Some(act) => Replica::Acting { act, rec, settle: tick.settle, accepted: tick.accepted, fresh },
                None if tick.settle == rec && fresh => Replica::Idle,
                None => Replica::Settling { rec: tick.settle, fresh },
            };
            if next.replicas[i] == Replica::Idle {
                next.holder = None;
            }
            if next != *s {
                self.push(Step::Look(i, name), next);
            }
        }
    }

    fn leaves_blue_unpinned(&self, s: &State, rec: RecId) -> bool {
        let facts = self.mind.facts(rec);
        let blue = &s.scene.groups[usize::from(facts.blue)];
        let forward = facts.phase.may_go_back() && !matches!(facts.phase, Phase::Pending | Phase::Provisioning);
        forward && blue.alive && !(blue.full && blue.protected)
    }

    /// What becomes of an action's calls: each is accepted, or (bits of the mask) late.
    pub fn sent(&self, s: &State, act: ActId) -> Vec<(u8, State)> {
        let calls = &self.mind.act(act).1;
        let mut all = Vec::new();
        for mask in 0..1_u8 << calls.len() {
            let late = mask.count_ones();
            let room = self.size.flights - s.flights.iter().flatten().count();
            if late as usize > room || late > u32::from(s.late_left) {
                continue;
            }
            let mut next = *s;
            if s.late_left != u8::MAX {
                next.late_left -= u8::try_from(late).unwrap();
            }
            for (bit, call) in calls.iter().enumerate() {
                if mask & 1 << bit == 0 {
                    self.land(&mut next, *call);
                } else {
                    next.fly(*call);
                }
            }
            all.push((mask, next));
        }
        all
    }

    /// A call lands; what a stale read shows is the world before it.
    fn land(&self, next: &mut State, call: Call) {
        let before = next.scene;
        match (self.mind.mutant, call) {
            // The base itself is edited: its "deletion" can only be one more edit, and what comes later lands.
            (Some(Mutant::EditTheBase), Call::Delete { route, rule }) => {
                match next.scene.routes[usize::from(route)].overlay.as_mut().filter(|overlay| overlay.id == rule) {
                    Some(overlay) => (overlay.share, overlay.ghost) = (all_to(0), true),
                    None => next.scene.land(call, self.size.lags),
                }
            }
            _ => next.scene.land(call, self.size.lags),
        }
        if self.size.stale > 0 && next.scene != before {
            next.stale = next.stale.or(Some((before, 1)));
        }
    }

    fn operator(&mut self, s: &State) {
        for command in self.size.commands {
            if let Some(rec) = self.mind.command(s.rec, *command) {
                let mut next = *s;
                next.written(rec, None);
                self.push(Step::Command(*command), next);
            }
        }
        if self.size.next
            && self.mind.facts(s.rec).number == 1
            && self.mind.facts(s.rec).phase.is_terminal()
            && let Some(rec) = self.mind.next_deployment(s.rec, u32::from(HALF_QUIET - s.quiet))
        {
            let mut next = *s;
            next.written(rec, None);
            next.acked = false;
            self.push(Step::NextDeployment, next);
        }
    }

    /// A person with the provider's own command line.
    fn hand(&mut self, s: &State) {
        let facts = self.mind.facts(s.rec);
        if s.hand_left == 0 || !facts.phase.may_go_back() || !facts.planned {
            return;
        }
        // Nobody is told to raise one in the second half of a quiet period.
        let in_time = facts.quiet_age.is_none_or(|age| age < u32::from(HALF_QUIET));
        let (number, blue, blue_slot) = (facts.number, usize::from(facts.blue), facts.blue_slot);
        let recorded = !self.mind.rec(s.rec).overlays.is_empty();
        let before_commit = !facts.phase.base_may_be_green();
        let mut next = *s;
        next.hand_left -= 1;
        if recorded && next.scene.groups[blue].full {
            let mut next = next;
            next.scene.groups[blue].full = false;
            self.push(Step::BlueLoweredByHand, next);
        }
        next.acked = true;
        if in_time && recorded {
            let mut next = next;
            for route in 0..self.size.routes {
                let route = u8::try_from(route).unwrap();
                self.land(&mut next, Call::Shield { route, owner: number, to: blue_slot });
            }
            self.push(Step::ShieldsByHand, next);
        }
        if recorded && before_commit {
            for route in 0..self.size.routes {
                let rule = next.scene.routes[route].overlay.map_or(0, |overlay| overlay.id);
                self.land(&mut next, Call::Delete { route: u8::try_from(route).unwrap(), rule });
            }
            self.push(Step::OverlaysDeletedByHand, next);
        }
    }

    fn flights(&mut self, s: &State) {
        for (i, flight) in s.flights.iter().enumerate() {
            let Some(flight) = flight else { continue };
            let mut next = *s;
            next.flights[i] = None;
            next.flights.sort_unstable();
            self.push(Step::Dies(flight.call), next);
            self.land(&mut next, flight.call);
            self.push(Step::Lands(flight.call), next);
        }
    }

    fn groups(&mut self, s: &State) {
        for (i, group) in s.scene.groups.iter().enumerate() {
            if !group.alive {
                continue;
            }
            let g = u8::try_from(i).unwrap();
            let mut change = |step, change: &dyn Fn(&mut Group)| {
                let mut next = *s;
                change(&mut next.scene.groups[i]);
                self.out.push((step, next));
            };
            if group.deleting {
                change(Step::Gone(g), &|group| *group = Group::default());
                continue;
            }
            if group.drains.is_some() {
                change(Step::Drained(g), &|group| group.drains = None);
            }
            if group.healthy < SIZE {
                // Where nobody falls sick, how many have come up so far makes no difference.
                let by = if self.size.sickness { 1 } else { SIZE };
                change(Step::Heals(g), &|group| group.healthy += by);
            }
            if self.size.sickness && group.healthy > 0 && i == 1 {
                change(Step::Sickens(g), &|group| group.healthy -= 1);
            }
        }
        for i in 0..self.size.routes {
            if s.scene.routes[i].lag.is_some() {
                let mut next = *s;
                next.scene.routes[i].lag = None;
                self.push(Step::Propagates(u8::try_from(i).unwrap()), next);
            }
        }
    }

    /// What answered stale reads is up to date: the next change is the one that it may miss.
    fn catches_up(&mut self, s: &State) {
        if s.stale.is_some() {
            self.push(Step::CatchesUp, State { stale: None, ..*s });
        }
    }

    /// A unit of time passes: leases are over, what was signed long ago is dead, no read is that stale.
    fn clock(&mut self, s: &State) {
        if s.holder.is_some() && self.size.replicas > 1 {
            let mut next = *s;
            next.holder = None;
            self.push(Step::LeaseEnds, next);
        }
        let mut next = *s;
        next.rec = self.mind.older(s.rec);
        for replica in &mut next.replicas {
            *replica = match *replica {
                Replica::Idle => Replica::Idle,
                Replica::Claimed { rec, fresh } => Replica::Claimed { rec: self.mind.older(rec), fresh },
                Replica::Acting { act, rec, settle, accepted, fresh } => {
                    let [rec, settle, accepted] = [rec, settle, accepted].map(|rec| self.mind.older(rec));
                    Replica::Acting { act, rec, settle, accepted, fresh }
                }
                Replica::Settling { rec, fresh } => Replica::Settling { rec: self.mind.older(rec), fresh },
            };
        }
        for flight in &mut next.flights {
            *flight = flight.map(|flight| Flight { age: flight.age + 1, ..flight }).filter(|flight| flight.age < HALF_QUIET);
        }
        next.flights.sort_unstable();
        for route in &mut next.scene.routes {
            route.lag = None;
        }
        next.stale = s.stale.map(|(scene, age)| (scene, age + 1)).filter(|(_, age)| *age <= self.size.stale);
        next.holder = None;
        if self.mind.mutant != Some(Mutant::LaneNeverGivesUp) {
            next.lane = s.lane.older();
        }
        next.offline = self.offline_older(s.offline);
        if next.lane == Lane::Idle {
            next.lane_of = 0;
        }
        next.quiet = (s.quiet + 1).min(HALF_QUIET);
        if next != *s {
            self.push(Step::Clock, next);
        }
    }
}
