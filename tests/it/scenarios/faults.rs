//! The fault matrix: for every call that the adapter makes, every way in which AWS goes wrong. The deployment ends as it should,
//! nothing is there twice, and nothing of anybody else's was touched.
//!
//! Which calls there are, and on which part of which journey, is learnt from journeys without faults, so that a new one is in the matrix
//! by itself. A fault that met no call proves nothing, and counts as a failure. A sample runs with the tests, drawn by a printed
//! seed (`CUTOVER_SEED`); all of it with `make soak`, or what befalls some calls alone: `CUTOVER_FAULTS=AssumeRole,DeleteRule`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use aws_sdk_autoscaling::types::LaunchTemplateSpecification;
use aws_sdk_elasticloadbalancingv2::types::{Action, ActionTypeEnum, HostHeaderConditionConfig, RuleCondition};
use cutover::{
    domain::{
        declaration::Declaration,
        deployment::{Deployment, Status},
        ids::Image,
        phase::Phase,
        plan::Inputs,
        time::BakeTime,
    },
    engine::{
        api::RollbackOf,
        ports::{Cloud, Store},
        settings::EngineSettings,
    },
};
use cutover_sim::{
    faults::{Effect, Fault},
    scenario::Stage,
};
use futures::StreamExt;
use rand::{SeedableRng, rngs::StdRng, seq::IteratorRandom};

use crate::support::{
    figures::Figures,
    house::{by, target},
    region::Scene,
    replica::{Replica, quick},
};

/// Pairs that run with the tests.
const SAMPLE: usize = 24;
/// Regions at a time.
const SIDE_BY_SIDE: usize = 4;
const NOW: BakeTime = BakeTime::For(Duration::ZERO);

/// A deployment's way through its phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Journey {
    /// To the end.
    There,
    /// Rolled back while its weight is half way.
    BackFromShifting,
    /// Rolled back after the base was written: under a shield.
    BackFromCommitting,
    /// To the end, over a listener's default action.
    ThereByDefault,
    /// To the end, in another account, with a role.
    ThereAbroad,
    /// Rolled back there while its weight is half way, when every session has just ended.
    BackAbroad,
}

const JOURNEYS: [Journey; 6] = [
    Journey::There,
    Journey::BackFromShifting,
    Journey::BackFromCommitting,
    Journey::ThereByDefault,
    Journey::ThereAbroad,
    Journey::BackAbroad,
];

impl Journey {
    fn comes_back(self) -> bool {
        matches!(self, Self::BackFromShifting | Self::BackFromCommitting | Self::BackAbroad)
    }

    fn is_abroad(self) -> bool {
        matches!(self, Self::ThereAbroad | Self::BackAbroad)
    }

    /// Whether a call that was met on `other` already is to be faulted on this one, too: on the way back from both points. Abroad the
    /// calls are those of home, but for what gives a session.
    fn adds_to(self, other: Self) -> bool {
        self.comes_back() && other.comes_back() && self.is_abroad() == other.is_abroad()
    }
}

/// Where on a journey a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// The checks that a request makes: what cannot be seen there is unknown, and no reason against it.
    LookingFirst,
    /// The engine's calls; where it comes back, until it is told to.
    OnTheWay,
    /// The lane's and the engine's, from the order to go back on.
    GoingBack,
}

/// How often which call was made on which part.
type Calls = BTreeMap<(Part, String), u64>;

/// One call, where it is met, and what goes wrong with it.
#[derive(Debug, Clone)]
struct Case {
    journey: Journey,
    part: Part,
    operation: String,
    /// How often it is made there if nothing goes wrong.
    made: u64,
    wrong: Wrong,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wrong {
    Throttled,
    ServerError,
    Hangs,
    ResetBefore,
    AppliedAndLost,
    AppliedAndSilent,
    Stale { depth: usize },
    NotFoundAfterCreate,
    ExpiredToken,
}

const WRONG: [Wrong; 10] = [
    Wrong::Throttled,
    Wrong::ServerError,
    Wrong::Hangs,
    Wrong::ResetBefore,
    Wrong::AppliedAndLost,
    Wrong::AppliedAndSilent,
    Wrong::Stale { depth: 1 },
    Wrong::Stale { depth: 3 },
    Wrong::NotFoundAfterCreate,
    Wrong::ExpiredToken,
];

impl Wrong {
    /// On how many calls in a row, and how.
    fn effect(self, operation: &str) -> (u64, Effect) {
        let error =
            |code: &str, message: &str, status| Effect::Error { code: code.to_owned(), message: message.to_owned(), status };
        match self {
            Self::Throttled => (3, error("Throttling", "Rate exceeded", 400)),
            Self::ServerError => (3, error("InternalFailure", "", 500)),
            Self::Hangs => (1, Effect::Hang),
            Self::ResetBefore => (2, Effect::Reset),
            Self::AppliedAndLost => (2, Effect::Lost { hang: false }),
            Self::AppliedAndSilent => (1, Effect::Lost { hang: true }),
            Self::Stale { depth } => (4, Effect::Stale { depth }),
            // A role that was made a moment ago is refused like one that is nobody's to assume.
            Self::NotFoundAfterCreate if operation == "AssumeRole" => {
                (2, error("AccessDenied", "User is not authorized to perform: sts:AssumeRole on resource", 403))
            }
            Self::NotFoundAfterCreate if operation.starts_with("Describe") => (4, Effect::NotYet { depth: 2 }),
            Self::NotFoundAfterCreate if is_of_groups(operation) => {
                (2, error("ValidationError", "AutoScalingGroup name not found - no such group", 400))
            }
            Self::NotFoundAfterCreate => (2, error("RuleNotFound", "One or more rules not found", 400)),
            Self::ExpiredToken => (1, error("ExpiredToken", "The security token included in the request is expired", 403)),
        }
    }

    /// Whether it can befall this call: only what looks is stale, and only after something was written; what looks is not "applied".
    fn befalls(self, part: Part, operation: &str) -> bool {
        let (looks, written) = (operation.starts_with("Describe"), part != Part::LookingFirst);
        match self {
            Self::Stale { .. } => looks && written,
            Self::AppliedAndLost | Self::AppliedAndSilent => !looks,
            // What is being made was not there before.
            Self::NotFoundAfterCreate => !operation.starts_with("Create") && written,
            _ => true,
        }
    }
}

impl Case {
    fn fault(&self) -> Fault {
        let (times, effect) = self.wrong.effect(&self.operation);
        // What is stale, or not yet there, is so after a write; on the way back there were some.
        let after_a_write = matches!(effect, Effect::Stale { .. } | Effect::NotYet { .. }) && self.part == Part::OnTheWay;
        let skip = if after_a_write { self.made.saturating_sub(1).min(2) } else { 0 };
        Fault { skip, ..Fault::on(&self.operation, effect).times(times) }
    }
}

fn is_of_groups(operation: &str) -> bool {
    ["AutoScaling", "Scaling", "Policies", "ScheduledActions", "Scheduled", "LoadBalancerTargetGroups"]
        .iter()
        .any(|word| operation.contains(word))
}

/// Short enough that a call that hangs is given up within a story's patience.
fn settings() -> EngineSettings {
    let brief = Duration::from_secs(2);
    EngineSettings { look_timeout: brief, act_timeout: brief, survey_timeout: brief, ..quick() }
}

/// Everything of the second service, which nobody deploys.
pub(super) fn of_the_other(scene: &Scene) -> Vec<String> {
    let region = scene.region();
    let other = &scene.staged.services[1];
    let blue = other.blue.clone().unwrap_or_default();
    let rules = region.rules.values().filter(|rule| other.routes.iter().any(|route| *route == *rule.arn));
    let groups = region.groups.values().filter(|group| group.name == blue);
    rules
        .map(|rule| format!("{rule:?}"))
        .chain(groups.map(|group| format!("{} {} {} {} {:?}", group.name, group.min, group.max, group.desired, group.tags)))
        .collect()
}

/// A journey that is over, and what to judge it by.
struct Arrived {
    scene: Scene,
    d: Deployment,
    journey: Journey,
    /// The second service, as it was.
    before: Vec<String>,
    calls: Calls,
    /// Calls that the fault befell; `None` without one.
    met: Option<u64>,
}

impl Arrived {
    fn judge(&self) -> Result<(), String> {
        let (wanted, remains) = if self.journey.comes_back() {
            (Status::RolledBack, self.scene.blue())
        } else {
            (Status::Succeeded, "web-prod-v001")
        };
        judge(&self.scene, &self.d, wanted, remains, &self.before)
    }
}

/// One journey with one fault; the calls it made, or what went wrong.
async fn travel(journey: Journey, case: Option<&Case>) -> Result<Calls, String> {
    let arrived = go(journey, case).await;
    let verdict = arrived.judge();
    arrived.scene.sim.shutdown().await;
    match arrived.met {
        Some(0) => Err("the fault met no call".to_owned()),
        Some(_) | None => verdict.map(|()| arrived.calls),
    }
}

async fn go(journey: Journey, case: Option<&Case>) -> Arrived {
    let stage = Stage { services: 2, default_action: journey == Journey::ThereByDefault, ..Stage::default() };
    let scene = if journey.is_abroad() { Scene::abroad(&stage).await } else { Scene::new(&stage).await };
    if !journey.is_abroad() {
        scene.scale_blue().await;
    }
    let before = of_the_other(&scene);
    let replica = Replica::with(&scene, settings());
    let bake = if matches!(journey, Journey::BackFromShifting | Journey::BackAbroad) { BakeTime::Manual } else { NOW };
    let declared = scene.declaration(&[(500, bake), (1000, NOW)], NOW);
    replica.store.declare(&target(), &declared, "ada", None).await.unwrap();
    let (mut calls, mut mark) = (Calls::new(), last_call(&scene));
    let begin = |part: Part| {
        if let Some(case) = case.filter(|case| case.part == part) {
            scene.sim.faults().set(case.fault()).expect("there is room for one");
        }
    };
    let met = || scene.sim.faults().list().first().map(|status| status.met);
    let mut over = |part: Part| {
        for call in scene.sim.journal().calls(mark, None) {
            *calls.entry((part, call.operation)).or_default() += 1;
        }
        mark = last_call(&scene);
    };

    begin(Part::LookingFirst);
    look_first(&scene, &declared).await;
    let met_first = met();
    scene.sim.faults().clear();
    over(Part::LookingFirst);
    begin(Part::OnTheWay);
    let id = replica.deploy(scene.image("v2")).await;
    let gets_there: fn(&Deployment) -> bool = match journey {
        Journey::There | Journey::ThereByDefault | Journey::ThereAbroad => |_| true,
        Journey::BackFromShifting | Journey::BackAbroad => |d| matches!(d.phase, Phase::Shifting { seen_at: Some(_), .. }),
        Journey::BackFromCommitting => |d| matches!(d.phase, Phase::Committing { quiet_since: Some(_) }),
    };
    let turns = |d: &Deployment| journey.comes_back() && gets_there(d) || d.phase.is_terminal();
    replica.until(id, "the turning point", turns).await;
    over(Part::OnTheWay);
    if journey.comes_back() {
        if journey.is_abroad() {
            scene.sim.sessions().expire(Instant::now());
        }
        begin(Part::GoingBack);
        // Whether it was accepted in time or is left to the engine: it ends the same.
        let _ = replica.lane.clone().rollback(RollbackOf::Target(target()), by("ada")).await;
    }
    let d = replica.until(id, "the end", |d| d.phase.is_terminal()).await;
    replica.stop().await;
    over(if journey.comes_back() { Part::GoingBack } else { Part::OnTheWay });
    let met = case.map(|_| met_first.or_else(met).unwrap_or_default());
    Arrived { scene, d, journey, before, calls, met }
}

fn last_call(scene: &Scene) -> u64 {
    scene.sim.journal().calls(0, None).last().map_or(0, |call| call.number)
}

/// As the request does that creates a deployment. What could not be seen is unknown, and no reason against it.
async fn look_first(scene: &Scene, declared: &Declaration) {
    let (target, image) = (target(), Image::Machine(scene.image("v2").to_owned()));
    let inputs = Inputs {
        target: &target,
        number: 1,
        image: &image,
        declaration: declared,
        strategy: &declared.strategy,
        live: None,
        takes_back: false,
    };
    let seen = scene.cloud().survey_all(inputs, Instant::now() + settings().survey_timeout).await;
    assert_eq!(seen.survey.faults, [], "nothing is wrong with the declaration");
}

pub(super) fn judge(scene: &Scene, d: &Deployment, wanted: Status, remains: &str, before: &[String]) -> Result<(), String> {
    if d.status() != wanted {
        return Err(format!("it ended {:?}: {:#?} {:#?}", d.status(), d.going_back, d.refusal));
    }
    let region = scene.region();
    let other = scene.staged.services[1].blue.clone().unwrap_or_default();
    let groups: Vec<_> = region.groups.values().filter(|group| group.name != other).collect();
    let left: Vec<_> = groups.iter().filter(|group| group.delete_at.is_none()).map(|group| group.name.as_str()).collect();
    if left != [remains] {
        return Err(format!("the groups left are {left:?}, not {remains}"));
    }
    let bases: Vec<_> = scene.staged.services.iter().flat_map(|service| &service.routes).collect();
    let extra: Vec<_> = region.rules.keys().filter(|arn| !bases.contains(arn)).collect();
    if !extra.is_empty() {
        return Err(format!("rules are left over: {extra:?}"));
    }
    // Blue's own minimum again, or the declared one.
    let min = d.plan.as_ref().and_then(|plan| plan.blue.as_ref()).filter(|blue| blue.group.as_str() == remains);
    let min = min.map_or(d.declaration.server_group.min, |blue| blue.min);
    let pinned: Vec<_> = groups.iter().filter(|group| group.min != min).map(|group| (&group.name, group.min)).collect();
    if !pinned.is_empty() {
        return Err(format!("pins are left over: {pinned:?}"));
    }
    if of_the_other(scene) != before {
        return Err("something of another service was touched".to_owned());
    }
    Ok(())
}

/// Every call that the adapter makes, by the rights that it is given for them.
fn all_operations() -> BTreeSet<String> {
    // Rights that AWS asks for beside the calls.
    const BESIDE: [&str; 2] = ["AddTags", "CreateOrUpdateTags"];
    let policies = [include_str!("../../../deploy/iam/driver.json"), include_str!("../../../deploy/iam/assume.json")];
    let policies = policies.map(|policy| serde_json::from_str::<serde_json::Value>(policy).unwrap());
    let statements = policies.iter().flat_map(|policy| policy["Statement"].as_array().unwrap());
    let actions = statements.flat_map(|statement| match &statement["Action"] {
        serde_json::Value::Array(actions) => actions.clone(),
        one => vec![one.clone()],
    });
    let names = actions.filter_map(|action| {
        let (service, name) = action.as_str()?.split_once(':')?;
        (matches!(service, "autoscaling" | "elasticloadbalancing" | "sts") && !BESIDE.contains(&name)).then(|| name.to_owned())
    });
    names.collect()
}

/// Every call of every part of a journey, with everything that may befall it there, where it is met first; and on the way back
/// from both points.
async fn matrix() -> Vec<Case> {
    let mut met: BTreeMap<(Part, String), Vec<(Journey, u64)>> = BTreeMap::new();
    for journey in JOURNEYS {
        let calls = travel(journey, None).await.unwrap_or_else(|why| panic!("{journey:?} without any fault: {why}"));
        for (call, made) in calls {
            let of = met.entry(call).or_default();
            if of.iter().all(|(other, _)| journey.adds_to(*other)) {
                of.push((journey, made));
            }
        }
    }
    // What nobody met nothing befell.
    let unmet: Vec<_> =
        all_operations().into_iter().filter(|operation| !met.keys().any(|(_, known)| known == operation)).collect();
    assert!(unmet.is_empty(), "no journey makes these calls: {unmet:?}");
    let case = |(part, operation): &(Part, String), journey, made, wrong| Case {
        journey,
        part: *part,
        operation: operation.clone(),
        made,
        wrong,
    };
    let cases = met.iter().flat_map(|(call, journeys)| {
        let wrongs = WRONG.into_iter().filter(|wrong| wrong.befalls(call.0, &call.1));
        wrongs.flat_map(move |wrong| journeys.iter().map(move |(journey, made)| case(call, *journey, *made, wrong)))
    });
    cases.collect()
}

/// Runs them, some side by side, and tells which were not survived.
async fn survive(cases: Vec<Case>) -> Figures {
    let (began, count) = (Instant::now(), cases.len());
    let operations: BTreeSet<_> = cases.iter().map(|case| case.operation.clone()).collect();
    let runs = cases.into_iter().map(|case| async move {
        let Case { journey, part, operation, wrong, .. } = &case;
        let name = format!("{operation}, {wrong:?}, {journey:?}, {part:?}");
        // A task of its own: a story that fails in the middle fails alone.
        let run = tokio::spawn(async move { travel(case.journey, Some(&case)).await }).await;
        match run {
            Ok(Ok(_)) => None,
            Ok(Err(why)) => Some(format!("{name}: {why}")),
            // What it saw last is printed where it panicked.
            Err(_) => Some(format!("{name}: it did not come to its end")),
        }
    });
    let failed: Vec<_> =
        futures::stream::iter(runs).buffer_unordered(SIDE_BY_SIDE).filter_map(|failed| async { failed }).collect().await;
    println!("{} of {count} survived: {} operations", count - failed.len(), operations.len());
    assert!(failed.is_empty(), "{} of {count} were not survived:\n{}", failed.len(), failed.join("\n"));
    Figures {
        suite: "faults",
        what: "one way in which AWS goes wrong, on one call of one part of a journey",
        cases: count,
        survived: count,
        seconds: began.elapsed().as_secs(),
        ..Figures::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_with_a_call_the_end_is_right() {
    let seed = std::env::var("CUTOVER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("CUTOVER_SEED={seed}");
    let all = matrix().await;
    let sample = all.into_iter().choose_multiple(&mut StdRng::seed_from_u64(seed), SAMPLE);
    let figures = survive(sample).await;
    Figures { seed: Some(seed), ..figures }.print();
}

/// A judge who finds nothing proves nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_judge_finds_whatever_is_planted() {
    let arrived = go(Journey::BackFromShifting, None).await;
    arrived.judge().unwrap();
    let (scene, service) = (&arrived.scene, &arrived.scene.staged.services[0]);
    let other = scene.staged.services[1].blue.clone().unwrap();
    let (elb, autoscaling) = (scene.elb(), aws_sdk_autoscaling::Client::new(&scene.sdk()));
    let min = async |group: &str, min| {
        autoscaling.update_auto_scaling_group().auto_scaling_group_name(group).min_size(min).send().await.unwrap();
    };
    let min_of = |group: &str| i32::try_from(scene.pin(group).0).unwrap();
    for (group, words) in [(scene.blue(), "pins are left over"), (other.as_str(), "another service was touched")] {
        let before = min_of(group);
        // A higher one would add servers, which a lower one does not take away again.
        min(group, before - 1).await;
        assert!(arrived.judge().unwrap_err().contains(words));
        min(group, before).await;
        arrived.judge().unwrap();
    }

    let to_blue = Action::builder().r#type(ActionTypeEnum::Forward).target_group_arn(&service.slots[0][0]).build();
    let host = HostHeaderConditionConfig::builder().values("left.example.com").build();
    let host = RuleCondition::builder().field("host-header").host_header_config(host).build();
    let rule = elb.create_rule().listener_arn(&service.listeners[0]).priority(7).conditions(host).actions(to_blue);
    let rule = rule.send().await.unwrap().rules()[0].rule_arn().unwrap().to_owned();
    assert!(arrived.judge().unwrap_err().contains("rules are left over"));
    elb.delete_rule().rule_arn(rule).send().await.unwrap();
    arrived.judge().unwrap();

    let template = LaunchTemplateSpecification::builder().launch_template_id(&service.launch_template).version("1").build();
    let group = autoscaling.create_auto_scaling_group().auto_scaling_group_name("web-prod-v001").launch_template(template);
    group.min_size(1).max_size(1).vpc_zone_identifier("subnet-1").send().await.unwrap();
    assert!(arrived.judge().unwrap_err().contains("the groups left are"));
    arrived.scene.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: make soak"]
async fn soak_whatever_goes_wrong_with_any_call_the_end_is_right() {
    let wanted = std::env::var("CUTOVER_FAULTS").ok();
    let is_wanted = |case: &Case| wanted.as_ref().is_none_or(|names| names.split(',').any(|name| name == case.operation));
    let cases: Vec<_> = matrix().await.into_iter().filter(is_wanted).collect();
    assert!(!cases.is_empty(), "no journey makes any of these calls: {wanted:?}");
    // What is planted, and that the judge finds it, is a test of its own: it runs with `make test` and `make soak`.
    survive(cases).await.publish();
}
