//! A rollback whose record does not come: shields by what this replica remembers, and a line in its journal, side by side.
//!
//! `domain::lane` says what may be sent; here it is looked, sent and written down. The record is still asked for meanwhile, and
//! if it comes through after all, that is what is answered.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::{error, info};

use super::{
    Lane, Outcome,
    work::{Work, moment},
};
use crate::{
    domain::{
        action::Action,
        command::{self, Command},
        deployment::{Deployment, Given},
        lane::{self, Orders, Unrecorded},
        timing::Timing,
    },
    engine::{
        api::{Mode, RolledBack, Trouble},
        bundles::Bundle,
        local::Entry,
        ports::{Cloud, LaneStore, Recency},
    },
};

/// What was done without the record.
#[derive(Debug)]
pub(super) struct Done {
    pub outcome: Outcome,
    /// What was accepted of it.
    pub accepted: Vec<Action>,
}

impl<L, C: Cloud> Lane<L, C> {
    pub(super) fn timing(&self) -> Timing {
        Timing { clock_lead: self.cloud.clock_lead(), ..self.settings.timing }
    }
}

impl<L: LaneStore, C: Cloud> Lane<L, C> {
    /// Goes back by what is remembered.
    ///
    /// # Errors
    /// Where that says that it is not legal, or where nothing may be sent.
    pub(super) async fn unrecorded(&self, bundle: &Bundle, given: &Given, until: Instant) -> Result<Done, Trouble> {
        let mut d = asked(&bundle.deployment, given)?;
        self.journal.tell(&mut d);
        if lane::is_accepted(&d) {
            let durable = is_on_record(&bundle.deployment);
            return Ok(Done { outcome: answered(d, durable, None), accepted: Vec::new() });
        }
        let entry = Entry {
            deployment: d.id,
            target: d.target.clone(),
            given: d.intent.rollback.clone().unwrap_or_else(|| given.clone()),
            accepted_at: None,
            observed_at: None,
        };
        match self.decide(bundle, &d, until).await {
            Unrecorded::Send(orders) => Ok(self.shield(bundle, d, entry, orders, until).await),
            Unrecorded::TooLate(why) => Err(self.out_of_reach(&d, why)),
            // `decide` has looked already.
            Unrecorded::Look(_) | Unrecorded::Nothing => {
                if self.journal.asked(entry).await.is_ok() {
                    return Ok(Done { outcome: answered(d, false, None), accepted: Vec::new() });
                }
                let why = "nothing of it is at the load balancer yet, and the disk does not take the order";
                Err(self.out_of_reach(&d, why.to_owned()))
            }
        }
    }

    pub(super) async fn decide(&self, bundle: &Bundle, d: &Deployment, until: Instant) -> Unrecorded {
        let timing = self.timing();
        match lane::without_record(d, bundle.confirmed.age(), &timing, Timestamp::now()) {
            Unrecorded::Look(left) => {
                let deadline = until.min(Instant::now() + self.settings.look_timeout);
                let began = Instant::now();
                let look = self.cloud.observe(d, Recency::Now, deadline).await;
                match lane::after_look(d, left, &look, &timing) {
                    // It serves from the look's beginning.
                    Unrecorded::Send(orders) => {
                        Unrecorded::Send(Orders { within: orders.within.saturating_sub(began.elapsed()), ..orders })
                    }
                    other => other,
                }
            }
            other => other,
        }
    }

    /// The shields and the journal's line, side by side.
    async fn shield(&self, bundle: &Bundle, d: Deployment, entry: Entry, orders: Orders, until: Instant) -> Done {
        let (id, durable) = (d.id, is_on_record(&bundle.deployment));
        let mut work = Work::new(d, [orders.shields.clone()], orders.overlays, Instant::now() + orders.within);
        work.bundle = Some(bundle.clone());
        let write = async { if durable { Ok(()) } else { self.journal.asked(entry).await } };
        let (written, mut accepted) = tokio::join!(write, self.send(&mut work, until));
        // What is remembered may serve no longer before the time for the answer is over: a look says whether it is still right.
        while !accepted && work.until < until {
            tokio::time::sleep_until(work.until.into()).await;
            if !self.prolong(&mut work).await {
                break;
            }
            accepted = self.send(&mut work, until).await;
        }
        if let Err(error) = &written {
            error!(deployment = %id, %error, "a rollback without the database could not be written down on this machine's disk");
        }
        info!(deployment = %id, target = %work.d.target, number = work.d.number, accepted, "rollback taken without the database");
        if accepted {
            let at = moment();
            work.d.intent.rollback_accepted_at = Some(at);
            self.journal.accepted(id, at).await;
        } else if written.is_err() {
            let why = "neither the load balancer nor the disk has taken it yet; it is tried on".to_owned();
            let answer = Err(self.out_of_reach(&work.d, why));
            return Done { outcome: Outcome { answer, rest: Some(work) }, accepted: Vec::new() };
        }
        let mut d = work.d.clone();
        self.journal.tell(&mut d);
        let accepted = if accepted { vec![orders.shields] } else { Vec::new() };
        Done { outcome: answered(d, durable, Some(work)), accepted }
    }

    /// More time: for what goes by the record while that, read anew, still says that nobody has brought it about; for what this replica
    /// sends by itself if the load balancer shows that it is still right.
    pub(super) async fn prolong(&self, work: &mut Work) -> bool {
        if work.bundle.is_none() {
            let left = self.bundles.of(work.d.id).map(|bundle| self.wanted_for(&bundle)).unwrap_or_default();
            work.until = Instant::now() + left;
            return !left.is_zero();
        }
        let Some(bundle) = work.bundle.clone().filter(|_| self.journal.of(work.d.id).is_some()) else { return false };
        match self.decide(&bundle, &work.d, Instant::now() + self.settings.look_timeout).await {
            Unrecorded::Send(orders) => {
                work.until = Instant::now() + orders.within;
                true
            }
            Unrecorded::Look(_) | Unrecorded::Nothing | Unrecorded::TooLate(_) => false,
        }
    }

    /// For how long a record that was read so long ago is gone by: not at all once it was seen to be brought about, or has ended.
    fn wanted_for(&self, bundle: &Bundle) -> Duration {
        let d = &bundle.deployment;
        let is_seen = d.going_back.as_ref().is_some_and(|back| back.observed_at.is_some());
        let is_wanted = d.intent.rollback.is_some() && !is_seen && lane::needs_shield(d).is_some();
        if is_wanted { self.timing().serves().saturating_sub(bundle.confirmed.age()) } else { Duration::ZERO }
    }

    fn out_of_reach(&self, d: &Deployment, why: String) -> Trouble {
        Trouble::OutOfReach { why, by_hand: self.cloud.by_hand(d, true) }
    }
}

/// The copy as the command leaves it.
fn asked(copy: &Deployment, given: &Given) -> Result<Deployment, Trouble> {
    let mut d = copy.clone();
    match command::give(copy, Command::Rollback, given.clone()) {
        Ok(command::Outcome::Changed(intent)) => d.intent = *intent,
        Ok(command::Outcome::Unchanged) => {}
        Err(refusal) => return Err(super::refused(refusal, d)),
    }
    Ok(d)
}

/// The database knew of it when it was last heard.
fn is_on_record(copy: &Deployment) -> bool {
    copy.intent.rollback.is_some() || copy.going_back.is_some()
}

fn answered(d: Deployment, durable: bool, rest: Option<Work>) -> Outcome {
    let accepted = lane::is_accepted(&d);
    let routes = rest.as_ref().map(Work::outcomes).unwrap_or_default();
    Outcome { answer: Ok(RolledBack { deployment: Box::new(d), mode: Mode::Instant, accepted, durable, routes }), rest }
}
