//! Bugs put in from outside, each with a crash in which it matters and words of what must be found.

use cutover_sim::faults::{Effect, Fault};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use super::cases::{By, Call, Case, Journey, Kill, LaneAt, Point, Reach, Statement};
use crate::support::{postgres::TestDatabase, region::Scene, relay::Way};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// The load balancer says that a rule is gone, and goes on obeying it.
    RulesStay,
    /// The order to roll back is answered as stored, and is not.
    OrderIsNotKept,
    /// The record ends before the world is as it should be.
    EndsEarly,
}

pub const PLANTED: [Planted; 3] = [Planted::RulesStay, Planted::OrderIsNotKept, Planted::EndsEarly];

/// Taken out of the row as it is stored.
const NO_ORDER: &str = "new.intent := jsonb_set(new.intent, '{rollback}', 'null')";
/// Where the overlay and blue are still to go.
const AT_ONCE: &str = "if new.record -> 'phase' ->> 'name' = 'retiring' then
    new.record := new.record || jsonb_build_object('phase', '{\"name\": \"succeeded\"}'::jsonb, 'ended_at', now());
    new.ended_at := now(); new.due_at := null;
end if";

impl Planted {
    pub fn case(self) -> Case {
        let (journey, kill) = match self {
            // The operator was told that it is accepted.
            Self::RulesStay => {
                let at = LaneAt { call: None, statement: Some((Statement::Acceptance, Way::There)) };
                (Journey::BackFromShifting, Kill::Lane(at))
            }
            // Nothing but the record knows of it.
            Self::OrderIsNotKept => {
                let call = Some(("DeleteRule", Reach::Held));
                (Journey::BackFromShifting, Kill::Lane(LaneAt { call, statement: Some((Statement::Intent, Way::Back)) }))
            }
            Self::EndsEarly => {
                let call = Call { operation: "CreateRule".to_owned(), nth: 0 };
                (Journey::There, Kill::Step(call, Point::Recorded))
            }
        };
        Case { journey, kill, by: By::Same, stale: None }
    }

    /// One of what must be found.
    pub fn found_as(self) -> &'static str {
        match self {
            Self::RulesStay => "green answers after an acknowledged rollback",
            Self::OrderIsNotKept => "the record says status \"succeeded\", not \"rolled_back\"",
            Self::EndsEarly => "is left over",
        }
    }

    /// So that a deployment that was not rolled back ends, too.
    pub fn strategy(self) -> Option<Value> {
        let ends = json!({"stages": [{"weight": 50, "bake_time": "5s"}, {"weight": 100}], "bake_time": "0s"});
        (self == Self::OrderIsNotKept).then_some(ends)
    }

    pub async fn plant(self, scene: &Scene, database: &TestDatabase) {
        let does = match self {
            Self::RulesStay => {
                // To whoever deletes it, that is success. For a while: the story is to end.
                let gone = Effect::Error { code: "RuleNotFound".to_owned(), message: String::new(), status: 400 };
                scene.sim.faults().set(Fault::on("DeleteRule", gone).times(40)).expect("there is room for one");
                return;
            }
            Self::OrderIsNotKept => NO_ORDER,
            Self::EndsEarly => AT_ONCE,
        };
        let mut connection = database.connection().await;
        for statement in [
            format!("create function planted() returns trigger language plpgsql as $$ begin {does}; return new; end $$"),
            "create trigger planted before update on deployments for each row execute function planted()".to_owned(),
        ] {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
        }
    }
}
