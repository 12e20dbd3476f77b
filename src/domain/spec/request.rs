//! Reads what is asked of a service or a deployment: a release, and the bodies of commands.

use serde_json::Value;

use super::{
    declaration::strategy,
    reader::{Faults, Fields, Node},
};
use crate::domain::{command::PromoteTo, declaration::Strategy, ids::Image, survey::FieldFault, weight::Weight};

/// The longest reason anyone may give.
pub const REASON_CHARS_MAX: usize = 500;
/// The longest version label: a git sha, a tag, a build's name.
pub const VERSION_CHARS_MAX: usize = 128;
const IMAGE_CHARS_MAX: usize = 64;

/// A release as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    pub image: Image,
    pub version: Option<String>,
    pub reason: Option<String>,
    /// Replaces the declared strategy whole.
    pub strategy: Option<Strategy>,
}

/// Reads a request for a deployment.
///
/// # Errors
/// Every fault at once, with pointers into `value`.
pub fn release(value: &Value) -> Result<Release, Vec<FieldFault>> {
    read(value, &["image", "image_from", "version", "reason", "strategy", "on_conflict", "force"], |fields, faults| {
        fields.not_yet("image_from", faults);
        fields.not_yet("force", faults);
        let conflict = fields.or("on_conflict", (), faults, |node, faults| on_conflict(&node, faults));
        let image = fields.required("image", faults).and_then(|node| {
            let text = node.text(IMAGE_CHARS_MAX, faults)?;
            Image::parse(text).map_err(|wanted| faults.add(node.at, wanted)).ok()
        });
        let version = fields.maybe("version", faults, |node, faults| node.text(VERSION_CHARS_MAX, faults).map(str::to_owned));
        let reason = given_reason(fields, faults);
        let strategy = fields.maybe("strategy", faults, |node, faults| strategy(&node, faults));
        conflict?;
        Some(Release { image: image?, version: version?, reason: reason?, strategy: strategy? })
    })
}

fn on_conflict(node: &Node<'_>, faults: &mut Faults) -> Option<()> {
    if let Some(word @ ("queue" | "supersede")) = node.value.as_str() {
        faults.add(&node.at, format!("`on_conflict` \"{word}\" is not supported yet: use \"reject\""));
        return None;
    }
    node.word(&[("reject", ())], faults)
}

/// Reads the body of a command that takes nothing but a reason.
///
/// # Errors
/// Every fault at once, with pointers into `value`.
pub fn reason(value: &Value) -> Result<Option<String>, Vec<FieldFault>> {
    read(value, &["reason"], given_reason)
}

/// Reads the body of `promote`: without `to` it is the next stage, the smaller step.
///
/// # Errors
/// Every fault at once, with pointers into `value`.
pub fn promote(value: &Value) -> Result<(PromoteTo, Option<String>), Vec<FieldFault>> {
    read(value, &["to", "reason"], |fields, faults| {
        let words = [("next", PromoteTo::Next), ("full", PromoteTo::Full)];
        let to = fields.or("to", PromoteTo::Next, faults, |node, faults| node.word(&words, faults));
        let reason = given_reason(fields, faults);
        Some((to?, reason?))
    })
}

/// Reads the body of `weight`: `{"green": 12.5}`.
///
/// # Errors
/// Every fault at once, with pointers into `value`.
pub fn weight(value: &Value) -> Result<(Weight, Option<String>), Vec<FieldFault>> {
    read(value, &["green", "reason"], |fields, faults| {
        let green = fields.required("green", faults).and_then(|node| node.weight(faults));
        let reason = given_reason(fields, faults);
        Some((green?, reason?))
    })
}

fn given_reason(fields: &Fields<'_>, faults: &mut Faults) -> Option<Option<String>> {
    fields.maybe("reason", faults, |node, faults| node.prose(REASON_CHARS_MAX, faults).map(str::to_owned))
}

fn read<T>(
    value: &Value,
    known: &'static [&'static str],
    with: impl FnOnce(&Fields<'_>, &mut Faults) -> Option<T>,
) -> Result<T, Vec<FieldFault>> {
    let mut faults = Faults::default();
    let read = Node::root(value).fields(known, &mut faults).and_then(|fields| with(&fields, &mut faults));
    faults.unless_any(read)
}
