//! A cloud in memory for the engine's own tests: rules, groups and slots, with switches for what goes wrong.
//!
//! It keeps rules by reference and number as the real one does; it knows nothing of time. Servers come up healthy one look
//! after they were asked for.

mod by_hand;
mod drills;
mod faults;
mod inspection;
mod orphans;
mod survey;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use cutover::{
    domain::{
        action::{Action, Scaling, Side},
        declaration::Declaration,
        deployment::Deployment,
        ids::{DeploymentId, GroupName, RouteRef, RuleRef, SlotRef},
        inspection::Inspection,
        observation::{
            Attached, Edit, Edited, Field, Forward, GroupView, Known, LaunchFailure, Launches, Layer, Observation, RouteView,
            RuleView, ScalingView, Servers, SlotView,
        },
        phase::Phase,
        plan::{Inputs, Plan, RoutePlan},
        survey::{FieldFault, Naming, Role, Survey},
        weight::Weight,
    },
    engine::ports::{BudgetFigures, CallFigures, Cloud, Fault, FaultKind, ProviderFigures, Recency},
};
use serde_json::Value;

#[derive(Debug, Clone)]
struct Rule {
    route: RouteRef,
    role: Role,
    deployment: DeploymentId,
    number: u32,
    green: SlotRef,
    weight: Weight,
    /// What it matches, as it was last written.
    form: Value,
}

#[derive(Debug, Clone)]
struct Group {
    slot: SlotRef,
    attached: bool,
    size: u32,
    healthy: u32,
    min: u32,
    protected: bool,
    deployment: Option<DeploymentId>,
}

/// The world.
#[derive(Debug, Default)]
pub struct World {
    bases: BTreeMap<RouteRef, SlotRef>,
    /// What bases match that somebody has edited.
    forms: BTreeMap<RouteRef, Value>,
    rules: BTreeMap<RuleRef, Rule>,
    groups: BTreeMap<GroupName, Group>,
    next_rule: u32,
    /// Every change that was made, by name.
    pub changes: Vec<String>,
    /// Servers of new groups never become healthy.
    pub sick: bool,
    /// Looks see nothing.
    pub blind: bool,
    /// Slots have sticky sessions.
    pub sticky: bool,
    /// The account's quotas are not for us to see.
    pub quotas_denied: bool,
    /// Who else forwards to the slots.
    pub namings: Vec<Naming>,
    /// The next changes answer with this fault and do nothing.
    pub refuse: Option<FaultKind>,
    /// Changes that were tried.
    pub attempts: u64,
    /// How often it was looked at.
    pub looks: u64,
    /// Changes of this route fail.
    pub refuse_on: Option<usize>,
    /// So many of the next changes are never answered.
    pub hang: u32,
    /// What is not answered is late at once.
    pub hedges: bool,
    pub scarce: bool,
    pub launch_failure: Option<LaunchFailure>,
    /// Blue has one policy and one scheduled action.
    pub blue_scales: bool,
    /// How many of each green has.
    copied: (u32, u32),
    pub sweeps: orphans::Sweeps,
    pub meanwhile: orphans::Meanwhile,
}

/// A cloud with one region's worth of nothing in it.
#[derive(Debug, Default)]
pub struct FakeCloud {
    world: Mutex<World>,
}

const BASE_NUMBER: u32 = 100;

impl FakeCloud {
    /// Routes that forward to `slot`, which holds a group of `size` servers.
    pub fn with_blue(declaration: &Declaration, group: &str, size: u32) -> Self {
        let fake = Self::default();
        let mut world = fake.world();
        let slot = declaration.slots[0].clone();
        world.bases = declaration.routes.iter().map(|route| (route.clone(), slot.clone())).collect();
        let blue = Group { slot, attached: true, size, healthy: size, min: 1, protected: false, deployment: None };
        world.groups.insert(GroupName::new(group), blue);
        drop(world);
        fake
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    /// Green's share of a route's traffic, by the slot that the topmost rule sends it to.
    pub fn share(&self, route: &RouteRef, slot: &SlotRef) -> Weight {
        match self
            .rules
            .values()
            .filter(|rule| &rule.route == route && rule.role != Role::Preview)
            .min_by_key(|rule| rule.number)
        {
            Some(rule) if &rule.green == slot => rule.weight,
            Some(_) => Weight::NONE,
            None if self.bases.get(route) == Some(slot) => Weight::ALL,
            None => Weight::NONE,
        }
    }

    pub fn group_names(&self) -> Vec<String> {
        self.groups.keys().map(ToString::to_string).collect()
    }

    pub fn rules_left(&self) -> usize {
        self.rules.len()
    }

    /// A scaling policy of the group adds servers.
    pub fn scale(&mut self, group: &str, size: u32) {
        let found = self.groups.get_mut(&GroupName::new(group)).unwrap();
        (found.size, found.healthy) = (size, size);
    }

    /// Minimum and protection of a group.
    pub fn pin(&self, group: &str) -> Option<(u32, bool)> {
        self.groups.get(&GroupName::new(group)).map(|group| (group.min, group.protected))
    }

    /// What a route's overlay and base match.
    pub fn forms(&self, route: &RouteRef) -> (Value, Value) {
        let overlay = self.rules.values().find(|rule| &rule.route == route).map(|rule| rule.form.clone());
        (overlay.unwrap_or_default(), self.form(route))
    }

    fn form(&self, route: &RouteRef) -> Value {
        self.forms.get(route).cloned().unwrap_or_default()
    }

    /// How a route's conditions differ from the plan's.
    fn edited(&self, planned: &RoutePlan) -> Option<Edited> {
        let base = self.form(&planned.route);
        let overlay = self.rules.values().find(|rule| rule.route == planned.route && rule.role == Role::Overlay);
        let overlay = overlay.map_or_else(|| planned.form.clone(), |rule| rule.form.clone());
        let edit = |rule, seen: &Value| {
            let (recorded, seen) = (planned.form.to_string(), seen.to_string());
            Edit { rule, field: Field::Conditions, recorded, seen }
        };
        let (overlay_as_planned, overlay_as_base) = (overlay == planned.form, overlay == base);
        let mut edits = Vec::new();
        if base != planned.form {
            edits.push(edit(Layer::Base, &base));
        }
        if !overlay_as_planned && !overlay_as_base {
            edits.push(edit(Layer::Overlay, &overlay));
        }
        let as_seen = Ok(RoutePlan { form: base, ..planned.clone() });
        (!edits.is_empty()).then_some(Edited { edits, overlay_as_planned, overlay_as_base, as_seen })
    }

    /// Makes all of a group's servers sick.
    pub fn sicken(&mut self, group: &str) {
        if let Some(group) = self.groups.get_mut(&GroupName::new(group)) {
            group.healthy = 0;
        }
    }

    fn named_by(&self, slot: &SlotRef, blue: &SlotRef) -> u32 {
        let bases = self.bases.values().filter(|base| *base == slot).count();
        let rules = self.rules.values().filter(|rule| &rule.green == slot || slot == blue).count();
        u32::try_from(bases + rules).unwrap()
    }

    fn route_view(&self, d: &Deployment, plan: &Plan, planned: &RoutePlan) -> RouteView {
        let route = &planned.route;
        let mine = |role: Role| -> Vec<RuleView> {
            let of = self.rules.iter().filter(|(_, rule)| &rule.route == route && rule.role == role);
            of.map(|(name, rule)| RuleView {
                rule: name.clone(),
                forward: Forward::Split(rule.weight),
                deployment: Some(rule.deployment),
            })
            .filter(|view| role == Role::Shield || view.deployment == Some(d.id))
            .collect()
        };
        let base = match self.bases.get(route) {
            Some(slot) if *slot == plan.blue_slot => Forward::Split(Weight::NONE),
            Some(slot) if *slot == plan.green.slot => Forward::Split(Weight::ALL),
            _ => Forward::Elsewhere,
        };
        RouteView {
            base,
            overlays: mine(Role::Overlay),
            previews: mine(Role::Preview),
            shields: mine(Role::Shield),
            in_the_way: None,
            leftovers: self.drill_rules(route),
            edited: self.edited(planned).map(Box::new),
            strays: Vec::new(),
        }
    }

    fn group_view(&self, name: &GroupName, owner: Option<DeploymentId>) -> Known<GroupView> {
        match self.groups.get(name) {
            None => Known::Absent,
            Some(group) => Known::Seen(GroupView {
                servers: Servers { desired: group.size, in_service: group.size, healthy: group.healthy },
                min: group.min,
                protected: group.protected,
                deleting: false,
                attached: if group.attached { Attached::Everywhere } else { Attached::Nowhere },
                launches: Launches::Same,
                ours: owner.is_none() || group.deployment == owner,
            }),
        }
    }

    fn slot_view(&self, slot: &SlotRef, plan: &Plan) -> Known<SlotView> {
        let targets = self.groups.values().filter(|group| group.attached && &group.slot == slot).map(|group| group.size).sum();
        Known::Seen(SlotView { targets, strangers: 0, named_by: self.named_by(slot, &plan.blue_slot) })
    }

    fn raise(&mut self, d: &Deployment, routes: &[usize], role: Role) {
        let plan = d.plan.as_ref().expect("rules are raised by plan only");
        for route in routes.iter().filter_map(|i| plan.routes.get(*i)) {
            let number = if role == Role::Overlay { route.overlay_number } else { route.shield_number };
            if self.rules.values().any(|rule| rule.route == route.route && rule.number == number) {
                continue;
            }
            self.next_rule += 1;
            let rule = Rule {
                route: route.route.clone(),
                role,
                deployment: d.id,
                number,
                green: plan.green.slot.clone(),
                weight: Weight::NONE,
                form: route.form.clone(),
            };
            self.rules.insert(RuleRef::new(format!("rule-{}", self.next_rule)), rule);
        }
    }

    fn apply(&mut self, d: &Deployment, action: &Action) {
        let plan = d.plan.clone();
        match action {
            Action::DeleteRules { rules } => self.rules.retain(|name, _| !rules.contains(name)),
            Action::OpenOverlays { routes } => self.raise(d, routes, Role::Overlay),
            Action::OpenPreviews { routes } => self.raise(d, routes, Role::Preview),
            Action::RaiseShields { routes } => self.raise(d, routes, Role::Shield),
            Action::SetWeight { routes, weight } => {
                for (_, name) in routes {
                    if let Some(rule) = self.rules.get_mut(name) {
                        rule.weight = *weight;
                    }
                }
            }
            Action::ReshapeOverlays { shapes } => {
                for shape in shapes {
                    if let Some(rule) = self.rules.get_mut(&shape.rule) {
                        (rule.weight, rule.form) = (shape.weight, shape.form.clone());
                    }
                }
            }
            Action::RestoreBases { routes } => {
                let plan = plan.as_ref().expect("a base is put back by plan only");
                for route in routes.iter().filter_map(|i| plan.routes.get(*i)) {
                    self.bases.insert(route.route.clone(), plan.blue_slot.clone());
                    self.forms.insert(route.route.clone(), route.form.clone());
                }
            }
            Action::SetBase { routes, to } => {
                let plan = plan.as_ref().expect("a base is written by plan only");
                let slot = if *to == Side::Blue { &plan.blue_slot } else { &plan.green.slot };
                for route in routes.iter().filter_map(|i| plan.routes.get(*i)) {
                    self.bases.insert(route.route.clone(), slot.clone());
                }
            }
            Action::CreateGreen => {
                let green = &plan.as_ref().expect("a group is created by plan only").green;
                let healthy = if self.sick { 0 } else { green.size };
                let made = Group {
                    slot: green.slot.clone(),
                    attached: true,
                    size: green.size,
                    healthy,
                    min: green.size,
                    protected: false,
                    deployment: Some(d.id),
                };
                self.groups.entry(green.group.clone()).or_insert(made);
            }
            Action::CopyScaling { what: Scaling::Policies } => self.copied.0 = 1,
            Action::CopyScaling { what: Scaling::Scheduled } => self.copied.1 = 1,
            Action::PinBlue
            | Action::UnpinBlue
            | Action::GrowGreen { .. }
            | Action::ReleaseGreen
            | Action::Detach { .. }
            | Action::DeleteGroup { .. } => self.change_group(d, action),
        }
    }

    fn change_group(&mut self, d: &Deployment, action: &Action) {
        let plan = d.plan.clone();
        let group = |side: Side| -> Option<GroupName> {
            let plan = plan.as_ref()?;
            match side {
                Side::Blue => plan.blue.as_ref().map(|blue| blue.group.clone()),
                Side::Green => Some(plan.green.group.clone()),
            }
        };
        let side = match action {
            Action::Detach { side } | Action::DeleteGroup { side } => *side,
            Action::GrowGreen { .. } | Action::ReleaseGreen => Side::Green,
            _ => Side::Blue,
        };
        let Some(name) = group(side) else { return };
        if matches!(action, Action::DeleteGroup { .. }) {
            self.groups.remove(&name);
            return;
        }
        let Some(found) = self.groups.get_mut(&name) else { return };
        let pin = plan.as_ref().and_then(|plan| plan.blue.as_ref());
        match (action, pin) {
            (Action::PinBlue, Some(pin)) => (found.min, found.protected) = (pin.size, true),
            (Action::UnpinBlue, Some(pin)) => (found.min, found.protected) = (pin.min, pin.protected),
            (Action::GrowGreen { size }, _) => {
                found.min = *size;
                found.size = found.size.max(*size);
                found.healthy = found.size;
            }
            (Action::ReleaseGreen, _) => found.min = d.declaration.server_group.min,
            _ => found.attached = false,
        }
    }
}

impl Cloud for FakeCloud {
    fn clock_lead(&self) -> Duration {
        Duration::ZERO
    }

    fn figures(&self) -> ProviderFigures {
        let calls = u64::try_from(self.world().changes.len()).unwrap();
        ProviderFigures {
            calls: vec![CallFigures {
                lane: "forward",
                operation: "Fake",
                outcomes: vec![("ok", calls), ("throttled", 1)],
                waited: Duration::from_millis(1500),
                took: Duration::from_millis(250) * u32::try_from(calls + 1).unwrap(),
                took_at_most: vec![(0.1, 0), (0.25, calls + 1), (f64::INFINITY, 0)],
            }],
            budgets: vec![BudgetFigures {
                account: "own".to_owned(),
                region: "eu-west-1".to_owned(),
                class: "fakes",
                ready: [("forward", 2.5), ("rollback", 10.0)],
                pace: 0.5,
            }],
        }
    }

    fn shape(&self, _declaration: &Declaration) -> Vec<FieldFault> {
        Vec::new()
    }

    async fn survey(&self, inputs: Inputs<'_>, _deployment: Option<DeploymentId>, _deadline: Instant) -> Result<Survey, Fault> {
        let world = self.world();
        if world.blind { Err(fault(FaultKind::Throttled)) } else { Ok(world.survey(inputs)) }
    }

    async fn survey_all(&self, inputs: Inputs<'_>, _deadline: Instant) -> Inspection {
        self.world().survey_all(inputs)
    }

    fn calls(&self, _plan: &Plan, action: &Action) -> Vec<String> {
        vec![format!("fake:{}", action.name())]
    }

    fn drill_calls(&self, route: &RoutePlan) -> (String, String) {
        (format!("fake:open_drill {}", route.route), format!("fake:delete_rules {}", route.route))
    }

    async fn observe(&self, d: &Deployment, _recency: Recency, _deadline: Instant) -> Observation {
        let mut world = self.world();
        world.looks += 1;
        let unknown = || "throttled".to_owned();
        let Some(plan) = d.plan.as_ref().filter(|_| !world.blind) else {
            let survey = if world.blind { Known::Unknown(unknown()) } else { Known::Seen(world.survey(Inputs::of(d))) };
            let routes = d.plan.iter().flat_map(|plan| plan.routes.iter()).map(|_| Known::Unknown(unknown())).collect();
            return Observation {
                routes,
                green: Known::Unknown(unknown()),
                blue: Known::Unknown(unknown()),
                green_slot: Known::Unknown(unknown()),
                blue_slot: Known::Unknown(unknown()),
                scaling: Known::Unknown(unknown()),
                launch_failures: Vec::new(),
                survey: (d.phase == Phase::Pending).then_some(survey),
            };
        };
        Observation {
            routes: plan.routes.iter().map(|route| Known::Seen(world.route_view(d, plan, route))).collect(),
            green: world.group_view(&plan.green.group, Some(d.id)),
            blue: plan.blue.as_ref().map_or(Known::Absent, |blue| world.group_view(&blue.group, None)),
            green_slot: world.slot_view(&plan.green.slot, plan),
            blue_slot: world.slot_view(&plan.blue_slot, plan),
            scaling: Known::Seen(ScalingView {
                policies_missing: u32::from(world.blue_scales) - world.copied.0,
                scheduled_missing: u32::from(world.blue_scales) - world.copied.1,
            }),
            launch_failures: world.launch_failure.iter().cloned().collect(),
            survey: None,
        }
    }

    async fn warm(&self, _d: &Deployment) {}

    async fn overdue(&self, _d: &Deployment, _action: &Action) {
        if !self.world().hedges {
            std::future::pending::<()>().await;
        }
    }

    fn is_scarce(&self, _d: &Deployment) -> bool {
        self.world().scarce
    }

    fn is_sticky(&self, _: &Plan) -> Option<bool> {
        Some(self.world().sticky)
    }

    fn by_hand(&self, d: &Deployment, old: bool) -> Vec<String> {
        let Some(shield) = cutover::domain::lane::needs_shield(d) else { return Vec::new() };
        if shield || old {
            return d.declaration.routes.iter().map(|route| format!("fake shield {route}")).collect();
        }
        d.overlays.iter().map(|overlay| format!("fake delete {overlay}")).collect()
    }

    async fn apply(&self, d: &Deployment, action: &Action, _deadline: Instant) -> Result<(), Fault> {
        let hangs = self.world().takes_a_hang();
        if hangs {
            std::future::pending::<()>().await;
        }
        let mut world = self.world();
        world.refuses(d, action)?;
        world.changes.push(action.name().to_owned());
        world.apply(d, action);
        Ok(())
    }
}

fn fault(kind: FaultKind) -> Fault {
    Fault { kind, operation: "Fake", code: Some("Fake".to_owned()), message: "as the test wished".to_owned(), request_id: None }
}
