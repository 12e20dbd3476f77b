//! Reads settings from layers and collects every fault, each named with its key and where it was set.
//!
//! The `config` crate parses the layers; it is not asked to deserialize, because serde stops at the first fault and an
//! operator who mends one key at a time restarts once per mistake.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, path::Path, str::FromStr, time::Duration};

use config::{Environment, File, FileFormat, Map, Source, Value, ValueKind};

use crate::domain::time::{parse_duration, show_duration};

/// The reference, and the lowest layer.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// What is wrong with one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// `engine.lease`.
    pub key: String,
    /// Where it was set: a file, a variable, a flag.
    pub origin: String,
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.key, self.origin, self.problem)
    }
}

struct Setting {
    value: Value,
    origin: String,
    /// Whether anything but the reference set it.
    given: bool,
    read: bool,
}

/// The settings of all layers, one over the other.
pub(super) struct Reader {
    settings: BTreeMap<String, Setting>,
    faults: Vec<Fault>,
}

impl Reader {
    /// Only the reference: every key there is.
    pub(super) fn new() -> Self {
        let defaults =
            File::from_str(DEFAULTS, FileFormat::Toml).collect().expect("config/default.toml is TOML: a test reads it");
        let settings = flatten(defaults)
            .into_iter()
            .map(|(key, value)| (key, Setting { value, origin: "config/default.toml".to_owned(), given: false, read: false }))
            .collect();
        Self { settings, faults: Vec::new() }
    }

    pub(super) fn file(&mut self, path: &Path) {
        let origin = path.display().to_string();
        match File::from(path).format(FileFormat::Toml).collect() {
            Ok(layer) => self.layer(layer, |_| origin.clone()),
            Err(error) => self.fault("--config", &origin, format!("cannot be read: {error}")),
        }
    }

    pub(super) fn environment(&mut self, variables: Map<String, String>) {
        let source = Environment::with_prefix("CUTOVER").prefix_separator("__").separator("__").source(Some(variables));
        match source.collect() {
            Ok(layer) => self.layer(layer, variable),
            Err(error) => self.fault("CUTOVER__", "the environment", format!("cannot be read: {error}")),
        }
    }

    pub(super) fn flag(&mut self, key: &str, flag: &str, value: String) {
        let layer = Map::from_iter([(key.to_owned(), Value::new(None, ValueKind::String(value)))]);
        self.layer(layer, |_| flag.to_owned());
    }

    fn layer(&mut self, layer: Map<String, Value>, origin: impl Fn(&str) -> String) {
        for (key, value) in flatten(layer) {
            let origin = origin(&key);
            match self.settings.get_mut(&key) {
                Some(setting) => *setting = Setting { value, origin, given: true, read: false },
                None => {
                    let problem = self.unknown(&key);
                    self.fault(&key, &origin, problem);
                }
            }
        }
    }

    /// What to say of a key that is not there: the keys beside it, which is where the right one usually stands.
    fn unknown(&self, key: &str) -> String {
        let section = key.rsplit_once('.').map_or("", |(section, _)| section);
        let beside = |section: &str| {
            let of = |known: &&String| known.rsplit_once('.').map_or("", |(section, _)| section) == section;
            self.settings.keys().filter(of).cloned().collect::<Vec<_>>().join(", ")
        };
        match (beside(key), beside(section)) {
            (inside, _) if !inside.is_empty() => format!("is a section, not a key; its keys are {inside}"),
            (_, known) if !known.is_empty() => format!("there is no such key; there are {known}"),
            _ => "there is no such section; config/default.toml lists all keys".to_owned(),
        }
    }

    pub(super) fn fault(&mut self, key: &str, origin: &str, problem: impl Into<String>) {
        self.faults.push(Fault { key: key.to_owned(), origin: origin.to_owned(), problem: problem.into() });
    }

    /// A fault of a known key.
    pub(super) fn wrong(&mut self, key: &str, problem: impl Into<String>) {
        let origin = self.settings.get(key).map_or_else(String::new, |setting| setting.origin.clone());
        self.fault(key, &origin, problem);
    }

    fn take(&mut self, key: &str) -> &Value {
        let setting =
            self.settings.get_mut(key).expect("every key that is read stands in config/default.toml: a test reads all");
        setting.read = true;
        &setting.value
    }

    /// Text as it stands; never quoted in a fault, for it may be a secret.
    pub(super) fn text(&mut self, key: &str) -> String {
        match self.take(key).clone().into_string() {
            Ok(text) => text,
            Err(_) => {
                self.wrong(key, "must be text");
                String::new()
            }
        }
    }

    /// Text, or nothing when it is empty.
    pub(super) fn optional(&mut self, key: &str) -> Option<String> {
        Some(self.text(key)).filter(|text| !text.is_empty())
    }

    /// Anything that is read from text; `wanted` says what it looks like.
    pub(super) fn parsed<T: FromStr>(&mut self, key: &str, wanted: &str, fallback: T) -> T {
        let text = self.text(key);
        text.parse().unwrap_or_else(|_| {
            self.wrong(key, format!("{text:?} is not {wanted}"));
            fallback
        })
    }

    /// A duration with a unit, within bounds.
    pub(super) fn duration(&mut self, key: &str, bounds: RangeInclusive<Duration>) -> Duration {
        let text = self.text(key);
        match parse_duration(&text) {
            Ok(duration) if bounds.contains(&duration) => return duration,
            Ok(_) => {
                let (low, high) = (show_duration(*bounds.start()), show_duration(*bounds.end()));
                self.wrong(key, format!("{text:?} is not within {low} to {high}"));
            }
            Err(wanted) => self.wrong(key, format!("{text:?} is not {wanted}")),
        }
        *bounds.start()
    }

    /// A whole number within bounds.
    pub(super) fn number<T>(&mut self, key: &str, bounds: RangeInclusive<T>) -> T
    where
        T: Copy + PartialOrd + fmt::Display + TryFrom<i64>,
    {
        let (low, high) = (*bounds.start(), *bounds.end());
        let read = match &self.take(key).kind {
            ValueKind::I64(number) => Some(*number),
            ValueKind::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        read.and_then(|number| T::try_from(number).ok()).filter(|number| bounds.contains(number)).unwrap_or_else(|| {
            self.wrong(key, format!("must be a whole number from {low} to {high}"));
            low
        })
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &str) -> bool {
        let read = match &self.take(key).kind {
            ValueKind::Boolean(value) => Some(*value),
            ValueKind::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        read.unwrap_or_else(|| {
            self.wrong(key, "must be true or false");
            false
        })
    }

    /// Whether nothing has been wrong so far: keys are held against each other only then.
    pub(super) fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether a file, the environment or a flag set it.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.settings.get(key).is_some_and(|setting| setting.given)
    }

    /// Keys that nobody read: the reference promises something that the program does not do.
    #[cfg(test)]
    pub(super) fn unread(&self) -> Vec<&str> {
        self.settings.iter().filter(|(_, setting)| !setting.read).map(|(key, _)| key.as_str()).collect()
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }
}

/// How a key is written in the environment.
fn variable(key: &str) -> String {
    format!("CUTOVER__{}", key.to_uppercase().replace('.', "__"))
}

/// Leaves by dotted key. A table without keys is a leaf too: it may be a misspelt section.
fn flatten(table: Map<String, Value>) -> Vec<(String, Value)> {
    let mut leaves = Vec::new();
    let mut open: Vec<(String, Value)> = table.into_iter().collect();
    while let Some((key, value)) = open.pop() {
        match value.kind {
            ValueKind::Table(inner) if !inner.is_empty() => {
                open.extend(inner.into_iter().map(|(name, value)| (format!("{key}.{name}"), value)));
            }
            _ => leaves.push((key, value)),
        }
    }
    leaves.sort_by(|(one, _), (other, _)| one.cmp(other));
    leaves
}
