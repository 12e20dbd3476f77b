//! What one story needs: a load balancer with one base rule, two slots, a blue group; and a deployment's record over it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use aws_sdk_autoscaling::types::LaunchTemplateSpecification;
use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, FixedResponseActionConfig, ForwardActionConfig, HostHeaderConditionConfig, ProtocolEnum, Rule,
    RuleCondition, TargetGroupTuple, TargetTypeEnum,
};
use cutover::{
    cloud::aws::AwsCloud,
    domain::{
        action::Action as Change,
        declaration::{Capacity, Deadlines, Declaration, LaunchTemplate, Provider, ServerGroupSpec, Stage, Strategy},
        deployment::Deployment,
        ids::{DeploymentId, EnvironmentName, GroupName, Image, RouteRef, ServiceName, SlotRef, Target},
        observation::{Known, Observation, RouteView},
        phase::Phase,
        plan::{self, Inputs},
        survey::Survey,
        time::BakeTime,
        weight::Weight,
    },
    engine::ports::{Cloud, Fault, NewDeployment, Recency, RecordFacts},
};
use jiff::Timestamp;
use uuid::Uuid;

use super::world::{REGION, World};

/// Longer than any call takes.
pub fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// One service's world.
pub struct House<'w> {
    pub world: &'w World,
    pub name: &'static str,
    pub load_balancer: String,
    pub listener: String,
    /// The base, at number 100.
    pub base: String,
    pub slots: [String; 2],
    pub cloud: AwsCloud,
}

impl<'w> House<'w> {
    /// Builds it; `name` is unique in the world.
    pub async fn build(world: &'w World, name: &'static str) -> Self {
        let elb = &world.elb;
        let balancer = elb.create_load_balancer().name(name).set_subnets(Some(world.subnets.clone())).send().await.unwrap();
        let load_balancer = balancer.load_balancers()[0].load_balancer_arn().unwrap().to_owned();
        let slots = [world.target_group(&format!("{name}-a")).await, world.target_group(&format!("{name}-b")).await];
        let listener = elb
            .create_listener()
            .load_balancer_arn(&load_balancer)
            .protocol(ProtocolEnum::Http)
            .port(80)
            .default_actions(nothing_here())
            .send()
            .await
            .unwrap();
        let listener = listener.listeners()[0].listener_arn().unwrap().to_owned();
        let base = rule(world, &listener, 100, &host(name), forward(&[(&slots[0], 1)])).await;
        Self { world, name, load_balancer, listener, base, slots, cloud: world.cloud() }
    }

    /// The same with a blue group of two servers in the first slot.
    pub async fn with_blue(world: &'w World, name: &'static str) -> Self {
        let house = Self::build(world, name).await;
        house.group(&house.blue(), &house.slots[0]).await;
        house
    }

    /// The listener's default action takes over from the base: no two may forward to one slot when only one is a route.
    pub async fn serve_by_default(&self) {
        let elb = &self.world.elb;
        elb.modify_rule().rule_arn(&self.base).actions(nothing_here()).send().await.unwrap();
        let to_blue = forward(&[(&self.slots[0], 1)]);
        elb.modify_listener().listener_arn(&self.listener).default_actions(to_blue).send().await.unwrap();
    }

    pub fn blue(&self) -> String {
        format!("{}-blue", self.name)
    }

    /// Somebody's Auto Scaling group of two servers.
    pub async fn group(&self, name: &str, slot: &str) {
        let template = LaunchTemplateSpecification::builder().launch_template_id(&self.world.template).version("1").build();
        let call = self.world.autoscaling.create_auto_scaling_group().auto_scaling_group_name(name).launch_template(template);
        let call = call.min_size(1).max_size(4).desired_capacity(2).target_group_arns(slot);
        call.vpc_zone_identifier(self.world.subnets[0].clone()).send().await.unwrap();
    }

    pub fn target(&self) -> Target {
        Target { service: ServiceName::new(self.name), environment: EnvironmentName::new("prod") }
    }

    /// A declaration without a blue: the base forwards to an empty slot.
    pub fn declaration(&self, route: &str) -> Declaration {
        let at_once = BakeTime::For(Duration::ZERO);
        Declaration {
            provider: Provider::Aws { region: REGION.to_owned(), role: None },
            routes: vec![RouteRef::new(route)],
            slots: self.slots.iter().map(SlotRef::new).collect(),
            blue: None,
            server_group: ServerGroupSpec {
                launch_template: LaunchTemplate { id: self.world.template.clone(), version: 1 },
                subnets: vec![self.world.subnets[0].clone()],
                capacity: Capacity::Fixed(2),
                min: 1,
                max: 4,
                instance_types: Vec::new(),
                health_check_grace: Duration::from_secs(60),
                instance_warmup: Duration::ZERO,
                tags: BTreeMap::from([("team".to_owned(), "web".to_owned())]),
            },
            preview: None,
            drill: None,
            strategy: Strategy {
                stages: vec![Stage { weight: Weight::ALL, bake_time: at_once }],
                bake_time: at_once,
                deadlines: Deadlines::default(),
            },
        }
    }

    /// The same with the blue group.
    pub fn declaration_with_blue(&self) -> Declaration {
        Declaration { blue: Some(GroupName::new(self.blue())), ..self.declaration(&self.base) }
    }

    /// A deployment's first record.
    pub fn pending(&self, declaration: Declaration) -> Deployment {
        let new = NewDeployment {
            id: DeploymentId::new(Uuid::now_v7()),
            target: self.target(),
            image: Image::parse(&self.world.image).unwrap_or(Image::Template(1)),
            version: None,
            takes_back: None,
            reason: None,
            strategy: None,
            created_by: "the contract suite".to_owned(),
            created_at: Timestamp::now(),
        };
        new.recorded(RecordFacts { number: 1, declaration, live: None, not_before: None, let_go: Vec::new() })
    }

    /// A deployment whose plan was made from what is there.
    pub async fn planned(&self, declaration: Declaration) -> Deployment {
        let mut d = self.pending(declaration);
        let survey = self.survey(&d).await;
        d.plan = Some(plan::make(&Inputs::of(&d), &survey).unwrap());
        d.phase = Phase::Provisioning;
        d
    }

    /// A deployment with its overlay open and recorded.
    pub async fn opened(&self, declaration: Declaration) -> Deployment {
        let mut d = self.planned(declaration).await;
        self.apply(&d, &Change::OpenOverlays { routes: vec![0] }).await.unwrap();
        d.overlays = self.route(&d).await.overlays.iter().map(|overlay| overlay.rule.clone()).collect();
        d
    }

    pub async fn survey(&self, d: &Deployment) -> Survey {
        self.cloud.survey(Inputs::of(d), Some(d.id), later()).await.unwrap()
    }

    pub async fn observe(&self, d: &Deployment) -> Observation {
        self.cloud.observe(d, Recency::Now, later()).await
    }

    /// The first route as seen.
    pub async fn route(&self, d: &Deployment) -> RouteView {
        match self.observe(d).await.routes.remove(0) {
            Known::Seen(view) => view,
            other => panic!("the route was not seen: {other:?}"),
        }
    }

    pub async fn apply(&self, d: &Deployment, change: &Change) -> Result<(), Fault> {
        self.cloud.apply(d, change, later()).await
    }

    /// The listener's rules as the bare SDK shows them, by priority.
    pub async fn rules(&self) -> Vec<Rule> {
        let answer = self.world.elb.describe_rules().listener_arn(&self.listener).send().await.unwrap();
        let mut rules = answer.rules.unwrap();
        rules.sort_by_key(|rule| rule.priority().unwrap().parse().unwrap_or(u32::MAX));
        rules
    }

    /// Numbers of the listener's rules, the default one aside.
    pub async fn numbers(&self) -> Vec<u32> {
        self.rules().await.iter().filter_map(|rule| rule.priority()?.parse().ok()).collect()
    }
}

impl World {
    /// A target group of instances over HTTP.
    pub async fn target_group(&self, name: &str) -> String {
        let call = self.elb.create_target_group().name(name).protocol(ProtocolEnum::Http).port(80).vpc_id(&self.vpc);
        let answer = call.target_type(TargetTypeEnum::Instance).health_check_path("/healthz").send().await.unwrap();
        answer.target_groups()[0].target_group_arn().unwrap().to_owned()
    }
}

/// A rule of somebody else's.
pub async fn rule(world: &World, listener: &str, number: i32, condition: &RuleCondition, action: Action) -> String {
    let call = world.elb.create_rule().listener_arn(listener).priority(number);
    let answer = call.conditions(condition.clone()).actions(action).send().await.unwrap();
    answer.rules()[0].rule_arn().unwrap().to_owned()
}

pub fn host(name: &str) -> RuleCondition {
    let config = HostHeaderConditionConfig::builder().values(format!("{name}.example.com")).build();
    RuleCondition::builder().field("host-header").host_header_config(config).build()
}

pub fn forward(weights: &[(&String, i32)]) -> Action {
    let tuple = |(slot, weight): &(&String, i32)| TargetGroupTuple::builder().target_group_arn(*slot).weight(*weight).build();
    let config = ForwardActionConfig::builder().set_target_groups(Some(weights.iter().map(tuple).collect())).build();
    Action::builder().r#type(ActionTypeEnum::Forward).forward_config(config).build()
}

pub fn nothing_here() -> Action {
    let config = FixedResponseActionConfig::builder().status_code("404").content_type("text/plain").build();
    Action::builder().r#type(ActionTypeEnum::FixedResponse).fixed_response_config(config).build()
}
