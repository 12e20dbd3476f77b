//! Both planes together: what the API accepts arrives in real traffic.

use std::net::SocketAddr;

use aws_sdk_autoscaling::types::LaunchTemplateSpecification;
use cutover_sim::{model::TargetState, options::Options, scenario::Stage};

use super::region::{World, eventually, forward, host, quick, slow, staged};

/// The version that answers one request to `host`.
async fn version(client: &reqwest::Client, address: SocketAddr, host: &str) -> Option<String> {
    let response = client.get(format!("http://{address}/")).header("host", host).send().await.ok()?;
    Some(response.headers().get("x-version")?.to_str().ok()?.to_owned())
}

/// Waits until twenty requests in a row are all answered by `wanted`: a single one may have met a node that lags.
async fn all_from(address: SocketAddr, host: &str, wanted: &str) {
    let client = reqwest::Client::new();
    eventually(&format!("all requests reach {wanted}"), || async {
        for _ in 0..20 {
            if version(&client, address, host).await? != wanted {
                return None;
            }
        }
        Some(())
    })
    .await;
}

#[tokio::test]
async fn an_overlay_moves_real_traffic_and_its_deletion_brings_it_back() {
    let (world, staged) = staged(quick(), &Stage::default()).await;
    let service = &staged.services[0];
    let (blue, green) = (service.slots[0][0].as_str(), service.slots[1][0].as_str());
    let address = eventually("the listener is open", || async {
        world.sim.shared().now().listeners.get(&service.listeners[0]).and_then(|listener| listener.address)
    })
    .await;
    all_from(address, &service.host, "v1").await;

    let source = LaunchTemplateSpecification::builder().launch_template_id(&service.launch_template).version("2").build();
    let create = world.auto_scaling.create_auto_scaling_group().auto_scaling_group_name("web-prod-v001");
    let create = create.launch_template(source).min_size(2).max_size(2).vpc_zone_identifier("subnet-1");
    create.target_group_arns(green).send().await.expect("green is created");
    let overlay = world.elb.create_rule().listener_arn(&service.listeners[0]).priority(50).conditions(host(&service.host));
    let overlay = overlay.actions(forward(&[(blue, 999), (green, 0)])).send().await.expect("the overlay is created");
    let overlay = overlay.rules()[0].rule_arn().expect("an ARN");
    eventually("green is healthy", || async {
        let health = world.elb.describe_target_health().target_group_arn(green).send().await.ok()?;
        let states = health.target_health_descriptions().iter().filter_map(|target| target.target_health()?.state());
        (states.filter(|state| state.as_str() == "healthy").count() == 2).then_some(())
    })
    .await;
    all_from(address, &service.host, "v1").await;

    let all_green = forward(&[(blue, 0), (green, 999)]);
    world.elb.modify_rule().rule_arn(overlay).actions(all_green).send().await.expect("shifted");
    all_from(address, &service.host, "v2").await;
    world.elb.delete_rule().rule_arn(overlay).send().await.expect("rolled back");
    all_from(address, &service.host, "v1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_services_serve_side_by_side_each_on_its_own_host() {
    let stage = Stage { services: 300, servers: 1, health_check_interval_seconds: 40, ..Stage::default() };
    let (World { sim, .. }, staged) = staged(Options { scale: 0.05, ..slow() }, &stage).await;
    eventually("all of them are healthy", || async {
        let region = sim.shared().now();
        let slots = region.target_groups.values().flat_map(|slot| slot.targets.values());
        (slots.filter(|target| target.state == TargetState::Healthy).count() == 300).then_some(())
    })
    .await;
    let http = reqwest::Client::new();
    for service in [&staged.services[0], &staged.services[26], &staged.services[299]] {
        let region = sim.shared().now();
        let address = region.listeners[service.listeners[0].as_str()].address.expect("it is open");
        let answer = http.get(format!("http://{address}/")).header("host", &service.host).send().await.expect("answered");
        let served_by = answer.headers()["x-instance"].to_str().expect("an id");
        assert_eq!(Some(&region.instances[served_by].group), service.blue.as_ref());
    }
}
