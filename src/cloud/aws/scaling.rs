//! What scales blue and has to scale green: target-tracking policies and scheduled actions, kept with the plan and copied.
//!
//! A target-tracking policy makes its own alarms, so a copy lives. Step and simple policies are fired by CloudWatch alarms
//! that name the policy: a copy would be dead, so they are named to a person instead, and so are predictive policies and
//! metric expressions, which this does not know how to copy.

use std::time::Instant;

use aws_sdk_autoscaling::{
    primitives::DateTime,
    types::{
        CustomizedMetricSpecification, MetricDimension, MetricStatistic, MetricType, PredefinedMetricSpecification,
        ScalingPolicy, ScheduledUpdateGroupAction, ScheduledUpdateGroupActionRequest, TargetTrackingConfiguration,
    },
};
use futures::future::{join, join_all};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{client::Clients, fault, form::some, group_changes::GroupChanges, operation::Operation};
use crate::{
    domain::{
        action::Scaling,
        ids::{GroupName, SlotRef},
        observation::ScalingView,
        plan::{BluePlan, GreenPlan, Plan},
    },
    engine::ports::{Fault, FaultKind},
};

/// Pages of one listing: a group may have 50 policies and 125 scheduled actions, and a page holds 100.
const PAGES_MAX: usize = 5;
/// Scheduled actions in one call (AWS's limit).
const SCHEDULED_PER_CALL_MAX: usize = 50;

/// All that is copied. Kept in the plan as JSON.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ScalingForm {
    policies: Vec<PolicyForm>,
    scheduled: Vec<ScheduledForm>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct PolicyForm {
    name: String,
    target: f64,
    metric: MetricForm,
    disable_scale_in: Option<bool>,
    warmup: Option<i32>,
    enabled: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum MetricForm {
    Predefined {
        metric: String,
        /// `app/NAME/ID/targetgroup/NAME/ID`, of one of blue's target groups.
        label: Option<String>,
    },
    Customized {
        name: String,
        namespace: String,
        dimensions: Vec<(String, String)>,
        statistic: String,
        unit: Option<String>,
        period: Option<i32>,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ScheduledForm {
    name: String,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    recurrence: Option<String>,
    time_zone: Option<String>,
    min: Option<i32>,
    max: Option<i32>,
    desired: Option<i32>,
}

/// What a group has, by name.
#[derive(Debug, Clone, Default)]
pub(super) struct SeenScaling {
    pub(super) form: ScalingForm,
    /// What cannot be copied, each with the reason.
    pub(super) left_behind: Vec<String>,
}

impl ScalingForm {
    /// The plan's copy.
    pub(super) fn of(blue: &BluePlan) -> Result<Self, Fault> {
        if blue.scaling.is_null() {
            return Ok(Self::default());
        }
        serde_json::from_value(blue.scaling.clone()).map_err(|error| {
            fault::rejected(
                Operation::PutScalingPolicy.name(),
                format!("the plan's copy of {}'s scaling cannot be read: {error}", blue.group),
            )
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.scheduled.is_empty()
    }

    /// Policies that `other` lacks.
    pub(super) fn policies_beyond(&self, other: &Self) -> usize {
        self.policies.iter().filter(|policy| !other.policies.iter().any(|own| own.name == policy.name)).count()
    }

    /// What may shrink this group of `size` servers while a deployment runs, for a person to read. When a deployment ends is not
    /// known before: whatever is still to come counts.
    pub(super) fn shrinking(&self, group: &GroupName, size: u32, now: Timestamp) -> Vec<String> {
        let to_come = self.scheduled.iter().filter(|action| !action.is_over(now));
        to_come.filter_map(|action| action.shrinking(group, size)).collect()
    }

    /// Scheduled actions that `other` lacks; those whose time is over are missed by nobody.
    pub(super) fn scheduled_beyond(&self, other: &Self, now: Timestamp) -> usize {
        let missed =
            |action: &&ScheduledForm| !other.scheduled.iter().any(|own| own.name == action.name) && !action.is_over(now);
        self.scheduled.iter().filter(missed).count()
    }
}

impl PolicyForm {
    /// # Errors
    /// Why it cannot be copied.
    fn read(policy: &ScalingPolicy) -> Result<Self, String> {
        let name = policy.policy_name().unwrap_or_default().to_owned();
        match policy.policy_type() {
            Some("TargetTrackingScaling") => {}
            kind => {
                return Err(format!(
                    "policy {name} ({}) is not copied to the new group: {}",
                    kind.unwrap_or("of no type"),
                    if kind == Some("PredictiveScaling") {
                        "give predictive policies to it by hand, or use target tracking"
                    } else {
                        "it is fired by a CloudWatch alarm that names it; use target tracking"
                    }
                ));
            }
        }
        let metric = policy.target_tracking_configuration().and_then(MetricForm::read);
        let target = policy.target_tracking_configuration().and_then(|tracking| tracking.target_value());
        let (Some(metric), Some(target)) = (metric, target) else {
            return Err(format!("policy {name} is not copied to the new group: it tracks a metric expression"));
        };
        let disable_scale_in = policy.target_tracking_configuration().and_then(|tracking| tracking.disable_scale_in());
        let (warmup, enabled) = (policy.estimated_instance_warmup(), policy.enabled());
        Ok(Self { name, target, metric, disable_scale_in, warmup, enabled })
    }

    fn write(&self, blue: &BluePlan, green: &GreenPlan, blue_slot: &SlotRef) -> Result<TargetTrackingConfiguration, Fault> {
        let tracking =
            TargetTrackingConfiguration::builder().target_value(self.target).set_disable_scale_in(self.disable_scale_in);
        Ok(match &self.metric {
            MetricForm::Predefined { metric, label } => {
                let label = match label {
                    Some(label) => Some(relabel(label, blue_slot, &green.slot).ok_or_else(|| {
                        let told =
                            format!("policy {} counts the requests of {label}, which is no target group of blue's", self.name);
                        fault::rejected(Operation::PutScalingPolicy.name(), told)
                    })?),
                    None => None,
                };
                let metric = PredefinedMetricSpecification::builder()
                    .predefined_metric_type(MetricType::from(metric.as_str()))
                    .set_resource_label(label);
                tracking.predefined_metric_specification(metric.build()).build()
            }
            MetricForm::Customized { name, namespace, dimensions, statistic, unit, period } => {
                let dimensions = dimensions.iter().map(|(name, value)| {
                    // A metric of blue's own servers becomes one of green's.
                    let value = if value == blue.group.as_str() { green.group.as_str() } else { value };
                    MetricDimension::builder().name(name).value(value).build()
                });
                let metric = CustomizedMetricSpecification::builder()
                    .metric_name(name)
                    .namespace(namespace)
                    .set_dimensions(some(dimensions.collect()))
                    .statistic(MetricStatistic::from(statistic.as_str()))
                    .set_unit(unit.clone())
                    .set_period(*period);
                tracking.customized_metric_specification(metric.build()).build()
            }
        })
    }
}

impl MetricForm {
    /// `None` for what this cannot copy.
    fn read(tracking: &TargetTrackingConfiguration) -> Option<Self> {
        if let Some(metric) = tracking.predefined_metric_specification() {
            return Some(Self::Predefined {
                metric: metric.predefined_metric_type()?.as_str().to_owned(),
                label: metric.resource_label().map(str::to_owned),
            });
        }
        let metric = tracking.customized_metric_specification().filter(|metric| metric.metrics().is_empty())?;
        let dimensions = metric.dimensions().iter().map(|d| Some((d.name()?.to_owned(), d.value()?.to_owned())));
        Some(Self::Customized {
            name: metric.metric_name()?.to_owned(),
            namespace: metric.namespace()?.to_owned(),
            dimensions: dimensions.collect::<Option<_>>()?,
            statistic: metric.statistic()?.as_str().to_owned(),
            unit: metric.unit().map(str::to_owned),
            period: metric.period(),
        })
    }
}

/// The same label for the target group at the same position of the other slot.
fn relabel(label: &str, from: &SlotRef, to: &SlotRef) -> Option<String> {
    let (balancer, target_group) = label.split_once("/targetgroup/")?;
    let named = |arn: &str| arn.rsplit_once(":targetgroup/").map(|(_, name)| name.to_owned());
    let position = from.target_groups().iter().position(|own| named(own.as_str()).as_deref() == Some(target_group))?;
    Some(format!("{balancer}/targetgroup/{}", named(to.at(position)?.as_str())?))
}

impl ScheduledForm {
    fn read(action: &ScheduledUpdateGroupAction) -> Option<Self> {
        let at = |time: Option<&DateTime>| time.and_then(|time| Timestamp::from_second(time.secs()).ok());
        Some(Self {
            name: action.scheduled_action_name()?.to_owned(),
            start: at(action.start_time()),
            end: at(action.end_time()),
            recurrence: action.recurrence().map(str::to_owned),
            time_zone: action.time_zone().map(str::to_owned),
            min: action.min_size(),
            max: action.max_size(),
            desired: action.desired_capacity(),
        })
    }

    /// AWS refuses a start that has passed; a recurring action goes on without one.
    fn write(&self, now: Timestamp) -> ScheduledUpdateGroupActionRequest {
        let at = |time: Timestamp| DateTime::from_secs(time.as_second());
        ScheduledUpdateGroupActionRequest::builder()
            .scheduled_action_name(&self.name)
            .set_start_time(self.start.filter(|start| *start > now).map(at))
            .set_end_time(self.end.map(at))
            .set_recurrence(self.recurrence.clone())
            .set_time_zone(self.time_zone.clone())
            .set_min_size(self.min)
            .set_max_size(self.max)
            .set_desired_capacity(self.desired)
            .build()
    }

    /// A minimum alone shrinks nothing, and lets a policy do it: the pin that held the minimum is gone.
    fn shrinking(&self, group: &GroupName, size: u32) -> Option<String> {
        let sizes = [("min", self.min), ("max", self.max), ("desired", self.desired)];
        let less =
            sizes.into_iter().filter_map(|(name, n)| Some((name, n.filter(|n| u32::try_from(*n).is_ok_and(|n| n < size))?)));
        let less: Vec<_> = less.map(|(name, n)| format!("{name} {n}")).collect();
        if less.is_empty() {
            return None;
        }
        let when = match (&self.recurrence, self.start) {
            (Some(recurrence), _) => format!("at {recurrence} {}", self.time_zone.as_deref().unwrap_or("UTC")),
            (None, Some(start)) => format!("on {start}"),
            (None, None) => "at no time that AWS told".to_owned(),
        };
        Some(format!(
            "scheduled action {} sets {} of {group} {when}: should it fire while a deployment runs, {group} may have fewer than the \
             {size} servers that must be able to take all traffic back. Deploy at another time, or suspend it meanwhile: aws \
             autoscaling suspend-processes --auto-scaling-group-name {group} --scaling-processes ScheduledActions",
            self.name,
            less.join(", "),
        ))
    }

    fn is_over(&self, now: Timestamp) -> bool {
        match self.recurrence {
            Some(_) => self.end.is_some_and(|end| end <= now),
            None => self.start.is_none_or(|start| start <= now),
        }
    }
}

impl GroupChanges<'_> {
    /// Each policy by its own call, which replaces one of the same name: repeating is harmless.
    pub(super) async fn copy_scaling(self, plan: &Plan, blue: &BluePlan, what: Scaling) -> Result<(), Fault> {
        let form = ScalingForm::of(blue)?;
        match what {
            Scaling::Policies => {
                let calls = form.policies.iter().map(|policy| self.put_policy(policy, plan, blue));
                fault::worst(join_all(calls).await)
            }
            Scaling::Scheduled => {
                let now = Timestamp::now();
                let actions = form.scheduled.iter().filter(|action| !action.is_over(now)).map(|action| action.write(now));
                for chunk in actions.collect::<Vec<_>>().chunks(SCHEDULED_PER_CALL_MAX) {
                    self.put_scheduled(&plan.green.group, chunk).await?;
                }
                Ok(())
            }
        }
    }

    async fn put_policy(self, policy: &PolicyForm, plan: &Plan, blue: &BluePlan) -> Result<(), Fault> {
        let tracking = policy.write(blue, &plan.green, &plan.blue_slot)?;
        let call = |fence| {
            let call = self.clients.autoscaling.put_scaling_policy().auto_scaling_group_name(plan.green.group.as_str());
            let call = call.policy_name(&policy.name).policy_type("TargetTrackingScaling");
            let call = call.target_tracking_configuration(tracking).set_estimated_instance_warmup(policy.warmup);
            call.set_enabled(policy.enabled).customize().interceptor(fence).send()
        };
        self.clients.change(Operation::PutScalingPolicy, self.deadline, call).await.map(|_| ())
    }

    async fn put_scheduled(self, group: &GroupName, actions: &[ScheduledUpdateGroupActionRequest]) -> Result<(), Fault> {
        const OPERATION: Operation = Operation::BatchPutScheduledUpdateGroupAction;
        let call = |fence| {
            let call = self.clients.autoscaling.batch_put_scheduled_update_group_action();
            let call = call.auto_scaling_group_name(group.as_str()).set_scheduled_update_group_actions(Some(actions.to_vec()));
            call.customize().interceptor(fence).send()
        };
        let answer = self.clients.change(OPERATION, self.deadline, call).await?;
        // The call as a whole succeeds where parts of it did not.
        match answer.failed_scheduled_update_group_actions().first() {
            None => Ok(()),
            Some(failed) => Err(Fault {
                code: failed.error_code().map(str::to_owned),
                ..fault::rejected(
                    OPERATION.name(),
                    format!(
                        "scheduled action {}: {}",
                        failed.scheduled_action_name().unwrap_or_default(),
                        failed.error_message().unwrap_or("no message")
                    ),
                )
            }),
        }
    }
}

/// What of the plan's scaling green still lacks.
pub(super) async fn lacking(
    clients: &Clients,
    blue: &BluePlan,
    green: &GroupName,
    deadline: Instant,
) -> Result<ScalingView, Fault> {
    let wanted = ScalingForm::of(blue)?;
    if wanted.is_empty() {
        return Ok(ScalingView::default());
    }
    let has = of(clients, green, deadline).await?.form;
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Ok(ScalingView {
        policies_missing: count(wanted.policies_beyond(&has)),
        scheduled_missing: count(wanted.scheduled_beyond(&has, Timestamp::now())),
    })
}

/// What scales a group; nothing does where there is no such group.
pub(super) async fn of(clients: &Clients, group: &GroupName, deadline: Instant) -> Result<SeenScaling, Fault> {
    let (policies, scheduled) = join(policies(clients, group, deadline), scheduled(clients, group, deadline)).await;
    let mut seen = SeenScaling::default();
    for policy in policies? {
        match PolicyForm::read(&policy) {
            Ok(policy) => seen.form.policies.push(policy),
            Err(why) => seen.left_behind.push(why),
        }
    }
    seen.form.scheduled = scheduled?;
    Ok(seen)
}

/// A group that is not there has no policies: AWS answers some calls about it with an error, others with nothing.
fn or_none<T>(answer: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match answer {
        Err(Fault { kind: FaultKind::Missing, .. }) => Ok(None),
        answer => answer.map(Some),
    }
}

async fn policies(clients: &Clients, group: &GroupName, deadline: Instant) -> Result<Vec<ScalingPolicy>, Fault> {
    const OPERATION: Operation = Operation::DescribePolicies;
    let mut all = Vec::new();
    let mut token = None;
    for _ in 0..PAGES_MAX {
        let call = clients.autoscaling.describe_policies().auto_scaling_group_name(group.as_str()).set_next_token(token);
        let Some(page) = or_none(clients.look(OPERATION, deadline, call.send()).await)? else { return Ok(all) };
        all.extend(page.scaling_policies.unwrap_or_default());
        token = page.next_token;
        if token.is_none() {
            return Ok(all);
        }
    }
    Err(fault::incomplete(OPERATION, "an end: there are more pages than a group can have"))
}

async fn scheduled(clients: &Clients, group: &GroupName, deadline: Instant) -> Result<Vec<ScheduledForm>, Fault> {
    const OPERATION: Operation = Operation::DescribeScheduledActions;
    let mut all = Vec::new();
    let mut token = None;
    for _ in 0..PAGES_MAX {
        let call =
            clients.autoscaling.describe_scheduled_actions().auto_scaling_group_name(group.as_str()).set_next_token(token);
        let Some(page) = or_none(clients.look(OPERATION, deadline, call.send()).await)? else { return Ok(all) };
        all.extend(page.scheduled_update_group_actions().iter().filter_map(ScheduledForm::read));
        token = page.next_token;
        if token.is_none() {
            return Ok(all);
        }
    }
    Err(fault::incomplete(OPERATION, "an end: there are more pages than a group can have"))
}

#[cfg(test)]
#[path = "scaling_copies_tests.rs"]
mod copies;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn action(name: &str, min: Option<i32>, max: Option<i32>, desired: Option<i32>) -> ScheduledForm {
        let (recurrence, time_zone) = (Some("0 22 * * *".to_owned()), Some("Europe/Berlin".to_owned()));
        ScheduledForm { name: name.to_owned(), start: None, end: None, recurrence, time_zone, min, max, desired }
    }

    /// The names of those that may shrink a group of four.
    fn named(scheduled: Vec<ScheduledForm>) -> Vec<String> {
        let form = ScalingForm { policies: Vec::new(), scheduled };
        let told = form.shrinking(&GroupName::new("web-blue"), 4, at(1_000));
        told.iter().map(|told| told.split(' ').nth(2).unwrap().to_owned()).collect()
    }

    #[test]
    fn what_may_shrink_blue_is_named_and_what_may_not_is_not() {
        let actions = vec![
            action("less", None, None, Some(3)),
            action("unpins", Some(3), None, None),
            action("caps", None, Some(3), None),
            action("as-it-is", Some(4), Some(4), Some(4)),
            action("grows", Some(5), Some(9), Some(5)),
        ];
        assert_eq!(named(actions), ["less", "unpins", "caps"]);
    }

    #[test]
    fn what_fires_no_more_is_not_named() {
        let less = |name: &str| action(name, None, None, Some(1));
        let once = |name: &str, start| ScheduledForm { recurrence: None, start: Some(at(start)), ..less(name) };
        let until = |name: &str, end| ScheduledForm { end: Some(at(end)), ..less(name) };
        let actions = vec![once("past", 999), once("to-come", 1_001), until("ended", 999), until("goes-on", 1_001)];
        assert_eq!(named(actions), ["to-come", "goes-on"]);
    }

    #[test]
    fn a_person_is_told_what_it_sets_when_and_what_to_do() {
        let night = action("night", Some(1), None, Some(2)).shrinking(&GroupName::new("web-blue"), 4).unwrap();
        assert!(night.contains("night sets min 1, desired 2 of web-blue at 0 22 * * * Europe/Berlin"), "{night}");
        assert!(night.contains("suspend-processes --auto-scaling-group-name web-blue"), "{night}");
        let once = ScheduledForm { recurrence: None, start: Some(at(0)), ..action("once", Some(1), None, None) };
        assert!(once.shrinking(&GroupName::new("web-blue"), 4).unwrap().contains("on 1970-01-01T00:00:00Z"));
    }
}
