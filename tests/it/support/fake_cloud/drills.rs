//! Drills in the cloud in memory.

use std::time::Instant;

use cutover::{
    domain::{
        drill::{Action, Drill, DrillPlan, RouteSight},
        ids::{RouteRef, RuleRef},
        observation::Known,
        survey::Role,
        weight::Weight,
    },
    engine::{
        drills::ports::DrillCloud,
        ports::{Fault, FaultKind},
    },
};

use super::{FakeCloud, Rule, World, fault};

impl World {
    /// Drills' rules over a route's base.
    pub fn drill_rules(&self, route: &RouteRef) -> Vec<RuleRef> {
        let of = self.rules.iter().filter(|(_, rule)| &rule.route == route && rule.role == Role::Drill);
        of.map(|(name, _)| name.clone()).collect()
    }

    fn sight(&self, d: &Drill, plan: &DrillPlan, i: usize) -> RouteSight {
        let planned = &plan.routes[i];
        let on_it = || self.rules.iter().filter(|(_, rule)| rule.route == planned.route);
        let mine = |rule: &Rule| rule.role == Role::Drill && rule.deployment == d.id.tag();
        let in_the_way = on_it().find(|(_, rule)| rule.number == planned.overlay_number && !mine(rule));
        RouteSight {
            rules: on_it().filter(|(_, rule)| mine(rule)).map(|(name, _)| name.clone()).collect(),
            in_the_way: in_the_way.map(|(name, _)| name.to_string()),
            base_as_planned: self.bases.get(&planned.route) == Some(&plan.slot),
        }
    }

    fn drill(&mut self, d: &Drill, action: &Action) {
        match action {
            Action::Open { routes } => {
                let plan = d.plan.as_ref().expect("rules are opened by plan only");
                for planned in routes.iter().map(|i| &plan.routes[*i]) {
                    if self.rules.values().any(|rule| rule.route == planned.route && rule.number == planned.overlay_number) {
                        continue;
                    }
                    self.next_rule += 1;
                    let rule = Rule {
                        route: planned.route.clone(),
                        role: Role::Drill,
                        deployment: d.id.tag(),
                        number: planned.overlay_number,
                        green: plan.slot.clone(),
                        weight: Weight::ALL,
                        form: planned.form.clone(),
                    };
                    self.rules.insert(RuleRef::new(format!("rule-{}", self.next_rule)), rule);
                }
            }
            Action::Delete { rules } => self.rules.retain(|name, _| !rules.contains(name)),
        }
    }
}

impl DrillCloud for FakeCloud {
    async fn see_drill(&self, d: &Drill, plan: &DrillPlan, _deadline: Instant) -> Vec<Known<RouteSight>> {
        let world = self.world();
        let seen = |i| if world.blind { Known::Unknown("throttled".to_owned()) } else { Known::Seen(world.sight(d, plan, i)) };
        (0..plan.routes.len()).map(seen).collect()
    }

    async fn change_drill(&self, d: &Drill, action: &Action, _deadline: Instant) -> Result<(), Fault> {
        let hangs = self.world().takes_a_hang();
        if hangs {
            std::future::pending::<()>().await;
        }
        let mut world = self.world();
        if let Some(kind) = world.refuse {
            return Err(fault(kind));
        }
        if world.refuse_on.is_some() && matches!(action, Action::Open { .. }) {
            return Err(fault(FaultKind::Denied));
        }
        world.changes.push(action.name().to_owned());
        world.drill(d, action);
        Ok(())
    }
}
