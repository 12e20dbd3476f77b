//! The production functions, behind small numbers. Every record is kept once under an id; each look, command and step of the
//! clock is worked out once for each record and remembered. So the walk handles a few bytes a state, and still every choice
//! in it is made by `decide`, `having_seen`, `command::give` and `lane`.
//!
//! Time is made canonical here: it is always `NOW`, and a timestamp is an age in units, cut off where no decision looks any
//! further. What no decision reads (sentences, what was last seen) is dropped.

use std::{collections::HashMap, hash::Hash, time::Duration};

use jiff::Timestamp;

use super::{
    mutants::Mutant,
    sight::{Sight, observation},
    world::{Call, all_to},
};
use crate::domain::{
    action::{Action, Side},
    command::{self, Command, Outcome},
    decide::{Decision, decide},
    deployment::{Deployment, Live, Seen},
    health::ShortFor,
    ids::{GroupName, RuleRef, SlotRef},
    invariants, lane,
    looks::{Absences, Looks},
    phase::Phase,
    sample,
    time::BakeTime,
    timing::Timing,
};

/// Half a quiet period is two units: what was signed lives for less than that.
pub const UNIT: Duration = Duration::from_secs(100);
pub const HALF_QUIET: u8 = 2;

pub fn now() -> Timestamp {
    sample::at(1_000_000)
}

/// `age` units ago.
fn ago(age: u32) -> Timestamp {
    now() - UNIT * age
}

/// How many units ago, cut off at `most`.
fn age(at: Timestamp, most: u32) -> u32 {
    let age = crate::domain::time::between(at, now()).as_secs() / UNIT.as_secs();
    u32::try_from(age).unwrap_or(u32::MAX).min(most)
}

/// The protocol's times in the model.
pub fn timing() -> Timing {
    Timing {
        quiet_period: UNIT * 2 * u32::from(HALF_QUIET),
        commit_delay: UNIT,
        absence_looks: 2,
        absence_spread: UNIT,
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
    timing: Timing,
    recs: Vec<Deployment>,
    facts: Vec<Facts>,
    ids: HashMap<Key, RecId>,
    acts: Vec<(Action, Vec<Call>)>,
    act_ids: HashMap<(RecId, Action), ActId>,
    ticks: HashMap<(RecId, Sight), Tick>,
    commands: HashMap<(RecId, Command), Option<RecId>>,
    aged: HashMap<RecId, RecId>,
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
        d.intent.order.as_ref().map(|order| (order.number, order.to)).hash(state);
    }
}

impl Mind {
    pub fn new(mutant: Option<Mutant>) -> Self {
        let timing = mutant.map_or_else(timing, |mutant| mutant.timing(timing()));
        Self {
            mutant,
            timing,
            recs: Vec::new(),
            facts: Vec::new(),
            ids: HashMap::new(),
            acts: Vec::new(),
            act_ids: HashMap::new(),
            ticks: HashMap::new(),
            commands: HashMap::new(),
            aged: HashMap::new(),
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
        let key = Key(canonical(d));
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
        let settle = |mind: &mut Self, d: Deployment| mind.keep(d);
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
                Tick { act: Some(act), settle: settle(self, seen), accepted: settle(self, accepted), waits: false }
            }
            Decision::Advance(next) => {
                let next = settle(self, *next);
                Tick { act: None, settle: next, accepted: next, waits: false }
            }
            Decision::Wait { .. } | Decision::Done => {
                let next = settle(self, seen);
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
    u8::from(slot.as_str() == "slot-b")
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
    match action {
        Action::PinBlue => vec![Call::Pin { group: facts.blue }],
        Action::UnpinBlue => vec![Call::Unpin { group: facts.blue }],
        Action::CreateGreen => vec![Call::Create { group: facts.green, slot: green }],
        Action::ReleaseGreen => vec![Call::Release { group: facts.green }],
        Action::OpenOverlays { routes } => routes.iter().map(|i| Call::Open { route: route(i), owner, to: blue }).collect(),
        Action::SetWeight { routes, weight } => {
            let share = if green == 1 { weight.permille() } else { 1000 - weight.permille() };
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

/// Applies `change` to each time that a decision may read.
fn each_time(d: &mut Deployment, change: impl Fn(Timestamp) -> Timestamp) {
    let maybe = |at: &mut Option<Timestamp>| *at = at.map(&change);
    d.phase_since = change(d.phase_since);
    maybe(&mut d.ended_at);
    maybe(&mut d.not_before);
    maybe(&mut d.provisioned_at);
    match &mut d.phase {
        Phase::Shifting { seen_at, .. } | Phase::Baking { seen_at, .. } => maybe(seen_at),
        Phase::Committing { quiet_since } => maybe(quiet_since),
        _ => {}
    }
    maybe(&mut d.seen.short.last);
    let absences = &mut d.seen.absences;
    let routes = absences.overlays.iter_mut().chain(&mut absences.shields).chain(&mut absences.bases_off_green);
    let groups = [&mut absences.green, &mut absences.green_targets, &mut absences.blue, &mut absences.blue_targets];
    for looks in routes.chain(groups) {
        maybe(&mut looks.first);
        maybe(&mut looks.last);
    }
}

/// The same record for every decision, with all that none reads taken out.
fn canonical(mut d: Deployment) -> Deployment {
    let cut = |at: Timestamp, most: u32| ago(age(at, most));
    let since_max = match (&d.phase, d.strategy.deadlines.verifying < UNIT * 10) {
        (Phase::Committing { quiet_since: None }, _) => 1,
        (Phase::RollingBack { .. }, _) => u32::from(HALF_QUIET) + 1,
        (
            Phase::Pending
            | Phase::Provisioning
            | Phase::Verifying
            | Phase::Shifting { seen_at: None, .. }
            | Phase::Baking { seen_at: None, .. },
            true,
        ) => 1,
        _ => 0,
    };
    d.phase_since = cut(d.phase_since, since_max);
    d.ended_at = d.ended_at.map(|_| now());
    d.provisioned_at = d.provisioned_at.map(|at| cut(at, u32::from(HALF_QUIET) + 1));
    d.not_before = d.not_before.filter(|at| *at > now());
    match &mut d.phase {
        Phase::Shifting { seen_at, stage, .. } => {
            let bakes = d.strategy.stages[*stage].bake_time != BakeTime::For(Duration::ZERO);
            *seen_at = seen_at.map(|at| cut(at, u32::from(bakes)));
        }
        Phase::Baking { seen_at, .. } => {
            let bakes = d.strategy.bake_time != BakeTime::For(Duration::ZERO);
            *seen_at = seen_at.map(|at| cut(at, u32::from(bakes)));
        }
        Phase::Committing { quiet_since } => *quiet_since = quiet_since.map(|at| cut(at, 2 * u32::from(HALF_QUIET))),
        _ => {}
    }
    let intent = &mut d.intent;
    for given in [&mut intent.rollback, &mut intent.cancel, &mut intent.abandon].into_iter().flatten() {
        given.at = now();
    }
    intent.rollback_accepted_at = intent.rollback_accepted_at.map(|_| now());
    (intent.paused_since, intent.paused_ms, d.paused_before_ms) = (intent.paused_since.map(|_| now()), 0, 0);
    // Only whether an order is open matters, not how many there were.
    intent.order = intent.order.take().filter(|order| order.number > d.order_seen).map(|mut order| {
        (order.number, order.given.at) = (1, now());
        order
    });
    d.order_seen = 0;
    if let Some(back) = &mut d.going_back {
        back.requested_at = now();
        back.reason = None;
        back.accepted_at = back.accepted_at.map(|_| now());
        back.observed_at = back.observed_at.map(|_| now());
    }
    d.attention = None;
    let short = match d.phase {
        Phase::Verifying | Phase::Shifting { .. } | Phase::Baking { .. } => short(d.seen.short),
        _ => ShortFor::default(),
    };
    let created_by = d.seen.clone();
    d.seen = Seen { short, absences: absences(&d.phase, &created_by.absences), ..Seen::default() };
    d
}

fn short(short: ShortFor) -> ShortFor {
    let most = u64::try_from(UNIT.as_millis()).unwrap();
    ShortFor { ms: short.ms.min(most), last: short.last.map(|at| ago(age(at, 1))) }
}

/// Those that the phase reads; entering the next one forgets them all.
fn absences(phase: &Phase, all: &Absences) -> Absences {
    let each = |looks: &[Looks]| looks.iter().map(|one| canonical_looks(*one)).collect();
    let (shields, bases, going, leaving) = match phase {
        Phase::Committing { quiet_since: Some(_) } => (false, true, false, false),
        Phase::RollingBack { .. } => (true, false, true, false),
        Phase::Retiring => (false, false, false, true),
        _ => (false, false, false, false),
    };
    let if_read = |read: bool, looks: &[Looks]| if read { each(looks) } else { Vec::new() };
    let one = |read: bool, looks: Looks| if read { canonical_looks(looks) } else { Looks::default() };
    let overlays_read = !phase.is_terminal() && !matches!(phase, Phase::Pending | Phase::Provisioning);
    Absences {
        overlays: if_read(overlays_read, &all.overlays),
        shields: if_read(shields, &all.shields),
        bases_off_green: if_read(bases, &all.bases_off_green),
        green: one(going, all.green),
        green_targets: one(going, all.green_targets),
        blue: one(leaving || going, all.blue),
        blue_targets: one(leaving, all.blue_targets),
    }
}

/// None, young, old or believed: nothing else about looks makes a difference.
fn canonical_looks(looks: Looks) -> Looks {
    match (looks.first, looks.last) {
        _ if looks.believed(&timing()) => Looks { count: 2, first: Some(ago(1)), last: Some(ago(0)) },
        (Some(first), Some(_)) => {
            let first = ago(age(first, 1));
            Looks { count: 1, first: Some(first), last: Some(first) }
        }
        _ => Looks::default(),
    }
}
