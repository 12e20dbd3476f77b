//! Reads a JSON value piece by piece and goes on after a fault, so that one answer names them all.
//!
//! Why not serde: it stops at the first fault. Every reader here returns `None` where it has left a fault behind, and a value is
//! only put together at the end, when all its pieces were read.

use std::{collections::HashSet, ops::RangeInclusive, time::Duration};

use serde_json::{Map, Value};

use crate::domain::{survey::FieldFault, time, weight::Weight};

/// At most this many faults are told at once; the rest is counted.
pub const FAULTS_MAX: usize = 200;
/// Durations are short texts; nothing longer is looked at.
const DURATION_CHARS_MAX: usize = 64;

/// What is wrong so far.
#[derive(Debug, Default)]
pub(super) struct Faults {
    told: Vec<FieldFault>,
    untold: usize,
}

impl Faults {
    pub(super) fn add(&mut self, at: impl Into<String>, detail: impl Into<String>) {
        if self.told.len() < FAULTS_MAX {
            self.told.push(FieldFault::new(at, detail));
        } else {
            self.untold += 1;
        }
    }

    /// The value, if nothing was wrong with it.
    pub(super) fn unless_any<T>(mut self, value: Option<T>) -> Result<T, Vec<FieldFault>> {
        if self.untold > 0 {
            self.told.push(FieldFault::new("", format!("and {} more faults", self.untold)));
        }
        match value {
            Some(value) if self.told.is_empty() => Ok(value),
            _ => Err(self.told),
        }
    }
}

/// One value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    /// JSON pointer (RFC 6901).
    pub(super) at: String,
    pub(super) value: &'a Value,
}

/// The members of one object, its unknown ones already told.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    at: String,
    map: &'a Map<String, Value>,
    known: &'static [&'static str],
}

impl<'a> Node<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self { at: String::new(), value }
    }

    /// An object with no members but the `known` ones.
    pub(super) fn fields(&self, known: &'static [&'static str], faults: &mut Faults) -> Option<Fields<'a>> {
        let Value::Object(map) = self.value else {
            faults.add(&self.at, format!("must be an object, not {}", kind(self.value)));
            return None;
        };
        for name in map.keys().filter(|name| !known.contains(&name.as_str())) {
            faults.add(child(&self.at, name), format!("unknown field; known here: {}", known.join(", ")));
        }
        Some(Fields { at: self.at.clone(), map, known })
    }

    /// A list with as many entries as `length` allows.
    pub(super) fn list(&self, length: RangeInclusive<usize>, faults: &mut Faults) -> Option<Vec<Node<'a>>> {
        let Value::Array(entries) = self.value else {
            faults.add(&self.at, format!("must be a list, not {}", kind(self.value)));
            return None;
        };
        if !length.contains(&entries.len()) {
            faults.add(&self.at, format!("has {} entries; {} to {} are allowed", entries.len(), length.start(), length.end()));
            return None;
        }
        Some(entries.iter().enumerate().map(|(i, value)| Node { at: format!("{}/{i}", self.at), value }).collect())
    }

    /// A text on one line, not empty, at most `chars_max` characters.
    pub(super) fn text(&self, chars_max: usize, faults: &mut Faults) -> Option<&'a str> {
        let text = self.prose(chars_max, faults)?;
        if text.trim().is_empty() {
            faults.add(&self.at, "must not be empty");
            return None;
        }
        if text.contains(['\n', '\t']) {
            faults.add(&self.at, "must be one line without tabs");
            return None;
        }
        Some(text)
    }

    /// A text that may be empty and may have several lines. Other control characters are refused: no database or provider takes them.
    pub(super) fn prose(&self, chars_max: usize, faults: &mut Faults) -> Option<&'a str> {
        let Value::String(text) = self.value else {
            faults.add(&self.at, format!("must be a text, not {}", kind(self.value)));
            return None;
        };
        let chars = text.chars().take(chars_max + 1).count();
        if chars > chars_max {
            faults.add(&self.at, format!("is longer than {chars_max} characters"));
            return None;
        }
        if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
            faults.add(&self.at, "must not contain control characters");
            return None;
        }
        Some(text)
    }

    /// A whole number within `range`; `2.0` is one too.
    pub(super) fn whole(&self, range: RangeInclusive<u32>, faults: &mut Faults) -> Option<u32> {
        let number = self.value.as_u64().or_else(|| {
            let float = self.value.as_f64()?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "whole and within u32 was just checked"
            )]
            (float.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&float)).then_some(float as u64)
        });
        let whole = number.and_then(|number| u32::try_from(number).ok()).filter(|number| range.contains(number));
        if whole.is_none() {
            faults.add(&self.at, format!("must be a whole number from {} to {}", range.start(), range.end()));
        }
        whole
    }

    /// Percent with at most one decimal.
    pub(super) fn weight(&self, faults: &mut Faults) -> Option<Weight> {
        let weight = self.value.as_f64().and_then(Weight::from_percent);
        if weight.is_none() {
            faults.add(&self.at, "must be a number from 0 to 100 with at most one decimal: the percentage of traffic on green");
        }
        weight
    }

    /// `"90s"`, `"5m"`, `"1h30m"`.
    pub(super) fn duration(&self, faults: &mut Faults) -> Option<Duration> {
        let text = self.text(DURATION_CHARS_MAX, faults)?;
        time::parse_duration(text).map_err(|wanted| faults.add(&self.at, format!("must be {wanted}"))).ok()
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)], faults: &mut Faults) -> Option<T> {
        let found = self.value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
        if found.is_none() {
            let all: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            faults.add(&self.at, format!("must be {}", all.join(" or ")));
        }
        found.map(|(_, meaning)| *meaning)
    }

    /// A list of different texts.
    pub(super) fn different_texts(
        &self,
        length: RangeInclusive<usize>,
        chars_max: usize,
        faults: &mut Faults,
    ) -> Option<Vec<&'a str>> {
        let entries = self.list(length, faults)?;
        let mut seen = HashSet::new();
        let texts: Vec<_> = entries
            .iter()
            .map(|entry| {
                let text = entry.text(chars_max, faults)?;
                let new = seen.insert(text);
                if !new {
                    faults.add(&entry.at, "is in the list twice");
                }
                new.then_some(text)
            })
            .collect();
        texts.into_iter().collect()
    }
}

impl<'a> Fields<'a> {
    /// Tells a fault of a member.
    pub(super) fn add(&self, name: &str, detail: &str, faults: &mut Faults) {
        faults.add(child(&self.at, name), detail);
    }

    /// A member that may be left out; `null` is the same.
    pub(super) fn optional(&self, name: &'static str) -> Option<Node<'a>> {
        debug_assert!(self.known.contains(&name), "{name} is read but not among the known fields");
        let value = self.map.get(name).filter(|value| !value.is_null())?;
        Some(Node { at: child(&self.at, name), value })
    }

    /// A member that must be there.
    pub(super) fn required(&self, name: &'static str, faults: &mut Faults) -> Option<Node<'a>> {
        let node = self.optional(name);
        if node.is_none() {
            faults.add(child(&self.at, name), "is required");
        }
        node
    }

    /// `read` of a member, or `default` where it was left out.
    pub(super) fn or<T>(
        &self,
        name: &'static str,
        default: T,
        faults: &mut Faults,
        read: impl FnOnce(Node<'a>, &mut Faults) -> Option<T>,
    ) -> Option<T> {
        match self.optional(name) {
            Some(node) => read(node, faults),
            None => Some(default),
        }
    }

    /// `read` of a member that may be left out.
    pub(super) fn maybe<T>(
        &self,
        name: &'static str,
        faults: &mut Faults,
        read: impl FnOnce(Node<'a>, &mut Faults) -> Option<T>,
    ) -> Option<Option<T>> {
        self.or(name, None, faults, |node, faults| read(node, faults).map(Some))
    }

    /// A member that later work brings: accepted only where it says nothing.
    pub(super) fn not_yet(&self, name: &'static str, faults: &mut Faults) {
        let says_nothing = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(entries) => entries.is_empty(),
            Value::Object(members) => members.is_empty(),
            Value::Bool(true) | Value::Number(_) | Value::String(_) => false,
        };
        if let Some(node) = self.optional(name).filter(|node| !says_nothing(node.value)) {
            faults.add(node.at, format!("`{name}` is not supported yet: leave it out"));
        }
    }
}

/// The pointer of a member: `~` and `/` are escaped as RFC 6901 wants.
pub(super) fn child(at: &str, name: &str) -> String {
    let mut pointer = String::with_capacity(at.len() + name.len() + 1);
    pointer.push_str(at);
    pointer.push('/');
    for c in name.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
    pointer
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
