//! Switches that make AWS misbehave: by service, operation and n-th call. Drawn by the region's seed where chance is asked for.
//!
//! They act where a real call goes wrong: on its way (`hang`, `reset`, `hold_before`), at AWS's door (`error`), or on the way
//! back (`lost`, `hold_after`). A call that was applied stays applied, whoever has hung up meanwhile. `feigned` is for whoever wants to know
//! whether a lie would be noticed.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::api::{Refusal, Service};

/// Switches that may be set at a time.
const FAULTS_MAX: usize = 1_000;

/// Which calls it meets, and what it does to them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// `elasticloadbalancing`, `autoscaling` or `sts`; None: each.
    #[serde(default)]
    pub service: Option<Service>,
    /// Such as `DeleteRule`; None: each.
    #[serde(default)]
    pub operation: Option<String>,
    /// Only calls with this text in some parameter's value, such as an ARN.
    #[serde(default)]
    pub containing: Option<String>,
    /// So many matching calls pass before it acts: 2 means the third call is the first to be met.
    #[serde(default)]
    pub skip: u64,
    /// How many calls it meets; None: every one from then on.
    #[serde(default)]
    pub times: Option<u64>,
    /// How likely it meets a call that it could meet, 0 to 1; None: certainly.
    #[serde(default)]
    pub chance: Option<f64>,
    pub effect: Effect,
}

/// What happens to a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// Not applied; answered with this error.
    Error {
        code: String,
        #[serde(default)]
        message: String,
        #[serde(default = "bad_request")]
        status: u16,
    },
    /// Not applied and never answered.
    Hang,
    /// Not applied; the connection is closed.
    Reset,
    /// Applied, and the answer is lost: the connection is closed or, with `hang`, stays silent.
    Lost {
        #[serde(default)]
        hang: bool,
    },
    /// Answered as if it were applied, and not applied: no hazard of AWS's, but a lie that a judge has to find.
    Feigned,
    /// A read is answered from the region as it was `depth` changing calls ago. Writes are not met.
    Stale { depth: usize },
    /// What the last `depth` changing calls made is not there yet: a read is answered as if stale, and a change is refused if the
    /// region would have refused it then, such as one that names a fresh ARN.
    NotYet {
        #[serde(default = "one")]
        depth: usize,
    },
    /// Kept on its way to AWS until released, then treated as having just arrived.
    HoldBefore,
    /// Applied at once; its answer is kept until released.
    HoldAfter,
}

fn bad_request() -> u16 {
    400
}

fn one() -> usize {
    1
}

impl Effect {
    fn error(code: &str, message: &str, status: u16) -> Self {
        Self::Error { code: code.to_owned(), message: message.to_owned(), status }
    }

    #[must_use]
    pub fn throttled() -> Self {
        Self::error("Throttling", "Rate exceeded", 400)
    }

    #[must_use]
    pub fn internal_failure() -> Self {
        Self::error("InternalFailure", "We encountered an internal error. Please try again.", 500)
    }

    #[must_use]
    pub fn expired_token() -> Self {
        let Refusal { code, message, status } = Refusal::expired_token();
        Self::error(&code, &message, status)
    }

    /// Whatever may befall a call and end by itself, each with its name: one axis of a matrix whose other is the operations.
    #[must_use]
    pub fn hazards() -> [(&'static str, Self); 10] {
        [
            ("throttled", Self::throttled()),
            ("500", Self::internal_failure()),
            ("expired credentials", Self::expired_token()),
            ("hang", Self::Hang),
            ("reset before", Self::Reset),
            ("answer lost", Self::Lost { hang: false }),
            ("answer lost in silence", Self::Lost { hang: true }),
            ("stale by 1", Self::Stale { depth: 1 }),
            ("stale by 3", Self::Stale { depth: 3 }),
            ("not there yet", Self::NotYet { depth: 1 }),
        ]
    }
}

/// A fault as it stands.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    pub id: String,
    #[serde(flatten)]
    pub fault: Fault,
    /// Calls that matched so far, met or not.
    pub matched: u64,
    pub met: u64,
    /// Calls being held right now.
    pub holding: usize,
    pub released: bool,
}

/// A call's encounter with a fault.
#[derive(Debug)]
pub struct Met {
    pub id: String,
    pub effect: Effect,
    gate: watch::Receiver<bool>,
}

impl Met {
    /// Waits until the fault is released or removed.
    pub async fn released(&mut self) {
        // An error means that the fault was removed: that releases too.
        let _ = self.gate.wait_for(|released| *released).await;
    }
}

#[derive(Debug)]
pub struct Faults(Mutex<Switches>);

#[derive(Debug)]
struct Switches {
    chance: StdRng,
    set: u64,
    held: BTreeMap<u64, Switch>,
}

#[derive(Debug)]
struct Switch {
    fault: Fault,
    matched: u64,
    met: u64,
    gate: watch::Sender<bool>,
}

fn id(number: u64) -> String {
    format!("fault-{number}")
}

impl Faults {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(Switches { chance: StdRng::seed_from_u64(seed), set: 0, held: BTreeMap::new() }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Switches> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a fault and returns its id; None when there are too many.
    #[must_use]
    pub fn set(&self, fault: Fault) -> Option<String> {
        let mut switches = self.lock();
        if switches.held.len() >= FAULTS_MAX {
            return None;
        }
        switches.set += 1;
        let number = switches.set;
        switches.held.insert(number, Switch { fault, matched: 0, met: 0, gate: watch::Sender::new(false) });
        Some(id(number))
    }

    /// Lets go what it holds, and holds nothing from then on. False for an unknown id.
    #[must_use]
    pub fn release(&self, wanted: &str) -> bool {
        let switches = self.lock();
        let switch = switches.held.iter().find(|(number, _)| id(**number) == wanted);
        switch.map(|(_, switch)| switch.gate.send_replace(true)).is_some()
    }

    /// Removes it, which also lets go what it holds. False for an unknown id.
    #[must_use]
    pub fn remove(&self, wanted: &str) -> bool {
        let mut switches = self.lock();
        let before = switches.held.len();
        switches.held.retain(|number, _| id(*number) != wanted);
        switches.held.len() < before
    }

    pub fn clear(&self) {
        self.lock().held.clear();
    }

    #[must_use]
    pub fn list(&self) -> Vec<Status> {
        let switches = self.lock();
        let status = switches.held.iter().map(|(number, switch)| Status {
            id: id(*number),
            fault: switch.fault.clone(),
            matched: switch.matched,
            met: switch.met,
            holding: switch.gate.receiver_count(),
            released: *switch.gate.borrow(),
        });
        status.collect()
    }

    /// The first fault that acts on this call. All that match count it.
    #[must_use]
    pub fn meet(&self, service: Service, operation: &str, parameters: &BTreeMap<String, String>, reads: bool) -> Option<Met> {
        let mut switches = self.lock();
        let Switches { chance, held, .. } = &mut *switches;
        let mut acting = None;
        for (number, switch) in held.iter_mut() {
            if !switch.fault.matches(service, operation, parameters, reads) {
                continue;
            }
            switch.matched += 1;
            let fault = &switch.fault;
            let due = switch.matched > fault.skip && fault.times.is_none_or(|times| switch.met < times);
            let lucky = due && fault.chance.is_none_or(|likely| chance.random_bool(likely.clamp(0.0, 1.0)));
            if acting.is_none() && lucky && !*switch.gate.borrow() {
                switch.met += 1;
                acting = Some(Met { id: id(*number), effect: fault.effect.clone(), gate: switch.gate.subscribe() });
            }
        }
        acting
    }
}

impl Fault {
    /// Each call of `operation` suffers `effect`.
    #[must_use]
    pub fn on(operation: &str, effect: Effect) -> Self {
        Self {
            service: None,
            operation: Some(operation.to_owned()),
            containing: None,
            skip: 0,
            times: None,
            chance: None,
            effect,
        }
    }

    /// Only the next `times` calls.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { times: Some(times), ..self }
    }

    fn matches(&self, service: Service, operation: &str, parameters: &BTreeMap<String, String>, reads: bool) -> bool {
        self.service.is_none_or(|wanted| wanted == service)
            && self.operation.as_deref().is_none_or(|wanted| wanted == operation)
            && self.containing.as_deref().is_none_or(|text| parameters.values().any(|value| value.contains(text)))
            && (reads || !matches!(self.effect, Effect::Stale { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(faults: &Faults, operation: &str) -> bool {
        faults.meet(Service::Elb, operation, &BTreeMap::new(), operation.starts_with("Describe")).is_some()
    }

    #[test]
    fn a_fault_meets_the_calls_it_was_set_for_and_no_others() {
        let faults = Faults::new(1);
        let fault = Fault { skip: 1, ..Fault::on("DeleteRule", Effect::Reset).times(2) };
        faults.set(fault).unwrap();
        let calls = ["DeleteRule", "ModifyRule", "DeleteRule", "DeleteRule", "DeleteRule"];
        assert_eq!(calls.map(|operation| met(&faults, operation)), [false, false, true, true, false]);
    }

    #[test]
    fn stale_reads_leave_writes_alone() {
        let faults = Faults::new(1);
        let fault = Fault { operation: None, ..Fault::on("", Effect::Stale { depth: 1 }) };
        faults.set(fault).unwrap();
        assert!(met(&faults, "DescribeRules") && !met(&faults, "ModifyRule"));
    }

    #[test]
    fn chance_is_drawn_from_the_seed() {
        let drawn = |seed| {
            let faults = Faults::new(seed);
            faults.set(Fault { chance: Some(0.5), ..Fault::on("DeleteRule", Effect::Hang) }).unwrap();
            (0..64).map(|_| met(&faults, "DeleteRule")).collect::<Vec<_>>()
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        assert!(drawn(7).contains(&true) && drawn(7).contains(&false));
    }

    #[tokio::test]
    async fn releasing_lets_go_and_holds_nothing_more() {
        let faults = Faults::new(1);
        let id = faults.set(Fault::on("DeleteRule", Effect::HoldBefore)).unwrap();
        let mut held = faults.meet(Service::Elb, "DeleteRule", &BTreeMap::new(), false).unwrap();
        assert_eq!(faults.list()[0].holding, 1);
        assert!(faults.release(&id));
        held.released().await;
        assert!(!met(&faults, "DeleteRule"));
    }
}
