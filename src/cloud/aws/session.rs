//! Who calls: the process's own credentials, or those of a role that it assumes.
//!
//! They are kept here and not in the SDK's cache. That one asks for new ones seconds before the old ones end, while a call
//! waits, and fails with whoever gives them: a rollback would hang on STS once an hour. Here they are asked for minutes
//! before, and the old ones serve to their very end while nobody answers.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_config::{Region, SdkConfig, identity::IdentityCache};
use aws_credential_types::{
    Credentials,
    provider::{self, ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future},
};
use aws_sdk_sts as sts;
use tokio::time::timeout;

use super::fault;
use crate::{
    domain::declaration::AssumedRole,
    engine::ports::{Fault, FaultKind},
};

/// How long before their end new credentials are asked for; for those that live less than three times as long, a third of
/// their life. Longer than the pause between two calls that keep a rollback's connections warm.
const EARLY: Duration = Duration::from_secs(300);
/// How long credentials without an end are used before they are read again.
const ENDLESS: Duration = Duration::from_secs(900);
/// For new credentials, with none at hand that are good.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// For new credentials, with others that are good for a while.
const RENEW_TIMEOUT: Duration = Duration::from_secs(1);
/// How soon it is tried again where there was no answer, and how soon new ones may be thrown away again.
const PAUSE: Duration = Duration::from_secs(10);

/// Credentials for one way into AWS, kept and renewed.
#[derive(Debug, Clone)]
pub(super) struct Session(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    kept: Mutex<Kept>,
    /// Whoever holds it asks; the others wait, or use what there is.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
enum Source {
    /// What the SDK's chain found; `None` without one.
    Own(Option<SharedCredentialsProvider>),
    Role(Role),
}

/// A role, and the client that assumes it.
#[derive(Debug)]
struct Role {
    sts: sts::Client,
    role: AssumedRole,
    session_name: String,
    /// Who assumes it.
    own: Session,
}

/// Why a role is not ours to act with.
#[derive(Debug, thiserror::Error)]
#[error("role {role} could not be assumed: {said}")]
pub(super) struct NotAssumed {
    role: String,
    said: String,
    /// It may be answered later, as it was asked.
    pub(super) may_pass: bool,
}

#[derive(Debug, Default)]
struct Kept {
    credentials: Option<Good>,
    dropped: Option<SystemTime>,
}

#[derive(Debug, Clone)]
struct Good {
    credentials: Credentials,
    /// From when on new ones are asked for.
    renew: SystemTime,
    /// `None`: as long as they are accepted.
    until: Option<SystemTime>,
}

/// What is at hand.
#[derive(Debug)]
enum AtHand {
    Good(Credentials),
    /// They still serve, but it is time for new ones.
    Ageing(Credentials),
    Nothing,
}

impl Kept {
    fn at(&self, now: SystemTime) -> AtHand {
        match &self.credentials {
            Some(good) if good.until.is_some_and(|until| until <= now) => AtHand::Nothing,
            Some(good) if good.renew <= now => AtHand::Ageing(good.credentials.clone()),
            Some(good) => AtHand::Good(good.credentials.clone()),
            None => AtHand::Nothing,
        }
    }

    fn keep(&mut self, credentials: Credentials, now: SystemTime) {
        let until = credentials.expiry();
        let life = until.map(|until| until.duration_since(now).unwrap_or_default());
        let renew = now + life.map_or(ENDLESS, |life| life.saturating_sub(EARLY.min(life / 3)));
        self.credentials = Some(Good { credentials, renew, until });
    }

    /// Nobody answered: the old ones serve on.
    fn put_off(&mut self, now: SystemTime) {
        if let Some(good) = &mut self.credentials {
            good.renew = now + PAUSE;
        }
    }

    /// They were refused as too old. Not twice in a row: calls that are under way with the old ones are refused as well, and
    /// new ones that are refused are not cured by newer ones.
    fn drop_old(&mut self, now: SystemTime) {
        let recently = |dropped| now.duration_since(dropped).is_ok_and(|since| since < PAUSE);
        if !self.dropped.is_some_and(recently) {
            (self.credentials, self.dropped) = (None, Some(now));
        }
    }
}

impl Session {
    /// The process's own.
    pub(super) fn own(config: &SdkConfig) -> Self {
        Self::of(Source::Own(config.credentials_provider()))
    }

    /// With a role of this or another account, assumed with `own` credentials where its region is.
    pub(super) fn with_role(own: &Self, role: &AssumedRole, config: &SdkConfig, region: &Region, session_name: &str) -> Self {
        let sts = sts::config::Builder::from(config).region(region.clone()).credentials_provider(own.clone());
        let sts = sts::Client::from_conf(sts.identity_cache(IdentityCache::no_cache()).build());
        let (role, session_name) = (role.clone(), session_name.to_owned());
        Self::of(Source::Role(Role { sts, role, session_name, own: own.clone() }))
    }

    fn of(source: Source) -> Self {
        Self(Arc::new(Inner { source, kept: Mutex::default(), turn: tokio::sync::Mutex::default() }))
    }

    /// Looks at the answer to a call that was signed with these: where they were too old, the next call gets others.
    pub(super) fn heed(&self, fault: &Fault) {
        if fault.code.as_deref().is_some_and(fault::is_expired) {
            self.kept().drop_old(SystemTime::now());
        }
    }

    async fn credentials(&self) -> provider::Result {
        let at_hand = self.kept().at(SystemTime::now());
        let (_turn, limit) = match at_hand {
            AtHand::Good(credentials) => return Ok(credentials),
            AtHand::Ageing(credentials) => match self.0.turn.try_lock() {
                Ok(turn) => (turn, RENEW_TIMEOUT),
                Err(_) => return Ok(credentials),
            },
            AtHand::Nothing => (self.0.turn.lock().await, FETCH_TIMEOUT),
        };
        // Somebody may have had their turn meanwhile.
        if let AtHand::Good(credentials) = self.kept().at(SystemTime::now()) {
            return Ok(credentials);
        }
        let fetched = timeout(limit, self.0.source.fetch()).await;
        let now = SystemTime::now();
        let mut kept = self.kept();
        match (fetched.unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(limit))), kept.at(now)) {
            (Ok(credentials), _) => {
                kept.keep(credentials.clone(), now);
                Ok(credentials)
            }
            (Err(error), AtHand::Good(old) | AtHand::Ageing(old)) => {
                kept.put_off(now);
                tracing::warn!(error = %fault::chain(&error), "AWS credentials could not be renewed: the old ones serve on");
                Ok(old)
            }
            (Err(error), AtHand::Nothing) => Err(error),
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // Nothing that holds it can panic half-way through a change.
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProvideCredentials for Session {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

impl Source {
    async fn fetch(&self) -> provider::Result {
        match self {
            Self::Own(Some(provider)) => provider.provide_credentials().await,
            Self::Own(None) => Err(CredentialsError::not_loaded("there is nobody to ask for credentials")),
            Self::Role(role) => role.assume().await,
        }
    }
}

impl Role {
    async fn assume(&self) -> provider::Result {
        let call = self.sts.assume_role().role_arn(&self.role.arn).role_session_name(&self.session_name);
        let call = call.set_external_id(self.role.external_id.clone());
        let answer = call.send().await.map_err(|error| {
            let said = fault::said(&error);
            if said.code.as_deref().is_some_and(fault::is_expired) {
                self.own.kept().drop_old(SystemTime::now());
            }
            let may_pass = matches!(said.kind, FaultKind::Transient | FaultKind::Throttled);
            self.not_assumed(said.to_string(), may_pass)
        })?;
        let given = answer.credentials.ok_or_else(|| self.not_assumed("the answer lacks credentials".to_owned(), true))?;
        let until = SystemTime::try_from(given.expiration).ok();
        Ok(Credentials::new(given.access_key_id, given.secret_access_key, Some(given.session_token), until, "AssumeRole"))
    }

    fn not_assumed(&self, said: String, may_pass: bool) -> CredentialsError {
        CredentialsError::provider_error(NotAssumed { role: self.role.arn.clone(), said, may_pass })
    }
}

/// What a role's session is called in the other account's CloudTrail: 2 to 64 characters of a few kinds.
pub(super) fn name(installation: &str) -> String {
    let plain = installation.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-');
    format!("cutover-{}", plain.take(8).collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_credential_types::credential_fn::provide_credentials_fn;

    use super::*;

    fn credentials(key: &str, until: Option<SystemTime>) -> Credentials {
        Credentials::new(key, "secret", None, until, "test")
    }

    fn key(at_hand: AtHand) -> String {
        match at_hand {
            AtHand::Good(credentials) => format!("good {}", credentials.access_key_id()),
            AtHand::Ageing(credentials) => format!("ageing {}", credentials.access_key_id()),
            AtHand::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn credentials_are_renewed_before_they_end_and_serve_to_their_end() {
        let (start, minute) = (SystemTime::UNIX_EPOCH, Duration::from_secs(60));
        let mut kept = Kept::default();
        assert_eq!(key(kept.at(start)), "nothing");
        kept.keep(credentials("hour", Some(start + 60 * minute)), start);
        assert_eq!(key(kept.at(start + 54 * minute)), "good hour");
        assert_eq!(key(kept.at(start + 55 * minute)), "ageing hour");
        kept.put_off(start + 55 * minute);
        assert_eq!(key(kept.at(start + 55 * minute)), "good hour", "nobody answered: not asked again at once");
        assert_eq!(key(kept.at(start + 55 * minute + PAUSE)), "ageing hour");
        assert_eq!(key(kept.at(start + 60 * minute)), "nothing");
        kept.keep(credentials("short", Some(start + 3 * minute)), start);
        assert_eq!(key(kept.at(start + minute)), "good short", "not renewed from the first moment on");
        kept.keep(credentials("endless", None), start);
        assert_eq!(key(kept.at(start + 100 * minute)), "ageing endless");
    }

    #[test]
    fn what_was_refused_as_too_old_is_dropped_once() {
        let mut kept = Kept::default();
        let now = SystemTime::UNIX_EPOCH;
        kept.keep(credentials("old", None), now);
        kept.drop_old(now);
        assert_eq!(key(kept.at(now)), "nothing");
        kept.keep(credentials("new", None), now);
        kept.drop_old(now + PAUSE / 2);
        assert_eq!(key(kept.at(now)), "good new", "a call that was under way with the old ones");
        kept.drop_old(now + PAUSE);
        assert_eq!(key(kept.at(now)), "nothing");
    }

    /// One whose first answer ends soon, and which fails ever after.
    fn failing_after_the_first(life: Duration) -> (Session, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let until = SystemTime::now() + life;
        let provider = provide_credentials_fn(move || {
            let first = count.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                if first {
                    Ok(credentials("first", Some(until)))
                } else {
                    Err(CredentialsError::provider_error("nobody answers"))
                }
            }
        });
        (Session::of(Source::Own(Some(SharedCredentialsProvider::new(provider)))), asked)
    }

    #[tokio::test]
    async fn old_credentials_serve_on_while_nobody_gives_new_ones() {
        let (session, asked) = failing_after_the_first(Duration::from_secs(60));
        session.credentials().await.unwrap();
        session.kept().credentials.as_mut().unwrap().renew = SystemTime::now();
        assert_eq!(session.credentials().await.unwrap().access_key_id(), "first");
        assert_eq!(asked.load(Ordering::SeqCst), 2, "new ones were asked for");
        session.credentials().await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2, "and not again with the next call");
        session.kept().credentials.as_mut().unwrap().until = Some(SystemTime::now());
        session.credentials().await.unwrap_err();
    }

    #[tokio::test]
    async fn those_who_call_together_ask_once() {
        let (session, asked) = failing_after_the_first(Duration::from_secs(60));
        for answer in futures::future::join_all((0..10).map(|_| session.credentials())).await {
            answer.unwrap();
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_session_is_named_after_its_installation() {
        assert_eq!(name("01900000-0000-7000-8000-000000000000"), "cutover-01900000");
        assert_eq!(name("our web/prod"), "cutover-ourwebpr");
    }
}
