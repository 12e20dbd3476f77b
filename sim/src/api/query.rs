//! The AWS Query protocol's request: form keys such as `Actions.member.1.Type` become a tree of JSON values.
//!
//! A tree rather than one struct per operation: AWS validates field by field, each with its own message, and a derived
//! deserialiser would answer all of them with its own.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::refusal::Refusal;

/// Form fields a request may have; AWS bounds the body, we bound the tree made of it.
const PAIRS_MAX: usize = 4_000;
/// Levels of a dotted key.
const DEPTH_MAX: usize = 16;

/// The parameters of one request.
#[derive(Debug, Clone)]
pub struct Params(Value);

/// A place in the tree.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a>(&'a Value);

static NOTHING: Value = Value::Null;

impl Params {
    /// # Errors
    /// `MalformedQueryString` when a key is both a value and a structure, or when there are too many.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let mut root = Map::new();
        for (count, (key, value)) in form_urlencoded::parse(body).enumerate() {
            if count >= PAIRS_MAX || key.split('.').count() > DEPTH_MAX {
                return Err(malformed("The request has too many parameters"));
            }
            insert(&mut root, &key, &value)?;
        }
        Ok(Self(lists(Value::Object(root))))
    }

    #[must_use]
    pub fn root(&self) -> Node<'_> {
        Node(&self.0)
    }
}

fn malformed(message: &str) -> Refusal {
    Refusal::new("MalformedQueryString", message).with_status(404)
}

fn insert(root: &mut Map<String, Value>, key: &str, value: &str) -> Result<(), Refusal> {
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().unwrap_or_default();
    let mut here = root;
    for part in parts {
        let next = here.entry(part).or_insert_with(|| Value::Object(Map::new()));
        here = next.as_object_mut().ok_or_else(|| malformed("A parameter is both a value and a structure"))?;
    }
    match here.get(last) {
        Some(Value::Object(_)) => Err(malformed("A parameter is both a value and a structure")),
        _ => {
            here.insert(last.to_owned(), Value::String(value.to_owned()));
            Ok(())
        }
    }
}

/// Turns `{"member": {"1": a, "2": b}}` into `[a, b]`, everywhere.
fn lists(value: Value) -> Value {
    let Value::Object(mut map) = value else { return value };
    if map.len() == 1
        && let Some(Value::Object(members)) = map.get_mut("member")
    {
        let mut numbered: Vec<(u32, Value)> =
            std::mem::take(members).into_iter().filter_map(|(n, value)| Some((n.parse().ok()?, lists(value)))).collect();
        numbered.sort_by_key(|(n, _)| *n);
        return Value::Array(numbered.into_iter().map(|(_, value)| value).collect());
    }
    Value::Object(map.into_iter().map(|(key, value)| (key, lists(value))).collect())
}

impl<'a> Node<'a> {
    fn get(self, key: &str) -> &'a Value {
        self.0.get(key).unwrap_or(&NOTHING)
    }

    /// Whether anything was sent under `key`; an empty list is sent as an empty string and counts.
    #[must_use]
    pub fn has(self, key: &str) -> bool {
        !self.get(key).is_null()
    }

    #[must_use]
    pub fn text(self, key: &str) -> Option<&'a str> {
        self.get(key).as_str()
    }

    /// # Errors
    /// `ValidationError` when missing or empty.
    pub fn required(self, key: &str) -> Result<&'a str, Refusal> {
        self.text(key).filter(|text| !text.is_empty()).ok_or_else(|| {
            let field = lower_first(key);
            Refusal::validation(format!(
                "1 validation error detected: Value null at '{field}' failed to satisfy constraint: Member must not be null"
            ))
        })
    }

    /// # Errors
    /// `ValidationError` when it is no whole number in `range`.
    pub fn whole(self, key: &str, range: std::ops::RangeInclusive<u32>) -> Result<Option<u32>, Refusal> {
        let Some(text) = self.text(key) else { return Ok(None) };
        match text.parse::<i64>() {
            Ok(number) if (i64::from(*range.start())..=i64::from(*range.end())).contains(&number) => {
                Ok(u32::try_from(number).ok())
            }
            _ => {
                let field = lower_first(key);
                Err(Refusal::validation(format!(
                    "1 validation error detected: Value '{text}' at '{field}' failed to satisfy constraint: Member must have \
                     value between {} and {}",
                    range.start(),
                    range.end()
                )))
            }
        }
    }

    /// # Errors
    /// `ValidationError` when it is neither `true` nor `false`.
    pub fn flag(self, key: &str) -> Result<Option<bool>, Refusal> {
        match self.text(key) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(Refusal::validation(format!("'{other}' at '{}' is not a boolean", lower_first(key)))),
        }
    }

    /// # Errors
    /// `ValidationError` when it is no time.
    pub fn time(self, key: &str) -> Result<Option<Timestamp>, Refusal> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let read = text.parse().map(Some);
        read.map_err(|_| Refusal::validation(format!("'{text}' at '{}' is not a timestamp", lower_first(key))))
    }

    #[must_use]
    pub fn child(self, key: &str) -> Option<Node<'a>> {
        Some(self.get(key)).filter(|value| value.is_object()).map(Node)
    }

    #[must_use]
    pub fn list(self, key: &str) -> Vec<Node<'a>> {
        self.get(key).as_array().map(|items| items.iter().map(Node).collect()).unwrap_or_default()
    }

    #[must_use]
    pub fn texts(self, key: &str) -> Vec<String> {
        self.list(key).into_iter().filter_map(|node| node.0.as_str().map(str::to_owned)).collect()
    }

    /// The tree itself, for what is kept as it came.
    #[must_use]
    pub fn raw(self, key: &str) -> Value {
        self.get(key).clone()
    }
}

fn lower_first(key: &str) -> String {
    let mut letters = key.chars();
    letters.next().map(|first| first.to_lowercase().collect::<String>() + letters.as_str()).unwrap_or_default()
}

/// One page of `items`, whose keys ascend or are unique, and the marker of the next.
pub fn page<T>(items: Vec<(String, T)>, marker: Option<&str>, size: usize) -> (Vec<T>, Option<String>) {
    let start = marker.map_or(0, |marker| {
        let same = items.iter().position(|(key, _)| key == marker).map(|at| at + 1);
        same.or_else(|| items.iter().position(|(key, _)| key.as_str() > marker)).unwrap_or(items.len())
    });
    let more = items.len() > start + size;
    let mut last = None;
    let mut out = Vec::with_capacity(size.min(items.len()));
    for (key, item) in items.into_iter().skip(start).take(size) {
        last = Some(key);
        out.push(item);
    }
    (out, last.filter(|_| more))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_keys_become_lists_in_their_numbers_order() {
        let params = Params::parse(b"Actions.member.10.Type=b&Actions.member.2.Type=a&Name=web").unwrap();
        let kinds: Vec<_> = params.root().list("Actions").into_iter().filter_map(|node| node.text("Type")).collect();
        assert_eq!(kinds, ["a", "b"]);
        assert_eq!(params.root().text("Name"), Some("web"));
    }

    #[test]
    fn a_key_that_is_both_value_and_structure_is_refused() {
        assert_eq!(Params::parse(b"A=1&A.B=2").unwrap_err().code, "MalformedQueryString");
        assert_eq!(Params::parse(b"A.B=2&A=1").unwrap_err().code, "MalformedQueryString");
    }

    #[test]
    fn pages_go_on_after_the_marker_even_when_its_item_is_gone() {
        let items = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), (*key).to_owned())).collect::<Vec<_>>();
        let (first, marker) = page(items(&["a", "b", "c"]), None, 2);
        assert_eq!((first, marker.as_deref()), (vec!["a".to_owned(), "b".to_owned()], Some("b")));
        let (second, marker) = page(items(&["a", "c"]), Some("b"), 2);
        assert_eq!((second, marker), (vec!["c".to_owned()], None));
    }
}
