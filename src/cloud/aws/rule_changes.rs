//! Changes of rules: overlays, weights, bases, shields. Those of several routes go side by side; the worst fault is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use aws_sdk_elasticloadbalancingv2::types::{Action as RuleAction, RuleCondition, RuleTransform};
use futures::future::join_all;

use super::{
    AwsCloud, arn,
    client::Clients,
    conditions::{ConditionForm, TransformForm},
    fault,
    form::{Form, some},
    names::{self, Whose},
    operation::Operation,
    rules::{self, SeenRule},
    weights,
};
use crate::{
    domain::{
        action::{Shape, Side},
        declaration::Preview,
        ids::{ListenerRef, RuleRef, SlotRef, TargetGroupRef},
        numbers,
        plan::{Plan, RoutePlan},
        survey::Role,
        weight::Weight,
    },
    engine::ports::{Fault, FaultKind},
};

/// Numbers tried for one shield: each that is taken costs a look.
const SHIELD_TRIES_MAX: usize = 5;

/// What every change needs.
#[derive(Clone, Copy)]
pub(super) struct RuleChanges<'a> {
    pub(super) cloud: &'a AwsCloud,
    pub(super) clients: &'a Clients,
    pub(super) whose: Whose<'a>,
    pub(super) deadline: Instant,
}

/// What became of a rule that was to be created.
enum Created {
    Yes,
    NumberInUse(Fault),
}

impl RuleChanges<'_> {
    pub(super) async fn open_overlays(self, plan: &Plan, routes: &[usize]) -> Result<(), Fault> {
        self.each(plan, routes, |route| self.open_overlay(plan, route)).await
    }

    pub(super) async fn raise_shields(self, plan: &Plan, routes: &[usize]) -> Result<(), Fault> {
        self.each(plan, routes, |route| self.raise_shield(plan, route)).await
    }

    /// Only requests that carry the header, and on the shield's number: nobody needs that one yet.
    pub(super) async fn open_previews(self, plan: &Plan, routes: &[usize]) -> Result<(), Fault> {
        let preview = plan.preview.as_ref();
        let preview =
            preview.ok_or_else(|| fault::rejected(Operation::CreateRule.name(), "no preview was planned".to_owned()))?;
        self.each(plan, routes, |route| self.open_preview(plan, preview, route)).await
    }

    pub(super) async fn set_base(self, plan: &Plan, routes: &[usize], to: Side) -> Result<(), Fault> {
        self.each(plan, routes, |route| self.set_one_base(plan, route, to)).await
    }

    /// Weights go to the rules that were recorded and to no others: one that is gone is missing, never made again.
    pub(super) async fn set_weight(self, plan: &Plan, routes: &[(usize, RuleRef)], weight: Weight) -> Result<(), Fault> {
        let calls = routes.iter().map(|(i, rule)| async move {
            let route = planned(plan, *i)?;
            self.modify(rule, split(&form(route)?, plan, route, weight)?).await
        });
        fault::worst(join_all(calls).await)
    }

    /// Conditions, actions and weights of recorded overlays, by one call each.
    pub(super) async fn reshape_overlays(self, plan: &Plan, shapes: &[Shape]) -> Result<(), Fault> {
        let calls = shapes.iter().map(|shape| async move {
            let planned = planned(plan, shape.route)?;
            let form = form(&RoutePlan { form: shape.form.clone(), ..planned.clone() })?;
            self.rewrite(&shape.rule, conditions(&form), split(&form, plan, planned, shape.weight)?, &form).await
        });
        fault::worst(join_all(calls).await)
    }

    /// Bases as the plan has them, on blue; a default action has nothing but its actions.
    pub(super) async fn restore_bases(self, plan: &Plan, routes: &[usize]) -> Result<(), Fault> {
        let calls = routes.iter().map(|i| async move {
            let route = planned(plan, *i)?;
            if route.base_number.is_none() {
                return self.set_one_base(plan, route, Side::Blue).await;
            }
            let form = form(route)?;
            let base = RuleRef::new(route.route.as_str());
            self.rewrite(&base, conditions(&form), form.to_one(target_group(plan, route, Side::Blue)?), &form).await
        });
        fault::worst(join_all(calls).await)
    }

    pub(super) async fn delete(self, rules: &[RuleRef]) -> Result<(), Fault> {
        delete(self.clients, rules, self.deadline).await
    }

    async fn each<'p, F>(self, plan: &'p Plan, routes: &[usize], change: impl Fn(&'p RoutePlan) -> F) -> Result<(), Fault>
    where
        F: Future<Output = Result<(), Fault>>,
    {
        let change = &change;
        let calls = routes.iter().map(|i| async move { change(planned(plan, *i)?).await });
        fault::worst(join_all(calls).await)
    }

    /// An overlay is created at weight 0 and never with any other.
    async fn open_overlay(self, plan: &Plan, route: &RoutePlan) -> Result<(), Fault> {
        let form = form(route)?;
        let rule = Rule::of(&form, split(&form, plan, route, Weight::NONE)?);
        self.make(route, route.overlay_number, Role::Overlay, rule).await
    }

    /// A rule of a kind that there is one of, on its reserved number.
    async fn make(self, route: &RoutePlan, number: u32, role: Role, rule: Rule) -> Result<(), Fault> {
        match self.create(route, number, role, rule).await? {
            Created::Yes => Ok(()),
            Created::NumberInUse(fault) => match self.who_has(route, number).await {
                Some(rule) if self.is_ours(&rule, route, role) => Ok(()),
                Some(rule) if rule.mark.as_ref().is_some_and(|mark| mark.is_passing(&self.cloud.installation)) => {
                    Err(Fault { kind: FaultKind::Transient, ..fault })
                }
                Some(rule) => {
                    let reserved_for = if number == route.overlay_number { "overlay" } else { "shield" };
                    let said = format!("rule {} has taken number {number}, reserved for the {reserved_for}", rule.rule);
                    Err(fault::rejected(fault.operation, said))
                }
                // A look that failed, or showed nobody: whose it is stays unknown.
                None => Err(Fault { kind: FaultKind::Transient, ..fault }),
            },
        }
    }

    /// A drill's rule does what its base does: the same requests to the same servers.
    pub(super) async fn open_drills(self, slot: &SlotRef, routes: &[&RoutePlan]) -> Result<(), Fault> {
        let calls = routes.iter().map(|route| async move {
            let form = form(route)?;
            let rule = Rule::of(&form, form.to_one(target_group_of(slot, route)?));
            self.make(route, route.overlay_number, Role::Drill, rule).await
        });
        fault::worst(join_all(calls).await)
    }

    async fn open_preview(self, plan: &Plan, preview: &Preview, route: &RoutePlan) -> Result<(), Fault> {
        let mut form = form(route)?;
        form.conditions.push(ConditionForm::header(&preview.header, &preview.value));
        let rule = Rule::of(&form, form.to_one(target_group(plan, route, Side::Green)?));
        self.make(route, route.shield_number, Role::Preview, rule).await
    }

    /// The reserved number first; were it taken by somebody else, the free one nearest under the overlay's. (Walking down
    /// from the overlay, the first free number is the nearest one, whether what lies between is disjoint or not.)
    async fn raise_shield(self, plan: &Plan, route: &RoutePlan) -> Result<(), Fault> {
        let shield = shield(plan, route)?;
        let mut number = route.shield_number;
        let mut refused = Vec::new();
        for _ in 0..SHIELD_TRIES_MAX {
            let fault = match self.create(route, number, Role::Shield, shield.clone()).await? {
                Created::Yes => return Ok(()),
                Created::NumberInUse(fault) => fault,
            };
            let rules = self.look(route).await.map_err(|_| Fault { kind: FaultKind::Transient, ..fault.clone() })?;
            if rules.iter().any(|rule| self.is_ours(rule, route, Role::Shield)) {
                return Ok(());
            }
            refused.push(number);
            let taken: Vec<_> = rules.iter().filter_map(|rule| rule.number).chain(refused.iter().copied()).collect();
            number = numbers::nearest_free_under(route.overlay_number, &taken)
                .ok_or_else(|| fault::rejected(fault.operation, "no number under the overlay's is free".to_owned()))?;
        }
        Err(Fault {
            kind: FaultKind::Transient,
            ..fault::rejected(Operation::CreateRule.name(), format!("numbers {refused:?} were all taken while it was tried"))
        })
    }

    async fn create(
        self,
        route: &RoutePlan,
        number: u32,
        role: Role,
        Rule { conditions, actions, transforms }: Rule,
    ) -> Result<Created, Fault> {
        const OPERATION: Operation = Operation::CreateRule;
        let (tags, mark) = names::rule_tags(&self.cloud.installation, self.whose, &route.route, role);
        let call = |fence| {
            let call = self.clients.elb.create_rule().listener_arn(route.listener.as_str()).priority(signed(number));
            let call = call.set_conditions(Some(conditions)).set_actions(Some(actions)).set_transforms(transforms);
            call.set_tags(Some(tags)).customize().interceptor(fence).send()
        };
        match self.clients.change(OPERATION, self.deadline, call).await {
            Ok(answer) => {
                // Saves asking for the tags that were just given.
                if let Some(arn) = answer.rules().first().and_then(|rule| rule.rule_arn()) {
                    self.cloud.marks.remember(RuleRef::new(arn), mark);
                }
                Ok(Created::Yes)
            }
            Err(fault) if fault.code.as_deref() == Some("PriorityInUse") => Ok(Created::NumberInUse(fault)),
            Err(fault) => Err(fault),
        }
    }

    async fn modify(self, rule: &RuleRef, actions: Vec<RuleAction>) -> Result<(), Fault> {
        let call = |fence| {
            let call = self.clients.elb.modify_rule().rule_arn(rule.as_str()).set_actions(Some(actions));
            call.customize().interceptor(fence).send()
        };
        self.clients.change(Operation::ModifyRule, self.deadline, call).await.map(|_| ())
    }

    /// All of a rule but its number. Transforms that are to be none have to be reset: an empty list changes nothing.
    async fn rewrite(
        self,
        rule: &RuleRef,
        conditions: Vec<RuleCondition>,
        actions: Vec<RuleAction>,
        form: &Form,
    ) -> Result<(), Fault> {
        let transforms = transforms(form);
        let reset = transforms.is_none().then_some(true);
        let call = |fence| {
            let call = self.clients.elb.modify_rule().rule_arn(rule.as_str());
            let call = call.set_conditions(Some(conditions)).set_actions(Some(actions));
            call.set_transforms(transforms).set_reset_transforms(reset).customize().interceptor(fence).send()
        };
        self.clients.change(Operation::ModifyRule, self.deadline, call).await.map(|_| ())
    }

    /// A default action is the listener's own, not a rule's.
    async fn set_one_base(self, plan: &Plan, route: &RoutePlan, to: Side) -> Result<(), Fault> {
        let actions = form(route)?.to_one(target_group(plan, route, to)?);
        if route.base_number.is_some() {
            return self.modify(&RuleRef::new(route.route.as_str()), actions).await;
        }
        let call = |fence| {
            let call = self.clients.elb.modify_listener().listener_arn(route.listener.as_str());
            call.set_default_actions(Some(actions)).customize().interceptor(fence).send()
        };
        self.clients.change(Operation::ModifyListener, self.deadline, call).await.map(|_| ())
    }

    async fn look(self, route: &RoutePlan) -> Result<Vec<SeenRule>, Fault> {
        rules::of_listener(self.clients, &self.cloud.marks, &route.listener, self.deadline).await
    }

    async fn who_has(self, route: &RoutePlan, number: u32) -> Option<SeenRule> {
        self.look(route).await.ok()?.into_iter().find(|rule| rule.number == Some(number))
    }

    fn is_ours(self, rule: &SeenRule, route: &RoutePlan, role: Role) -> bool {
        rule.mark.as_ref().is_some_and(|mark| {
            mark.installation == self.cloud.installation
                && mark.deployment == Some(self.whose.id)
                && mark.role == Some(role)
                && mark.is_for(&route.route)
        })
    }
}

/// Rules of ours, gone already or not.
pub(super) async fn delete(clients: &Clients, rules: &[RuleRef], deadline: Instant) -> Result<(), Fault> {
    let calls = rules.iter().map(|rule| async move {
        let call = |fence| clients.elb.delete_rule().rule_arn(rule.as_str()).customize().interceptor(fence).send();
        clients.change(Operation::DeleteRule, deadline, call).await.map(|_| ())
    });
    let mut answers = join_all(calls).await;
    let refused: Vec<_> = rules.iter().zip(&answers).filter(|(_, answer)| is_kind(answer, FaultKind::Denied)).collect();
    let gone = gone_of(clients, refused.into_iter().map(|(rule, _)| rule), deadline).await;
    for (rule, answer) in rules.iter().zip(&mut answers) {
        // Gone already, which is all that was wanted.
        if is_kind(answer, FaultKind::Missing) || is_kind(answer, FaultKind::Denied) && gone.contains(rule) {
            *answer = Ok(());
        }
    }
    fault::worst(answers)
}

fn is_kind(answer: &Result<(), Fault>, kind: FaultKind) -> bool {
    answer.as_ref().is_err_and(|fault| fault.kind == kind)
}

/// Which of these rules are seen not to be there. A policy that goes by tags has none to go by once a rule is gone, and AWS then
/// says that its deletion is denied. One look a listener; after one that failed the refusal stands.
async fn gone_of<'r>(
    clients: &Clients,
    refused: impl Iterator<Item = &'r RuleRef>,
    deadline: Instant,
) -> BTreeSet<&'r RuleRef> {
    let mut listeners: BTreeMap<ListenerRef, Vec<&RuleRef>> = BTreeMap::new();
    for rule in refused {
        if let Some(listener) = arn::listener_of(rule) {
            listeners.entry(listener).or_default().push(rule);
        }
    }
    let looks = listeners.into_iter().map(|(listener, refused)| async move {
        let there = match rules::listed(clients, &listener, deadline).await {
            Ok(there) => there,
            // It went with its rules.
            Err(fault) if fault.kind == FaultKind::Missing => Vec::new(),
            Err(_) => return Vec::new(),
        };
        refused.into_iter().filter(|rule| !there.iter().any(|seen| &seen.rule == *rule)).collect::<Vec<_>>()
    });
    join_all(looks).await.into_iter().flatten().collect()
}

fn planned(plan: &Plan, i: usize) -> Result<&RoutePlan, Fault> {
    plan.routes.get(i).ok_or_else(|| fault::rejected(Operation::ModifyRule.name(), format!("the plan has no route {i}")))
}

/// The base as it was when the plan was made.
fn form(route: &RoutePlan) -> Result<Form, Fault> {
    // Kept as JSON: read by value, so that no borrow of the record outlives a call.
    serde_json::from_value(route.form.clone()).map_err(|error| {
        fault::rejected(Operation::CreateRule.name(), format!("the plan's copy of {} cannot be read: {error}", route.route))
    })
}

/// A rule as it is to be made, its number and tags aside.
#[derive(Clone)]
pub(super) struct Rule {
    pub(super) conditions: Vec<RuleCondition>,
    pub(super) actions: Vec<RuleAction>,
    pub(super) transforms: Option<Vec<RuleTransform>>,
}

impl Rule {
    /// As its base, with other actions.
    fn of(form: &Form, actions: Vec<RuleAction>) -> Self {
        Self { conditions: conditions(form), actions, transforms: transforms(form) }
    }
}

/// The shield of a route: as its base, all to blue.
pub(super) fn shield(plan: &Plan, route: &RoutePlan) -> Result<Rule, Fault> {
    let form = form(route)?;
    Ok(Rule::of(&form, form.to_one(target_group(plan, route, Side::Blue)?)))
}

/// Whether sessions stick to one of the two sides of a split.
pub(super) fn is_sticky(plan: &Plan) -> Option<bool> {
    let forms = plan.routes.iter().map(form).collect::<Result<Vec<_>, _>>().ok()?;
    Some(forms.iter().any(|form| form.split_stickiness.or(form.stickiness()).is_some_and(|stickiness| stickiness.enabled)))
}

/// What a rule above the base has to match.
fn conditions(form: &Form) -> Vec<RuleCondition> {
    // A default action matches everything, which a rule has to say.
    match form.conditions.as_slice() {
        [] => vec![ConditionForm::everything().write()],
        conditions => conditions.iter().map(ConditionForm::write).collect(),
    }
}

fn transforms(form: &Form) -> Option<Vec<RuleTransform>> {
    some(form.transforms.iter().map(TransformForm::write).collect())
}

fn split(form: &Form, plan: &Plan, route: &RoutePlan, weight: Weight) -> Result<Vec<RuleAction>, Fault> {
    let (blue, green) = weights::to_wire(weight);
    Ok(form.to_both(&[(target_group(plan, route, Side::Blue)?, blue), (target_group(plan, route, Side::Green)?, green)]))
}

/// The target group of a side on the route's load balancer.
fn target_group<'p>(plan: &'p Plan, route: &RoutePlan, side: Side) -> Result<&'p TargetGroupRef, Fault> {
    let slot = match side {
        Side::Blue => &plan.blue_slot,
        Side::Green => &plan.green.slot,
    };
    target_group_of(slot, route)
}

fn target_group_of<'s>(slot: &'s SlotRef, route: &RoutePlan) -> Result<&'s TargetGroupRef, Fault> {
    let position = route.position;
    slot.at(position).ok_or_else(|| fault::rejected("ModifyRule", format!("slot {slot} has no target group {position}")))
}

/// AWS counts priorities as signed; ours end at 50000.
fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
