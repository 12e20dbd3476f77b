//! What a copy is like: all of the original, and of green's own target groups and servers.

use super::*;
use crate::domain::{ids::TargetGroupRef, phase::Phase, sample};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// Of an internal and a public target group.
fn slot(colour: &str) -> SlotRef {
    let arn = |side: &str| format!("arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/web-{side}-{colour}/{side}0{colour}");
    SlotRef::of(["internal", "public"].map(|side| TargetGroupRef::new(arn(side))).to_vec()).unwrap()
}

/// The copy of a policy that tracks `metric`.
fn copied(metric: MetricForm) -> Result<TargetTrackingConfiguration, Fault> {
    let policy = PolicyForm {
        name: "busy".to_owned(),
        target: 80.0,
        metric,
        disable_scale_in: Some(true),
        warmup: Some(90),
        enabled: Some(true),
    };
    let mut plan = sample::deployment(1, Phase::Provisioning).plan.unwrap();
    plan.green.slot = slot("b");
    policy.write(plan.blue.as_ref().unwrap(), &plan.green, &slot("a"))
}

#[test]
fn requests_are_counted_at_greens_target_group_of_the_same_load_balancer() {
    for side in ["internal", "public"] {
        let label = |colour: &str| format!("app/{side}/1/targetgroup/web-{side}-{colour}/{side}0{colour}");
        let metric = MetricForm::Predefined { metric: "ALBRequestCountPerTarget".to_owned(), label: Some(label("a")) };
        let copy = copied(metric).unwrap();
        let named = copy.predefined_metric_specification().and_then(|metric| metric.resource_label());
        assert_eq!(named, Some(label("b").as_str()));
        assert_eq!((copy.target_value(), copy.disable_scale_in()), (Some(80.0), Some(true)));
    }
    let elsewhere = Some("app/public/1/targetgroup/api/0".to_owned());
    let fault = copied(MetricForm::Predefined { metric: "ALBRequestCountPerTarget".to_owned(), label: elsewhere }).unwrap_err();
    assert!(fault.message.contains("which is no target group of blue's"), "{fault}");
}

#[test]
fn a_metric_of_blues_servers_becomes_one_of_greens_and_stays_the_same_otherwise() {
    let plan = sample::deployment(1, Phase::Provisioning).plan.unwrap();
    let (blue, green) = (plan.blue.unwrap().group, plan.green.group);
    let dimension = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let metric = |of: &GroupName| MetricForm::Customized {
        name: "QueueLength".to_owned(),
        namespace: "Web".to_owned(),
        dimensions: vec![dimension("AutoScalingGroupName", of.as_str()), dimension("Team", "shop")],
        statistic: "Average".to_owned(),
        unit: Some("Count".to_owned()),
        period: Some(30),
    };
    assert_eq!(MetricForm::read(&copied(metric(&blue)).unwrap()), Some(metric(&green)));
}

#[test]
fn a_scheduled_action_is_copied_whole_but_for_a_start_that_has_passed() {
    let action = |start| ScheduledForm {
        name: "night".to_owned(),
        start: Some(at(start)),
        end: Some(at(9_000)),
        recurrence: Some("0 22 * * *".to_owned()),
        time_zone: Some("Europe/Berlin".to_owned()),
        min: Some(1),
        max: Some(4),
        desired: Some(2),
    };
    let seconds = |time: Option<&DateTime>| time.map(DateTime::secs);
    for (start, kept) in [(2_000, Some(2_000)), (500, None)] {
        let copy = action(start).write(at(1_000));
        assert_eq!(
            (seconds(copy.start_time()), seconds(copy.end_time())),
            (kept, Some(9_000)),
            "AWS refuses a start that has passed"
        );
        assert_eq!((copy.scheduled_action_name(), copy.recurrence()), (Some("night"), Some("0 22 * * *")));
        assert_eq!(copy.time_zone(), Some("Europe/Berlin"));
        assert_eq!((copy.min_size(), copy.max_size(), copy.desired_capacity()), (Some(1), Some(4), Some(2)));
    }
}

#[test]
fn an_action_whose_time_is_over_is_missed_by_nobody() {
    let once = |name: &str, start| ScheduledForm {
        name: name.to_owned(),
        start: Some(at(start)),
        end: None,
        recurrence: None,
        time_zone: None,
        min: Some(1),
        max: None,
        desired: None,
    };
    let blue = ScalingForm { policies: Vec::new(), scheduled: vec![once("past", 999), once("to-come", 1_001)] };
    assert_eq!(blue.scheduled_beyond(&ScalingForm::default(), at(1_000)), 1);
    assert_eq!(blue.scheduled_beyond(&blue, at(1_000)), 0);
}
