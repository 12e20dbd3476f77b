//! The SDK's clients, one pair a region and a role, and the two ways to call: a look, and a change.
//!
//! The SDK retries nothing: a look that failed is *unknown* and made again by the next tick; a change is repeated by the
//! engine, which sees first whether it was applied.

use std::{
    collections::BTreeMap,
    error::Error,
    future,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use aws_config::{
    AppName, BehaviorVersion, Region, SdkConfig, identity::IdentityCache, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_sdk_autoscaling as autoscaling;
use aws_sdk_elasticloadbalancingv2 as elb;
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use futures::future::BoxFuture;

use super::{
    budget::{Budget, BudgetSettings, Lane, Scope},
    clock::{ClockLead, SigningClock},
    fence::{Fence, SendBefore},
    gate::Gate,
    looks::Looks,
    operation::{Class, Operation},
    session::{Assumed, Session},
};
use crate::{
    domain::{declaration::Provider, ids::RouteRef},
    engine::ports::Fault,
};

/// Regions and roles that one process keeps clients for; those of a further one replace those that were unused for longest.
const CLIENTS_MAX: usize = 100;

/// No answer is taken to be late before this.
const OVERDUE_MIN: Duration = Duration::from_millis(50);

/// How AWS is reached. The endpoint is AWS's own, or `AWS_ENDPOINT_URL`; credentials come by the SDK's chain.
#[derive(Debug, Clone)]
pub struct AwsSettings {
    /// Where credentials are asked for when neither the environment nor a profile names a region. Services name their own.
    pub region: String,
    /// For a connection to be made.
    pub connect_timeout: Duration,
    /// For the answer to a look.
    pub look_timeout: Duration,
    /// For the answer to a change; half a signature's life at the very most.
    pub change_timeout: Duration,
    /// What may be asked of each account and region.
    pub budget: BudgetSettings,
}

impl Default for AwsSettings {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            connect_timeout: Duration::from_secs(1),
            look_timeout: Duration::from_secs(5),
            change_timeout: Duration::from_secs(2),
            budget: BudgetSettings::default(),
        }
    }
}

/// Reads the SDK's configuration from environment and profile. Makes no connection.
pub(super) async fn load(settings: &AwsSettings) -> SdkConfig {
    let named = ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().find_map(|name| std::env::var(name).ok());
    // Named here, because the SDK would otherwise ask the machine's metadata service, and wait for it where there is none.
    let region = Region::new(named.unwrap_or_else(|| settings.region.clone()));
    aws_config::defaults(BehaviorVersion::latest()).region(region).load().await
}

/// The clients of one region and role. Each has its own connections, kept alive.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    pub(super) elb: elb::Client,
    pub(super) autoscaling: autoscaling::Client,
    /// Apart: whoever goes back boards no call that waits for a token of forward work's.
    forward_looks: Arc<Looks>,
    rollback_looks: Arc<Looks>,
    limits: Limits,
    gate: Gate,
}

/// How long calls may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    look: Duration,
    change: Duration,
}

/// Makes clients on first use of a region with a role.
#[derive(Debug)]
pub(super) struct Regions {
    config: SdkConfig,
    limits: Limits,
    clock: Arc<ClockLead>,
    budget: Arc<Budget>,
    /// Who the process is itself.
    own: Session,
    session_name: String,
    clients: Mutex<BTreeMap<(Provider, Scope), Used>>,
}

/// Clients, and when they were last asked for.
#[derive(Debug)]
struct Used {
    clients: Clients,
    last: Instant,
}

impl Regions {
    /// `config` gives the endpoint and the credentials; how calls are made is decided here.
    pub(super) fn new(
        config: &SdkConfig,
        settings: &AwsSettings,
        session_name: String,
        clock: Arc<ClockLead>,
        budget: Arc<Budget>,
    ) -> Self {
        let timeouts = TimeoutConfig::builder().connect_timeout(settings.connect_timeout).build();
        // Stands in the user agent, and so in the account's CloudTrail: who changed the rule.
        let name = config.app_name().cloned().or_else(|| AppName::new("cutover").ok());
        let mut config = config.to_builder().retry_config(RetryConfig::disabled()).timeout_config(timeouts);
        config.set_app_name(name);
        let config = config.time_source(SigningClock(Arc::clone(&clock))).build();
        let limits = Limits { look: settings.look_timeout, change: settings.change_timeout };
        let own = Session::own(&config);
        Self { config, limits, clock, budget, own, session_name, clients: Mutex::new(BTreeMap::new()) }
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Those of a provider, where `routes` are.
    pub(super) fn of(&self, provider: &Provider, routes: &[RouteRef]) -> Clients {
        let wanted = (provider.clone(), Scope::of(provider, routes));
        // Making clients does no IO, so the lock is held for microseconds and nothing in it can fail half-way.
        let mut clients = self.clients.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let last = Instant::now();
        if let Some(known) = clients.get_mut(&wanted) {
            known.last = last;
            return known.clients.clone();
        }
        if clients.len() >= CLIENTS_MAX
            && let Some(oldest) = clients.iter().min_by_key(|(_, used)| used.last).map(|(which, _)| which.clone())
        {
            clients.remove(&oldest);
        }
        let made = self.make(&wanted.0, &wanted.1);
        clients.insert(wanted, Used { clients: made.clone(), last });
        made
    }

    fn make(&self, provider: &Provider, scope: &Scope) -> Clients {
        let Provider::Aws { region, role } = provider;
        let tokens = self.budget.of(scope);
        let region = Region::new(region.clone());
        let fence = || Fence { clock: Arc::clone(&self.clock) };
        let assumed = |role| Assumed { role, config: &self.config, session_name: &self.session_name, budget: &self.budget };
        let session = match role {
            Some(role) => Session::with_role(&self.own, &assumed(role), &region, fence()),
            None => self.own.clone(),
        };
        // The session keeps credentials itself.
        let elb = elb::config::Builder::from(&self.config).region(region.clone()).interceptor(fence());
        let elb = elb.credentials_provider(session.clone()).identity_cache(IdentityCache::no_cache());
        let autoscaling = autoscaling::config::Builder::from(&self.config).region(region).interceptor(fence());
        let autoscaling = autoscaling.credentials_provider(session.clone()).identity_cache(IdentityCache::no_cache());
        Clients {
            elb: elb::Client::from_conf(elb.build()),
            autoscaling: autoscaling::Client::from_conf(autoscaling.build()),
            forward_looks: Arc::default(),
            rollback_looks: Arc::default(),
            limits: self.limits,
            gate: Gate { session, budget: Arc::clone(&self.budget), tokens, lane: Lane::Forward },
        }
    }
}

impl Clients {
    pub(super) fn looks(&self) -> &Looks {
        match self.gate.lane {
            Lane::Forward => &self.forward_looks,
            Lane::Rollback => &self.rollback_looks,
        }
    }

    /// By when a look that begins now has its answer, or never.
    pub(super) fn latest_answer(&self) -> Instant {
        Instant::now() + self.limits.look
    }

    /// The same, drawing on the budget as `lane` may.
    pub(super) fn on(mut self, lane: Lane) -> Self {
        self.gate.lane = lane;
        self
    }

    /// Returns once a change of rules that was sent just now is answered later than most of late; never, while tokens are scarce.
    pub(super) async fn overdue(&self) {
        let Some(usual) = self.gate.budget.calls.usual_change() else { return future::pending().await };
        tokio::time::sleep(usual.max(OVERDUE_MIN)).await;
        // Asked only now: a burst of rollbacks has taken what there was.
        if self.is_scarce() {
            future::pending::<()>().await;
        }
    }

    /// Whether less than half of a full bucket is there for changes of rules.
    pub(super) fn is_scarce(&self) -> bool {
        !self.gate.tokens.plenty(Class::ElbChanges)
    }

    /// Looks, and ends by `deadline`. Boxed: an SDK call is kilobytes of state, and many are joined into one look.
    pub(super) fn look<'c, T, E>(
        &self,
        operation: Operation,
        deadline: Instant,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send + 'c,
    ) -> BoxFuture<'c, Result<T, Fault>>
    where
        T: 'c,
        E: ProvideErrorMetadata + Error + 'static,
    {
        Box::pin(self.gate.clone().pass(operation, self.limits.look, deadline, call))
    }

    /// Changes, once. The call that `call` makes must be given the `SendBefore`: without it the fence lets nothing through.
    pub(super) fn change<'c, T, E, F>(
        &self,
        operation: Operation,
        deadline: Instant,
        call: impl FnOnce(SendBefore) -> F,
    ) -> BoxFuture<'c, Result<T, Fault>>
    where
        T: 'c,
        E: ProvideErrorMetadata + Error + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send + 'c,
    {
        Box::pin(self.gate.clone().pass(operation, self.limits.change, deadline, call(SendBefore(deadline))))
    }
}

#[cfg(test)]
mod tests {
    use aws_credential_types::{
        Credentials,
        credential_fn::provide_credentials_fn,
        provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError},
    };

    use super::*;
    use crate::{domain::declaration::AssumedRole, engine::ports::FaultKind};

    fn clients(endpoint: &str, credentials: impl ProvideCredentials + 'static) -> Clients {
        let budget = Arc::new(Budget::new(BudgetSettings::default()));
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(endpoint)
            .credentials_provider(SharedCredentialsProvider::new(credentials));
        let regions = Regions::new(&config.build(), &AwsSettings::default(), "cutover".to_owned(), Arc::default(), budget);
        regions.of(&Provider::Aws { region: "eu-west-1".to_owned(), role: None }, &[])
    }

    #[test]
    fn clients_are_kept_for_a_region_and_a_role_and_not_without_bound() {
        let budget = Arc::new(Budget::new(BudgetSettings::default()));
        let config = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
        let regions = Regions::new(&config, &AwsSettings::default(), "cutover".to_owned(), Arc::default(), budget);
        let of = |role: Option<(&str, Option<&str>)>| {
            let role = role.map(|(arn, id)| AssumedRole { arn: arn.to_owned(), external_id: id.map(str::to_owned) });
            let used = regions.of(&Provider::Aws { region: "eu-west-1".to_owned(), role }, &[]);
            Arc::as_ptr(&used.forward_looks) as usize
        };
        let all = [None, Some(("a", None)), Some(("b", None)), Some(("b", Some("x")))];
        let made: std::collections::BTreeSet<_> = all.map(of).into();
        assert_eq!(made.len(), all.len(), "none is shared");
        assert_eq!(all.map(of), all.map(of), "and each is kept");
        for n in 0..CLIENTS_MAX {
            of(Some((&n.to_string(), None)));
            of(None);
        }
        assert_eq!(regions.clients.lock().unwrap().len(), CLIENTS_MAX);
        assert!(made.contains(&of(None)), "what is in use stays");
    }

    fn somebody() -> Credentials {
        Credentials::new("test", "test", None, None, "test")
    }

    /// A port that nobody may connect to.
    fn port() -> (std::net::TcpListener, String) {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        (listener, endpoint)
    }

    async fn delete(clients: &Clients, deadline: Instant, fence: Option<SendBefore>) -> Fault {
        let call = |_| {
            let call = clients.elb.delete_rule().rule_arn("arn:…:listener-rule/app/a/b/c/d").customize();
            match fence {
                Some(fence) => call.interceptor(fence).send(),
                None => call.send(),
            }
        };
        clients.change(Operation::DeleteRule, deadline, call).await.unwrap_err()
    }

    #[tokio::test]
    async fn what_was_signed_too_late_is_never_sent() {
        let (listener, endpoint) = port();
        let clients = clients(&endpoint, somebody());
        let (past, later) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        // The process stalled after signing: by the time of the check the deadline has passed.
        let fault = delete(&clients, later, Some(SendBefore(past))).await;
        assert_eq!(fault.kind, FaultKind::NotSent, "{fault}");
        // Nothing is even begun after the deadline.
        assert_eq!(delete(&clients, past, Some(SendBefore(past))).await.kind, FaultKind::NotSent);
        // A change that was given no deadline is a mistake of ours, and stays here too.
        let fault = delete(&clients, later, None).await;
        assert!(fault.message.contains("given no deadline"), "{fault}");
        assert!(listener.accept().is_err(), "somebody connected");
    }

    #[tokio::test]
    async fn without_credentials_nothing_is_sent_and_it_is_denied() {
        let (listener, endpoint) = port();
        let nobody = provide_credentials_fn(async || Err(CredentialsError::not_loaded("nobody is logged in")));
        let clients = clients(&endpoint, nobody);
        let later = Instant::now() + Duration::from_secs(60);
        let fault = delete(&clients, later, Some(SendBefore(later))).await;
        assert_eq!(fault.kind, FaultKind::Denied, "{fault}");
        assert!(fault.message.contains("nobody is logged in"), "{fault}");
        assert!(listener.accept().is_err(), "somebody connected");
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_in_time_leaves_the_outcome_unknown() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let silent = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Read until the caller has given up and closed it.
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.unwrap()
        });
        let mut clients = clients(&endpoint, somebody());
        clients.limits.change = Duration::from_millis(300);
        let later = Instant::now() + Duration::from_secs(60);
        let fault = delete(&clients, later, Some(SendBefore(later))).await;
        assert_eq!(fault.kind, FaultKind::Transient, "{fault}");
        assert_eq!(fault.message, "no answer within 300 ms");
        assert!(silent.await.unwrap() > 0, "it was sent");
    }
}
