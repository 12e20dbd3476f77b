//! What preflight sees of the cloud in memory.

use cutover::domain::{
    drill::Drilled,
    ids::{ListenerRef, LoadBalancerRef},
    overlap::Condition,
    plan::Inputs,
    survey::{BlueSurvey, OtherRule, Owner, RouteSurvey, SlotSurvey, Survey},
};

use super::{BASE_NUMBER, World};

impl World {
    pub(super) fn survey(&self, inputs: Inputs<'_>) -> Survey {
        let declaration = inputs.declaration;
        let blue = inputs.live.map(|live| live.group.clone()).or_else(|| declaration.blue.clone());
        let routes = declaration.routes.iter().map(|route| {
            let others = self.rules.iter().filter(|(_, rule)| &rule.route == route).map(|(name, rule)| OtherRule {
                rule: name.clone(),
                number: rule.number,
                conditions: Vec::new(),
                owner: Some(Owner {
                    this_installation: true,
                    deployment: Some(rule.deployment),
                    role: rule.role,
                    on_our_route: true,
                }),
            });
            Some(RouteSurvey {
                listener: ListenerRef::new(format!("listener of {route}")),
                load_balancer: LoadBalancerRef::new("balancer"),
                number: Some(BASE_NUMBER),
                conditions: vec![Condition::Host(vec![route.to_string()])],
                forwards: vec![(self.bases.get(route)?.target_groups()[0].clone(), 1)],
                form: self.form(route),
                others: others.collect(),
                reserved: Vec::new(),
            })
        });
        let slots = declaration.slots.iter().map(|slot| {
            let targets =
                self.groups.values().filter(|group| group.attached && &group.slot == slot).map(|group| group.size).sum();
            Some(SlotSurvey { targets, load_balancers: vec![None], sticky: self.sticky, traits: Vec::new() })
        });
        let blue = blue.and_then(|name| {
            let group = self.groups.get(&name)?;
            Some(BlueSurvey {
                group: name,
                attached: group.slot.target_groups().to_vec(),
                size: group.size,
                healthy: group.healthy,
                min: group.min,
                max: 10,
                protected: group.protected,
                image: Some("ami-0aa1".to_owned()),
                scaling: if self.blue_scales { serde_json::json!({}) } else { serde_json::Value::Null },
                template: None,
                subnets: Vec::new(),
            })
        });
        Survey {
            routes: routes.collect(),
            slots: slots.collect(),
            blue,
            green_name_taken: false,
            namings: self.namings.clone(),
            drilled: Drilled::default(),
            faults: Vec::new(),
            warnings: Vec::new(),
        }
    }
}
