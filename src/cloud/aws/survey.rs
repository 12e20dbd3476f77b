//! Preflight's look around: routes with their neighbours, slots, and the group that serves. It judges only what needs AWS's
//! own words; `domain::plan` judges the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use futures::future::{join_all, join3};

use super::{
    AwsCloud, arn,
    client::Clients,
    form::Stickiness,
    groups::SeenGroup,
    looks::When,
    rules::SeenRule,
    shape,
    slots::{self, SeenSlot},
};
use crate::{
    domain::{
        ids::{DeploymentId, GroupName, ListenerRef, RouteRef, SlotRef},
        plan::Inputs,
        survey::{BlueSurvey, FieldFault, OtherRule, RouteSurvey, SlotSurvey, Survey},
    },
    engine::ports::{Fault, FaultKind, Recency},
};

/// How long a group's sticky session lasts where AWS did not say (its own default is a day).
const STICKY_SECONDS: i32 = 86_400;

impl AwsCloud {
    /// Looks at everything that a plan needs.
    ///
    /// # Errors
    /// When something could not be seen. What is not there is a fault in the survey.
    pub(super) async fn look_around(
        &self,
        inputs: Inputs<'_>,
        deployment: Option<DeploymentId>,
        deadline: Instant,
    ) -> Result<Survey, Fault> {
        let declaration = inputs.declaration;
        let mut survey = Survey {
            routes: vec![None; declaration.routes.len()],
            slots: vec![None; declaration.slots.len()],
            blue: None,
            green_name_taken: false,
            faults: shape::faults(declaration),
            warnings: Vec::new(),
        };
        if !survey.faults.is_empty() {
            return Ok(survey);
        }
        let region = shape::region(declaration);
        let clients = self.clients(region);
        let routes: Vec<_> = declaration.routes.iter().filter_map(|route| arn::route(route, region).ok()).collect();
        let blue = inputs.live.map(|live| &live.group).or(declaration.blue.as_ref());
        let green = inputs.target.group(inputs.number);
        let names: Vec<_> = blue.into_iter().chain([&green]).collect();
        let when = When::new(Recency::Now, deadline);
        let (listeners, slots, groups) = join3(
            self.listeners(&clients, routes.iter().map(|route| &route.listener), when),
            join_all(declaration.slots.iter().map(|slot| slots::look(&clients, slot, deadline))),
            clients.groups(&names, when),
        )
        .await;
        let (listeners, groups) = (listeners?, groups?);

        let balancers: BTreeSet<_> = routes.iter().map(|route| route.load_balancer.clone()).collect();
        let mut seen_slots = Vec::with_capacity(slots.len());
        for (i, slot) in slots.into_iter().enumerate() {
            let slot = slot?;
            survey.slots[i] = note_slot(&mut survey, i, &slot, &balancers);
            seen_slots.push(slot.ok());
        }
        for (i, route) in routes.iter().enumerate() {
            let rules = listeners.get(&route.listener).and_then(Option::as_ref).map(|rules| rules.as_slice());
            let named = &declaration.routes[i];
            match self.route(named, route, rules, &seen_slots) {
                Ok(seen) => survey.routes[i] = Some(seen),
                Err(detail) => survey.faults.push(FieldFault::new(format!("/routes/{i}"), detail)),
            }
        }
        survey.green_name_taken =
            groups.get(&green).is_some_and(|group| !deployment.is_some_and(|id| group.is_of(&self.installation, id)));
        if let Some(blue) = blue {
            note_blue(&mut survey, blue, &groups, &declaration.slots, &seen_slots);
        }
        Ok(survey)
    }

    /// Each listener's rules; `None` for one that is not there.
    async fn listeners<'a>(
        &self,
        clients: &Clients,
        listeners: impl Iterator<Item = &'a ListenerRef>,
        when: When,
    ) -> Result<BTreeMap<ListenerRef, Option<Arc<Vec<SeenRule>>>>, Fault> {
        let listeners: BTreeSet<_> = listeners.cloned().collect();
        let looks = listeners.iter().map(|listener| clients.rules(&self.marks, listener, when));
        let mut seen = BTreeMap::new();
        for (listener, rules) in listeners.iter().cloned().zip(join_all(looks).await) {
            let rules = match rules {
                Err(Fault { kind: FaultKind::Missing, .. }) => None,
                rules => Some(rules?),
            };
            seen.insert(listener, rules);
        }
        Ok(seen)
    }

    fn route(
        &self,
        named: &RouteRef,
        route: &arn::Route,
        rules: Option<&[SeenRule]>,
        slots: &[Option<SeenSlot>],
    ) -> Result<RouteSurvey, String> {
        let rules = rules.ok_or_else(|| format!("there is no listener {}", route.listener))?;
        let base = match &route.rule {
            None => rules.iter().find(|rule| rule.number.is_none()).ok_or("its listener has no default action")?,
            Some(rule) => rules.iter().find(|seen| &seen.rule == rule).ok_or("there is no such rule")?,
        };
        if route.rule.is_some() && base.number.is_none() {
            return Err(format!(
                "this is the listener's default rule, which AWS changes only through its listener: name {}",
                route.listener
            ));
        }
        let mut form = base.form()?;
        if !form.stickiness().is_some_and(|stickiness| stickiness.enabled)
            && let Some(seconds) = slots.iter().flatten().find_map(|slot| slot.sticky_for)
        {
            form.split_stickiness = Some(Stickiness { enabled: true, seconds: seconds.or(Some(STICKY_SECONDS)) });
        }
        let others = rules.iter().filter(|rule| rule.rule != base.rule).filter_map(|rule| {
            Some(OtherRule {
                rule: rule.rule.clone(),
                number: rule.number?,
                conditions: rule.conditions(),
                owner: rule.mark.as_ref().and_then(|mark| mark.owner(&self.installation, named)),
            })
        });
        Ok(RouteSurvey {
            listener: route.listener.clone(),
            number: base.number,
            conditions: if base.number.is_some() { base.conditions() } else { Vec::new() },
            forwards: base.forwards.clone(),
            form: serde_json::to_value(form).map_err(|error| format!("it could not be kept: {error}"))?,
            others: others.collect(),
            reserved: Vec::new(),
        })
    }
}

/// What a slot shows, with its faults and warnings noted.
fn note_slot(
    survey: &mut Survey,
    i: usize,
    slot: &Result<SeenSlot, String>,
    balancers: &BTreeSet<String>,
) -> Option<SlotSurvey> {
    let pointer = format!("/slots/{i}");
    let slot = match slot {
        Ok(slot) => slot,
        Err(detail) => {
            survey.faults.push(FieldFault::new(pointer, detail.clone()));
            return None;
        }
    };
    if let Some(elsewhere) = slot.balancers.iter().find(|balancer| !balancers.contains(*balancer)) {
        let detail = format!(
            "this target group belongs to {elsewhere}, which no route is on: a target group serves one load balancer only"
        );
        survey.faults.push(FieldFault::new(pointer, detail));
        return None;
    }
    if slot.sticky_for.is_some() {
        survey.warnings.push(format!(
            "slot {i} has sticky sessions: a weight steers new sessions only, and the share seen lags behind it"
        ));
    }
    Some(SlotSurvey { targets: slot.targets.count() })
}

/// The group that serves now; healthy as far as the declared slots that it is in say so.
fn note_blue(
    survey: &mut Survey,
    name: &GroupName,
    groups: &BTreeMap<GroupName, SeenGroup>,
    slots: &[SlotRef],
    seen_slots: &[Option<SeenSlot>],
) {
    let Some(group) = groups.get(name) else {
        let detail = format!("there is no Auto Scaling group {name}: name the one that serves now");
        survey.faults.push(FieldFault::new("/blue", detail));
        return;
    };
    if group.deleting {
        survey.faults.push(FieldFault::new("/blue", format!("the Auto Scaling group {name} is being deleted")));
        return;
    }
    let healthy = slots
        .iter()
        .zip(seen_slots)
        .filter(|(slot, _)| group.slots.contains(slot))
        .filter_map(|(_, seen)| Some(group.servers(Some(&seen.as_ref()?.targets)).healthy))
        .max();
    survey.blue = Some(BlueSurvey {
        group: name.clone(),
        slots: group.slots.clone(),
        size: group.desired,
        healthy: healthy.unwrap_or(0),
        min: group.min,
        max: group.max,
        protected: group.protected,
        image: group.image.clone(),
    });
}
