//! What a look shows: the world as it is, or as it was before the last change, or with a part of it unknown.

use super::world::{ELSEWHERE, Group, Route, Rule, SIZE, Scene};
use crate::domain::{
    deployment::Deployment,
    ids::{DeploymentId, GroupName, RuleRef, SlotRef, TargetGroupRef},
    observation::{
        Attached, Edit, Edited, Field, Forward, GroupView, Known, Launches, Layer, Observation, RouteView, RuleView,
        ScalingView, Servers, SlotView,
    },
    plan::RoutePlan,
    sample,
    survey::{OtherRule, Owner, Role, Survey},
    weight::Weight,
};

/// One look. Equal looks show the same, so what cannot be seen is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sight {
    pub scene: Scene,
    /// Bit `i`: route `i` could not be seen; [`BLUE`], [`GREEN`]: that group and its slot.
    pub unknown: u8,
}

pub const BLUE: u8 = 1 << 2;
pub const GREEN: u8 = 1 << 3;

impl Sight {
    pub fn of(mut scene: Scene, unknown: u8) -> Self {
        for (i, route) in scene.routes.iter_mut().enumerate() {
            (route.lag, route.made, route.base_touched) = (None, 0, false);
            if unknown & 1 << i != 0 {
                *route = Route::default();
            }
            route.overlay = route.overlay.filter(|overlay| !overlay.ghost).map(|overlay| Rule { touched: false, ..overlay });
        }
        Self { scene, unknown }
    }
}

/// The look as deployment `d` gets it.
pub fn observation(d: &Deployment, sight: &Sight) -> Observation {
    let Some(plan) = &d.plan else { return before_a_plan(d, sight) };
    let green_slot = u8::from(plan.green.slot == SlotRef::new("slot-b"));
    let routes = plan.routes.len();
    let group = |bit: u8, name: Option<&GroupName>, slot: u8| match name {
        _ if sight.unknown & bit != 0 => Known::Unknown("throttled".to_owned()),
        Some(name) => group_view(&sight.scene.groups[group_index(name)], slot),
        None => Known::Absent,
    };
    let slot = |bit: u8, slot: u8| {
        if sight.unknown & bit != 0 {
            return Known::Unknown("throttled".to_owned());
        }
        let named_by = sight.scene.named_by(slot, routes);
        Known::Seen(SlotView { targets: sight.scene.targets(slot), strangers: 0, named_by })
    };
    Observation {
        routes: (0..routes).map(|i| route_view(d, i, sight, green_slot)).collect(),
        green: group(GREEN, Some(&plan.green.group), green_slot),
        blue: group(BLUE, plan.blue.as_ref().map(|blue| &blue.group), 1 - green_slot),
        green_slot: slot(GREEN, green_slot),
        blue_slot: slot(BLUE, 1 - green_slot),
        scaling: Known::Seen(ScalingView::default()),
        launch_failures: Vec::new(),
        survey: None,
    }
}

fn group_index(name: &GroupName) -> usize {
    name.as_str().strip_prefix("web-prod-v").map_or(0, |number| number.parse().unwrap())
}

fn forward(share: u16, green_slot: u8) -> Forward {
    if share == ELSEWHERE {
        return Forward::Elsewhere;
    }
    let permille = if green_slot == 1 { share } else { 1000 - share };
    Forward::Split(Weight::from_permille(permille).unwrap())
}

fn route_view(d: &Deployment, i: usize, sight: &Sight, green_slot: u8) -> Known<RouteView> {
    if sight.unknown & 1 << i != 0 {
        return Known::Unknown("throttled".to_owned());
    }
    let route = &sight.scene.routes[i];
    let mine = |rule: &Rule| u32::from(rule.owner) == d.number;
    let view = |kind: &str, rule: Rule| RuleView {
        rule: rule_ref(kind, i, rule),
        forward: forward(rule.share, green_slot),
        deployment: Some(tag(rule)),
    };
    Known::Seen(RouteView {
        base: forward(route.base, green_slot),
        overlays: route.overlay.filter(mine).map(|rule| view("overlay", rule)).into_iter().collect(),
        previews: route.preview.filter(mine).map(|rule| view("preview", rule)).into_iter().collect(),
        shields: route.shield.map(|rule| view("shield", rule)).into_iter().collect(),
        in_the_way: None,
        leftovers: [("overlay", route.overlay), ("preview", route.preview)]
            .into_iter()
            .filter_map(|(kind, rule)| Some(rule_ref(kind, i, rule.filter(|rule| !mine(rule))?)))
            .collect(),
        edited: edited(d, i, route).map(Box::new),
        strays: Vec::new(),
    })
}

/// A form as the plan keeps it, and back.
fn form(form: u8) -> serde_json::Value {
    if form == 0 { serde_json::Value::Null } else { serde_json::Value::from(form) }
}

pub fn form_index(form: &serde_json::Value) -> u8 {
    form.as_u64().map_or(0, |form| form.try_into().unwrap())
}

/// How a route's conditions differ from the plan's.
fn edited(d: &Deployment, i: usize, route: &Route) -> Option<Edited> {
    let planned = &d.plan.as_ref()?.routes[i];
    let was = form_index(&planned.form);
    let overlay = route.overlay.map_or(was, |overlay| overlay.form);
    let told = |rule, seen: u8| Edit { rule, field: Field::Conditions, recorded: was.to_string(), seen: seen.to_string() };
    let mut edits = Vec::new();
    if route.base_form != was {
        edits.push(told(Layer::Base, route.base_form));
    }
    let (overlay_as_planned, overlay_as_base) = (overlay == was, overlay == route.base_form);
    if !overlay_as_planned && !overlay_as_base {
        edits.push(told(Layer::Overlay, overlay));
    }
    let as_seen = if overlay_as_planned || overlay_as_base {
        Ok(RoutePlan { form: form(route.base_form), ..planned.clone() })
    } else {
        Err("the overlay is like no base".to_owned())
    };
    (!edits.is_empty()).then_some(Edited { edits, overlay_as_planned, overlay_as_base, as_seen })
}

fn rule_ref(kind: &str, route: usize, rule: Rule) -> RuleRef {
    RuleRef::new(format!("{kind}-{route}-{}", rule.id))
}

fn tag(rule: Rule) -> DeploymentId {
    DeploymentId::new(uuid::Uuid::from_u128(u128::from(rule.owner)))
}

fn group_view(group: &Group, slot: u8) -> Known<GroupView> {
    if !group.alive {
        return Known::Absent;
    }
    let servers = u32::from(SIZE);
    Known::Seen(GroupView {
        servers: Servers { desired: servers, in_service: servers, healthy: u32::from(group.healthy) },
        min: if group.full { servers } else { 1 },
        protected: group.protected,
        deleting: group.deleting,
        attached: if group.slot == Some(slot) { Attached::Everywhere } else { Attached::Nowhere },
        launches: Launches::Same,
        ours: true,
    })
}

/// Preflight's look: the declared routes with every rule on them, the slots, and the group that serves.
fn before_a_plan(d: &Deployment, sight: &Sight) -> Observation {
    let survey = if sight.unknown == 0 { Known::Seen(survey(d, &sight.scene)) } else { Known::Unknown("throttled".to_owned()) };
    Observation {
        routes: Vec::new(),
        green: Known::Absent,
        blue: Known::Absent,
        green_slot: Known::Absent,
        blue_slot: Known::Absent,
        scaling: Known::Seen(ScalingView::default()),
        launch_failures: Vec::new(),
        survey: Some(survey),
    }
}

fn survey(d: &Deployment, scene: &Scene) -> Survey {
    let live = d.live.as_ref().map_or("old", |live| live.group.as_str());
    let mut survey = sample::survey(d.declaration.routes.len(), live);
    for (i, (seen, route)) in survey.routes.iter_mut().flatten().zip(&scene.routes).enumerate() {
        let slot = if route.base == 0 { "slot-a" } else { "slot-b" };
        seen.forwards = vec![(TargetGroupRef::new(slot), 1)];
        seen.form = form(route.base_form);
        let rules = [
            ("overlay", Role::Overlay, 99, route.overlay),
            ("shield", Role::Shield, 98, route.shield),
            ("preview", Role::Preview, 98, route.preview),
        ];
        seen.others = rules
            .into_iter()
            .filter_map(|(kind, role, number, rule)| {
                let rule = rule?;
                let owner = Owner { this_installation: true, deployment: Some(tag(rule)), role, on_our_route: true };
                Some(OtherRule { rule: rule_ref(kind, i, rule), number, conditions: Vec::new(), owner: Some(owner) })
            })
            .collect();
    }
    for (i, slot) in survey.slots.iter_mut().flatten().enumerate() {
        slot.targets = scene.targets(u8::try_from(i).unwrap());
    }
    let group = scene.groups[group_index(&GroupName::new(live))];
    if let Some(blue) = &mut survey.blue {
        let target_group = |slot| TargetGroupRef::new(if slot == 0 { "slot-a" } else { "slot-b" });
        blue.attached = group.slot.into_iter().map(target_group).collect();
        (blue.min, blue.protected) = (if group.full { 2 } else { 1 }, group.protected);
        blue.healthy = u32::from(group.healthy);
    }
    survey
}
