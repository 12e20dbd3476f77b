//! A region of its own for each test, with AWS's clients pointed at it.

use std::{fmt::Debug, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_autoscaling::{
    Client as AutoScaling,
    config::{Credentials, ProvideCredentials},
};
use aws_sdk_elasticloadbalancingv2::{
    Client as Elb,
    error::{ProvideErrorMetadata, SdkError},
    types::{Action, ActionTypeEnum, ForwardActionConfig, HostHeaderConditionConfig, RuleCondition, TargetGroupTuple},
};
use cutover_sim::{
    Sim,
    options::{Clocks, Options},
    scenario::{Stage, Staged},
};

/// How long a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct World {
    pub sim: Sim,
    pub elb: Elb,
    pub auto_scaling: AutoScaling,
}

/// A region at a hundredth of AWS's clocks; a signature lives three seconds.
pub fn quick() -> Options {
    Options { scale: 0.01, ..Options::default() }
}

pub async fn world(options: Options) -> World {
    let sim = Sim::start(options).await.expect("a free port");
    let config = config(sim.endpoint(), "eu-west-1", Credentials::new("AKIATEST", "secret", None, None, "test")).await;
    World { sim, elb: Elb::new(&config), auto_scaling: AutoScaling::new(&config) }
}

/// What a client is made of that calls this endpoint and tries nothing twice.
pub async fn config(endpoint: &str, region: &'static str, who: impl ProvideCredentials + 'static) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new(region))
        .credentials_provider(who)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().operation_timeout(Duration::from_secs(5)).build())
        .load()
        .await
}

/// A region with one service, its blue group at work.
pub async fn staged(options: Options, stage: &Stage) -> (World, Staged) {
    let world = world(options).await;
    let staged = world.sim.stage(stage).expect("a stage");
    (world, staged)
}

/// The code that a refused call was refused with.
pub fn code<T: Debug, E: ProvideErrorMetadata + Debug, R: Debug>(result: Result<T, SdkError<E, R>>) -> String {
    let error = result.expect_err("it should be refused");
    error.code().map_or_else(|| format!("no code: {error:?}"), str::to_owned)
}

pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let looking = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("waited in vain until {what}"))
}

/// Clocks at which nothing happens by itself while a test looks.
pub fn slow() -> Options {
    let clocks = Clocks { boot: Duration::ZERO, delete_lag: Duration::ZERO, ..Clocks::default() };
    Options { clocks, ..Options::default() }
}

pub fn host(name: &str) -> RuleCondition {
    let config = HostHeaderConditionConfig::builder().values(name).build();
    RuleCondition::builder().field("host-header").host_header_config(config).build()
}

pub fn forward(groups: &[(&str, i32)]) -> Action {
    let tuple = |(arn, weight): &(&str, i32)| TargetGroupTuple::builder().target_group_arn(*arn).weight(*weight).build();
    let config = ForwardActionConfig::builder().set_target_groups(Some(groups.iter().map(tuple).collect())).build();
    Action::builder().r#type(ActionTypeEnum::Forward).forward_config(config).build()
}
