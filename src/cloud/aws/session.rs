//! Who calls: the process's own credentials, or those of a role that it assumes.
//!
//! They are kept here and not in the SDK's cache. That one asks for new ones seconds before the old ones end, while a call
//! waits, and fails with whoever gives them: a rollback would hang on STS once an hour. Here they are asked for minutes
//! before, beside the calls, and the old ones serve to their very end while nobody answers.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use aws_config::{Region, SdkConfig, identity::IdentityCache};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future},
};
use aws_sdk_sts as sts;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::{task::AbortHandle, time::timeout};

use super::{
    budget::{Budget, Lane},
    calls::Outcome,
    fault::{self, Said},
    fence::Fence,
    operation::Operation,
};
use crate::{
    domain::declaration::AssumedRole,
    engine::ports::{Fault, FaultKind},
};

/// How long before their end new credentials are asked for; for those that live less than three times as long, a third of
/// their life. Longer than the pause between two calls that keep a rollback's connections warm.
const EARLY: Duration = Duration::from_secs(300);
/// How long credentials without an end are used before they are read again.
const ENDLESS: Duration = Duration::from_secs(900);
/// For new credentials.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How soon it is tried again where there was no answer, and how soon new ones may be thrown away again.
const PAUSE: Duration = Duration::from_secs(10);

/// Credentials for one way into AWS, kept and renewed.
#[derive(Debug, Clone)]
pub(super) struct Session(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    kept: Mutex<Kept>,
    fetching: Mutex<Option<Fetching>>,
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
    budget: Arc<Budget>,
}

/// One asks for all, in a task of its own: whoever waits for the answer may give up, and takes it from nobody.
#[derive(Debug, Clone)]
struct Fetching {
    task: AbortHandle,
    answer: Shared<BoxFuture<'static, Given>>,
}

type Given = Result<Credentials, NotGiven>;

/// Why there are no credentials to sign with.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{said}")]
pub(super) struct NotGiven {
    said: String,
    /// It may be answered later, as it was asked.
    pub(super) may_pass: bool,
}

#[derive(Debug, Default)]
struct Kept {
    credentials: Option<Good>,
    /// There were some before, if there are none now.
    had_some: bool,
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
        (self.credentials, self.had_some) = (Some(Good { credentials, renew, until }), true);
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
    pub(super) fn with_role(own: &Self, assumed: &Assumed<'_>, region: &Region, fence: Fence) -> Self {
        let client = sts::config::Builder::from(assumed.config).region(region.clone()).credentials_provider(own.clone());
        let sts = sts::Client::from_conf(client.identity_cache(IdentityCache::no_cache()).interceptor(fence).build());
        let (role, session_name) = (assumed.role.clone(), assumed.session_name.to_owned());
        Self::of(Source::Role(Role { sts, role, session_name, own: own.clone(), budget: Arc::clone(assumed.budget) }))
    }

    fn of(source: Source) -> Self {
        Self(Arc::new(Inner { source, kept: Mutex::default(), fetching: Mutex::default() }))
    }

    /// Looks at the answer to a call that was signed with these: where they were too old, the next call gets others.
    pub(super) fn heed(&self, fault: &Fault) {
        if fault.code.as_deref().is_some_and(fault::is_expired) {
            self.kept().drop_old(SystemTime::now());
        }
    }

    /// Returns as soon as there is something to sign with, and asks for it where there is not. Credentials that serve are never
    /// waited for.
    ///
    /// # Errors
    /// Why there will be nothing, as far as whoever was asked tells; after `limit`, who has not answered.
    pub(super) async fn ready(&self, lane: Lane, limit: Duration) -> Result<(), NotGiven> {
        match timeout(limit, self.credentials(lane)).await {
            Ok(given) => given.map(|_| ()),
            Err(_) => Err(self.0.source.silent(limit)),
        }
    }

    async fn credentials(&self, lane: Lane) -> Given {
        let at_hand = self.kept().at(SystemTime::now());
        match at_hand {
            AtHand::Good(credentials) => Ok(credentials),
            AtHand::Ageing(credentials) => {
                drop(self.fetch(lane));
                Ok(credentials)
            }
            AtHand::Nothing => self.fetch(lane).await,
        }
    }

    /// The answer of whoever is being asked, or is asked now.
    fn fetch(&self, lane: Lane) -> Shared<BoxFuture<'static, Given>> {
        let mut fetching = self.0.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fetching) = fetching.as_ref().filter(|fetching| !fetching.task.is_finished()) {
            return fetching.answer.clone();
        }
        let session = self.clone();
        let task = tokio::spawn(async move { session.renew(lane).await });
        let handle = task.abort_handle();
        let ended =
            |_| Err(NotGiven { said: "the task that asked for credentials ended without any".to_owned(), may_pass: true });
        let answer = async move { task.await.unwrap_or_else(ended) }.boxed().shared();
        *fetching = Some(Fetching { task: handle, answer: answer.clone() });
        answer
    }

    async fn renew(&self, lane: Lane) -> Given {
        // Somebody's question may have been answered meanwhile.
        if let AtHand::Good(credentials) = self.kept().at(SystemTime::now()) {
            return Ok(credentials);
        }
        let had_some = self.kept().had_some;
        let fetched = self.0.source.fetch(lane, had_some).await;
        let now = SystemTime::now();
        let mut kept = self.kept();
        match (fetched, kept.at(now)) {
            (Ok(credentials), _) => {
                kept.keep(credentials.clone(), now);
                Ok(credentials)
            }
            (Err(error), AtHand::Good(old) | AtHand::Ageing(old)) => {
                kept.put_off(now);
                tracing::warn!(%error, "AWS credentials could not be renewed: the old ones serve on");
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

/// What a role is assumed with.
#[derive(Debug)]
pub(super) struct Assumed<'a> {
    pub(super) role: &'a AssumedRole,
    pub(super) config: &'a SdkConfig,
    pub(super) session_name: &'a str,
    /// Where it is counted.
    pub(super) budget: &'a Arc<Budget>,
}

impl ProvideCredentials for Session {
    /// The gate has seen to it that there are some: nothing is waited for here, unless they were given up in that moment.
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let given = async { self.credentials(Lane::Forward).await.map_err(CredentialsError::provider_error) };
        future::ProvideCredentials::new(given)
    }
}

impl Source {
    async fn fetch(&self, lane: Lane, had_some: bool) -> Given {
        match self {
            Self::Own(Some(provider)) => match timeout(FETCH_TIMEOUT, provider.provide_credentials()).await {
                Ok(given) => given.map_err(|error| NotGiven::by_the_chain(&error, had_some)),
                Err(_) => Err(self.silent(FETCH_TIMEOUT)),
            },
            Self::Own(None) => Err(NotGiven { said: "there is nobody to ask for credentials".to_owned(), may_pass: false }),
            Self::Role(role) => role.assume(lane).await,
        }
    }

    /// Whoever was asked has not answered.
    fn silent(&self, after: Duration) -> NotGiven {
        let ms = after.as_millis();
        match self {
            Self::Own(_) => {
                let said = format!("the process's own credentials are waited for: nobody gave any within {ms} ms");
                NotGiven { said, may_pass: true }
            }
            Self::Role(role) => role.silent(after),
        }
    }
}

impl NotGiven {
    /// Whoever gives them (a metadata service, a container's agent, STS for a web identity) may be out of reach for a while, and the
    /// chain tells that and a refusal alike. So only what is set up wrong is final, and that there is nobody to ask where nobody
    /// ever gave any: a metadata service that does not answer looks the same to the chain.
    fn by_the_chain(error: &CredentialsError, had_some: bool) -> Self {
        let may_pass = match error {
            CredentialsError::InvalidConfiguration(_) => false,
            CredentialsError::CredentialsNotLoaded(_) => had_some,
            _ => true,
        };
        Self { said: fault::chain(error), may_pass }
    }
}

impl Role {
    /// Counted like every call; STS has no bucket that others draw on, so it takes no token.
    async fn assume(&self, lane: Lane) -> Given {
        let own = self.own.ready(lane, FETCH_TIMEOUT).await;
        own.map_err(|why| self.not_assumed(why.said, why.may_pass))?;
        // Past `Clients::look`, which waits for what this gives.
        let call = self.sts.assume_role().role_arn(&self.role.arn).role_session_name(&self.session_name);
        let call = call.set_external_id(self.role.external_id.clone());
        let asked = Instant::now();
        let answer = timeout(FETCH_TIMEOUT, call.send()).await.map(|answer| answer.map_err(|error| fault::said(&error)));
        let outcome = match &answer {
            Ok(Ok(_)) => Outcome::Answered,
            Ok(Err(said)) => Outcome::Failed(said.kind),
            Err(_) => Outcome::Failed(FaultKind::Transient),
        };
        self.budget.calls.made(lane, Operation::AssumeRole, Duration::ZERO, outcome, asked.elapsed());
        let answer = answer.map_err(|_| self.silent(FETCH_TIMEOUT))?.map_err(|said| self.refused(&said))?;
        let given = answer.credentials.ok_or_else(|| self.not_assumed("the answer lacks credentials".to_owned(), true))?;
        let until = SystemTime::try_from(given.expiration).ok();
        Ok(Credentials::new(given.access_key_id, given.secret_access_key, Some(given.session_token), until, "AssumeRole"))
    }

    fn silent(&self, after: Duration) -> NotGiven {
        let (arn, ms) = (&self.role.arn, after.as_millis());
        let said = format!("a session of role {arn} is waited for: AssumeRole was not answered within {ms} ms");
        NotGiven { said, may_pass: true }
    }

    fn refused(&self, said: &Said) -> NotGiven {
        if said.code.as_deref().is_some_and(fault::is_expired) {
            self.own.kept().drop_old(SystemTime::now());
        }
        let may_pass = matches!(said.kind, FaultKind::Transient | FaultKind::Throttled);
        self.not_assumed(said.to_string(), may_pass)
    }

    fn not_assumed(&self, said: String, may_pass: bool) -> NotGiven {
        NotGiven { said: format!("role {} could not be assumed: {said}", self.role.arn), may_pass }
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
        session.credentials(Lane::Forward).await.unwrap();
        session.kept().credentials.as_mut().unwrap().renew = SystemTime::now();
        let answer = session.credentials(Lane::Forward).now_or_never();
        assert_eq!(answer.expect("the old ones are waited for by nobody").unwrap().access_key_id(), "first");
        session.fetch(Lane::Forward).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2, "new ones were asked for");
        session.credentials(Lane::Forward).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2, "and not again with the next call");
        session.kept().credentials.as_mut().unwrap().until = Some(SystemTime::now());
        session.credentials(Lane::Forward).await.unwrap_err();
    }

    #[tokio::test]
    async fn those_who_call_together_ask_once() {
        let (session, asked) = failing_after_the_first(Duration::from_secs(60));
        for answer in futures::future::join_all((0..10).map(|_| session.credentials(Lane::Forward))).await {
            answer.unwrap();
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn who_gives_up_takes_the_answer_from_nobody() {
        let (asked, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Notify::new()));
        let (count, wait) = (Arc::clone(&asked), Arc::clone(&answer));
        let provider = provide_credentials_fn(move || {
            let wait = Arc::clone(&wait);
            count.fetch_add(1, Ordering::SeqCst);
            async move {
                wait.notified().await;
                Ok(credentials("late", None))
            }
        });
        let session = Session::of(Source::Own(Some(SharedCredentialsProvider::new(provider))));
        let silent = session.ready(Lane::Forward, Duration::from_millis(1)).await.unwrap_err();
        assert!(silent.may_pass && silent.said.contains("own credentials are waited for"), "{silent}");
        answer.notify_one();
        session.ready(Lane::Rollback, Duration::from_secs(30)).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 1, "the first one's question went on without them");
    }

    #[test]
    fn a_source_that_is_out_of_reach_is_no_refusal() {
        let may_pass = |error: &CredentialsError, had_some| NotGiven::by_the_chain(error, had_some).may_pass;
        for away in [CredentialsError::provider_error("sts does not answer"), CredentialsError::unhandled("no agent")] {
            assert!(may_pass(&away, true) && may_pass(&away, false), "{away:?}");
        }
        let nobody = CredentialsError::not_loaded("no metadata service");
        assert!(may_pass(&nobody, true), "there was one before");
        assert!(!may_pass(&nobody, false));
        assert!(!may_pass(&CredentialsError::invalid_configuration("half a key"), true));
    }

    #[test]
    fn a_session_is_named_after_its_installation() {
        assert_eq!(name("01900000-0000-7000-8000-000000000000"), "cutover-01900000");
        assert_eq!(name("our web/prod"), "cutover-ourwebpr");
    }
}
