//! Test-only: one small deployment, its plan made by the production `plan`, as a base for stories.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    declaration::{Capacity, Deadlines, Declaration, LaunchTemplate, Provider, ServerGroupSpec, Stage, Strategy},
    deployment::{Deployment, Given, Intent, Seen},
    drift::Holds,
    ids::{
        DeploymentId, EnvironmentName, GroupName, Image, ListenerRef, LoadBalancerRef, RouteRef, RuleRef, ServiceName, SlotRef,
        Target, TargetGroupRef,
    },
    observation::{
        Attached, Edit, Edited, Field, Forward, GroupView, Known, Launches, Layer, Observation, RouteView, RuleView,
        ScalingView, Servers, SlotView, Stray,
    },
    phase::Phase,
    plan::{self, Inputs},
    survey::{BlueSurvey, RouteSurvey, SlotSurvey, Survey},
    time::BakeTime,
    weight::Weight,
};

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

pub(crate) fn percent(percent: u16) -> Weight {
    Weight::from_permille(percent * 10).unwrap()
}

pub(crate) fn given() -> Given {
    Given { by: "ada".to_owned(), reason: None, at: at(0) }
}

/// A strategy with a bake of `bake` seconds at each stop.
pub(crate) fn strategy(percents: &[u16], bake: u64) -> Strategy {
    let bake_time = BakeTime::For(Duration::from_secs(bake));
    Strategy {
        stages: percents.iter().map(|p| Stage { weight: percent(*p), bake_time }).collect(),
        bake_time,
        deadlines: Deadlines::default(),
    }
}

pub(crate) fn declaration(routes: usize, strategy: Strategy) -> Declaration {
    Declaration {
        provider: Provider::Aws { region: "eu-west-1".to_owned(), role: None },
        routes: (0..routes).map(|i| RouteRef::new(format!("route-{i}"))).collect(),
        slots: vec![SlotRef::new("slot-a"), SlotRef::new("slot-b")],
        blue: Some(GroupName::new("old")),
        server_group: ServerGroupSpec {
            launch_template: LaunchTemplate { id: "lt-1".to_owned(), version: 7 },
            subnets: vec!["subnet-1".to_owned()],
            capacity: Capacity::MatchBlue,
            min: 1,
            max: 4,
            instance_types: Vec::new(),
            health_check_grace: Duration::from_secs(60),
            instance_warmup: Duration::ZERO,
            tags: BTreeMap::new(),
        },
        preview: None,
        drill: None,
        strategy,
    }
}

/// What preflight sees when all is well: every route's base on `slot-a`, where `group` has two servers.
pub(crate) fn survey(routes: usize, group: &str) -> Survey {
    let slot = |targets, load_balancer| {
        Some(SlotSurvey { targets, load_balancers: vec![load_balancer], sticky: false, traits: Vec::new() })
    };
    Survey {
        routes: (0..routes)
            .map(|i| {
                Some(RouteSurvey {
                    listener: ListenerRef::new(format!("listener-{i}")),
                    load_balancer: LoadBalancerRef::new("public"),
                    number: Some(100),
                    conditions: Vec::new(),
                    forwards: vec![(TargetGroupRef::new("slot-a"), 1)],
                    form: serde_json::Value::Null,
                    others: Vec::new(),
                    reserved: Vec::new(),
                })
            })
            .collect(),
        slots: vec![slot(2, Some(LoadBalancerRef::new("public"))), slot(0, None)],
        blue: Some(BlueSurvey {
            group: GroupName::new(group),
            attached: vec![TargetGroupRef::new("slot-a")],
            size: 2,
            healthy: 2,
            min: 1,
            max: 4,
            protected: false,
            image: None,
            scaling: serde_json::Value::Null,
            template: Some("lt-1".to_owned()),
            subnets: vec!["subnet-1".to_owned()],
        }),
        green_name_taken: false,
        namings: Vec::new(),
        drilled: super::drill::Drilled::default(),
        faults: Vec::new(),
        warnings: Vec::new(),
    }
}

/// Number `number` of `web/prod`, `pending`, without a plan.
pub(crate) fn pending(number: u32, routes: usize, strategy: Strategy) -> Deployment {
    Deployment {
        id: DeploymentId::new(Uuid::from_u128(u128::from(number))),
        target: Target { service: ServiceName::new("web"), environment: EnvironmentName::new("prod") },
        number,
        image: Image::Template(number),
        version: None,
        reason: None,
        takes_back: None,
        created_by: "ci".to_owned(),
        created_at: at(0),
        ended_at: None,
        declaration: declaration(routes, strategy.clone()),
        live: None,
        strategy,
        not_before: None,
        let_go: Vec::new(),
        phase: Phase::Pending,
        phase_since: at(0),
        paused_before_ms: 0,
        order_seen: 0,
        plan: None,
        overlays: Vec::new(),
        provisioned_at: None,
        least: Weight::NONE,
        held: None,
        holds: Holds::default(),
        going_back: None,
        refusal: Vec::new(),
        seen: Seen::default(),
        attention: None,
        intent: Intent::default(),
    }
}

/// With a plan and, from `verifying` on, its overlays recorded and nothing more to be made, in `phase` since time 0.
pub(crate) fn deployment(routes: usize, phase: Phase) -> Deployment {
    let mut d = pending(42, routes, strategy(&[50, 100], 60));
    d.plan = Some(plan::make(&Inputs::of(&d), &survey(routes, "old")).expect("the sample has no faults"));
    if !matches!(phase, Phase::Pending | Phase::Provisioning) {
        d.overlays = (0..routes).map(|i| RuleRef::new(format!("overlay-{i}"))).collect();
        d.provisioned_at = Some(at(0));
    }
    d.phase = phase;
    d
}

/// The world as [`deployment`] expects it: each base on blue, each overlay at `weight`, two healthy servers a side, blue
/// pinned.
pub(crate) fn observation(d: &Deployment, weight: Weight) -> Observation {
    let route = |rule: &RuleRef| {
        let overlay = RuleView { rule: rule.clone(), forward: Forward::Split(weight), deployment: Some(d.id) };
        Known::Seen(RouteView {
            base: Forward::Split(Weight::NONE),
            overlays: vec![overlay],
            previews: Vec::new(),
            shields: Vec::new(),
            in_the_way: None,
            leftovers: Vec::new(),
            edited: None,
            strays: Vec::new(),
        })
    };
    let group = || {
        let servers = Servers { desired: 2, in_service: 2, healthy: 2 };
        Known::Seen(GroupView {
            servers,
            min: 2,
            protected: true,
            deleting: false,
            attached: Attached::Everywhere,
            launches: Launches::Same,
            ours: true,
        })
    };
    let slot = || {
        let named_by = u32::try_from(d.overlays.len()).unwrap();
        Known::Seen(SlotView { targets: 2, strangers: 0, named_by })
    };
    Observation {
        routes: d.overlays.iter().map(route).collect(),
        green: group(),
        blue: group(),
        green_slot: slot(),
        blue_slot: slot(),
        scaling: Known::Seen(ScalingView::default()),
        launch_failures: Vec::new(),
        survey: None,
    }
}

/// A route of which somebody has edited one rule's conditions. The overlay of an edited base is as it was.
pub(crate) fn edited(d: &Deployment, route: usize, rule: Layer) -> Edited {
    let mut now = d.plan.as_ref().expect("it has a plan").routes[route].clone();
    now.form = serde_json::json!("edited");
    let edit = Edit { rule, field: Field::Conditions, recorded: "host a".to_owned(), seen: "host b".to_owned() };
    Edited {
        edits: vec![edit],
        overlay_as_planned: rule == Layer::Base,
        overlay_as_base: false,
        as_seen: if rule == Layer::Base { Ok(now) } else { Err("the overlay is like no base".to_owned()) },
    }
}

/// Somebody else's rule that sends green traffic.
pub(crate) fn stray(name: &str) -> Stray {
    Stray { rule: RuleRef::new(name), told: format!("rule {name} forwards to green (by hand: delete {name})") }
}

/// A shield of `d` on a route.
pub(crate) fn shield(d: &Deployment) -> RuleView {
    RuleView { rule: RuleRef::new("shield"), forward: Forward::Split(Weight::NONE), deployment: Some(d.id) }
}

/// One route of a look, to be changed.
pub(crate) fn route_mut(o: &mut Observation, i: usize) -> &mut RouteView {
    match &mut o.routes[i] {
        Known::Seen(view) => view,
        Known::Absent | Known::Unknown(_) => panic!("route {i} is not seen"),
    }
}

/// A group of a look, to be changed.
pub(crate) fn seen_mut<T>(thing: &mut Known<T>) -> &mut T {
    match thing {
        Known::Seen(thing) => thing,
        Known::Absent | Known::Unknown(_) => panic!("it is not seen"),
    }
}
