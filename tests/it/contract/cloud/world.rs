//! A region to play in: a fresh moto, or a fresh pocket region, with a network and a launch template.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_autoscaling as autoscaling;
use aws_sdk_elasticloadbalancingv2 as elb;
use cutover::cloud::aws::{AwsCloud, AwsSettings, Budget};
use cutover_sim::{Sim, options::Options, scenario::Stage};

use crate::support::region::no_limits;

/// Everything happens in this region.
pub const REGION: &str = "eu-west-1";
/// The installation whose cloud is under test.
pub const INSTALLATION: &str = "contract";
/// How long a stand-in may take to start, and a change to show.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which stand-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emulator {
    Moto,
    PocketRegion,
}

/// One region.
pub struct World {
    pub emulator: Emulator,
    pub elb: elb::Client,
    pub autoscaling: autoscaling::Client,
    pub vpc: String,
    pub subnets: Vec<String>,
    pub template: String,
    /// An image that servers can be made from.
    pub image: String,
    config: SdkConfig,
    running: Running,
}

/// What ends with the world.
enum Running {
    Moto(#[expect(dead_code, reason = "held for its drop")] MotoServer),
    PocketRegion(Sim),
}

struct MotoServer(Child);

impl Drop for MotoServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl World {
    pub async fn pocket_region() -> Self {
        // Its clocks run fast: a health check a few times a second, a boot in less than one.
        let sim = Sim::start(Options { scale: 0.01, ..Options::default() }).await.unwrap();
        let staged = sim.stage(&Stage { servers: 0, ..Stage::default() }).unwrap();
        let config = config(sim.endpoint());
        Self {
            emulator: Emulator::PocketRegion,
            elb: elb::Client::new(&config),
            autoscaling: autoscaling::Client::new(&config),
            vpc: "vpc-0pocket".to_owned(),
            subnets: vec!["subnet-0pocket".to_owned()],
            template: staged.services[0].launch_template.clone(),
            image: staged.images.values().next().unwrap().clone(),
            config,
            running: Running::PocketRegion(sim),
        }
    }

    pub async fn moto() -> Self {
        let port = free_port();
        let moto = MotoServer(
            Command::new(moto_server())
                .args(["-H", "127.0.0.1", "-p", &port.to_string()])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("moto_server starts"),
        );
        let endpoint = format!("http://127.0.0.1:{port}");
        let ec2 = Ec2 { http: reqwest::Client::new(), endpoint: endpoint.clone() };
        let subnets = eventually("moto answers", || ec2.try_call("DescribeSubnets")).await;
        let template = ec2
            .try_call(
                "CreateLaunchTemplate&LaunchTemplateName=web&LaunchTemplateData.ImageId=ami-12c6146b&LaunchTemplateData.InstanceType=t3.micro",
            )
            .await
            .expect("a launch template");
        let config = config(&endpoint);
        Self {
            emulator: Emulator::Moto,
            elb: elb::Client::new(&config),
            autoscaling: autoscaling::Client::new(&config),
            vpc: all_of(&subnets, "vpcId").remove(0),
            subnets: all_of(&subnets, "subnetId"),
            template: all_of(&template, "launchTemplateId").remove(0),
            image: "ami-12c6146b".to_owned(),
            config,
            running: Running::Moto(moto),
        }
    }

    /// The pocket region behind it, for what moto has no switches for.
    pub fn sim(&self) -> &Sim {
        match &self.running {
            Running::PocketRegion(sim) => sim,
            Running::Moto(_) => panic!("moto cannot be made to misbehave"),
        }
    }

    /// The adapter under test, as one installation.
    pub fn cloud(&self) -> AwsCloud {
        self.cloud_of(INSTALLATION)
    }

    /// One that draws on this budget.
    pub fn cloud_on(&self, budget: &Arc<Budget>) -> AwsCloud {
        AwsCloud::with(&self.config, &patient(), INSTALLATION, budget)
    }

    pub fn cloud_of(&self, installation: &str) -> AwsCloud {
        AwsCloud::with(&self.config, &patient(), installation, &no_limits())
    }
}

/// A busy machine is no fault: what is timed is tested elsewhere.
fn patient() -> AwsSettings {
    AwsSettings { look_timeout: PATIENCE, change_timeout: PATIENCE, connect_timeout: PATIENCE, ..AwsSettings::default() }
}

fn config(endpoint: &str) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "the contract suite");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(RetryConfig::disabled())
        .build()
}

/// Loopback, and free when asked: a port that was bound and let go is not given out again soon.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn moto_server() -> PathBuf {
    let named = std::env::var_os("CUTOVER_MOTO").map(PathBuf::from);
    let path = named.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/moto_server"));
    assert!(path.exists(), "{} is not there: run scripts/setup, or name moto_server in CUTOVER_MOTO", path.display());
    path
}

/// The few calls of EC2 that moto needs before anything else: a crate for them would cost more than all others together.
struct Ec2 {
    http: reqwest::Client,
    endpoint: String,
}

impl Ec2 {
    async fn try_call(&self, action: &str) -> Option<String> {
        let scope = format!("Credential=test/20260101/{REGION}/ec2/aws4_request");
        let answer = self
            .http
            .post(&self.endpoint)
            .header("Authorization", format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(format!("Action={action}&Version=2016-11-15"))
            .send()
            .await
            .ok()?;
        answer.error_for_status().ok()?.text().await.ok()
    }
}

/// Every `<name>…</name>` of an answer.
fn all_of(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open).skip(1).filter_map(|rest| Some(rest.split_once(&close)?.0.to_owned())).collect()
}

/// Asks until there is an answer.
///
/// # Panics
/// When there is none for too long.
pub async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < until, "waited {PATIENCE:?} in vain until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
