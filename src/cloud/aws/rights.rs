//! The rights that the adapter needs, as IAM policies written from the list of its calls: `deploy/iam` cannot fall behind.
//!
//! What only looks is allowed everywhere: AWS knows no finer right. What changes something is allowed on what carries this
//! installation's tag, or is named. The names are placeholders in capitals. IAM itself has never judged these policies while
//! they were made; the service authorization reference is what they go by.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    names,
    operation::{Ground, Operation},
};

/// Who is given rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The service.
    Driver,
    /// Whoever only sends traffic back: the rollback lane's calls and no others.
    Rollback,
    /// Whoever only looks.
    Observer,
    /// The service's own identity, where a role of `provider.role_arn` has the driver's rights: it may become that one.
    Assume,
}

impl Policy {
    pub const ALL: [Self; 4] = [Self::Driver, Self::Rollback, Self::Observer, Self::Assume];

    /// Its file under `deploy/iam`, without `.json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Rollback => "rollback",
            Self::Observer => "observer",
            Self::Assume => "assume",
        }
    }

    /// The policy as IAM takes it, once the placeholders are filled in.
    #[must_use]
    pub fn text(self) -> String {
        let statement = match self {
            Self::Driver => {
                [vec![looks(Operation::ALL)], Ground::ALL.iter().flat_map(|ground| changes(*ground)).collect()].concat()
            }
            Self::Rollback => {
                let own = Statement { action: actions(&[Operation::DeleteRule]), ..on(Ground::OwnRules) };
                [vec![looks(&LANE_LOOKS)], changes(Ground::NewRules), vec![own]].concat()
            }
            Self::Observer => vec![looks(Operation::ALL)],
            Self::Assume => {
                let calls = Operation::ALL.iter().filter(|operation| operation.gives_credentials());
                let actions = calls.map(|operation| operation.action()).collect();
                vec![allow("AssumeRoles", actions, ROLE, Condition::new())]
            }
        };
        let document = Document { version: "2012-10-17", statement };
        let mut text = serde_json::to_string_pretty(&document).expect("names and lists of names are JSON");
        text.push('\n');
        text
    }
}

/// The rollback lane keeps its connections warm, and looks whose the rule is that has its shield's number.
const LANE_LOOKS: [Operation; 3] = [Operation::DescribeAccountLimits, Operation::DescribeRules, Operation::DescribeTags];

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    version: &'static str,
    statement: Vec<Statement>,
}

/// Operator, key, value: all must hold.
type Condition = BTreeMap<&'static str, BTreeMap<String, &'static str>>;

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    sid: &'static str,
    effect: &'static str,
    action: Vec<String>,
    resource: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    condition: Condition,
}

const INSTALLATION: &str = "INSTALLATION";
const RULES: &str = "arn:aws:elasticloadbalancing:REGION:ACCOUNT:listener-rule/app/LOAD-BALANCER/*";
const LISTENERS: &str = "arn:aws:elasticloadbalancing:REGION:ACCOUNT:listener/app/LOAD-BALANCER/*";
/// A group's name begins with its service and environment.
const GROUPS: &str = "arn:aws:autoscaling:REGION:ACCOUNT:autoScalingGroup:*:autoScalingGroupName/SERVICE-ENVIRONMENT-v*";
/// The one of `provider.role_arn`.
const ROLE: &str = "arn:aws:iam::ACCOUNT:role/ROLE";

fn allow(sid: &'static str, action: Vec<String>, resource: &'static str, condition: Condition) -> Statement {
    Statement { sid, effect: "Allow", action, resource, condition }
}

fn condition<const N: usize>(parts: [(&'static str, String, &'static str); N]) -> Condition {
    let mut condition = Condition::new();
    for (operator, key, value) in parts {
        condition.entry(operator).or_default().insert(key, value);
    }
    condition
}

/// The tag that says whose it is, on what is there (`ResourceTag`) or on what is being made (`RequestTag`).
fn tagged(on: &str) -> (&'static str, String, &'static str) {
    ("StringEquals", format!("aws:{on}/{}", names::INSTALLATION), INSTALLATION)
}

fn actions(operations: &[Operation]) -> Vec<String> {
    operations.iter().map(|operation| operation.action()).collect()
}

fn looks(among: &[Operation]) -> Statement {
    let looks = among.iter().filter(|operation| operation.only_looks());
    allow("Look", looks.map(|operation| operation.action()).collect(), "*", Condition::new())
}

/// All that may be changed on this ground.
fn on(ground: Ground) -> Statement {
    let operations = Operation::ALL.iter().filter(|operation| operation.grounds().contains(&ground));
    let actions = operations.map(|operation| operation.action()).collect();
    match ground {
        Ground::NewRules => {
            let ours_alone = ("ForAllValues:StringLike", "aws:TagKeys".to_owned(), "cutover:*");
            allow("CreateRules", actions, LISTENERS, condition([tagged("RequestTag"), ours_alone]))
        }
        Ground::OwnRules => allow("ChangeOwnRules", actions, RULES, condition([tagged("ResourceTag")])),
        Ground::Bases => {
            let base = "arn:aws:elasticloadbalancing:REGION:ACCOUNT:listener-rule/app/LOAD-BALANCER/ID/LISTENER/BASE-RULE";
            allow("MoveBases", actions, base, Condition::new())
        }
        Ground::DefaultActions => {
            let listener = "arn:aws:elasticloadbalancing:REGION:ACCOUNT:listener/app/LOAD-BALANCER/ID/LISTENER";
            allow("MoveDefaultActions", actions, listener, Condition::new())
        }
        Ground::NewGroups => allow("CreateGroups", actions, GROUPS, condition([tagged("RequestTag")])),
        Ground::OwnGroups => allow("ChangeOwnGroups", actions, GROUPS, condition([tagged("ResourceTag")])),
        Ground::AdoptedBlue => {
            let blue = "arn:aws:autoscaling:REGION:ACCOUNT:autoScalingGroup:*:autoScalingGroupName/ADOPTED-BLUE";
            allow("ChangeAdoptedBlue", actions, blue, Condition::new())
        }
    }
}

/// The same, with what AWS asks for beside it of whoever creates something.
fn changes(ground: Ground) -> Vec<Statement> {
    let also = |action: &str| vec![action.to_owned()];
    let only_with = |key: &str, call| ("StringEquals", key.to_owned(), call);
    let beside = match ground {
        Ground::NewRules => {
            let with_creation = only_with("elasticloadbalancing:CreateAction", Operation::CreateRule.name());
            let tags = condition([tagged("RequestTag"), with_creation]);
            vec![allow("TagNewRules", also("elasticloadbalancing:AddTags"), RULES, tags)]
        }
        Ground::NewGroups => {
            let template = "arn:aws:ec2:REGION:ACCOUNT:launch-template/LAUNCH-TEMPLATE";
            let from_template = condition([("ArnEquals", "ec2:LaunchTemplate".to_owned(), template)]);
            let with_launch = condition([only_with("ec2:CreateAction", "RunInstances")]);
            let to_ec2 = condition([only_with("iam:PassedToService", "ec2.amazonaws.com")]);
            vec![
                // Binds the tag that is put on, not the group that it is put on: Auto Scaling has no key for "while creating".
                // The name is what bounds it.
                allow("TagNewGroups", also("autoscaling:CreateOrUpdateTags"), GROUPS, condition([tagged("RequestTag")])),
                allow("LaunchServers", also("ec2:RunInstances"), "*", from_template),
                allow("TagServers", also("ec2:CreateTags"), "arn:aws:ec2:REGION:ACCOUNT:*/*", with_launch),
                allow("GiveServersTheirRole", also("iam:PassRole"), "arn:aws:iam::ACCOUNT:role/SERVERS-ROLE", to_ec2),
            ]
        }
        Ground::OwnRules | Ground::Bases | Ground::DefaultActions | Ground::OwnGroups | Ground::AdoptedBlue => Vec::new(),
    };
    [vec![on(ground)], beside].concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// IAM counts no white space.
    const MANAGED_POLICY_MAX: usize = 6_144;

    /// Each action with the statement that allows it.
    fn allowed(policy: Policy) -> Vec<(String, Value)> {
        let document: Value = serde_json::from_str(&policy.text()).unwrap();
        let statements = document["Statement"].as_array().unwrap().clone();
        let each = |statement: Value| {
            let actions = statement["Action"].as_array().unwrap().clone();
            actions.into_iter().map(move |action| (action.as_str().unwrap().to_owned(), statement.clone()))
        };
        statements.into_iter().flat_map(each).collect()
    }

    fn names(policy: Policy) -> BTreeSet<String> {
        allowed(policy).into_iter().map(|(action, _)| action).collect()
    }

    #[test]
    fn the_driver_may_make_every_call_and_what_aws_asks_beside_them_and_nothing_else() {
        // Whoever has the driver's rights is who was assumed, or is in need of nobody.
        let calls = Operation::ALL.iter().filter(|operation| !operation.gives_credentials());
        let calls = calls.map(|operation| operation.action());
        let beside = [
            "elasticloadbalancing:AddTags",
            "autoscaling:CreateOrUpdateTags",
            "ec2:RunInstances",
            "ec2:CreateTags",
            "iam:PassRole",
        ];
        let expected: BTreeSet<_> = calls.chain(beside.map(str::to_owned)).collect();
        assert_eq!(names(Policy::Driver), expected);
    }

    #[test]
    fn what_changes_something_is_bound_to_our_tag_or_to_a_name() {
        for (action, statement) in allowed(Policy::Driver).into_iter().chain(allowed(Policy::Rollback)) {
            let looks = action.contains(":Describe");
            let everywhere = statement["Resource"] == "*";
            assert_eq!(looks, everywhere && statement["Condition"].is_null(), "{action}: {statement:#}");
            let named = ["BASE-RULE", "/LISTENER", "ADOPTED-BLUE"]
                .iter()
                .any(|end| statement["Resource"].as_str().unwrap().ends_with(end));
            assert!(looks || named || !statement["Condition"].is_null(), "{action}: {statement:#}");
        }
    }

    #[test]
    fn the_smaller_policies_are_parts_of_the_drivers() {
        let driver = names(Policy::Driver);
        let (rollback, observer) = (names(Policy::Rollback), names(Policy::Observer));
        assert!(rollback.is_subset(&driver) && observer.is_subset(&driver));
        assert!(observer.iter().all(|action| action.contains(":Describe")));
        let changes: Vec<_> = rollback.iter().filter(|action| !action.contains(":Describe")).collect();
        assert_eq!(
            changes,
            ["elasticloadbalancing:AddTags", "elasticloadbalancing:CreateRule", "elasticloadbalancing:DeleteRule"]
        );
    }

    #[test]
    fn who_assumes_a_role_may_do_that_alone_and_with_no_other() {
        let [(action, statement)] = allowed(Policy::Assume).try_into().unwrap();
        assert_eq!((action.as_str(), statement["Resource"].as_str()), ("sts:AssumeRole", Some(ROLE)));
        assert!(Policy::ALL[..3].iter().all(|policy| !names(*policy).contains(&action)));
    }

    #[test]
    fn a_policy_is_as_long_as_iam_takes_it_with_room_for_names() {
        for policy in Policy::ALL {
            let length = policy.text().chars().filter(|c| !c.is_whitespace()).count();
            assert!(length < MANAGED_POLICY_MAX * 3 / 4, "{}: {length}", policy.name());
        }
    }
}
