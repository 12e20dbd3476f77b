//! The AWS command line against the pocket region: what an operator would type at a listener while Cutover moves it.
//!
//! Another client than the SDK's, in another language, by other people: it holds the protocol to what AWS's clients have in common.

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};
use tokio::process::Command;

use super::{house::House, world::World};

/// One call: Python takes a second to start, and longer beside other tests.
const PATIENCE: Duration = Duration::from_secs(60);

fn aws() -> PathBuf {
    let named = std::env::var_os("CUTOVER_AWS").map(PathBuf::from);
    let path = named.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/aws"));
    assert!(path.exists(), "{} is not there: run scripts/setup, or name the AWS command line in CUTOVER_AWS", path.display());
    path
}

/// What `aws …` printed, or what it complained of.
async fn call(world: &World, words: &[&str]) -> Result<Value, String> {
    let command = Command::new(aws())
        .args(["--endpoint-url", world.sim().endpoint(), "--region", "eu-west-1", "--output", "json"])
        .args(words)
        .env("AWS_ACCESS_KEY_ID", "any")
        .env("AWS_SECRET_ACCESS_KEY", "any")
        // Nothing of the person's who runs the tests.
        .env_remove("AWS_SESSION_TOKEN")
        .env_remove("AWS_PROFILE")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_PAGER", "")
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, command).await.expect("it answers in time").expect("it starts");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
}

async fn told(world: &World, words: &[&str]) -> Value {
    call(world, words).await.unwrap_or_else(|complaint| panic!("aws {words:?}: {complaint}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_edits_rules_with_the_aws_command_line() {
    let world = World::pocket_region().await;
    let house = House::with_blue(&world, "d-hand").await;
    let listener = house.listener.as_str();
    let priorities = async || {
        let rules = told(&world, &["elbv2", "describe-rules", "--listener-arn", listener]).await;
        let rules = rules["Rules"].as_array().cloned().unwrap_or_default();
        rules.into_iter().map(|rule| rule["Priority"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(priorities().await, ["100", "default"]);

    let conditions = "Field=host-header,HostHeaderConfig={Values=[d-hand.example.com]}";
    let to_blue = format!("Type=forward,TargetGroupArn={}", house.slots[0]);
    let create = ["elbv2", "create-rule", "--listener-arn", listener, "--priority", "50", "--conditions", conditions];
    let made = told(&world, &[&create[..], &["--actions", &to_blue]].concat()).await;
    let rule = made["Rules"][0]["RuleArn"].as_str().expect("an ARN").to_owned();
    assert_eq!(priorities().await, ["50", "100", "default"]);

    let weights = json!([
        { "TargetGroupArn": house.slots[0], "Weight": 750 },
        { "TargetGroupArn": house.slots[1], "Weight": 250 },
    ]);
    let actions = json!([{ "Type": "forward", "ForwardConfig": { "TargetGroups": weights } }]).to_string();
    told(&world, &["elbv2", "modify-rule", "--rule-arn", &rule, "--actions", &actions]).await;
    let seen = told(&world, &["elbv2", "describe-rules", "--rule-arns", &rule]).await;
    assert_eq!(seen["Rules"][0]["Actions"][0]["ForwardConfig"]["TargetGroups"], weights);

    let delete = ["elbv2", "delete-rule", "--rule-arn", &rule];
    told(&world, &delete).await;
    let complaint = call(&world, &delete).await.expect_err("it is gone");
    assert!(complaint.contains("(RuleNotFound) when calling the DeleteRule operation"), "{complaint}");

    let groups =
        told(&world, &["autoscaling", "describe-auto-scaling-groups", "--auto-scaling-group-names", &house.blue()]).await;
    assert_eq!(groups["AutoScalingGroups"][0]["DesiredCapacity"], json!(2));
    let who = told(&world, &["sts", "get-caller-identity"]).await;
    assert_eq!(who["Account"], "123456789012");
}
