//! A pocket region with one service on it, a load generator, and the AWS adapter that reaches it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_config::{BehaviorVersion, Region};
use aws_sdk_autoscaling::types::{MetricType, PredefinedMetricSpecification, TargetTrackingConfiguration};
use aws_sdk_elasticloadbalancingv2::config::{Credentials, SharedCredentialsProvider};
use cutover::{
    cloud::aws::{AwsCloud, AwsSettings, Budget, BudgetSettings, Grant},
    domain::{
        declaration::{
            AssumedRole, Capacity, Deadlines, Declaration, LaunchTemplate, Provider, ServerGroupSpec, Stage as Step, Strategy,
        },
        ids::{GroupName, RouteRef, SlotRef, TargetGroupRef},
        time::BakeTime,
        weight::Weight,
    },
};
use cutover_sim::{
    Sim,
    land::Land,
    load::{Load, Plan, Route},
    model::{Action, Place, Region as World},
    options::{Clocks, Options},
    scenario::{Stage, Staged},
};

/// Whose everything is that the adapter makes.
pub const INSTALLATION: &str = "01900000-0000-7000-8000-000000000000";
/// How long a story waits for one thing.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The budget of an account that AWS never throttles: a region whose clocks run fast is looked at as much faster.
pub fn no_limits() -> Arc<Budget> {
    let grant = Grant { size: 100_000, per_second: 100_000, reserve: 1 };
    Arc::new(Budget::new(BudgetSettings { elb_changes: grant, elb_looks: grant, auto_scaling: grant }))
}

/// What a long request takes: less than the draining of a server that goes.
const LONG: Duration = Duration::from_millis(150);

fn plan(requests_per_second: u32) -> Plan {
    Plan { requests_per_second, routes: Vec::new(), fresh_share: 0.2, sessions: 0, timeout: Duration::from_secs(5), seed: 1 }
}

/// A region at a hundredth of AWS's pace with one staged service.
pub struct Scene {
    pub sim: Sim,
    pub staged: Staged,
    /// Where the service is.
    land: Arc<Land>,
    /// Who acts there, in another account.
    role: Option<AssumedRole>,
}

impl Scene {
    pub async fn new(stage: &Stage) -> Self {
        // Boot 0.4 s, propagation up to 0.05 s, health checks every 0.1 s, draining 0.3 s.
        Self::with(stage, Clocks { signature_life: Duration::from_secs(300), ..Clocks::default() }).await
    }

    /// By other clocks, before they are scaled.
    pub async fn with(stage: &Stage, clocks: Clocks) -> Self {
        Self::at(&Place::default(), None, stage, clocks).await
    }

    /// In an account of its own, whose role wants an external id.
    pub async fn abroad(stage: &Stage) -> Self {
        let place = Place { account: "222222222222".to_owned(), ..Place::default() };
        let arn = format!("arn:aws:iam::{}:role/cutover", place.account);
        let role = AssumedRole { arn, external_id: Some("cutover-at-example".to_owned()) };
        let clocks = Clocks { signature_life: Duration::from_secs(300), ..Clocks::default() };
        let scene = Self::at(&place, Some(role.clone()), stage, clocks).await;
        scene.sim.sessions().require(role.external_id.map(|id| (role.arn, id)).into_iter().collect());
        scene
    }

    async fn at(place: &Place, role: Option<AssumedRole>, stage: &Stage, clocks: Clocks) -> Self {
        const SCALE: f64 = 0.01;
        let options = Options { scale: SCALE, clocks, ..Options::default() };
        let propagation = clocks.propagation_max.mul_f64(SCALE);
        let sim = Sim::start(options).await.expect("a free port on loopback");
        let staged = sim.stage_at(place, stage).expect("a stage as this file makes them");
        let land = sim.land(place).expect("it was just staged at");
        let scene = Self { sim, staged, land, role };
        let wanted = usize::try_from(stage.servers).unwrap();
        scene.until("blue serves", || scene.healthy(scene.blue()) >= wanted).await;
        // Its users begin when no node is left that has not heard of it: one of them was answered 503, before anything was deployed.
        let serves = Instant::now();
        scene.until("every node knows", || serves.elapsed() > propagation).await;
        scene
    }

    pub fn blue(&self) -> &str {
        self.staged.services[0].blue.as_deref().unwrap_or_default()
    }

    /// Healthy servers of a group.
    pub fn healthy(&self, group: &str) -> usize {
        let region = self.land.shared.now();
        let mine = |id: &String| region.instances.get(id).is_some_and(|instance| instance.group == group);
        let targets = region.target_groups.values().flat_map(|slot| slot.targets.values());
        targets.filter(|target| mine(&target.instance) && target.state == cutover_sim::model::TargetState::Healthy).count()
    }

    /// All that is where the service is.
    pub fn region(&self) -> Arc<World> {
        self.land.shared.now()
    }

    /// Changes what no call could.
    pub fn change(&self, change: impl FnOnce(&mut World)) {
        self.land.shared.change(change);
    }

    pub fn groups(&self) -> Vec<String> {
        self.land.shared.now().groups.keys().cloned().collect()
    }

    /// Minimum and protection of a group.
    pub fn pin(&self, group: &str) -> (u32, String) {
        let group = &self.land.shared.now().groups[group];
        (group.min, group.deletion_protection.clone())
    }

    /// Rules that are not the service's own.
    pub fn extra_rules(&self) -> usize {
        let region = self.land.shared.now();
        region.rules.keys().filter(|arn| !self.staged.services[0].routes.contains(arn)).count()
    }

    /// Waits for the thing itself.
    pub async fn until(&self, what: &str, there: impl Fn() -> bool) {
        assert!(self.comes(PATIENCE, there).await, "{what} never came: {:#?}", self.land.shared.now().groups);
    }

    /// The same, for who asks whether it came in time.
    pub async fn comes(&self, within: Duration, there: impl Fn() -> bool) -> bool {
        let started = Instant::now();
        let mut news = self.land.shared.subscribe();
        while !there() {
            if started.elapsed() > within {
                return false;
            }
            let _ = tokio::time::timeout(Duration::from_millis(50), news.changed()).await;
        }
        true
    }

    /// Requests on every route, kept-alive and fresh connections mixed.
    pub fn load(&self, per_second: u32) -> Load {
        Load::start(Plan { routes: self.ways_in(""), ..plan(per_second) })
    }

    /// The same, with users whom the load balancer's cookie ties to a side, and every eighth request one that takes a while.
    pub fn users(&self, per_second: u32) -> Load {
        let mut routes = Vec::new();
        for _ in 0..7 {
            routes.extend(self.ways_in(""));
        }
        routes.extend(self.ways_in(&format!("?delay_ms={}", LONG.as_millis())));
        Load::start(Plan { routes, sessions: 40, ..plan(per_second) })
    }

    /// Lets the bases tie their users, as many do.
    pub fn tie_users(&self) {
        let routes = &self.staged.services[0].routes;
        self.change(|region| {
            for route in routes {
                for action in region.rules.get_mut(route).into_iter().flat_map(|rule| &mut rule.actions) {
                    if let Action::Forward { stickiness, .. } = action {
                        *stickiness = Some(Duration::from_secs(3600));
                    }
                }
            }
        });
    }

    /// Gives every health check a while: with several regions on one machine a slow answer is no sick server.
    pub fn check_patiently(&self) {
        self.change(|region| {
            for slot in self.staged.services.iter().flat_map(|service| service.slots.iter().flatten()) {
                if let Some(slot) = region.target_groups.get_mut(slot) {
                    (slot.health.interval, slot.health.timeout) = (Duration::from_secs(20), Duration::from_secs(100));
                }
            }
        });
    }

    fn ways_in(&self, query: &str) -> Vec<Route> {
        let service = &self.staged.services[0];
        let region = self.land.shared.now();
        let addresses: Vec<_> = service.listeners.iter().filter_map(|arn| region.listeners.get(arn)?.address).collect();
        let paths = (0..service.routes.len()).map(|i| if i == 0 { "/".to_owned() } else { format!("/part-{i}/x") });
        let routes = paths.flat_map(|path| addresses.iter().map(move |address| (format!("{path}{query}"), *address)));
        routes.map(|(path, address)| Route { address, host: service.host.clone(), path }).collect()
    }

    /// How the SDK gets here, with credentials that the region does not check.
    pub fn sdk(&self) -> aws_config::SdkConfig {
        aws_config::SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .endpoint_url(self.sim.endpoint())
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new("AKIATEST", "secret", None, None, "test")))
            .build()
    }

    /// Somebody with the SDK and rights of their own.
    pub fn elb(&self) -> aws_sdk_elasticloadbalancingv2::Client {
        aws_sdk_elasticloadbalancingv2::Client::new(&self.sdk())
    }

    /// Gives blue a target-tracking policy and a scheduled action, for green to get.
    pub async fn scale_blue(&self) {
        let autoscaling = aws_sdk_autoscaling::Client::new(&self.sdk());
        let cpu = PredefinedMetricSpecification::builder().predefined_metric_type(MetricType::AsgAverageCpuUtilization);
        let tracking =
            TargetTrackingConfiguration::builder().predefined_metric_specification(cpu.build()).target_value(60.0).build();
        let policy = autoscaling.put_scaling_policy().auto_scaling_group_name(self.blue()).policy_name("cpu");
        policy.policy_type("TargetTrackingScaling").target_tracking_configuration(tracking).send().await.unwrap();
        let night = autoscaling.put_scheduled_update_group_action().auto_scaling_group_name(self.blue());
        night.scheduled_action_name("night").recurrence("0 22 * * *").min_size(1).send().await.unwrap();
    }

    /// The adapter, as `serve` makes it.
    pub fn cloud(&self) -> AwsCloud {
        self.cloud_on(&no_limits())
    }

    /// The same on a budget that others share.
    pub fn cloud_on(&self, budget: &Arc<Budget>) -> AwsCloud {
        AwsCloud::with(&self.sdk(), &AwsSettings::default(), INSTALLATION, budget)
    }

    pub fn image(&self, version: &str) -> &str {
        &self.staged.images[version]
    }

    pub fn declaration(&self, weights: &[(u16, BakeTime)], bake_time: BakeTime) -> Declaration {
        let service = &self.staged.services[0];
        let stages =
            weights.iter().map(|(w, bake_time)| Step { weight: Weight::from_permille(*w).unwrap(), bake_time: *bake_time });
        Declaration {
            provider: Provider::Aws { region: "eu-west-1".to_owned(), role: self.role.clone() },
            routes: service.routes.iter().map(RouteRef::new).collect(),
            slots: service
                .slots
                .iter()
                .filter_map(|slot| SlotRef::of(slot.iter().map(TargetGroupRef::new).collect()))
                .collect(),
            blue: service.blue.as_ref().map(GroupName::new),
            server_group: ServerGroupSpec {
                launch_template: LaunchTemplate { id: service.launch_template.clone(), version: 1 },
                subnets: vec!["subnet-1".to_owned()],
                capacity: Capacity::MatchBlue,
                min: 1,
                max: 10,
                instance_types: Vec::new(),
                health_check_grace: Duration::from_secs(60),
                instance_warmup: Duration::ZERO,
                tags: std::collections::BTreeMap::new(),
            },
            preview: None,
            drill: None,
            strategy: Strategy { stages: stages.collect(), bake_time, deadlines: Deadlines::default() },
        }
    }
}
