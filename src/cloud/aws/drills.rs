//! A drill's rule: opened and looked at as an overlay is, with tags that say what it is.

use std::{collections::BTreeMap, time::Instant};

use futures::future::join_all;

use super::{
    AwsCloud,
    budget::Lane,
    fault,
    looks::When,
    rule_changes::{self, RuleChanges},
    rules::SeenRule,
};
use crate::{
    domain::{
        drill::{Action, Drill, DrillPlan, RouteSight},
        ids::{ListenerRef, SlotRef},
        observation::Known,
        plan::RoutePlan,
        survey::Role,
    },
    engine::{
        drills::ports::DrillCloud,
        ports::{Fault, FaultKind, Recency},
    },
};

impl DrillCloud for AwsCloud {
    async fn see_drill(&self, d: &Drill, plan: &DrillPlan, deadline: Instant) -> Vec<Known<RouteSight>> {
        // What is measured is what a rollback would meet: its looks wait for no token of forward work's either.
        let clients = self.clients(&d.declaration).on(Lane::Rollback);
        let when = When::new(Recency::Now, deadline);
        let mut listeners: BTreeMap<&ListenerRef, Known<_>> = BTreeMap::new();
        let routes = plan.routes.iter().map(|route| (&route.listener, ())).collect::<BTreeMap<_, ()>>();
        let looks = routes.keys().map(|listener| clients.rules(&self.marks, listener, when));
        for (listener, rules) in routes.keys().zip(join_all(looks).await) {
            let known = match rules {
                Ok(rules) => Known::Seen(rules),
                Err(Fault { kind: FaultKind::Missing, .. }) => Known::Absent,
                Err(fault) => Known::Unknown(fault.to_string()),
            };
            listeners.insert(listener, known);
        }
        let sight = |route: &RoutePlan| match listeners.get(&route.listener) {
            Some(Known::Seen(rules)) => Known::Seen(self.sight(d, &plan.slot, route, rules)),
            Some(Known::Absent) => Known::Absent,
            Some(Known::Unknown(why)) => Known::Unknown(why.clone()),
            None => Known::Unknown("not looked at".to_owned()),
        };
        plan.routes.iter().map(sight).collect()
    }

    async fn change_drill(&self, d: &Drill, action: &Action, deadline: Instant) -> Result<(), Fault> {
        let clients = self.clients(&d.declaration);
        match action {
            Action::Open { routes } => {
                let plan = d.plan.as_ref().ok_or_else(|| fault::rejected(action.name(), "there is no plan yet".to_owned()))?;
                let planned: Vec<_> = routes.iter().filter_map(|i| plan.routes.get(*i)).collect();
                let changes = RuleChanges { cloud: self, clients: &clients, whose: d.into(), deadline };
                changes.open_drills(&plan.slot, &planned).await
            }
            // As a rollback's deletion: on its tokens.
            Action::Delete { rules } => rule_changes::delete(&clients.on(Lane::Rollback), rules, deadline).await,
        }
    }
}

impl AwsCloud {
    fn sight(&self, d: &Drill, slot: &SlotRef, route: &RoutePlan, rules: &[SeenRule]) -> RouteSight {
        let mine = |rule: &SeenRule| {
            rule.mark.as_ref().is_some_and(|mark| {
                mark.installation == self.installation
                    && mark.deployment == Some(d.id.tag())
                    && mark.role == Some(Role::Drill)
                    && mark.is_for(&route.route)
            })
        };
        let base = rules.iter().find(|rule| match route.base_number {
            None => rule.number.is_none(),
            Some(_) => rule.rule.as_str() == route.route.as_str(),
        });
        let in_the_way = rules.iter().find(|rule| rule.number == Some(route.overlay_number) && !mine(rule));
        RouteSight {
            rules: rules.iter().filter(|rule| mine(rule)).map(|rule| rule.rule.clone()).collect(),
            in_the_way: in_the_way.map(|rule| rule.rule.to_string()),
            base_as_planned: base
                .is_some_and(|base| matches!(base.forwards.as_slice(), [(to, _)] if slot.at(route.position) == Some(to))),
        }
    }
}
