//! Who calls: bearer tokens, of which only the SHA-256 is kept anywhere.
//!
//! Tokens of ours are `cut_`, 43 base62 characters (256 bits) and a check character, so that a mistyped one is refused without
//! a look and a leaked one is found by scanners. A bootstrap token may be any 20 to 200 visible characters.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use rand::Rng;
use sha2::{Digest, Sha256};

use super::{
    Edge,
    error::{Kind, Problem},
};
use crate::engine::{
    api::{Actor, Trouble},
    ports::StoreError,
};

const PREFIX: &str = "cut_";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 > 2^256.
const RANDOM_CHARS: usize = 43;
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 20..=200;

/// A known owner is not looked up again for this long.
const FRESH_FOR: Duration = Duration::from_secs(30);
/// For this long after the last look a known owner may still go back (or pause) without one, and do anything while the database
/// cannot be reached. What a replica remembers of all tokens is good for as long, and longer where a door says so.
const KEPT_FOR: Duration = Duration::from_secs(15 * 60);
/// At most this many owners are remembered.
const OWNERS_MAX: usize = 1024;

/// A new token. It is shown once; keep its [`digest`] only.
#[must_use]
pub fn generate() -> String {
    let mut rng = rand::rng();
    let random: Vec<u8> = (0..RANDOM_CHARS).map(|_| BASE62[rng.random_range(0..BASE62.len())]).collect();
    let check = char::from(check_character(&random).expect("these are base62 characters"));
    let random: String = random.into_iter().map(char::from).collect();
    format!("{PREFIX}{random}{check}")
}

/// Whether a token has the form of one; ours also carry their check character.
#[must_use]
pub fn well_formed(token: &str) -> bool {
    if !TOKEN_BYTES.contains(&token.len()) || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return false;
    }
    match token.strip_prefix(PREFIX).map(str::as_bytes) {
        Some(ours) => match ours.split_last() {
            Some((check, random)) => random.len() == RANDOM_CHARS && check_character(random) == Some(*check),
            None => false,
        },
        None => true,
    }
}

/// What is kept of a token.
#[must_use]
pub fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Luhn's sum over 62 characters: it finds every single wrong character and nearly every swap of two neighbours.
fn check_character(text: &[u8]) -> Option<u8> {
    let base = BASE62.len();
    let mut sum = 0;
    for (i, c) in text.iter().rev().enumerate() {
        let value = BASE62.iter().position(|b| b == c)?;
        let weighed = if i % 2 == 0 { 2 * value } else { value };
        sum += weighed / base + weighed % base;
    }
    BASE62.get((base - sum % base) % base).copied()
}

/// Owners by their token's digest.
#[derive(Debug, Default)]
pub struct Owners(Mutex<HashMap<[u8; 32], (Actor, Instant)>>);

impl Owners {
    fn find(&self, digest: &[u8; 32], now: Instant, at_most: Duration) -> Option<Actor> {
        let owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        owners.get(digest).filter(|(_, seen)| now.duration_since(*seen) <= at_most).map(|(actor, _)| actor.clone())
    }

    fn keep(&self, digest: [u8; 32], actor: Actor, now: Instant) {
        let mut owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.len() >= OWNERS_MAX && !owners.contains_key(&digest) {
            let oldest = owners.iter().min_by_key(|(_, (_, seen))| *seen).map(|(digest, _)| *digest);
            if let Some(oldest) = oldest {
                owners.remove(&oldest);
            }
        }
        owners.insert(digest, (actor, now));
    }

    fn forget(&self, digest: &[u8; 32]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }
}

/// What a door asks of those who come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// A known owner is enough, and is looked up on the rollback lane's connections.
    urgent: bool,
    /// While the database is away, whoever it knew may come in.
    without_database: bool,
}

impl Terms {
    pub const USUAL: Self = Self { urgent: false, without_database: false };
    /// For what can be shown from memory.
    pub const READING: Self = Self { urgent: false, without_database: true };
    pub const PAUSING: Self = Self { urgent: true, without_database: false };
    pub const GOING_BACK: Self = Self { urgent: true, without_database: true };
}

async fn owner(edge: &Edge, headers: &HeaderMap, terms: Terms) -> Result<Actor, Problem> {
    let refused = |detail: &str| Problem::new(Kind::Unauthorized, detail);
    let given = headers.get(header::AUTHORIZATION).ok_or_else(|| refused("no Authorization header was sent"))?;
    let token = given
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| refused("the Authorization header must be `Bearer TOKEN`"))?;
    if !well_formed(token) {
        return Err(refused("this is no token: it may have been cut short or mistyped"));
    }
    let digest = digest(token);
    let now = Instant::now();
    if let Some(actor) = edge.owners.find(&digest, now, if terms.urgent { KEPT_FOR } else { FRESH_FOR }) {
        return Ok(actor);
    }
    let away = edge.api.database_is_away();
    // All that this replica was told: no older than what is enough, but while the database is away.
    let known = || edge.api.known_owner(digest, KEPT_FOR).map(Actor::from);
    let is_enough = if away { terms.without_database } else { terms.urgent };
    if let Some(actor) = known().filter(|_| is_enough) {
        return Ok(actor);
    }
    let look = if terms.urgent { edge.api.token_owner_at_once(digest) } else { edge.api.token_owner(digest) };
    match look.await {
        Ok(Some(owner)) => {
            let actor = Actor::from(owner);
            edge.owners.keep(digest, actor.clone(), now);
            Ok(actor)
        }
        Ok(None) => {
            edge.owners.forget(&digest);
            Err(refused("this token is not known here"))
        }
        Err(trouble @ Trouble::Store(StoreError::Unreachable { .. })) => {
            let remembered = || known().filter(|_| terms.without_database);
            edge.owners.find(&digest, now, KEPT_FOR).or_else(remembered).ok_or_else(|| Problem::from(trouble))
        }
        Err(trouble) => Err(trouble.into()),
    }
}

/// Lets only known callers through: a layer, so that no handler can forget it.
pub async fn require(State((edge, terms)): State<(Edge, Terms)>, mut request: Request, next: Next) -> Response {
    match owner(&edge, request.headers(), terms).await {
        Ok(actor) => {
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// The caller, as [`require`] found them.
#[derive(Debug)]
pub struct Caller(pub Actor);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let actor = parts.extensions.get::<Actor>().cloned();
        actor.map(Self).ok_or_else(|| Problem::new(Kind::Unauthorized, "no token was looked at for this call"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_tokens_are_well_formed_and_never_the_same() {
        let (one, other) = (generate(), generate());
        assert_eq!(one.len(), PREFIX.len() + RANDOM_CHARS + 1);
        assert!(well_formed(&one) && well_formed(&other));
        assert_ne!(one, other);
    }

    #[test]
    fn one_wrong_character_anywhere_is_noticed() {
        let token = generate();
        for i in PREFIX.len()..token.len() {
            for c in BASE62 {
                let mut bytes = token.clone().into_bytes();
                if bytes[i] == *c {
                    continue;
                }
                bytes[i] = *c;
                assert!(!well_formed(std::str::from_utf8(&bytes).unwrap()), "character {i} may be {}", char::from(*c));
            }
        }
    }

    #[test]
    fn a_bootstrap_token_is_any_20_to_200_visible_characters() {
        assert!(well_formed("correct-horse-battery-staple"));
        assert!(well_formed(&"x".repeat(200)));
        for wrong in [
            "",
            "short",
            "has a blank in its middle",
            &"x".repeat(201),
            "cut_but-not-one-of-ours",
            "ümläuts-are-not-visible-ascii",
        ] {
            assert!(!well_formed(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn owners_are_remembered_for_a_while_and_not_without_bound() {
        let owners = Owners::default();
        let actor = Actor { name: "ci".into(), admin: false };
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        owners.keep([1; 32], actor.clone(), start);
        assert_eq!(owners.find(&[1; 32], at(29), FRESH_FOR), Some(actor.clone()));
        assert_eq!(owners.find(&[1; 32], at(31), FRESH_FOR), None);
        assert_eq!(owners.find(&[1; 32], at(31), KEPT_FOR), Some(actor.clone()));
        assert_eq!(owners.find(&[1; 32], at(901), KEPT_FOR), None);
        for i in 0..u32::try_from(OWNERS_MAX).unwrap() {
            let mut digest = [2; 32];
            digest[..4].copy_from_slice(&i.to_be_bytes());
            owners.keep(digest, actor.clone(), at(1));
        }
        assert_eq!(owners.find(&[1; 32], at(1), FRESH_FOR), None, "the oldest goes first");
        assert_eq!(owners.0.lock().unwrap().len(), OWNERS_MAX);
    }
}
