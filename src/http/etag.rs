//! ETags: a digest of what a resource shows, `poll_after_ms` aside. A look that saw the same leaves it.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// The tag of one state of one resource, with its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ETag(String);

impl ETag {
    /// Of what is shown. Members are hashed in a fixed order, so equal states have equal tags on every replica.
    pub fn of(shown: &impl Serialize) -> Self {
        let mut shown = serde_json::to_value(shown).unwrap_or_default();
        if let Some(members) = shown.as_object_mut() {
            members.remove("poll_after_ms");
        }
        let digest = Sha256::digest(shown.to_string());
        Self(format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest[..16])))
    }

    pub fn header(&self) -> (HeaderName, HeaderValue) {
        (header::ETAG, HeaderValue::from_str(&self.0).expect("quotes and base64 are a header value"))
    }
}

/// The tags that a caller named in `If-Match` and `If-None-Match`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    matches: Option<Tags>,
    none_matches: Option<Tags>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    Any,
    These(Vec<String>),
}

impl Tags {
    fn read(headers: &HeaderMap, name: &HeaderName) -> Option<Self> {
        let lines: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        if lines.is_empty() {
            return None;
        }
        let tags: Vec<String> = lines
            .iter()
            .flat_map(|line| line.split(','))
            // Ours are strong; a proxy that compresses may have made one weak, and it still names the same state.
            .map(|tag| tag.trim().trim_start_matches("W/").to_owned())
            .collect();
        Some(if tags.iter().any(|tag| tag == "*") { Self::Any } else { Self::These(tags) })
    }

    fn name(&self, tag: &ETag) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|t| t == &tag.0),
        }
    }
}

impl Conditions {
    /// Whether the caller insists on a state.
    pub fn asks(&self) -> bool {
        self.matches.is_some()
    }

    /// Whether a change may be made to this state.
    pub fn allow(&self, tag: &ETag) -> bool {
        self.matches.as_ref().is_none_or(|tags| tags.name(tag))
    }

    /// Whether the caller has this state already.
    pub fn has(&self, tag: &ETag) -> bool {
        self.none_matches.as_ref().is_some_and(|tags| tags.name(tag))
    }

    /// Whether the caller named any state that it has.
    pub fn has_any(&self) -> bool {
        self.none_matches.is_some()
    }
}

impl<S: Sync> FromRequestParts<S> for Conditions {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let headers = &parts.headers;
        Ok(Self { matches: Tags::read(headers, &header::IF_MATCH), none_matches: Tags::read(headers, &header::IF_NONE_MATCH) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn conditions(if_match: Option<&str>, if_none_match: Option<&str>) -> Conditions {
        let mut headers = HeaderMap::new();
        for (name, value) in [(header::IF_MATCH, if_match), (header::IF_NONE_MATCH, if_none_match)] {
            if let Some(value) = value {
                headers.insert(name, value.parse().unwrap());
            }
        }
        Conditions {
            matches: Tags::read(&headers, &header::IF_MATCH),
            none_matches: Tags::read(&headers, &header::IF_NONE_MATCH),
        }
    }

    #[test]
    fn how_soon_to_ask_again_is_no_part_of_the_state() {
        let tag = ETag::of(&json!({"weight": 5, "poll_after_ms": 1000}));
        assert_eq!(tag, ETag::of(&json!({"poll_after_ms": 5000, "weight": 5})));
        assert_ne!(tag, ETag::of(&json!({"weight": 6, "poll_after_ms": 1000})));
    }

    #[test]
    fn lists_stars_and_weakened_tags_are_understood() {
        let tag = ETag::of(&json!(1));
        let listed = format!("\"other\", W/{}", tag.0);
        assert!(conditions(Some(&listed), None).allow(&tag));
        assert!(conditions(Some("*"), None).allow(&tag));
        assert!(!conditions(Some("\"other\""), None).allow(&tag));
        assert!(conditions(None, None).allow(&tag));
        assert!(conditions(None, Some(&listed)).has(&tag));
        assert!(!conditions(None, None).has(&tag));
    }
}
