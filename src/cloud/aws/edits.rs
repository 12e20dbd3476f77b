//! What of a route is not as planned, weights aside: base and overlay held against the plan's copy of the base.
//!
//! AWS answers in other forms than it was sent (conditions twice and in its own order, an order of actions where there is only
//! one, a stickiness that is off), so rules are compared by what they *mean*, written out in full: equal words, equal rules.

use super::{
    conditions::{ConditionForm, TransformForm},
    form::{Form, Stickiness},
    rules::SeenRule,
};
use crate::domain::{
    ids::TargetGroupRef,
    numbers,
    observation::{Edit, Edited, Field, Forward, Layer},
    plan::RoutePlan,
};

/// A rule with where it was seen to forward.
pub(super) type SeenForward<'a> = (&'a SeenRule, Forward);

/// How a route differs from its plan; `None` when it does not. An overlay that is missing is no edit.
pub(super) fn of_route(
    planned: &RoutePlan,
    base: Option<SeenForward<'_>>,
    overlay: Option<SeenForward<'_>>,
    rules: &[SeenRule],
) -> Option<Box<Edited>> {
    let form: Form = match serde_json::from_value(planned.form.clone()) {
        Ok(form) => form,
        // Not kept by this adapter: nothing can be held against it.
        Err(_) => return None,
    };
    let Some((base, base_forward)) = base else { return Some(Box::new(gone(&form, planned, overlay))) };
    let base_form = base.form();
    let base_is = base_form.clone().map(Meaning::of_base);
    let (base_was, overlay_was) = (Meaning::of_base(&form), Meaning::of_overlay(&form, planned));

    let mut edits = number(Layer::Base, planned.base_number, base.number);
    edits.extend(elsewhere(Layer::Base, base, base_forward));
    edits.extend(differences(Layer::Base, &base_was, &base_is));
    let as_now = base_is.as_ref().is_ok_and(|is| *is != base_was);
    let now = base_form.ok().filter(|_| as_now).map(|seen| Form { split_stickiness: form.split_stickiness, ..seen.clone() });
    let (mut overlay_as_planned, mut overlay_as_base) = (true, now.is_none());
    if let Some((overlay, forward)) = overlay {
        let is = overlay.form().map(Meaning::of_base);
        overlay_as_planned = is.as_ref().is_ok_and(|is| *is == overlay_was);
        overlay_as_base = match &now {
            Some(now) => is.as_ref().is_ok_and(|is| *is == Meaning::of_overlay(now, planned)),
            None => overlay_as_planned,
        };
        edits.extend(number(Layer::Overlay, Some(planned.overlay_number), overlay.number));
        edits.extend(elsewhere(Layer::Overlay, overlay, forward));
        if !overlay_as_planned && !overlay_as_base {
            edits.extend(differences(Layer::Overlay, &overlay_was, &is));
        }
    }
    let alike = overlay_as_planned || overlay_as_base;
    let as_seen = || {
        if let Err(unread) = &base_is {
            return Err(unread.clone());
        }
        if !alike {
            return Err("the overlay is like neither the recorded base nor the present one: restore it".to_owned());
        }
        if overlay.is_some_and(|(overlay, _)| overlay.number != Some(planned.overlay_number)) {
            return Err(format!("number {} is reserved for the overlay: put it back there", planned.overlay_number));
        }
        taken(planned, base, now.as_ref(), rules)
    };
    (!edits.is_empty()).then(|| Box::new(Edited { as_seen: as_seen(), edits, overlay_as_planned, overlay_as_base }))
}

/// A base that was deleted.
fn gone(form: &Form, planned: &RoutePlan, overlay: Option<SeenForward<'_>>) -> Edited {
    let overlay_was = Meaning::of_overlay(form, planned);
    let is_it = |(rule, _): SeenForward<'_>| rule.form().is_ok_and(|form| Meaning::of_base(form) == overlay_was);
    Edited {
        edits: vec![edit(Layer::Base, Field::Rule, "there", "deleted")],
        overlay_as_planned: overlay.is_none_or(is_it),
        overlay_as_base: false,
        as_seen: Err("the base was deleted".to_owned()),
    }
}

/// The route's plan with the base as it is now, where an overlay of it would still be in its place.
fn taken(planned: &RoutePlan, base: &SeenRule, now: Option<&Form>, rules: &[SeenRule]) -> Result<RoutePlan, String> {
    let mut plan = RoutePlan { base_number: base.number, ..planned.clone() };
    if let Some(form) = now {
        plan.form = serde_json::to_value(form).map_err(|error| format!("it could not be kept: {error}"))?;
    }
    if let Some(number) = base.number {
        let others = rules.iter().filter(|rule| rule.number != Some(planned.overlay_number));
        let others = others.filter_map(|rule| Some((&rule.rule, rule.number?, rule.conditions().to_vec())));
        numbers::still_fits((planned.shield_number, planned.overlay_number), number, base.conditions(), others)?;
    }
    Ok(plan)
}

/// What a rule matches and does, its weights and where it forwards aside, in words.
#[derive(Debug, PartialEq, Eq)]
struct Meaning {
    conditions: String,
    actions: String,
    transforms: String,
}

impl Meaning {
    fn of_base(form: &Form) -> Self {
        Self::of(&form.conditions, form, form.stickiness())
    }

    /// An overlay of that base.
    fn of_overlay(form: &Form, planned: &RoutePlan) -> Self {
        let stickiness = form.split_stickiness.or(form.stickiness());
        match planned.base_number {
            Some(_) => Self::of(&form.conditions, form, stickiness),
            None => Self::of(&[ConditionForm::everything()], form, stickiness),
        }
    }

    fn of(conditions: &[ConditionForm], form: &Form, stickiness: Option<Stickiness>) -> Self {
        Self {
            conditions: matched(conditions),
            actions: form.told(stickiness),
            transforms: or(form.transforms.iter().map(TransformForm::told).collect::<Vec<_>>().join("; "), "none"),
        }
    }
}

/// What a rule with these conditions takes, in words.
pub(super) fn matched(conditions: &[ConditionForm]) -> String {
    let mut conditions: Vec<_> = conditions.iter().map(ConditionForm::told).collect();
    conditions.sort();
    or(conditions.join("; "), "every request")
}

fn or(text: String, empty: &str) -> String {
    if text.is_empty() { empty.to_owned() } else { text }
}

/// Field by field; what cannot be read is one difference, in the words that say so.
fn differences(rule: Layer, was: &Meaning, is: &Result<Meaning, String>) -> Vec<Edit> {
    let is = match is {
        Ok(is) => is,
        Err(unread) => return vec![edit(rule, Field::Actions, &was.actions, unread)],
    };
    let fields = [
        (Field::Conditions, &was.conditions, &is.conditions),
        (Field::Actions, &was.actions, &is.actions),
        (Field::Transforms, &was.transforms, &is.transforms),
    ];
    fields.into_iter().filter(|(_, was, is)| was != is).map(|(field, was, is)| edit(rule, field, was, is)).collect()
}

fn number(rule: Layer, was: Option<u32>, is: Option<u32>) -> Vec<Edit> {
    let told = |number: Option<u32>| number.map_or_else(|| "default".to_owned(), |number| number.to_string());
    if was == is { Vec::new() } else { vec![edit(rule, Field::Number, &told(was), &told(is))] }
}

/// A rule that forwards to another slot, or not at all.
fn elsewhere(layer: Layer, rule: &SeenRule, forward: Forward) -> Option<Edit> {
    if forward != Forward::Elsewhere {
        return None;
    }
    let recorded = match layer {
        Layer::Base => "to blue",
        Layer::Overlay | Layer::Other => "to blue and green",
    };
    let to: Vec<_> = rule.forwards.iter().map(|(slot, weight)| format!("{} {weight}", short(slot))).collect();
    Some(edit(
        layer,
        Field::Forward,
        recorded,
        &if to.is_empty() { "nowhere".to_owned() } else { format!("to {}", to.join(", ")) },
    ))
}

/// A target group's name, out of its ARN.
pub(super) fn short(slot: &TargetGroupRef) -> &str {
    slot.as_str().rsplit('/').nth(1).unwrap_or(slot.as_str())
}

fn edit(rule: Layer, field: Field, recorded: &str, seen: &str) -> Edit {
    Edit { rule, field, recorded: recorded.to_owned(), seen: seen.to_owned() }
}
