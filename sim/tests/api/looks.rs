//! Looking at many things at once: names, filters and pages, as one look that serves many deployments needs them.

use aws_sdk_autoscaling::{
    operation::describe_auto_scaling_groups::builders::DescribeAutoScalingGroupsFluentBuilder,
    types::{Filter, LaunchTemplateSpecification, Tag},
};
use cutover_sim::scenario::{Stage, Staged};

use super::region::{World, code, slow, staged};

/// Many small services, whose servers boot at once.
async fn many(services: u32) -> (World, Staged) {
    staged(slow(), &Stage { services, servers: 1, ..Stage::default() }).await
}

fn look(world: &World) -> DescribeAutoScalingGroupsFluentBuilder {
    world.auto_scaling.describe_auto_scaling_groups()
}

async fn names(look: DescribeAutoScalingGroupsFluentBuilder) -> Vec<String> {
    let groups = look.send().await.expect("groups").auto_scaling_groups.unwrap_or_default();
    groups.into_iter().filter_map(|group| group.auto_scaling_group_name).collect()
}

#[tokio::test]
async fn one_look_names_fifty_groups_and_a_hundred_when_it_asks_for_pages_of_a_hundred() {
    let (world, staged) = many(101).await;
    let blue = |count: usize| Some(staged.services[..count].iter().filter_map(|service| service.blue.clone()).collect());
    assert_eq!(names(look(&world).set_auto_scaling_group_names(blue(50))).await.len(), 50);
    let more = look(&world).set_auto_scaling_group_names(blue(51)).send().await;
    let told = format!("{:?}", more.as_ref().expect_err("one too many"));
    assert!(told.contains("The number of group names that may be passed in is limited to 50"), "{told}");
    assert_eq!(code(more), "ValidationError");
    assert_eq!(names(look(&world).set_auto_scaling_group_names(blue(100)).max_records(100)).await.len(), 100);
    assert_eq!(code(look(&world).set_auto_scaling_group_names(blue(101)).max_records(100).send().await), "ValidationError");
    assert_eq!(code(look(&world).max_records(101).send().await), "ValidationError");
    assert_eq!(names(look(&world)).await.len(), 50, "a page, where none is asked for");

    let mut token = None;
    let mut pages = Vec::new();
    loop {
        let page = look(&world).max_records(40).set_next_token(token).send().await.expect("a page");
        pages.push(page.auto_scaling_groups().len());
        token = page.next_token().map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    assert_eq!(pages, [40, 40, 21]);
}

#[tokio::test]
async fn groups_are_filtered_by_their_tags_and_every_filter_must_hold() {
    let (world, _staged) = many(3).await;
    let tag = async |group: u32, key: &str, value: &str| {
        let tag = Tag::builder().resource_id(format!("web-{group}-prod-v000")).resource_type("auto-scaling-group");
        let tag = tag.key(key).value(value).propagate_at_launch(false).build();
        world.auto_scaling.create_or_update_tags().tags(tag).send().await.expect("tagged");
    };
    tag(0, "team", "a").await;
    tag(1, "team", "b").await;
    tag(1, "tier", "a").await;
    let filter = |name: &str, values: &[&str]| {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Filter::builder().name(name).set_values(Some(values)).build()
    };
    let of = |filters: &[Filter]| names(look(&world).set_filters(Some(filters.to_vec())));
    assert_eq!(of(&[filter("tag:team", &["b", "c"])]).await, ["web-1-prod-v000"]);
    assert_eq!(of(&[filter("tag-key", &["team"])]).await, ["web-0-prod-v000", "web-1-prod-v000"]);
    assert_eq!(of(&[filter("tag-value", &["a"])]).await, ["web-0-prod-v000", "web-1-prod-v000"]);
    assert_eq!(of(&[filter("tag-key", &["team"]), filter("tag:tier", &["a"])]).await, ["web-1-prod-v000"]);
    assert_eq!(of(&[filter("tag:team", &[])]).await, [] as [&str; 0]);
    assert_eq!(code(look(&world).filters(filter("colour", &["red"])).send().await), "ValidationError");
    let tags = world.auto_scaling.describe_tags().filters(filter("auto-scaling-group", &["web-1-prod-v000"])).send().await;
    assert_eq!(tags.expect("tags").tags().iter().filter_map(|tag| tag.key()).collect::<Vec<_>>(), ["team", "tier"]);
}

#[tokio::test]
async fn a_groups_warm_up_and_cooldown_are_kept_changed_and_taken_away() {
    let (world, staged) = many(1).await;
    let template = LaunchTemplateSpecification::builder().launch_template_id(&staged.services[0].launch_template).version("1");
    let create = world.auto_scaling.create_auto_scaling_group().auto_scaling_group_name("green").min_size(0).max_size(1);
    let create = create.launch_template(template.build()).vpc_zone_identifier("subnet-1");
    create.default_instance_warmup(120).default_cooldown(30).send().await.expect("created");
    let shown = async || {
        let groups = look(&world).auto_scaling_group_names("green").send().await.expect("groups");
        let group = &groups.auto_scaling_groups()[0];
        (group.default_instance_warmup(), group.default_cooldown())
    };
    assert_eq!(shown().await, (Some(120), Some(30)));
    let update = || world.auto_scaling.update_auto_scaling_group().auto_scaling_group_name("green");
    update().default_cooldown(60).send().await.expect("changed");
    assert_eq!(shown().await, (Some(120), Some(60)), "what is not named stays");
    update().default_instance_warmup(-1).send().await.expect("taken away");
    assert_eq!(shown().await, (None, Some(60)));
}
