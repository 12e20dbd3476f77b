//! Steps and states in words, for traces that people read.

use std::fmt::Write;

use super::{
    mind::Mind,
    size::{Size, Step},
    state::{Replica, State},
    world::{Call, ELSEWHERE, Scene},
};
use crate::domain::drift::Answer;

pub fn step(mind: &Mind, step: Step, from: &State, to: &State) -> String {
    let who = |i: usize| ["replica A", "replica B"][i];
    let outcome = |mask: u8| if mask == 0 { "accepted" } else { "no answer, under way" };
    match step {
        Step::Claim(i) => format!("{} claims the record", who(i)),
        Step::Look(i, how) => match to.replicas[i] {
            Replica::Acting { act, .. } => format!("{} looks ({how}) and decides: {}", who(i), action(mind, act)),
            Replica::Settling { rec, .. } => format!("{} looks ({how}): {}", who(i), phase(mind, rec)),
            Replica::Idle | Replica::Claimed { .. } => format!("{} looks ({how}) and waits", who(i)),
        },
        Step::Send(i, mask) => match from.replicas[i] {
            Replica::Acting { act, .. } => format!("{} sends {}: {}", who(i), action(mind, act), outcome(mask)),
            _ => String::new(),
        },
        Step::Settle(i, true) => format!("{} stores {}", who(i), phase(mind, to.rec)),
        Step::Settle(i, false) => format!("{} has lost the record: nothing is stored", who(i)),
        Step::Crash(i) => format!("{} dies, or finds its lease over", who(i)),
        Step::LeaseEnds => "the lease ends".to_owned(),
        Step::Lands(call) => format!("the late call lands: {}", call_words(call)),
        Step::Dies(call) => format!("the late call is lost: {}", call_words(call)),
        Step::Clock => "a quarter of a quiet period passes".to_owned(),
        Step::Sickens(g) => format!("a server of group {g} falls sick"),
        Step::Heals(g) => format!("servers of group {g} get healthy"),
        Step::Drained(g) => format!("group {g} has drained"),
        Step::Gone(g) => format!("group {g} is gone"),
        Step::Propagates(i) => format!("the last node of route {i} follows"),
        Step::CatchesUp => "no read is stale any more".to_owned(),
        Step::Command(command) => format!("the operator: {command:?}"),
        Step::LaneStarts(fresh) => {
            format!("the operator: Rollback; the lane's copy is {}", if fresh { "fresh" } else { "old" })
        }
        Step::LaneCalls(mask) => format!("the lane sends its call: {}", outcome(mask)),
        Step::LaneCommits(true) => format!("the lane commits the intent in {}", phase(mind, to.rec)),
        Step::LaneCommits(false) => "the lane's commit is refused".to_owned(),
        Step::LaneAnswers => "the lane answers: rolled back".to_owned(),
        Step::LaneGivesUp => "the lane gives up, or its replica dies".to_owned(),
        Step::DatabaseLost => "a replica loses the database".to_owned(),
        Step::OfflineStarts(how) => format!("the operator: Rollback; the replica without a database may send ({how})"),
        Step::OfflineCalls(mask) => format!("it sends its call: {}", outcome(mask)),
        Step::Replayed => "the rollback taken without the database is put on record".to_owned(),
        Step::OfflineGivesUp => "it gives up, or dies".to_owned(),
        Step::ShieldsByHand => "a person raises shields on the provider's command line".to_owned(),
        Step::OverlaysDeletedByHand => "a person deletes the overlays on the provider's command line".to_owned(),
        Step::BlueLoweredByHand => "a person lowers blue's minimum on the provider's command line".to_owned(),
        Step::EditedByHand(what) => format!("a person at the console: {what}"),
        Step::NextDeployment => "the next deployment is created".to_owned(),
    }
}

fn action(mind: &Mind, act: u32) -> String {
    let (action, calls) = mind.act(act);
    let calls: Vec<_> = calls.iter().map(|call| call_words(*call)).collect();
    format!("{} [{}]", action.name(), calls.join(", "))
}

fn call_words(call: Call) -> String {
    match call {
        Call::Open { route, owner, .. } => format!("open overlay of #{owner} on route {route}"),
        Call::Weigh { route, rule, share } => format!("weight {share} to slot b on rule {rule} of route {route}"),
        Call::Shape { route, rule, share, form } => {
            format!("conditions {form} and weight {share} to slot b on rule {rule} of route {route}")
        }
        Call::Mend { route, share, form } => {
            format!("base of route {route} to conditions {form} and slot {}", if share == 0 { "a" } else { "b" })
        }
        Call::Base { route, share } => format!("base of route {route} to slot {}", if share == 0 { "a" } else { "b" }),
        Call::Shield { route, owner, .. } => format!("raise shield of #{owner} on route {route}"),
        Call::Preview { route, owner, .. } => format!("raise preview of #{owner} on route {route}"),
        Call::Delete { route, rule } => format!("delete rule {rule} of route {route}"),
        Call::Pin { group } => format!("pin group {group}"),
        Call::Unpin { group } => format!("unpin group {group}"),
        Call::Create { group, .. } => format!("create group {group}"),
        Call::Release { group } => format!("release group {group}"),
        Call::Detach { group } => format!("detach group {group}"),
        Call::Remove { group } => format!("delete group {group}"),
    }
}

fn phase(mind: &Mind, rec: u32) -> String {
    let d = mind.rec(rec);
    let mut text = d.phase.name().to_owned();
    if let crate::domain::phase::Phase::Shifting { weight, seen_at, .. } = &d.phase {
        write!(text, " {weight}{}", if seen_at.is_some() { ", seen" } else { "" }).expect("a string takes all");
    }
    if let Some(held) = &d.held {
        let said = d.answer().map_or("held", |answered| match answered.answer {
            Answer::Adopt => "adopting",
            Answer::Restore => "restoring",
        });
        write!(text, ", {said} {} edit(s)", held.differences.len()).expect("a string takes all");
    }
    if d.intent.is_back() && d.phase.may_go_back() {
        text.push_str(", to go back");
    }
    text
}

/// The state in one line: record, routes, groups.
pub fn state(mind: &Mind, size: &Size, s: &State) -> String {
    let Scene { routes, groups } = &s.scene;
    let mut text = phase(mind, s.rec);
    for route in &routes[..size.routes] {
        let to = |share| match share {
            ELSEWHERE => "elsewhere".to_owned(),
            0 => "a".to_owned(),
            1000 => "b".to_owned(),
            share => share.to_string(),
        };
        let edited = |form| if form == 0 { "" } else { ", edited" };
        write!(text, " | base {}{}", to(route.base), edited(route.base_form)).expect("a string takes all");
        for (name, rule) in [("overlay", route.overlay), ("shield", route.shield)] {
            if let Some(rule) = rule {
                write!(text, ", {name} {}={}{}", rule.id, to(rule.share), edited(rule.form)).expect("a string takes all");
            }
        }
    }
    text.push_str(" | groups");
    for (i, group) in groups.iter().enumerate().filter(|(_, group)| group.alive) {
        let slot = match (group.slot, group.deleting) {
            (_, true) => "going",
            (Some(0), _) => "in a",
            (Some(_), _) => "in b",
            (None, _) => "detached",
        };
        let pinned = if group.protected { ", pinned" } else { "" };
        write!(text, " {i} ({slot}{pinned})").expect("a string takes all");
    }
    text
}
