//! What `cutover probe` does on AWS: rules of its own on one listener, one group without servers, and taking them back.
//!
//! Apart from the `Cloud` port, for nothing here belongs to a deployment: there is no record, and the rules match a host that
//! nobody asks for. It counts what it made, calls whose answer was lost included, so that `remove_all` takes back that and
//! nothing else.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aws_sdk_autoscaling::types::{
    LaunchTemplate, LaunchTemplateOverrides, LaunchTemplateSpecification, MixedInstancesPolicy, Tag as GroupTag,
};
use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, FixedResponseActionConfig, ForwardActionConfig, HostHeaderConditionConfig, RuleCondition,
    Tag as RuleTag, TargetGroupTuple,
};

use super::{
    arn,
    budget::{Budget, BudgetSettings},
    client::{self, AwsSettings, Clients, Regions},
    fault, groups,
    operation::Operation,
    rules, session,
};
use crate::{
    domain::{
        declaration::Provider,
        ids::{GroupName, ListenerRef, LoadBalancerRef, RouteRef, RuleRef, TargetGroupRef},
    },
    engine::ports::{Fault, FaultKind},
};

/// On everything that a probe makes; the value is its id.
pub const TAG: &str = "cutover:probe";

/// For one call. Nobody waits at night for a probe, so it is patient.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long what a lost answer may have made is looked for.
const DOUBTED_FOR: Duration = Duration::from_secs(10);
/// Between two tries of removing.
const REMOVE_PAUSE: Duration = Duration::from_millis(500);

/// One probe on one listener.
#[derive(Debug)]
pub struct Probe {
    clients: Clients,
    region: String,
    listener: ListenerRef,
    load_balancer: LoadBalancerRef,
    id: String,
    made: Mutex<Made>,
}

/// What there is to take back.
#[derive(Debug, Default)]
struct Made {
    rules: BTreeSet<RuleRef>,
    /// A rule's creation was not answered: it may be there, or come yet, and its ARN is not known.
    rule_in_doubt: bool,
    group: bool,
    group_in_doubt: bool,
}

impl Made {
    fn in_doubt(&self) -> bool {
        self.rule_in_doubt || self.group_in_doubt
    }
}

/// The listener as it was found.
#[derive(Debug, Clone)]
pub struct Ground {
    /// `HTTP` or `HTTPS`.
    pub protocol: String,
    pub port: u16,
    pub dns_name: String,
    /// Numbers of the rules there are.
    pub taken: BTreeSet<u32>,
}

/// How a rule answers.
#[derive(Debug, Clone)]
pub enum Reply {
    /// With status 200 and this text, by the load balancer itself.
    Text(String),
    /// By what is in two target groups, with these weights.
    Split([TargetGroupRef; 2], [i32; 2]),
}

/// A group without servers, its image set on the group and no instance type beside it.
#[derive(Debug, Clone)]
pub struct EmptyGroup {
    pub launch_template: String,
    pub version: u32,
    pub image: String,
    pub subnet: String,
}

impl Probe {
    /// By the SDK's configuration from environment and profile, in the listener's region. Makes no connection.
    ///
    /// # Errors
    /// A sentence that says what a listener is.
    pub async fn new(listener: &str, id: &str) -> Result<Self, String> {
        let (region, named) = arn::listener(listener)?;
        let settings = AwsSettings {
            region: region.clone(),
            connect_timeout: CONNECT_TIMEOUT,
            look_timeout: CALL_TIMEOUT,
            change_timeout: CALL_TIMEOUT,
            budget: BudgetSettings::default(),
        };
        let budget = Arc::new(Budget::new(settings.budget));
        let regions = Regions::new(&client::load(&settings).await, &settings, session::name(id), Arc::default(), budget);
        let clients = regions.of(&Provider::Aws { region: region.clone(), role: None }, &[RouteRef::new(listener)]);
        let (listener, load_balancer) = (named.listener, named.load_balancer);
        Ok(Self { clients, region, listener, load_balancer, id: id.to_owned(), made: Mutex::default() })
    }

    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The load balancer's name, without the account's number.
    #[must_use]
    pub fn load_balancer(&self) -> &str {
        self.load_balancer.as_str().rsplit('/').nth(1).unwrap_or_default()
    }

    /// The name of its group.
    #[must_use]
    pub fn group(&self) -> String {
        format!("cutover-probe-{}", self.id)
    }

    /// Looks where the listener answers, and which numbers are taken. Changes nothing.
    ///
    /// # Errors
    /// What could not be seen.
    pub async fn look(&self) -> Result<Ground, Fault> {
        let until = deadline();
        let elb = &self.clients.elb;
        let call = elb.describe_listeners().listener_arns(self.listener.as_str()).send();
        let listeners = self.clients.look(Operation::DescribeListeners, until, call).await?;
        let call = elb.describe_load_balancers().load_balancer_arns(self.load_balancer.as_str()).send();
        let balancers = self.clients.look(Operation::DescribeLoadBalancers, until, call).await?;
        let listener = listeners.listeners().first();
        let protocol = listener.and_then(|listener| listener.protocol()).map(|protocol| protocol.as_str().to_owned());
        let port = listener.and_then(|listener| u16::try_from(listener.port()?).ok());
        let dns_name = balancers.load_balancers().first().and_then(|balancer| balancer.dns_name()).map(str::to_owned);
        let rules = rules::listed(&self.clients, &self.listener, until).await?;
        Ok(Ground {
            protocol: protocol.ok_or_else(|| fault::incomplete(Operation::DescribeListeners, "a protocol"))?,
            port: port.ok_or_else(|| fault::incomplete(Operation::DescribeListeners, "a port"))?,
            dns_name: dns_name.ok_or_else(|| fault::incomplete(Operation::DescribeLoadBalancers, "a DNS name"))?,
            taken: rules.iter().filter_map(|rule| rule.number).collect(),
        })
    }

    /// Creates a rule for requests to `host`.
    ///
    /// # Errors
    /// AWS's refusal, or that its answer did not come.
    pub async fn create_rule(&self, number: u32, host: &str, reply: &Reply) -> Result<RuleRef, Fault> {
        const OPERATION: Operation = Operation::CreateRule;
        let host = HostHeaderConditionConfig::builder().values(host).build();
        let condition = RuleCondition::builder().field("host-header").host_header_config(host).build();
        let tag = RuleTag::builder().key(TAG).value(&self.id).build();
        let call = |fence| {
            let call = self.clients.elb.create_rule().listener_arn(self.listener.as_str());
            let call = call.priority(i32::try_from(number).unwrap_or(i32::MAX)).conditions(condition);
            call.actions(action(reply)).tags(tag).customize().interceptor(fence).send()
        };
        let answer = self.clients.change(OPERATION, deadline(), call).await;
        let rule = answer.and_then(|answer| {
            let arn = answer.rules().first().and_then(|rule| rule.rule_arn());
            arn.map(RuleRef::new).ok_or_else(|| fault::incomplete(OPERATION, "the rule's ARN"))
        });
        let mut made = self.made();
        match &rule {
            Ok(rule) => {
                made.rules.insert(rule.clone());
            }
            Err(fault) => made.rule_in_doubt |= may_be_applied(fault),
        }
        rule
    }

    /// Changes how a rule answers.
    ///
    /// # Errors
    /// AWS's refusal, or that its answer did not come.
    pub async fn modify_rule(&self, rule: &RuleRef, reply: &Reply) -> Result<(), Fault> {
        let call = |fence| {
            let call = self.clients.elb.modify_rule().rule_arn(rule.as_str()).actions(action(reply));
            call.customize().interceptor(fence).send()
        };
        self.clients.change(Operation::ModifyRule, deadline(), call).await.map(|_| ())
    }

    /// Deletes a rule; one that is gone is success.
    ///
    /// # Errors
    /// AWS's refusal, or that its answer did not come.
    pub async fn delete_rule(&self, rule: &RuleRef) -> Result<(), Fault> {
        let call = |fence| self.clients.elb.delete_rule().rule_arn(rule.as_str()).customize().interceptor(fence).send();
        gone_is_success(self.clients.change(Operation::DeleteRule, deadline(), call).await.map(|_| ()))?;
        self.made().rules.remove(rule);
        Ok(())
    }

    /// Creates the group, of no servers.
    ///
    /// # Errors
    /// AWS's refusal, or that its answer did not come.
    pub async fn create_group(&self, group: &EmptyGroup) -> Result<(), Fault> {
        let template = LaunchTemplateSpecification::builder()
            .launch_template_id(&group.launch_template)
            .version(group.version.to_string())
            .build();
        let image = LaunchTemplateOverrides::builder().image_id(&group.image).build();
        let template = LaunchTemplate::builder().launch_template_specification(template).overrides(image).build();
        let tag = GroupTag::builder().key(TAG).value(&self.id).propagate_at_launch(false).build();
        let call = |fence| {
            let call = self.clients.autoscaling.create_auto_scaling_group().auto_scaling_group_name(self.group());
            let call = call.min_size(0).max_size(0).desired_capacity(0).vpc_zone_identifier(&group.subnet);
            let call = call.mixed_instances_policy(MixedInstancesPolicy::builder().launch_template(template).build());
            call.tags(tag).customize().interceptor(fence).send()
        };
        let answer = self.clients.change(Operation::CreateAutoScalingGroup, deadline(), call).await;
        let mut made = self.made();
        made.group_in_doubt = answer.as_ref().is_err_and(may_be_applied);
        made.group = answer.is_ok() || made.group_in_doubt;
        answer.map(|_| ())
    }

    /// The image that AWS says the group's servers would be made from; `None` when it shows none, or not the group yet.
    ///
    /// # Errors
    /// What could not be seen.
    pub async fn group_image(&self) -> Result<Option<String>, Fault> {
        let found = groups::named(&self.clients, &[&GroupName::new(self.group())], deadline()).await?;
        Ok(found.into_iter().next().and_then(|group| group.image))
    }

    /// Takes back everything that this probe made, trying for as long as `within` what may work later.
    ///
    /// # Errors
    /// The commands that remove what may still be there.
    pub async fn remove_all(&self, within: Duration) -> Result<(), Vec<String>> {
        let began = Instant::now();
        let doubted_for = if self.made().in_doubt() { DOUBTED_FOR.min(within) } else { Duration::ZERO };
        loop {
            let swept = self.sweep().await;
            let took = began.elapsed();
            match swept {
                Ok(()) if took >= doubted_for => return Ok(()),
                Err(Fault { kind: FaultKind::Denied | FaultKind::Rejected, .. }) => return Err(self.by_hand()),
                Err(_) if took >= within => return Err(self.by_hand()),
                Ok(()) | Err(_) => tokio::time::sleep(REMOVE_PAUSE).await,
            }
        }
    }

    /// What a person would do to remove what may still be there.
    #[must_use]
    pub fn by_hand(&self) -> Vec<String> {
        let made = self.made();
        let region = &self.region;
        let rules = made.rules.iter().map(|rule| format!("aws elbv2 delete-rule --region {region} --rule-arn {rule}"));
        let group = made.group.then(|| {
            let name = self.group();
            format!(
                "aws autoscaling delete-auto-scaling-group --region {region} --force-delete --auto-scaling-group-name {name}"
            )
        });
        let unseen = made.rule_in_doubt.then(|| {
            let listener = &self.listener;
            format!("aws elbv2 describe-rules --region {region} --listener-arn {listener}   # those tagged {TAG}={}", self.id)
        });
        rules.chain(group).chain(unseen).collect()
    }

    /// Everything once, whatever becomes of the rest; the worst fault is told.
    async fn sweep(&self) -> Result<(), Fault> {
        let (mut rules, in_doubt, group) = {
            let made = self.made();
            (made.rules.iter().cloned().collect::<Vec<_>>(), made.rule_in_doubt, made.group)
        };
        let mut results = Vec::new();
        if in_doubt {
            match self.tagged_rules().await {
                Ok(tagged) => rules.extend(tagged),
                Err(fault) => results.push(Err(fault)),
            }
        }
        for rule in &rules {
            results.push(self.delete_rule(rule).await);
        }
        if group {
            results.push(self.delete_group().await);
        }
        fault::worst(results)
    }

    /// The listener's rules that carry this probe's tag.
    async fn tagged_rules(&self) -> Result<Vec<RuleRef>, Fault> {
        let rules = rules::listed(&self.clients, &self.listener, deadline()).await?;
        let mut tagged = Vec::new();
        let rules: Vec<_> = rules.into_iter().filter(|rule| rule.number.is_some()).map(|rule| rule.rule).collect();
        for chunk in rules.chunks(rules::TAGS_PER_CALL_MAX) {
            let arns = chunk.iter().map(|rule| rule.as_str().to_owned()).collect();
            let call = self.clients.elb.describe_tags().set_resource_arns(Some(arns)).send();
            let answer = self.clients.look(Operation::DescribeTags, deadline(), call).await?;
            let ours = answer
                .tag_descriptions()
                .iter()
                .filter(|described| described.tags().iter().any(|tag| tag.key() == Some(TAG) && tag.value() == Some(&self.id)));
            tagged.extend(ours.filter_map(|described| described.resource_arn().map(RuleRef::new)));
        }
        Ok(tagged)
    }

    async fn delete_group(&self) -> Result<(), Fault> {
        let call = |fence| {
            let call = self.clients.autoscaling.delete_auto_scaling_group().auto_scaling_group_name(self.group());
            call.force_delete(true).customize().interceptor(fence).send()
        };
        gone_is_success(self.clients.change(Operation::DeleteAutoScalingGroup, deadline(), call).await.map(|_| ()))?;
        let mut made = self.made();
        made.group = made.group_in_doubt;
        Ok(())
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        // Nothing that holds it can panic half-way through a change.
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn deadline() -> Instant {
    Instant::now() + CALL_TIMEOUT
}

/// A call that failed so may have been applied all the same.
fn may_be_applied(fault: &Fault) -> bool {
    fault.kind == FaultKind::Transient
}

fn gone_is_success(answer: Result<(), Fault>) -> Result<(), Fault> {
    match answer {
        Err(fault) if fault.kind == FaultKind::Missing || fault.message.contains("pending delete") => Ok(()),
        answer => answer,
    }
}

fn action(reply: &Reply) -> Action {
    match reply {
        Reply::Text(text) => {
            let fixed = FixedResponseActionConfig::builder().status_code("200").content_type("text/plain").message_body(text);
            Action::builder().r#type(ActionTypeEnum::FixedResponse).fixed_response_config(fixed.build()).build()
        }
        Reply::Split(groups, weights) => {
            let tuple = |(group, weight): (&TargetGroupRef, &i32)| {
                TargetGroupTuple::builder().target_group_arn(group.as_str()).weight(*weight).build()
            };
            let tuples = groups.iter().zip(weights).map(tuple).collect();
            let forward = ForwardActionConfig::builder().set_target_groups(Some(tuples)).build();
            Action::builder().r#type(ActionTypeEnum::Forward).forward_config(forward).build()
        }
    }
}
