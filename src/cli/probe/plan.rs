//! The exact calls, for a person to read before any of them is made.

use std::{fmt::Write as _, time::Duration};

use reqwest::Url;

use super::{
    args::{self, TwoGroups},
    timeline::Text,
};
use crate::cloud::aws::probe::{EmptyGroup, Probe, TAG};

/// Changes that are watched in each round.
const CHANGES: u32 = 3;

pub(super) fn of(asked: &args::Probe, aws: &Probe, id: &str, number: u32, url: &Url) -> String {
    let args::Probe { host, rate, rounds, settle, listener, .. } = asked;
    let lower = number + 1;
    let [base, first, second] = [Text::Base, Text::First, Text::Second].map(|text| text.write(id));
    let mut text = format!(
        "\
On load balancer {} in {}, which must serve no users:
  {listener}

  CreateRule {lower}   host {host} -> 200 {base:?}
  {rounds} times:
    CreateRule {number}   host {host} -> 200 {first:?}
    ModifyRule {number}   -> 200 {second:?}
    DeleteRule {number}
",
        aws.load_balancer(),
        aws.region(),
    );
    if let Some(TwoGroups([one, other])) = &asked.target_groups {
        let _ = writeln!(text, "  ModifyRule {lower}   -> forward {{1, 0}} to {one} and {other}");
        let _ = writeln!(text, "  ModifyRule {lower}   -> forward {{0, 0}} to the same");
    }
    if let Some(EmptyGroup { launch_template, version, image, subnet }) = asked.empty_group() {
        let group = aws.group();
        let _ = writeln!(
            text,
            "  CreateAutoScalingGroup {group}   min = max = desired = 0, {launch_template}:{version} with {image} in {subnet}"
        );
        let _ = writeln!(text, "  DeleteAutoScalingGroup {group}");
    }
    let _ = writeln!(text, "  DeleteRule {lower}");
    let minutes = least(*settle, *rounds, asked.target_groups.is_some()).as_secs().div_ceil(60);
    let _ = writeln!(
        text,
        "\nMeanwhile {rate} requests a second to {url} with Host: {host}, for {minutes} min or more. Everything is tagged {TAG}={id}, \
         and removed at the end, also after Ctrl-C."
    );
    text
}

/// Every change takes the time to settle at least.
fn least(settle: Duration, rounds: u32, weights: bool) -> Duration {
    settle * (1 + CHANGES * rounds + if weights { 4 } else { 0 })
}
