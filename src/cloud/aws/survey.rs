//! Preflight's look around: routes with their neighbours, slots, and the group that serves. It judges only what needs AWS's
//! own words; `domain::plan` judges the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use futures::future::{join_all, join4};
use jiff::Timestamp;

use super::{
    AwsCloud, arn,
    client::Clients,
    fault,
    form::Stickiness,
    groups::{SeenGroup, Targets},
    looks::When,
    rules::SeenRule,
    scaling::{self, SeenScaling},
    shape,
    slots::{self, SeenTargetGroup},
};
use crate::{
    domain::{
        declaration::Declaration,
        drill::Drilled,
        ids::{DeploymentId, GroupName, ListenerRef, RouteRef, SlotRef, TargetGroupRef},
        inspection::Part,
        observation::Attached,
        plan::Inputs,
        survey::{BlueSurvey, FieldFault, Naming, OtherRule, RouteSurvey, SlotSurvey, Survey},
    },
    engine::ports::{Fault, FaultKind, Recency},
};

/// Values that one rule may compare with (AWS's limit).
const COMPARISONS_MAX: usize = 5;
/// How long a group's sticky session lasts where AWS did not say (its own default is a day).
const STICKY_SECONDS: i32 = 86_400;

impl AwsCloud {
    /// Looks at everything that a plan needs. What is not there is a fault in the survey.
    pub(super) async fn look_around(&self, inputs: Inputs<'_>, deployment: Option<DeploymentId>, deadline: Instant) -> Sight {
        let declaration = inputs.declaration;
        let mut sight = Sight::nothing(declaration);
        if !sight.survey.faults.is_empty() {
            return sight;
        }
        let region = shape::region(declaration);
        let clients = self.clients(declaration);
        let routes: Vec<_> = declaration.routes.iter().filter_map(|route| arn::route(route, region).ok()).collect();
        let blue = inputs.live.map(|live| &live.group).or(declaration.blue.as_ref());
        let green = inputs.target.group(inputs.number);
        let names: Vec<_> = blue.into_iter().chain([&green]).collect();
        let when = When::new(Recency::Now, deadline);
        let in_slots = declaration.slots.iter().map(|slot| {
            join_all(slot.target_groups().iter().map(|target_group| slots::look(&clients, target_group, deadline)))
        });
        let (listeners, slots, groups, scaling) = join4(
            self.listeners(&clients, routes.iter().map(|route| &route.listener), when),
            join_all(in_slots),
            clients.groups(&names, when),
            scaling_of(&clients, blue, deadline),
        )
        .await;
        let seen_slots = sight.note_slots(declaration, slots);
        for (i, route) in routes.iter().enumerate() {
            let rules = match listeners.get(&route.listener) {
                Some(Err(fault)) => {
                    sight.unseen.push((Part::Route(i), fault.clone()));
                    continue;
                }
                Some(Ok(rules)) => rules.as_ref().map(|rules| rules.as_slice()),
                None => None,
            };
            match self.route(&declaration.routes[i], route, rules, declaration, &seen_slots) {
                Ok(seen) => sight.survey.routes[i] = Some(seen),
                Err(detail) => sight.survey.faults.push(FieldFault::new(format!("/routes/{i}"), detail)),
            }
        }
        for (listener, rules) in &listeners {
            sight.survey.namings.extend(rules.iter().flatten().flat_map(|rules| namings(declaration, listener, rules)));
        }
        match groups {
            Ok(groups) => {
                let ours = |group: &SeenGroup| deployment.is_some_and(|id| group.is_of(&self.installation, id));
                sight.survey.green_name_taken = groups.get(&green).is_some_and(|group| !ours(group));
                sight.note_blue(blue, &groups, &declaration.slots, &seen_slots);
                sight.note_scaling(blue.and_then(|blue| groups.get(blue)).map(AsRef::as_ref), scaling);
            }
            Err(fault) => {
                sight.unseen.push((Part::Groups, fault));
                sight.note_scaling(None, scaling);
            }
        }
        sight
    }

    /// Each listener's rules; `None` for one that is not there.
    async fn listeners<'a>(
        &self,
        clients: &Clients,
        listeners: impl Iterator<Item = &'a ListenerRef>,
        when: When,
    ) -> BTreeMap<ListenerRef, Result<Option<Arc<Vec<SeenRule>>>, Fault>> {
        let listeners: BTreeSet<_> = listeners.cloned().collect();
        let looks = listeners.iter().map(|listener| clients.rules(&self.marks, listener, when));
        let seen = join_all(looks).await.into_iter().map(|rules| match rules {
            Err(Fault { kind: FaultKind::Missing, .. }) => Ok(None),
            rules => rules.map(Some),
        });
        listeners.iter().cloned().zip(seen).collect()
    }

    fn route(
        &self,
        named: &RouteRef,
        route: &arn::Route,
        rules: Option<&[SeenRule]>,
        declaration: &Declaration,
        seen_slots: &[SeenSlot],
    ) -> Result<RouteSurvey, String> {
        let (slots, preview) = (&declaration.slots, declaration.preview.is_some());
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
        let mut form = base.form()?.clone();
        if !form.stickiness().is_some_and(|stickiness| stickiness.enabled)
            && let Some(seconds) = sticky_for(&base.forwards, slots, seen_slots)
        {
            form.split_stickiness = Some(Stickiness { enabled: true, seconds: seconds.or(Some(STICKY_SECONDS)) });
        }
        if preview && form.comparisons() >= COMPARISONS_MAX {
            return Err(format!(
                "it compares {COMPARISONS_MAX} values, as many as AWS allows in a rule: there is no room for the preview's header"
            ));
        }
        let others = rules.iter().filter(|rule| rule.rule != base.rule).filter_map(|rule| {
            Some(OtherRule {
                rule: rule.rule.clone(),
                number: rule.number?,
                conditions: rule.conditions().to_vec(),
                owner: rule.mark.as_ref().and_then(|mark| mark.owner(&self.installation, named)),
            })
        });
        Ok(RouteSurvey {
            listener: route.listener.clone(),
            load_balancer: route.load_balancer.clone(),
            number: base.number,
            conditions: if base.number.is_some() { base.conditions().to_vec() } else { Vec::new() },
            forwards: base.forwards.clone(),
            form: serde_json::to_value(form).map_err(|error| format!("it could not be kept: {error}"))?,
            others: others.collect(),
            reserved: Vec::new(),
        })
    }
}

/// What was seen, and what could not be.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) survey: Survey,
    pub(super) unseen: Vec<(Part, Fault)>,
}

impl Sight {
    /// With nothing but the faults of form.
    fn nothing(declaration: &Declaration) -> Self {
        let survey = Survey {
            routes: vec![None; declaration.routes.len()],
            slots: vec![None; declaration.slots.len()],
            blue: None,
            green_name_taken: false,
            namings: Vec::new(),
            drilled: Drilled::default(),
            faults: shape::faults(declaration),
            warnings: Vec::new(),
        };
        Self { survey, unseen: Vec::new() }
    }

    fn note_slots(&mut self, declaration: &Declaration, slots: Vec<Vec<SlotLook>>) -> Vec<SeenSlot> {
        let note = |(i, slot): (usize, Vec<SlotLook>)| {
            let positions = slot.len();
            match slot.into_iter().collect::<Result<_, _>>() {
                Ok(slot) => note_slot(&mut self.survey, declaration, i, slot),
                Err(fault) => {
                    self.unseen.push((Part::Slot(i), fault));
                    vec![None; positions]
                }
            }
        };
        slots.into_iter().enumerate().map(note).collect()
    }

    fn note_blue(
        &mut self,
        blue: Option<&GroupName>,
        groups: &BTreeMap<GroupName, Arc<SeenGroup>>,
        slots: &[SlotRef],
        seen_slots: &[SeenSlot],
    ) {
        let Some(blue) = blue else { return };
        match self.unseen.iter().find(|(part, _)| matches!(part, Part::Slot(_))) {
            // How many of its servers are healthy hangs on its slot.
            Some((_, fault)) => self.unseen.push((Part::Groups, fault.clone())),
            None => note_blue(&mut self.survey, blue, groups, slots, seen_slots),
        }
    }

    fn note_scaling(&mut self, blue: Option<&SeenGroup>, scaling: Result<(serde_json::Value, SeenScaling), Fault>) {
        match scaling {
            Ok((form, seen)) => {
                self.survey.warnings.extend(seen.left_behind);
                if let Some(blue) = blue.filter(|blue| !blue.unscheduled) {
                    self.survey.warnings.extend(seen.form.shrinking(&blue.name, blue.desired, Timestamp::now()));
                }
                if let Some(blue) = &mut self.survey.blue {
                    blue.scaling = form;
                }
            }
            Err(fault) => self.unseen.push((Part::Scaling, fault)),
        }
    }

    /// # Errors
    /// When something could not be seen: no plan may be made from the rest.
    pub(super) fn whole(self) -> Result<Survey, Fault> {
        match self.unseen.into_iter().next() {
            Some((_, fault)) => Err(fault),
            None => Ok(self.survey),
        }
    }
}

/// Which of a listener's rules forward to a declared slot, those aside that are routes or were made for one: these come and
/// go with deployments.
pub(super) fn namings(declaration: &Declaration, listener: &ListenerRef, rules: &[SeenRule]) -> Vec<Naming> {
    let declared = |name: &str| declaration.routes.iter().any(|route| route.as_str() == name);
    let others = rules.iter().filter(|rule| match rule.number {
        None => !declared(listener.as_str()),
        Some(_) => !declared(rule.rule.as_str()),
    });
    let others = others.filter(|rule| !rule.mark.as_ref().and_then(|mark| mark.route.as_deref()).is_some_and(declared));
    let in_slots = |to: &TargetGroupRef| declaration.slots.iter().any(|slot| slot.position(to).is_some());
    let naming = |rule: &SeenRule| {
        let by = match rule.number {
            None => format!("the default action of {listener}"),
            Some(number) => format!("rule {} (number {number})", rule.rule),
        };
        let to: Vec<_> = rule.forwards.iter().map(|(to, _)| to).filter(|to| in_slots(to)).cloned().collect();
        to.into_iter().map(move |target_group| Naming { by: by.clone(), target_group })
    };
    others.flat_map(naming).collect()
}

/// One look at a target group; the inner error is a sentence for the person who declared it.
type SlotLook = Result<Result<SeenTargetGroup, String>, Fault>;

/// The target groups of a slot; `None` where a fault says why.
type SeenSlot = Vec<Option<SeenTargetGroup>>;

/// What a slot shows, with its faults noted.
fn note_slot(
    survey: &mut Survey,
    declaration: &Declaration,
    i: usize,
    target_groups: Vec<Result<SeenTargetGroup, String>>,
) -> SeenSlot {
    let mut seen = Vec::with_capacity(target_groups.len());
    for (position, target_group) in target_groups.into_iter().enumerate() {
        if let Err(detail) = &target_group {
            survey.faults.push(FieldFault::new(declaration.pointer_to(i, position), detail.clone()));
        }
        seen.push(target_group.ok());
    }
    let whole: Option<Vec<_>> = seen.iter().map(Option::as_ref).collect();
    survey.slots[i] = whole.map(|whole| SlotSurvey {
        targets: targets(&whole).count(),
        load_balancers: whole.iter().map(|target_group| target_group.load_balancer.clone()).collect(),
        sticky: whole.iter().any(|target_group| target_group.sticky_for.is_some()),
        traits: whole.iter().map(|target_group| target_group.traits.clone()).collect(),
    });
    seen
}

fn targets(slot: &[&SeenTargetGroup]) -> Targets {
    Targets::in_all(&slot.iter().map(|target_group| target_group.targets.clone()).collect::<Vec<_>>())
}

/// For how long sessions stick to a target of those that a route's rule may name: the target groups at the position of the one
/// that its base forwards to.
fn sticky_for(forwards: &[(TargetGroupRef, u32)], slots: &[SlotRef], seen_slots: &[SeenSlot]) -> Option<Option<i32>> {
    let position = forwards.iter().find_map(|(to, _)| slots.iter().find_map(|slot| slot.position(to)))?;
    seen_slots.iter().find_map(|slot| slot.get(position)?.as_ref()?.sticky_for)
}

/// The group that serves now; healthy as far as the declared slots that it is in say so.
fn note_blue(
    survey: &mut Survey,
    name: &GroupName,
    groups: &BTreeMap<GroupName, Arc<SeenGroup>>,
    slots: &[SlotRef],
    seen_slots: &[SeenSlot],
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
        .filter(|(slot, _)| Attached::to(slot, &group.target_groups) == Attached::Everywhere)
        .filter_map(|(_, seen)| seen.iter().map(Option::as_ref).collect::<Option<Vec<_>>>())
        .map(|seen| group.servers(Some(&targets(&seen))).healthy)
        .max();
    survey.blue = Some(BlueSurvey {
        group: name.clone(),
        attached: group.target_groups.clone(),
        size: group.desired,
        healthy: healthy.unwrap_or(0),
        min: group.min,
        max: group.max,
        protected: group.protected,
        image: group.image.clone(),
        template: group.template.clone(),
        subnets: group.subnets.clone(),
        scaling: serde_json::Value::Null,
    });
}

/// What scales blue, and the same in the form that the plan keeps.
async fn scaling_of(
    clients: &Clients,
    blue: Option<&GroupName>,
    deadline: Instant,
) -> Result<(serde_json::Value, SeenScaling), Fault> {
    let Some(blue) = blue else { return Ok((serde_json::Value::Null, SeenScaling::default())) };
    let seen = scaling::of(clients, blue, deadline).await?;
    let form = if seen.form.is_empty() { Ok(serde_json::Value::Null) } else { serde_json::to_value(&seen.form) };
    let form = form.map_err(|error| fault::rejected("DescribePolicies", format!("it could not be kept: {error}")))?;
    Ok((form, seen))
}
