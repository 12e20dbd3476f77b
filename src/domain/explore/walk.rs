//! Walks every state of a world that can be reached, in breadth, and then asks of each: does it end once faults stop?

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use super::{
    canon::HALF_QUIET,
    check,
    map::Map,
    mind::Mind,
    mutants::Mutant,
    sight::Sight,
    size::{Size, Step},
    state::{Lane, Offline, Replica, State},
    steps::Steps,
    story,
    world::{ELSEWHERE, Group, SIZE, Scene, all_to},
};
use crate::domain::{command::Command, deployment::Deployment, phase::Phase};

/// What a walk found.
#[derive(Debug)]
pub struct Found {
    pub states: usize,
    pub steps: usize,
    pub records: usize,
    /// The longest way from the start, in steps.
    pub depth: usize,
    pub took: Duration,
    /// The first violation, told as a story.
    pub violation: Option<String>,
}

#[derive(Debug)]
struct Walk<'a> {
    size: &'a Size,
    mind: Mind,
    states: Vec<State>,
    parents: Vec<u32>,
    depths: Vec<u16>,
    ids: Map<State, u32>,
    steps: usize,
}

/// Walks a world to its end, or to the first violation.
#[expect(clippy::disallowed_methods, reason = "how long the walk took is printed; nothing is decided on it")]
pub fn walk(size: &Size, mutant: Option<Mutant>, start: Deployment) -> Found {
    let began = Instant::now();
    let mut walk = Walk {
        size,
        mind: Mind::new(mutant, size),
        states: Vec::new(),
        parents: Vec::new(),
        depths: Vec::new(),
        ids: Map::default(),
        steps: 0,
    };
    let rec = walk.mind.keep(start);
    let first = beginning(size, rec);
    walk.add(first, 0);
    // Of what a person does about a drift, each has to lead to an end.
    let people: &[&[Command]] = match size.edits {
        0 => &[&[]],
        _ => &[&[], &[Command::Restore, Command::Adopt], &[Command::Adopt, Command::Restore]],
    };
    let violation = walk.everywhere().or_else(|| people.iter().find_map(|person| walk.always_ends(person)));
    Found {
        states: walk.states.len(),
        steps: walk.steps,
        records: walk.mind.records(),
        depth: usize::from(walk.depths.iter().copied().max().unwrap_or(0)),
        took: began.elapsed(),
        violation,
    }
}

fn beginning(size: &Size, rec: u32) -> State {
    let old = Group { alive: true, slot: Some(0), healthy: SIZE, ..Group::default() };
    State {
        scene: Scene { groups: [old, Group::default(), Group::default()], ..Scene::default() },
        stale: None,
        rec,
        holder: None,
        replicas: [Replica::Idle; 2],
        lane: Lane::Idle,
        lane_of: 0,
        offline: Offline::Not,
        flights: [None; 2],
        acked: false,
        quiet: HALF_QUIET,
        late_left: size.late,
        offline_left: size.offline,
        hand_left: size.hand,
        edits_left: size.edits,
    }
}

/// The same state with every fault over: nothing under way, no stall, servers healthy.
fn calmed(mut s: State) -> State {
    (s.stale, s.flights, s.lane, s.offline, s.holder) = (None, [None; 2], Lane::Idle, Offline::Not, None);
    (s.replicas, s.lane_of) = ([Replica::Idle; 2], 0);
    for route in &mut s.scene.routes {
        route.lag = None;
    }
    for group in &mut s.scene.groups {
        if group.deleting {
            *group = Group::default();
        }
        if group.alive {
            (group.healthy, group.drains) = (SIZE, None);
        }
    }
    s
}

impl Walk<'_> {
    /// Whether it is new.
    fn add(&mut self, s: State, parent: u32) -> bool {
        let id = u32::try_from(self.states.len()).expect("no world is that large");
        match self.ids.entry(s) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(id);
                let depth = if id == 0 { 0 } else { self.depths[parent as usize] + 1 };
                self.states.push(s);
                self.parents.push(parent);
                self.depths.push(depth);
                true
            }
        }
    }

    fn everywhere(&mut self) -> Option<String> {
        let mut at = 0;
        let mut out = Vec::new();
        while at < self.states.len() {
            let s = self.states[at];
            let parent = u32::try_from(at).expect("no world is that large");
            let mut steps = Steps { size: self.size, mind: &mut self.mind, out: std::mem::take(&mut out), refused: None };
            steps.from(&s);
            let refused = steps.refused.take();
            out = std::mem::take(&mut steps.out);
            if let Some(violation) = refused {
                return Some(self.story(at, None, &violation));
            }
            self.steps += out.len();
            for (step, next) in &out {
                if let Err(violation) = check::step(&self.mind, self.size, &s, *step, next) {
                    return Some(self.story(at, Some((*step, *next)), &violation));
                }
                if self.add(*next, parent)
                    && let Err(violation) = check::state(&self.mind, self.size, next)
                {
                    return Some(self.story(at, Some((*step, *next)), &violation));
                }
            }
            at += 1;
        }
        None
    }

    /// From every state: nothing fails any more, nobody asks for anything, paused ones are resumed. It has to end.
    fn always_ends(&mut self, person: &[Command]) -> Option<String> {
        let mut ends: Map<State, ()> = Map::default();
        for at in 0..self.states.len() {
            // Whoever is called makes a difference only where something was edited.
            if !person.is_empty() && self.states[at].edits_left == self.size.edits {
                continue;
            }
            let mut s = calmed(self.states[at]);
            let mut path = Vec::new();
            loop {
                if ends.contains_key(&s) || self.mind.facts(s.rec).phase.is_terminal() {
                    break;
                }
                // Marked before it is known: coming back to it is going round in a circle.
                if path.contains(&s) {
                    let phase = self.mind.facts(s.rec).phase.name();
                    return Some(self.story(at, None, &format!("it never ends: it stays in {phase} for ever")));
                }
                path.push(s);
                s = self.calm(s, person);
            }
            for s in path {
                ends.insert(s, ());
            }
        }
        None
    }

    /// What happens next when all is well.
    fn calm(&mut self, mut s: State, person: &[Command]) -> State {
        if let Some(resumed) = self.mind.command(s.rec, Command::Resume) {
            s.rec = resumed;
        }
        let quiet = Size { crashes: false, stale: 0, unknown: false, late: 0, flights: 0, split_looks: false, ..*self.size };
        let mut steps = Steps { size: &quiet, mind: &mut self.mind, out: Vec::new(), refused: None };
        let before = s;
        // One whole tick; where it changes nothing, time passes.
        for _ in 0..4 {
            steps.out.clear();
            steps.tick_calmly(&s);
            match steps.out.first() {
                Some((_, next)) => s = *next,
                None => break,
            }
            if s.replicas[0] == Replica::Idle {
                break;
            }
        }
        if s == before {
            steps.out.clear();
            steps.clock_calmly(&s);
            match steps.out.first() {
                Some((_, next)) => s = *next,
                // Nothing will ever change by itself: then somebody must have been called, and answers, or goes back.
                None if self.mind.calls_a_person(s.rec, Sight::of(s.scene, 0)) => s = self.called(s, person),
                None => {}
            }
        }
        calmed(s)
    }

    /// What somebody does who was called.
    fn called(&mut self, mut s: State, person: &[Command]) -> State {
        let asked = if self.mind.facts(s.rec).answered { &[] } else { person };
        let given = asked.iter().chain(&[Command::Rollback]).find_map(|command| self.mind.command(s.rec, *command));
        match given {
            Some(rec) => s.rec = rec,
            // Where nobody can go back only what was edited by hand can be in the way, and is put back by hand.
            None => {
                let facts = self.mind.facts(s.rec);
                let to = all_to(if facts.phase == Phase::Retiring { facts.green_slot } else { facts.blue_slot });
                for route in s.scene.routes.iter_mut().filter(|route| route.base == ELSEWHERE) {
                    route.base = to;
                }
            }
        }
        s
    }

    /// The way from the start to a state, step by step, and what is wrong there.
    fn story(&mut self, at: usize, last: Option<(Step, State)>, violation: &str) -> String {
        let mut ids = vec![at];
        while let Some(id) = ids.last().filter(|id| **id != 0) {
            ids.push(self.parents[*id] as usize);
        }
        ids.reverse();
        let mut told = String::new();
        let mut line = |mind: &Mind, n: usize, step: Step, from: &State, to: &State| {
            let text = story::step(mind, step, from, to);
            writeln!(told, "{n:>4}. {text:<64} | {}", story::state(mind, self.size, to)).expect("a string takes all");
        };
        for (n, pair) in ids.windows(2).enumerate() {
            let (from, to) = (self.states[pair[0]], self.states[pair[1]]);
            let mut steps = Steps { size: self.size, mind: &mut self.mind, out: Vec::new(), refused: None };
            steps.from(&from);
            let step = steps.out.iter().find(|(_, next)| *next == to).expect("it was reached by a step").0;
            line(&self.mind, n + 1, step, &from, &to);
        }
        let from = self.states[at];
        if let Some((step, to)) = last {
            line(&self.mind, ids.len(), step, &from, &to);
        }
        format!("{told}      => {violation}\n")
    }
}
