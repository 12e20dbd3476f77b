//! The sweeper on real input: what the end of a deployment left goes while users are served, and what is others' stays.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_sdk_autoscaling::{
    self as autoscaling,
    types::{DeletionProtection, LaunchTemplateSpecification, Tag as GroupTag},
};
use aws_sdk_elasticloadbalancingv2::{
    self as elb,
    types::{
        Action, ActionTypeEnum, ForwardActionConfig, HostHeaderConditionConfig, RuleCondition, Tag as RuleTag, TargetGroupTuple,
    },
};
use cutover::{
    cloud::aws::AwsCloud,
    domain::{
        deployment::{Deployment, Status},
        ids::{DeploymentId, HolderId},
        orphan::Terms,
        phase::Phase,
        time::BakeTime,
    },
    engine::{
        api::RollbackOf,
        ports::Store,
        settings::{EngineSettings, SweeperSettings},
        sweeper::{
            Sweeper, keep_swept,
            ports::{OrphanFilter, SweepStore},
        },
    },
};
use cutover_sim::scenario::Stage;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::region::NOW;
use crate::support::{
    house::{by, target},
    memory::MemoryStore,
    region::{INSTALLATION, PATIENCE, Scene},
    replica::{Replica, quick},
};

/// The bare SDK, for what no deployment would leave.
struct Bare<'a> {
    scene: &'a Scene,
    elb: elb::Client,
    autoscaling: autoscaling::Client,
}

fn ownership(of: DeploymentId) -> [(&'static str, String); 4] {
    [
        ("cutover:installation", INSTALLATION.to_owned()),
        ("cutover:service", target().service.to_string()),
        ("cutover:environment", target().environment.to_string()),
        ("cutover:deployment", of.to_string()),
    ]
}

impl<'a> Bare<'a> {
    fn new(scene: &'a Scene) -> Self {
        let config = scene.sdk();
        Self { scene, elb: elb::Client::new(&config), autoscaling: autoscaling::Client::new(&config) }
    }

    /// Two servers in `slot`, protected as a pinned group is.
    async fn group(&self, name: &str, slot: &str, of: Option<DeploymentId>) {
        let service = &self.scene.staged.services[0];
        let template = LaunchTemplateSpecification::builder().launch_template_id(&service.launch_template).version("1").build();
        let tag = |(key, value): (&str, String)| GroupTag::builder().key(key).value(value).propagate_at_launch(true).build();
        let tags = of.map(|of| ownership(of).map(tag).to_vec());
        let call = self.autoscaling.create_auto_scaling_group().auto_scaling_group_name(name).set_tags(tags);
        let call = call.launch_template(template).min_size(2).desired_capacity(2).max_size(2).target_group_arns(slot);
        let call = call.deletion_protection(DeletionProtection::PreventAllDeletion);
        call.vpc_zone_identifier("subnet-1").send().await.unwrap();
    }

    /// A rule over the base with the base's host, that sends all to `blue` and names `green`.
    async fn overlay(&self, d: &Deployment, blue: &str, green: &str) {
        let service = &self.scene.staged.services[0];
        let weight = |slot: &str, weight| TargetGroupTuple::builder().target_group_arn(slot).weight(weight).build();
        let forward = ForwardActionConfig::builder().target_groups(weight(blue, 999)).target_groups(weight(green, 0)).build();
        let action = Action::builder().r#type(ActionTypeEnum::Forward).forward_config(forward).build();
        let host = HostHeaderConditionConfig::builder().values(&service.host).build();
        let condition = RuleCondition::builder().field("host-header").host_header_config(host).build();
        let tag = |(key, value): (&str, String)| RuleTag::builder().key(key).value(value).build();
        let more = [("cutover:role", "overlay".to_owned()), ("cutover:route", service.routes[0].clone())];
        let tags = ownership(d.id).into_iter().chain(more).map(tag).collect();
        let call = self.elb.create_rule().listener_arn(&service.listeners[0]).priority(51).conditions(condition);
        call.actions(action).set_tags(Some(tags)).send().await.unwrap();
    }
}

/// Takes turns as fast as it can, with terms long enough to be seen.
fn sweeper(scene: &Scene, replica: &Replica) -> Sweeper<MemoryStore, AwsCloud> {
    let ms = Duration::from_millis;
    let terms = Terms { remove: true, report_after: ms(200), remove_after: ms(600) };
    let sweeper = SweeperSettings { enabled: true, every: ms(50), terms };
    let (store, cloud, holder) = (replica.store.clone(), Arc::new(scene.cloud()), HolderId::new("replica-1"));
    Sweeper { store, cloud, holder, settings: EngineSettings { sweeper, ..quick() } }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cut_end_left_goes_while_users_are_served_and_the_rest_stays() {
    let scene = Scene::new(&Stage::default()).await;
    let replica = Replica::start(&scene);
    let declared = scene.declaration(&[(500, BakeTime::Manual), (1000, NOW)], NOW);
    replica.store.declare(&target(), &declared, "ada", None).await.unwrap();
    let load = scene.load(100);
    let id = replica.deploy(scene.image("v2")).await;
    replica.until(id, "a stage", |d| matches!(d.phase, Phase::Shifting { seen_at: Some(_), .. })).await;
    replica.lane.clone().rollback(RollbackOf::Target(target()), by("ada")).await.unwrap();
    let ended = replica.until(id, "the end", |d| d.phase.is_terminal()).await;
    assert_eq!(ended.status(), Status::RolledBack);

    // As if its end had been cut; and beside it what is nobody's, and what is in no record.
    let bare = Bare::new(&scene);
    let [blue, green] = &scene.staged.services[0].slots;
    bare.group("web-prod-v001", &green[0], Some(id)).await;
    bare.overlay(&ended, &blue[0], &green[0]).await;
    bare.group("somebodys", &green[0], None).await;
    bare.group("web-prod-v009", &green[0], Some(DeploymentId::new(Uuid::now_v7()))).await;
    let stay = ["somebodys", scene.blue(), "web-prod-v009"];
    scene.until("all servers", || scene.healthy("web-prod-v001") + scene.healthy("somebodys") == 4).await;

    let stop = CancellationToken::new();
    let sweeping = tokio::spawn(keep_swept(Arc::new(sweeper(&scene, &replica)), stop.clone()));
    scene.until("the end of what was cut", || scene.extra_rules() == 0 && scene.groups() == stay).await;
    let began = Instant::now();
    let told = async || {
        let events = replica.store.events(id, 0, 1000).await.unwrap();
        events.iter().filter(|event| event.event.kind == "orphan.removed").count()
    };
    while told().await < 2 {
        assert!(began.elapsed() < PATIENCE, "it was never told");
        replica.store.changed(Duration::from_millis(50)).await;
    }
    stop.cancel();
    sweeping.await.unwrap();
    let listed = replica.store.orphans(&OrphanFilter { limit: 10, ..OrphanFilter::default() }).await.unwrap();
    assert_eq!(listed.iter().map(|seen| seen.name.as_str()).collect::<Vec<_>>(), ["web-prod-v009"], "listed and kept");
    let record = load.finish().await;
    assert_eq!(record.totals().lost, 0, "{:?}", record.losses());
    assert_eq!((scene.groups(), scene.healthy(scene.blue())), (stay.map(str::to_owned).to_vec(), 2));
    replica.stop().await;
    scene.sim.shutdown().await;
}
