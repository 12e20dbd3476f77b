//! Durations as people write them (`"5m"`), with bounds. The domain is given the time; it never asks for it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, fmt::friendly};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest duration anyone may declare.
pub const DURATION_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Reads `"90s"`, `"5m"`, `"1h 30m"`. A unit is required; at most 30 days.
///
/// # Errors
/// A sentence that says what is wanted.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wanted = "a duration such as \"90s\", \"5m\" or \"1h30m\", at most 30 days";
    let days = text.trim().strip_suffix('d').and_then(|n| n.parse::<u64>().ok()).and_then(|n| n.checked_mul(24 * 3600));
    let read = match days {
        Some(seconds) => Duration::from_secs(seconds),
        None => {
            let signed = friendly::SpanParser::new().parse_duration(text).map_err(|_| wanted.to_owned())?;
            Duration::try_from(signed).map_err(|_| wanted.to_owned())?
        }
    };
    if read > DURATION_MAX { Err(wanted.to_owned()) } else { Ok(read) }
}

/// Writes a duration as the API shows it: `5m`, `1h 30m`, `0s`.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let signed = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    friendly::SpanPrinter::new().duration_to_string(&signed)
}

/// `from` plus `duration`; the end of time when there is no such instant.
#[must_use]
pub fn after(from: Timestamp, duration: Duration) -> Timestamp {
    from.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// How long it is from `from` to `to`; zero when `to` lies before.
#[must_use]
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO)
}

/// How long both groups stay up before the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BakeTime {
    For(Duration),
    /// Until somebody promotes.
    Manual,
}

impl BakeTime {
    /// When a bake that began at `since` is over; `None` when only a person ends it.
    #[must_use]
    pub fn ends(self, since: Timestamp) -> Option<Timestamp> {
        match self {
            Self::For(duration) => Some(after(since, duration)),
            Self::Manual => None,
        }
    }
}

impl std::fmt::Display for BakeTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::For(duration) => f.write_str(&show_duration(*duration)),
            Self::Manual => f.write_str("manual"),
        }
    }
}

impl Serialize for BakeTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BakeTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "manual" {
            return Ok(Self::Manual);
        }
        parse_duration(&text).map(Self::For).map_err(serde::de::Error::custom)
    }
}

/// Serde for a plain duration field, written as `"5m"`.
pub mod text {
    use super::{Deserialize, Deserializer, Duration, Serializer, parse_duration, show_duration};

    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&show_duration(*duration))
    }

    /// # Errors
    /// When the text is no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_an_end() {
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("30d"), Ok(DURATION_MAX));
        for wrong in ["", "5", "-5m", "31d", "5 parsecs", "999999999999h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?} was taken for a duration");
        }
    }

    #[test]
    fn what_is_shown_is_read_again() {
        for text in ["0s", "1s", "90s", "5m", "1h 30m", "720h", "250ms"] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration), "{text}");
        }
    }
}
