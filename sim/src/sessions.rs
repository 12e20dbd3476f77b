//! Who calls: sessions of assumed roles, and everybody else, whose key is taken for a user's of the home account.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{api::Refusal, model::Place};

/// Sessions remembered; the oldest go first, and are then unknown rather than expired.
const SESSIONS_MAX: usize = 10_000;
/// Where the key of a session begins, on AWS too.
const KEY_PREFIX: &str = "ASIA";

/// Who signed a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub account: String,
    pub arn: String,
    /// Whether it is a session of an assumed role.
    pub session: bool,
}

/// What `AssumeRole` gives.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub key: String,
    pub token: String,
}

/// Roles that want an external id, and the sessions that were given.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By role.
    external_ids: BTreeMap<String, String>,
    given: u64,
    /// By key, whose order is that in which they were given.
    held: BTreeMap<String, Session>,
}

#[derive(Debug)]
struct Session {
    account: String,
    arn: String,
    token: String,
    ends: Instant,
}

/// A session, for people.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    pub key: String,
    pub arn: String,
    pub expired: bool,
}

impl Sessions {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on these roles, and no others, want an external id: by role, the id.
    pub fn require(&self, external_ids: BTreeMap<String, String>) {
        self.lock().external_ids = external_ids;
    }

    #[must_use]
    pub fn required(&self) -> BTreeMap<String, String> {
        self.lock().external_ids.clone()
    }

    /// Whether `role` may be assumed with this external id. Rights are not this region's business: anybody may, otherwise.
    #[must_use]
    pub fn admits(&self, role: &str, external_id: Option<&str>) -> bool {
        self.lock().external_ids.get(role).is_none_or(|wanted| external_id == Some(wanted))
    }

    /// A new session, which lives for `life`.
    #[must_use]
    pub fn give(&self, account: &str, arn: &str, now: Instant, life: Duration) -> Credentials {
        let mut state = self.lock();
        state.given += 1;
        if state.held.len() >= SESSIONS_MAX {
            state.held.pop_first();
        }
        let credentials =
            Credentials { key: format!("{KEY_PREFIX}{:016}", state.given), token: format!("session-{}", state.given) };
        let session =
            Session { account: account.to_owned(), arn: arn.to_owned(), token: credentials.token.clone(), ends: now + life };
        state.held.insert(credentials.key.clone(), session);
        credentials
    }

    /// Whose key it is; an expired session still has a name.
    ///
    /// # Errors
    /// `InvalidClientTokenId` for a session that was never given, or a token that is not its own.
    pub fn caller(&self, key: &str, token: Option<&str>) -> Result<Caller, Refusal> {
        if !key.starts_with(KEY_PREFIX) {
            let account = Place::default().account;
            return Ok(Caller { arn: format!("arn:aws:iam::{account}:user/{key}"), account, session: false });
        }
        let state = self.lock();
        let session = state.held.get(key).filter(|session| token == Some(session.token.as_str()));
        let session = session.ok_or_else(|| {
            Refusal::new("InvalidClientTokenId", "The security token included in the request is invalid").with_status(403)
        })?;
        Ok(Caller { account: session.account.clone(), arn: session.arn.clone(), session: true })
    }

    /// # Errors
    /// `ExpiredToken` for a session that is over.
    pub fn alive(&self, key: &str, now: Instant) -> Result<(), Refusal> {
        match self.lock().held.get(key) {
            Some(session) if session.ends <= now => Err(Refusal::expired_token()),
            _ => Ok(()),
        }
    }

    /// Ends all of them now, whatever their holders were told.
    pub fn expire(&self, now: Instant) {
        for session in self.lock().held.values_mut() {
            session.ends = session.ends.min(now);
        }
    }

    #[must_use]
    pub fn list(&self, now: Instant) -> Vec<Status> {
        let state = self.lock();
        let status = |(key, session): (&String, &Session)| Status {
            key: key.clone(),
            arn: session.arn.clone(),
            expired: session.ends <= now,
        };
        state.held.iter().map(status).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "arn:aws:sts::222222222222:assumed-role/release/cutover";

    #[test]
    fn a_session_is_its_roles_until_it_is_over() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let life = Duration::from_secs(36);
        let given = sessions.give("222222222222", ROLE, now, life);
        let caller = sessions.caller(&given.key, Some(&given.token)).unwrap();
        assert_eq!((caller.account.as_str(), caller.arn.as_str()), ("222222222222", ROLE));
        assert!(sessions.alive(&given.key, now + life / 2).is_ok());
        assert_eq!(sessions.alive(&given.key, now + life).unwrap_err().code, "ExpiredToken");
        let another = sessions.give("222222222222", ROLE, now, life);
        sessions.expire(now);
        assert_eq!(sessions.alive(&another.key, now).unwrap_err().code, "ExpiredToken");
    }

    #[test]
    fn a_session_that_was_never_given_is_nobodys_and_any_other_key_is_at_home() {
        let sessions = Sessions::default();
        let given = sessions.give("222222222222", ROLE, Instant::now(), Duration::ZERO);
        assert_eq!(sessions.caller("ASIA9999999999999999", Some("session-1")).unwrap_err().code, "InvalidClientTokenId");
        assert_eq!(sessions.caller(&given.key, None).unwrap_err().code, "InvalidClientTokenId");
        assert_eq!(sessions.caller("AKIATEST", None).unwrap().account, Place::default().account);
    }

    #[test]
    fn a_role_that_wants_an_external_id_is_assumed_with_that_one_alone() {
        let sessions = Sessions::default();
        sessions.require(BTreeMap::from([("role".to_owned(), "secret".to_owned())]));
        assert!(sessions.admits("role", Some("secret")) && sessions.admits("another", None));
        assert!(!sessions.admits("role", None) && !sessions.admits("role", Some("guess")));
    }
}
