//! When the process is killed, who goes on, and what is seen then: the axes of the matrix, and how its steps are learnt.

use std::fmt;

use cutover_sim::journal::Entry;
use serde_json::{Value, json};

use crate::support::{oracle::End, relay::Way};

/// A deployment's way through its phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Journey {
    /// To the end, in two stages.
    There,
    /// Rolled back by an operator while half of the traffic is on green.
    BackFromShifting,
    /// The same after the base was written: under a shield.
    BackFromCommitting,
}

pub const JOURNEYS: [Journey; 3] = [Journey::There, Journey::BackFromShifting, Journey::BackFromCommitting];

impl Journey {
    pub fn end(self) -> End {
        if self.comes_back() { End::RolledBack } else { End::Succeeded }
    }

    pub fn comes_back(self) -> bool {
        self != Self::There
    }

    pub fn strategy(self) -> Value {
        match self {
            Self::There => json!({"stages": [{"weight": 50}, {"weight": 100}], "bake_time": "0s"}),
            Self::BackFromShifting => {
                json!({"stages": [{"weight": 50, "bake_time": "manual"}, {"weight": 100}], "bake_time": "0s"})
            }
            Self::BackFromCommitting => json!({"stages": [{"weight": 100}], "bake_time": "0s"}),
        }
    }

    /// The quiet period from which is rolled back outlasts a crash and a recovery; and without a commit to come the early call is
    /// trusted for as long as on AWS.
    pub fn pace(self) -> [(&'static str, &'static str); 2] {
        match self {
            Self::There => [("ENGINE__QUIET_PERIOD", "2s"), ("ENGINE__COMMIT_DELAY", "200ms")],
            Self::BackFromShifting => [("ENGINE__QUIET_PERIOD", "2s"), ("ENGINE__COMMIT_DELAY", "2s")],
            Self::BackFromCommitting => [("ENGINE__QUIET_PERIOD", "5s"), ("ENGINE__COMMIT_DELAY", "200ms")],
        }
    }

    /// Whether this is where it is rolled back.
    pub fn turns_at(self, d: &Value) -> bool {
        let all_of = |weight: u64| d["weight"]["desired"] == weight && d["weight"]["observed"] == weight;
        match self {
            Self::There => false,
            Self::BackFromShifting => d["phase"] == "shifting" && all_of(50),
            // The quiet period, and no more the wait before the bases are written.
            Self::BackFromCommitting => {
                let ends = d["next_change_at"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
                d["phase"] == "committing"
                    && ends.is_some_and(|ends| ends > jiff::Timestamp::now() + std::time::Duration::from_secs(1))
            }
        }
    }

    /// What the rollback lane sends, in order.
    fn calls_of_the_lane(self) -> &'static [&'static str] {
        match self {
            Self::There => &[],
            Self::BackFromShifting => &["DeleteRule"],
            Self::BackFromCommitting => &["CreateRule", "DeleteRule"],
        }
    }
}

/// A changing call, by its place among those of its operation: on the way there from the beginning, on the way back from the order on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub operation: String,
    pub nth: u64,
}

/// When, seen from one call of the engine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// It is on its way to AWS, and never gets there.
    Before,
    /// It was applied, and nobody was told.
    Applied,
    /// It was answered, and what is to be recorded has not left.
    Answered,
    /// It is recorded, and the process does not know yet.
    Recorded,
}

pub const POINTS: [Point; 4] = [Point::Before, Point::Applied, Point::Answered, Point::Recorded];

/// How far a call of the lane's got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Held,
    Applied,
    Answered,
}

/// What the process writes, told by words of the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    /// What a tick leaves.
    Settle,
    /// The order to roll back.
    Intent,
    /// That the load balancer has accepted it; written after the answer.
    Acceptance,
}

impl Statement {
    pub fn words(self) -> &'static str {
        match self {
            Self::Settle => "set record = $4",
            Self::Intent => "'{rollback}', $2)",
            Self::Acceptance => "set rollback_accepted_at = coalesce(",
        }
    }
}

/// How far the lane got: with its call, and with a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneAt {
    pub call: Option<(&'static str, Reach)>,
    pub statement: Option<(Statement, Way)>,
}

/// When the process is killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kill {
    Step(Call, Point),
    Lane(LaneAt),
}

impl Kill {
    /// Whether the order was on record by then: it is gone on with though nobody asks again.
    pub fn leaves_the_order(&self) -> bool {
        matches!(self, Self::Lane(at) if at.statement != Some((Statement::Intent, Way::There)))
    }

    /// Whether it comes only once the operator was told that it is accepted.
    pub fn is_after_the_answer(&self) -> bool {
        match self {
            Self::Step(..) => true,
            Self::Lane(at) => matches!(at.statement, Some((Statement::Acceptance, _))),
        }
    }
}

/// Who goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Same,
    Another,
}

/// One crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub journey: Journey,
    pub kill: Kill,
    pub by: By,
    /// Whoever goes on sees the world as it was so many changing calls ago, for a while; none: as it is.
    pub stale: Option<usize>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, ", self.journey)?;
        match &self.kill {
            Kill::Step(Call { operation, nth }, point) => write!(f, "{operation} {nth}, {point:?}")?,
            Kill::Lane(LaneAt { call, statement }) => {
                write!(f, "lane")?;
                if let Some((operation, reach)) = call {
                    write!(f, ", {operation} {reach:?}")?;
                }
                if let Some((statement, way)) = statement {
                    write!(f, ", {statement:?} {way:?}")?;
                }
            }
        }
        write!(f, ", {:?} replica, ", self.by)?;
        match self.stale {
            None => write!(f, "fresh"),
            Some(depth) => write!(f, "stale by {depth}"),
        }
    }
}

/// The changing calls of a part of a journey. What is sent twice is one: the lane and the engine may both be at it.
fn steps(calls: &[Entry]) -> Vec<Call> {
    let changing: Vec<_> = calls.iter().filter(|call| !call.operation.starts_with("Describe")).collect();
    let what = |call: &Entry| (call.operation.clone(), call.parameters.clone());
    let mut steps: Vec<Call> = Vec::new();
    for (n, call) in changing.iter().enumerate() {
        if changing[..n].iter().all(|before| what(before) != what(call)) {
            let nth = steps.iter().filter(|step| step.operation == call.operation).count() as u64;
            steps.push(Call { operation: call.operation.clone(), nth });
        }
    }
    steps
}

/// Where the lane is killed. Its early call goes side by side with the commit of the order; shields wait for what that returns.
fn in_the_lane(journey: Journey) -> Vec<LaneAt> {
    use {
        Reach::{Answered, Applied, Held},
        Statement::{Acceptance, Intent},
        Way::{Back, There},
    };
    let at = |call, statement| LaneAt { call, statement };
    let both = |operation, reach, way| at(Some((operation, reach)), Some((Intent, way)));
    let mut points = match journey {
        Journey::There => return Vec::new(),
        Journey::BackFromShifting => vec![
            both("DeleteRule", Held, There),
            both("DeleteRule", Applied, There),
            both("DeleteRule", Answered, There),
            both("DeleteRule", Held, Back),
            both("DeleteRule", Applied, Back),
        ],
        Journey::BackFromCommitting => vec![
            at(None, Some((Intent, There))),
            at(None, Some((Intent, Back))),
            at(Some(("CreateRule", Held)), None),
            at(Some(("CreateRule", Applied)), None),
            at(Some(("DeleteRule", Held)), None),
            at(Some(("DeleteRule", Applied)), None),
        ],
    };
    points.extend([There, Back].map(|way| at(None, Some((Acceptance, way)))));
    points
}

/// All crashes of one journey, whose part that is killed in made these calls without any.
pub fn of(journey: Journey, calls: &[Entry]) -> Vec<Case> {
    let mut steps = steps(calls);
    let of_the_lane = journey.calls_of_the_lane();
    let first = steps.drain(..of_the_lane.len().min(steps.len()));
    assert!(first.map(|step| step.operation).eq(of_the_lane.iter().copied()), "the lane goes ahead: {calls:#?}");
    assert!(steps.len() > 2, "{journey:?} was not understood: {calls:#?}");
    let in_the_lane = in_the_lane(journey).into_iter().map(Kill::Lane);
    let of_the_engine = steps.iter().flat_map(|step| POINTS.map(|point| Kill::Step(step.clone(), point)));
    let mut cases = Vec::new();
    for (n, kill) in in_the_lane.chain(of_the_engine).enumerate() {
        // One write back, or three.
        let depth = if n % 2 == 0 { 1 } else { 3 };
        for by in [By::Same, By::Another] {
            for stale in [None, Some(depth)] {
                cases.push(Case { journey, kill: kill.clone(), by, stale });
            }
        }
    }
    cases
}
