//! The request budget: what this process may still ask of AWS, per account, region and class of calls.
//!
//! AWS throttles an account as a whole, so a poll too many is a rollback refused. Every call takes a token before it is signed;
//! all ways into AWS of one process share the buckets. Waiting is fair within a lane and ends at the caller's deadline: what got
//! no token was not sent.

mod bucket;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::{
    sync,
    time::{self, timeout_at},
};

use bucket::Bucket;
pub use bucket::Grant;
pub(super) use bucket::Lane;

use super::{arn, calls::Calls, operation::Class};
use crate::{
    domain::{declaration::Provider, ids::RouteRef},
    engine::ports::{BudgetFigures, ProviderFigures},
};

/// Accounts and regions that are kept count of; beyond, one that no client draws on is forgotten, and starts with full buckets when
/// it is met again. One that is in use stays, however many there are: clients are kept in a limited number too.
const SCOPES_MAX: usize = 200;
/// Calls that wait in one line; beyond, none is sent.
const LINE_MAX: usize = 10_000;

/// What AWS grants, per account and region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetSettings {
    pub elb_changes: Grant,
    pub elb_looks: Grant,
    /// Looks and changes together.
    pub auto_scaling: Grant,
}

impl Default for BudgetSettings {
    /// ELBv2 as AWS publishes it; Auto Scaling is not published: assumed.
    fn default() -> Self {
        Self {
            elb_changes: Grant { size: 20, per_second: 3, reserve: 10 },
            elb_looks: Grant { size: 40, per_second: 10, reserve: 10 },
            auto_scaling: Grant { size: 10, per_second: 5, reserve: 2 },
        }
    }
}

/// Whose buckets, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scope {
    /// The account of the role that is assumed. With the process's own credentials, whose account is never asked for, the one that
    /// the routes are in: those can act in no other. `own` where neither tells.
    pub(super) account: String,
    pub(super) region: String,
}

impl Scope {
    pub(super) fn of(provider: &Provider, routes: &[RouteRef]) -> Self {
        let Provider::Aws { region, role } = provider;
        let account = match role {
            Some(role) => Some(arn::account(&role.arn).unwrap_or(&role.arn)),
            None => routes.iter().find_map(|route| arn::account(route.as_str())),
        };
        Self { account: account.unwrap_or("own").to_owned(), region: region.clone() }
    }
}

/// The buckets of one process, shared by every way into AWS that it has, and the count of what went.
#[derive(Debug)]
pub struct Budget {
    settings: BudgetSettings,
    scopes: Mutex<Scopes>,
    pub(super) calls: Calls,
}

#[derive(Debug)]
struct Scopes {
    replicas: u32,
    known: BTreeMap<Scope, Arc<Tokens>>,
}

impl Budget {
    #[must_use]
    pub fn new(settings: BudgetSettings) -> Self {
        Self { settings, scopes: Mutex::new(Scopes { replicas: 1, known: BTreeMap::new() }), calls: Calls::default() }
    }

    /// So many replicas are alive, this one included: they divide what forward work may take, and only that.
    pub fn share(&self, replicas: u32) {
        let mut scopes = self.lock();
        scopes.replicas = replicas;
        for tokens in scopes.known.values() {
            tokens.each().into_iter().for_each(|(_, line)| line.bucket().share(replicas, now()));
        }
    }

    /// The buckets of an account and region.
    pub(super) fn of(&self, scope: &Scope) -> Arc<Tokens> {
        let mut scopes = self.lock();
        if let Some(tokens) = scopes.known.get(scope) {
            return Arc::clone(tokens);
        }
        while scopes.known.len() >= SCOPES_MAX {
            // Who holds one goes on drawing on it: forgotten here, the account would have a second one, full. The count is good:
            // the first to hold one gets it from here, under the lock.
            let unused = scopes.known.iter().find(|(_, tokens)| Arc::strong_count(tokens) == 1);
            let Some(unused) = unused.map(|(scope, _)| scope.clone()) else { break };
            scopes.known.remove(&unused);
        }
        let tokens = Arc::new(Tokens::full(&self.settings, scopes.replicas));
        scopes.known.insert(scope.clone(), Arc::clone(&tokens));
        tokens
    }

    pub(super) fn figures(&self) -> ProviderFigures {
        let figures = |(scope, tokens): (&Scope, &Arc<Tokens>)| tokens.each().map(|(class, line)| line.figures(scope, class));
        ProviderFigures { calls: self.calls.figures(), budgets: self.lock().known.iter().flat_map(figures).collect() }
    }

    fn lock(&self) -> MutexGuard<'_, Scopes> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The buckets of one account and region.
#[derive(Debug)]
pub(super) struct Tokens {
    elb_changes: Line,
    elb_looks: Line,
    auto_scaling: Line,
}

impl Tokens {
    fn full(settings: &BudgetSettings, replicas: u32) -> Self {
        let line = |grant| Line::new(Bucket::full(grant, replicas, now()));
        Self {
            elb_changes: line(settings.elb_changes),
            elb_looks: line(settings.elb_looks),
            auto_scaling: line(settings.auto_scaling),
        }
    }

    /// Waits for a token, until `until` at the latest.
    pub(super) async fn take(&self, class: Class, lane: Lane, until: Instant) -> Result<(), NoToken> {
        self.line(class).take(lane, until).await
    }

    /// Whether at least half of a full bucket is there: enough to send something twice.
    pub(super) fn plenty(&self, class: Class) -> bool {
        let mut bucket = self.line(class).bucket();
        bucket.ready(Lane::Rollback, now()) >= f64::from(bucket.size()) / 2.0
    }

    /// AWS throttled a call of this class.
    pub(super) fn throttled(&self, class: Class) {
        self.line(class).bucket().throttled(now());
    }

    fn line(&self, class: Class) -> &Line {
        match class {
            Class::ElbChanges => &self.elb_changes,
            Class::ElbLooks => &self.elb_looks,
            Class::AutoScaling => &self.auto_scaling,
        }
    }

    fn each(&self) -> [(Class, &Line); 3] {
        [Class::ElbChanges, Class::ElbLooks, Class::AutoScaling].map(|class| (class, self.line(class)))
    }
}

/// None came in time, or too many wait already: the call was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoToken;

/// A bucket and who waits for it: one line a lane, so that neither stands behind the other.
#[derive(Debug)]
struct Line {
    bucket: Mutex<Bucket>,
    forward: Turns,
    rollback: Turns,
}

/// First come, first served; only the first looks at the bucket.
#[derive(Debug)]
struct Turns {
    /// Tokio's mutex is fair.
    first: sync::Mutex<()>,
    places: sync::Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        Self { first: sync::Mutex::new(()), places: sync::Semaphore::new(LINE_MAX) }
    }
}

impl Line {
    fn new(bucket: Bucket) -> Self {
        Self { bucket: Mutex::new(bucket), forward: Turns::default(), rollback: Turns::default() }
    }

    async fn take(&self, lane: Lane, until: Instant) -> Result<(), NoToken> {
        let turns = match lane {
            Lane::Forward => &self.forward,
            Lane::Rollback => &self.rollback,
        };
        let _place = turns.places.try_acquire().map_err(|_| NoToken)?;
        let _first = timeout_at(until.into(), turns.first.lock()).await.map_err(|_| NoToken)?;
        loop {
            let taken = self.bucket().take(lane, now());
            match taken {
                Ok(()) => return Ok(()),
                // Told at once what waiting would not change.
                Err(wait) if now() + wait > until => return Err(NoToken),
                Err(wait) => time::sleep(wait).await,
            }
        }
    }

    fn figures(&self, scope: &Scope, class: Class) -> BudgetFigures {
        let (mut bucket, now) = (self.bucket(), now());
        BudgetFigures {
            account: scope.account.clone(),
            region: scope.region.clone(),
            class: class.name(),
            ready: [Lane::Forward, Lane::Rollback].map(|lane| (lane.name(), bucket.ready(lane, now))),
            pace: bucket.pace(now),
        }
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Instant {
    time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Duration};

    use futures::{
        FutureExt,
        future::{join_all, poll_immediate},
    };

    use super::*;
    use crate::domain::declaration::AssumedRole;

    fn one_token(per_second: u32) -> Line {
        Line::new(Bucket::full(Grant { size: 2, per_second, reserve: 1 }, 1, now()))
    }

    fn later() -> Instant {
        now() + Duration::from_secs(3600)
    }

    #[tokio::test]
    async fn a_rollback_goes_at_once_while_forward_work_waits() {
        let line = one_token(1);
        assert_eq!(line.take(Lane::Forward, later()).now_or_never(), Some(Ok(())));
        let mut waiting: Vec<_> = (0..50).map(|_| line.take(Lane::Forward, later()).boxed()).collect();
        for call in &mut waiting {
            assert_eq!(poll_immediate(call).await, None);
        }
        assert_eq!(line.take(Lane::Rollback, later()).now_or_never(), Some(Ok(())));
    }

    #[tokio::test]
    async fn what_cannot_come_in_time_is_refused_at_once() {
        let line = one_token(1);
        line.take(Lane::Forward, later()).await.unwrap();
        let soon = now() + Duration::from_millis(500);
        assert_eq!(line.take(Lane::Forward, soon).now_or_never(), Some(Err(NoToken)), "the next one comes in a second");
        assert_eq!(line.take(Lane::Rollback, soon).now_or_never(), Some(Ok(())));
        assert_eq!(line.take(Lane::Rollback, soon).now_or_never(), Some(Err(NoToken)));
    }

    #[tokio::test]
    async fn who_comes_first_is_served_first_and_who_gives_up_holds_nobody_up() {
        let (line, served) = (one_token(1000), Mutex::new(Vec::new()));
        let turn = |n: usize| {
            let (line, served) = (&line, &served);
            async move {
                line.take(Lane::Forward, later()).await.unwrap();
                served.lock().unwrap().push(n);
            }
        };
        line.take(Lane::Forward, later()).await.unwrap();
        let mut gives_up = line.take(Lane::Forward, later()).boxed();
        assert_eq!(poll_immediate(&mut gives_up).await, None);
        let rest = join_all((0..20).map(turn));
        drop(gives_up);
        rest.await;
        assert_eq!(*served.lock().unwrap(), (0..20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_line_has_an_end() {
        let line = one_token(1);
        line.take(Lane::Forward, later()).await.unwrap();
        let mut waiting: Vec<_> = (0..LINE_MAX).map(|_| line.take(Lane::Forward, later()).boxed()).collect();
        for call in &mut waiting {
            assert_eq!(poll_immediate(call).await, None);
        }
        // Tokio lets a task do only so much before it gives others a turn.
        tokio::task::yield_now().await;
        assert_eq!(line.take(Lane::Forward, later()).now_or_never(), Some(Err(NoToken)));
        assert_eq!(line.take(Lane::Rollback, later()).now_or_never(), Some(Ok(())));
    }

    fn own(region: &str) -> Scope {
        Scope::of(&Provider::Aws { region: region.to_owned(), role: None }, &[])
    }

    #[test]
    fn whoever_leads_into_an_account_draws_on_its_buckets_and_meets_its_throttling() {
        let role = |name: &str| Some(AssumedRole { arn: format!("arn:aws:iam::111122223333:role/{name}"), external_id: None });
        let scope = |role, account: &str| {
            let route = format!("arn:aws:elasticloadbalancing:eu-west-1:{account}:listener-rule/app/web/50dc/f2f7/9683");
            Scope::of(&Provider::Aws { region: "eu-west-1".to_owned(), role }, &[RouteRef::new(route)])
        };
        let budget = Budget::new(BudgetSettings::default());
        let home = budget.of(&scope(None, "111122223333"));
        for same in [role("one"), role("path/other")] {
            assert!(Arc::ptr_eq(&home, &budget.of(&scope(same, "111122223333"))));
        }
        let elsewhere = budget.of(&scope(None, "444455556666"));
        assert!(!Arc::ptr_eq(&home, &elsewhere));
        assert!(!Arc::ptr_eq(&budget.of(&own("eu-west-1")), &budget.of(&own("eu-west-2"))));

        budget.of(&scope(role("one"), "111122223333")).throttled(Class::ElbLooks);
        let pace = |tokens: &Tokens| tokens.elb_looks.bucket().pace(now());
        assert!(pace(&home) < 1.0 && pace(&elsewhere) >= 1.0);
    }

    #[test]
    fn an_account_that_is_drawn_on_keeps_its_buckets_however_many_others_come() {
        let budget = Budget::new(BudgetSettings::default());
        let of = |n: usize| budget.of(&Scope { account: format!("{n:012}"), region: "eu-west-1".to_owned() });
        let (first, last) = (of(0), of(SCOPES_MAX - 1));
        for n in 1..3 * SCOPES_MAX {
            of(n);
        }
        assert_eq!(budget.lock().known.len(), SCOPES_MAX, "of those that nobody draws on some are forgotten");
        assert!(Arc::ptr_eq(&first, &of(0)) && Arc::ptr_eq(&last, &of(SCOPES_MAX - 1)));
        let all: Vec<_> = (0..2 * SCOPES_MAX).map(of).collect();
        assert!(
            all.iter().enumerate().all(|(n, tokens)| Arc::ptr_eq(tokens, &of(n))),
            "none is forgotten while all are in use"
        );
        drop((all, first, last));
        of(3 * SCOPES_MAX);
        assert_eq!(budget.lock().known.len(), SCOPES_MAX, "and then they go");
    }

    #[tokio::test]
    async fn two_hundred_rollbacks_at_once_leave_nothing_to_send_twice() {
        let tokens = Budget::new(BudgetSettings::default()).of(&own("eu-west-1"));
        assert!(tokens.plenty(Class::ElbChanges));
        for _ in 0..200 {
            let _ = tokens.take(Class::ElbChanges, Lane::Rollback, now()).now_or_never();
        }
        assert!(!tokens.plenty(Class::ElbChanges));
        assert!(tokens.plenty(Class::ElbLooks), "each class by itself");
    }

    #[tokio::test]
    async fn replicas_divide_what_forward_work_may_take() {
        let budget = Budget::new(BudgetSettings::default());
        let tokens = budget.of(&own("eu-west-1"));
        let taken = |tokens: &Tokens| {
            (0..100).take_while(|_| tokens.take(Class::ElbChanges, Lane::Forward, now()).now_or_never() == Some(Ok(()))).count()
        };
        budget.share(2);
        assert_eq!(taken(&tokens), 5);
        assert_eq!(taken(&budget.of(&own("eu-west-2"))), 5, "also where it was first met later");
    }
}
