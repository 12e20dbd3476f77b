//! The production functions, behind small numbers. Every record is kept once under an id; each look, command and step of the
//! clock is worked out once for each record and remembered. So the walk handles a few bytes a state, and still every choice
//! in it is made by `decide`, `having_seen`, `command::give` and `lane`.

use std::{hash::Hash, time::Duration};

use super::{
    canon::{HALF_QUIET, UNIT, age, canonical, each_time, now},
    map::Map,
    mutants::Mutant,
    sight::{Sight, form_index, observation},
    size::Size,
    world::{Call, all_to},
};
use crate::domain::{
    action::{Action, Shape, Side},
    command::{self, Command, Outcome},
    decide::{Decision, decide},
    deployment::{Deployment, Live},
    ids::{GroupName, RuleRef, SlotRef},
    invariants,
    lane::{self, Orders, Unrecorded},
    phase::Phase,
    sample,
    timing::Timing,
    weight::Weight,
};

/// The protocol's times in the model.
pub fn timing(spread: u8) -> Timing {
    Timing {
        quiet_period: UNIT * 2 * u32::from(HALF_QUIET),
        commit_delay: UNIT,
        absence_looks: 2,
        absence_spread: UNIT * u32::from(spread),
        propagation: UNIT * u32::from(spread),
        health_patience: UNIT,
        ..Timing::default()
    }
}

pub type RecId = u32;
pub type ActId = u32;

/// What the walk needs to know of a record without opening it.
#[derive(Debug, Clone)]
pub struct Facts {
    pub number: u8,
    pub phase: Phase,
    pub planned: bool,
    pub blue: u8,
    pub green: u8,
    pub blue_slot: u8,
    pub green_slot: u8,
    /// Units since the base was first seen on green.
    pub quiet_age: Option<u32>,
    /// The conditions of each route's base, as planned.
    pub forms: [u8; 2],
    /// A drift is on record, and a person has answered it.
    pub held: bool,
    pub answered: bool,
}

/// What a tick does after one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tick {
    pub act: Option<ActId>,
    /// The record to settle; once the action was accepted, `accepted`.
    pub settle: RecId,
    pub accepted: RecId,
    /// Nothing to do but to wait.
    pub waits: bool,
}

#[derive(Debug)]
pub struct Mind {
    pub mutant: Option<Mutant>,
    size: Size,
    timing: Timing,
    recs: Vec<Deployment>,
    facts: Vec<Facts>,
    ids: Map<Key, RecId>,
    acts: Vec<(Action, Vec<Call>)>,
    act_ids: Map<(RecId, Action), ActId>,
    ticks: Map<(RecId, Sight), Tick>,
    commands: Map<(RecId, Command), Option<RecId>>,
    aged: Map<RecId, RecId>,
}

/// A record as a key: its fields are compared whole, and hashed by those that differ most.
#[derive(Debug, PartialEq, Eq)]
struct Key(Deployment);

impl Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let d = &self.0;
        (d.number, &d.phase, d.phase_since, d.overlays.len(), d.plan.is_some()).hash(state);
        (&d.seen.absences, d.seen.short, d.intent.paused_since, d.order_seen).hash(state);
        (&d.intent.rollback, &d.intent.cancel, &d.intent.abandon).hash(state);
        (&d.seen.drift, d.held.is_some(), d.answer().map(|answered| answered.answer)).hash(state);
        d.intent.order.as_ref().map(|order| (order.number, order.to)).hash(state);
    }
}

impl Mind {
    pub fn new(mutant: Option<Mutant>, size: &Size) -> Self {
        let timing = timing(size.spread);
        Self {
            mutant,
            size: *size,
            timing,
            recs: Vec::new(),
            facts: Vec::new(),
            ids: Map::default(),
            acts: Vec::new(),
            act_ids: Map::default(),
            ticks: Map::default(),
            commands: Map::default(),
            aged: Map::default(),
        }
    }

    pub fn rec(&self, id: RecId) -> &Deployment {
        &self.recs[id as usize]
    }

    pub fn facts(&self, id: RecId) -> &Facts {
        &self.facts[id as usize]
    }

    pub fn act(&self, id: ActId) -> &(Action, Vec<Call>) {
        &self.acts[id as usize]
    }

    /// How many records there are.
    pub fn records(&self) -> usize {
        self.recs.len()
    }

    /// The id of a record, made canonical first.
    pub fn keep(&mut self, d: Deployment) -> RecId {
        let key = Key(canonical(d, &self.size));
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        let id = RecId::try_from(self.recs.len()).unwrap();
        self.recs.push(key.0.clone());
        self.facts.push(facts(&key.0));
        self.ids.insert(key, id);
        id
    }

    /// Look and decide, in production code.
    ///
    /// # Errors
    /// When the action chosen is not permitted by `invariants`.
    pub fn tick(&mut self, id: RecId, sight: Sight) -> Result<Tick, String> {
        if let Some(tick) = self.ticks.get(&(id, sight)) {
            return Ok(*tick);
        }
        let mut o = observation(self.rec(id), &sight);
        let mut before = self.rec(id).clone();
        if let Some(mutant) = self.mutant {
            mutant.before(&mut before, &mut o);
        }
        let mut seen = before.having_seen(&o, &self.timing, now());
        let timing = self.mutant.map_or(self.timing, |mutant| mutant.looking(&mut seen, &o, self.timing));
        let mut decision = decide(&seen, &o, &timing, now());
        if let Some(mutant) = self.mutant {
            decision = mutant.after(&seen, &o, decision);
        }
        let tick = match decision {
            Decision::Act(action) => {
                if self.mutant.is_none() {
                    invariants::permits(&seen, &o, &action, &self.timing, now()).map_err(|violation| violation.to_string())?;
                }
                let act = self.keep_act(id, &action);
                let mut accepted = seen.clone();
                if let (Phase::RollingBack { .. }, Action::DeleteRules { .. }, Some(back)) =
                    (&accepted.phase, &action, accepted.going_back.as_mut())
                {
                    back.accepted_at = back.accepted_at.or(Some(now()));
                }
                Tick { act: Some(act), settle: self.keep(seen), accepted: self.keep(accepted), waits: false }
            }
            Decision::Advance(next) => {
                let next = self.keep(*next);
                Tick { act: None, settle: next, accepted: next, waits: false }
            }
            Decision::Wait { .. } | Decision::Done => {
                let next = self.keep(seen);
                Tick { act: None, settle: next, accepted: next, waits: true }
            }
        };
        self.ticks.insert((id, sight), tick);
        Ok(tick)
    }

    pub fn keep_act(&mut self, rec: RecId, action: &Action) -> ActId {
        if let Some(id) = self.act_ids.get(&(rec, action.clone())) {
            return *id;
        }
        let calls = calls(self.facts(rec), action);
        let known = self.acts.iter().position(|(known, sent)| known == action && *sent == calls);
        let at = known.unwrap_or_else(|| {
            self.acts.push((action.clone(), calls));
            self.acts.len() - 1
        });
        let id = ActId::try_from(at).unwrap();
        self.act_ids.insert((rec, action.clone()), id);
        id
    }

    /// The record after a command; `None` where it is refused or changes nothing.
    pub fn command(&mut self, id: RecId, command: Command) -> Option<RecId> {
        if let Some(known) = self.commands.get(&(id, command)) {
            return *known;
        }
        let given = crate::domain::deployment::Given { at: now(), ..sample::given() };
        let next = match command::give(self.rec(id), command, given) {
            Ok(Outcome::Changed(intent)) => {
                let mut d = self.rec(id).clone();
                d.intent = *intent;
                Some(self.keep(d))
            }
            Ok(Outcome::Unchanged) | Err(_) => None,
        };
        self.commands.insert((id, command), next);
        next
    }

    /// Whether a rollback is answered as done or to be done, rather than refused.
    pub fn rollback_is_legal(&self, id: RecId) -> bool {
        command::give(self.rec(id), Command::Rollback, sample::given()).is_ok()
    }

    /// What the lane may send at once. `fresh`: its copy was confirmed just now; else too long ago.
    pub fn lane_at_once(&self, copy: &Deployment, fresh: bool) -> Option<Action> {
        let confirmed = if fresh { Duration::ZERO } else { UNIT };
        match self.mutant {
            Some(Mutant::LaneTrustsItsCopy) => {
                (!copy.overlays.is_empty()).then(|| Action::DeleteRules { rules: copy.overlays.clone() })
            }
            _ => lane::at_once(copy, confirmed, &self.timing),
        }
    }

    /// What must be accepted before the lane answers.
    pub fn lane_after(&self, committed: RecId) -> Vec<Action> {
        lane::after_commit(self.rec(committed))
    }

    /// What the lane may send without a database, by a record that was read `age` units ago.
    pub fn without_record(&self, bundle: RecId, age: u8) -> Unrecorded {
        let age = if self.mutant == Some(Mutant::BundleNeverOld) { 0 } else { age };
        lane::without_record(self.rec(bundle), UNIT * u32::from(age), &self.timing, now())
    }

    /// The same after a look.
    pub fn after_look(&self, bundle: RecId, left: Option<Orders>, sight: Sight) -> Unrecorded {
        lane::after_look(self.rec(bundle), left, &observation(self.rec(bundle), &sight), &self.timing)
    }

    /// Whether a look shows the world not to be as recorded.
    pub fn is_drift(&self, id: RecId, sight: Sight) -> bool {
        let o = observation(self.rec(id), &sight);
        let seen = self.rec(id).clone().having_seen(&o, &self.timing, now()).seen;
        seen.drift.iter().any(|route| !route.edits.is_empty())
    }

    /// Whether a look at it calls a person.
    pub fn calls_a_person(&self, id: RecId, sight: Sight) -> bool {
        let o = observation(self.rec(id), &sight);
        self.rec(id).clone().having_seen(&o, &self.timing, now()).attention.is_some()
    }

    /// What a store without the version check keeps: the engine's half of a stale settle, beside the intent that it has.
    pub fn with_intent_of(&mut self, settled: RecId, stored: RecId) -> RecId {
        let mut d = self.rec(settled).clone();
        d.intent = self.rec(stored).intent.clone();
        self.keep(d)
    }

    /// The deployment after one that has ended, as the store creates it: what is live, and no overlay before `wait` units.
    pub fn next_deployment(&mut self, last: RecId, wait: u32) -> Option<RecId> {
        let last = self.rec(last);
        let mut next = sample::pending(last.number + 1, last.declaration.routes.len(), last.strategy.clone());
        match (&last.phase, &last.plan) {
            (Phase::Succeeded, Some(plan)) => {
                let live = Live {
                    group: plan.green.group.clone(),
                    slot: plan.green.slot.clone(),
                    image: last.image.clone(),
                    number: last.number,
                };
                next.live = Some(live);
            }
            (Phase::RolledBack | Phase::Cancelled, Some(_)) => {}
            _ => return None,
        }
        next.phase_since = now();
        next.not_before = (self.mutant != Some(Mutant::NextDoesNotWait) && wait > 0).then(|| now() + UNIT * wait);
        Some(self.keep(next))
    }

    /// The record, one unit of time later.
    pub fn older(&mut self, id: RecId) -> RecId {
        if let Some(older) = self.aged.get(&id) {
            return *older;
        }
        let mut d = self.rec(id).clone();
        each_time(&mut d, |at| at - UNIT);
        let older = self.keep(d);
        self.aged.insert(id, older);
        older
    }
}

fn slot_index(slot: &SlotRef) -> u8 {
    u8::from(*slot == SlotRef::new("slot-b"))
}

fn group_index(group: &GroupName) -> u8 {
    group.as_str().strip_prefix("web-prod-v").map_or(0, |number| number.parse().unwrap())
}

/// `overlay-0-3`, `shield-1-4`: a rule's route and id.
pub fn rule_index(rule: &RuleRef) -> (u8, u8) {
    let mut parts = rule.as_str().split('-').skip(1).map(|part| part.parse::<u8>().unwrap());
    (parts.next().unwrap(), parts.next().unwrap())
}

fn facts(d: &Deployment) -> Facts {
    let plan = d.plan.as_ref();
    Facts {
        number: u8::try_from(d.number).unwrap(),
        phase: d.phase.clone(),
        planned: plan.is_some(),
        blue: plan.and_then(|plan| plan.blue.as_ref()).map_or(0, |blue| group_index(&blue.group)),
        green: u8::try_from(d.number).unwrap(),
        blue_slot: plan.map_or(0, |plan| slot_index(&plan.blue_slot)),
        green_slot: plan.map_or(1, |plan| slot_index(&plan.green.slot)),
        forms: [0, 1].map(|i| plan.and_then(|plan| plan.routes.get(i)).map_or(0, |route| form_index(&route.form))),
        held: d.held.is_some(),
        answered: d.answer().is_some(),
        quiet_age: match d.phase {
            Phase::Committing { quiet_since } => quiet_since.map(|at| age(at, u32::MAX)),
            _ => None,
        },
    }
}

/// The calls that an action is made of.
fn calls(facts: &Facts, action: &Action) -> Vec<Call> {
    let (owner, blue, green) = (facts.number, facts.blue_slot, facts.green_slot);
    let group = |side: &Side| if *side == Side::Blue { facts.blue } else { facts.green };
    let route = |i: &usize| u8::try_from(*i).unwrap();
    let share = |weight: Weight| if green == 1 { weight.permille() } else { 1000 - weight.permille() };
    match action {
        Action::PinBlue => vec![Call::Pin { group: facts.blue }],
        Action::UnpinBlue => vec![Call::Unpin { group: facts.blue }],
        Action::CreateGreen => vec![Call::Create { group: facts.green, slot: green }],
        // No group of the model grows, or scales by itself.
        Action::GrowGreen { .. } | Action::CopyScaling { .. } => Vec::new(),
        Action::ReleaseGreen => vec![Call::Release { group: facts.green }],
        Action::OpenOverlays { routes } => {
            routes.iter().map(|i| Call::Open { route: route(i), owner, to: blue, form: facts.forms[*i] }).collect()
        }
        Action::ReshapeOverlays { shapes } => {
            let call = |shape: &Shape| {
                let (rule, form) = (rule_index(&shape.rule).1, form_index(&shape.form));
                Call::Shape { route: route(&shape.route), rule, share: share(shape.weight), form }
            };
            shapes.iter().map(call).collect()
        }
        Action::RestoreBases { routes } => {
            routes.iter().map(|i| Call::Mend { route: route(i), share: all_to(blue), form: facts.forms[*i] }).collect()
        }
        Action::OpenPreviews { routes } => routes.iter().map(|i| Call::Preview { route: route(i), owner, to: green }).collect(),
        Action::SetWeight { routes, weight } => {
            let share = share(*weight);
            routes.iter().map(|(i, rule)| Call::Weigh { route: route(i), rule: rule_index(rule).1, share }).collect()
        }
        Action::SetBase { routes, to } => {
            let share = all_to(if *to == Side::Blue { blue } else { green });
            routes.iter().map(|i| Call::Base { route: route(i), share }).collect()
        }
        Action::RaiseShields { routes } => routes.iter().map(|i| Call::Shield { route: route(i), owner, to: blue }).collect(),
        Action::DeleteRules { rules } => {
            let named = rules.iter().map(rule_index);
            named.map(|(route, rule)| Call::Delete { route, rule }).collect()
        }
        Action::Detach { side } => vec![Call::Detach { group: group(side) }],
        Action::DeleteGroup { side } => vec![Call::Remove { group: group(side) }],
    }
}
