//! What a person's look shows of it.

use cutover::{
    domain::{
        ids::LoadBalancerRef,
        inspection::{Balancer, BalancerSurvey, Groups, Inspection, Part, Quotas, Rules, Unseen},
        plan::Inputs,
        survey::Survey,
    },
    engine::ports::FaultKind,
};

use super::{World, fault};

impl World {
    pub(super) fn survey_all(&self, inputs: Inputs<'_>) -> Inspection {
        let count = |n: usize| u32::try_from(n).unwrap();
        let mut seen = Inspection {
            survey: self.survey(inputs),
            unseen: Vec::new(),
            load_balancers: vec![BalancerSurvey {
                load_balancer: LoadBalancerRef::new("balancer"),
                seen: Ok(Balancer { takes_rules: true, kind: "application".to_owned(), host: "balancer.test".to_owned() }),
                rules: Ok(Rules { count: count(self.rules.len()), ..Rules::default() }),
            }],
            quotas: Ok(Quotas {
                rules_per_load_balancer: Some(100),
                target_groups_per_action: Some(5),
                target_groups_per_load_balancer: Some(100),
            }),
            groups: Ok(Groups { there: count(self.groups.len()), at_most: 500 }),
        };
        if self.blind || self.quotas_denied {
            let why = || Unseen { denied: !self.blind, why: fault(FaultKind::Denied).to_string() };
            (seen.quotas, seen.groups) = (Err(why()), Err(why()));
        }
        if self.blind {
            let why = || Unseen { denied: false, why: fault(FaultKind::Throttled).to_string() };
            let routes = inputs.declaration.routes.len();
            let slots = inputs.declaration.slots.len();
            let parts = (0..routes).map(Part::Route).chain((0..slots).map(Part::Slot)).chain([Part::Groups]);
            seen.unseen = parts.map(|part| (part, why())).collect();
            seen.survey = Survey { routes: vec![None; routes], slots: vec![None; slots], blue: None, ..seen.survey };
            (seen.load_balancers[0].seen, seen.load_balancers[0].rules) = (Err(why()), Err(why()));
        }
        seen
    }
}
