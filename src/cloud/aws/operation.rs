//! Every call of AWS's that the adapter makes, one line each: what is not in this list is not sent.
//!
//! Counting, the request budget and the policies of `deploy/iam` are made from it, so that none of them can fall behind the
//! calls.

use Ground::{AdoptedBlue, Bases, DefaultActions, NewGroups, NewRules, OwnGroups, OwnRules};
use Kind::{Change, Look, Session};

/// Which of AWS's APIs a call belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    /// Elastic Load Balancing v2.
    Elb,
    AutoScaling,
    /// Security Token Service.
    Sts,
}

/// Calls that draw on one bucket of AWS's, per account and region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    ElbChanges,
    ElbLooks,
    /// Looks and changes together.
    AutoScaling,
}

impl Class {
    /// As in the configuration: `aws.budget.elb_changes`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ElbChanges => "elb_changes",
            Self::ElbLooks => "elb_looks",
            Self::AutoScaling => "auto_scaling",
        }
    }
}

/// What a call does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Look,
    /// Of what it may be made on, and nothing else.
    Change(&'static [Ground]),
    /// Neither: it gives credentials for all others, and is called with those of the process itself.
    Session,
}

/// What a change is made on: a policy allows it there alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    /// Rules of ours that are being made, on the declared routes' listeners.
    NewRules,
    OwnRules,
    /// The declared routes.
    Bases,
    /// Listeners whose default action is a declared route.
    DefaultActions,
    NewGroups,
    OwnGroups,
    /// The group that served before Cutover did.
    AdoptedBlue,
}

impl Ground {
    pub(super) const ALL: [Self; 7] = [
        Self::NewRules,
        Self::OwnRules,
        Self::Bases,
        Self::DefaultActions,
        Self::NewGroups,
        Self::OwnGroups,
        Self::AdoptedBlue,
    ];
}

macro_rules! operations {
    ($($name:ident: $service:ident, $kind:expr;)+) => {
        /// A call, by AWS's own name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(super) enum Operation { $($name),+ }

        impl Operation {
            pub(super) const ALL: &[Self] = &[$(Self::$name),+];

            /// Its own, in figures and faults: AWS's, but where two of its services have a call of one name.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            const fn row(self) -> (Service, Kind) {
                match self { $(Self::$name => (Service::$service, $kind)),+ }
            }
        }
    };
}

operations! {
    DescribeAccountLimits: Elb, Look;
    DescribeListeners: Elb, Look;
    DescribeLoadBalancers: Elb, Look;
    DescribeRules: Elb, Look;
    DescribeTags: Elb, Look;
    DescribeTargetGroupAttributes: Elb, Look;
    DescribeTargetGroups: Elb, Look;
    DescribeTargetHealth: Elb, Look;
    CreateRule: Elb, Change(&[NewRules]);
    DeleteRule: Elb, Change(&[OwnRules]);
    ModifyListener: Elb, Change(&[DefaultActions]);
    ModifyRule: Elb, Change(&[OwnRules, Bases]);
    DescribeAutoScalingAccountLimits: AutoScaling, Look;
    DescribeAutoScalingGroups: AutoScaling, Look;
    DescribePolicies: AutoScaling, Look;
    DescribeScheduledActions: AutoScaling, Look;
    DescribeScalingActivities: AutoScaling, Look;
    BatchPutScheduledUpdateGroupAction: AutoScaling, Change(&[OwnGroups]);
    CreateAutoScalingGroup: AutoScaling, Change(&[NewGroups]);
    DeleteAutoScalingGroup: AutoScaling, Change(&[OwnGroups, AdoptedBlue]);
    DetachLoadBalancerTargetGroups: AutoScaling, Change(&[OwnGroups, AdoptedBlue]);
    PutScalingPolicy: AutoScaling, Change(&[OwnGroups]);
    UpdateAutoScalingGroup: AutoScaling, Change(&[OwnGroups, AdoptedBlue]);
    AssumeRole: Sts, Session;
}

impl Operation {
    /// As AWS writes it.
    pub(super) const fn aws_name(self) -> &'static str {
        match self {
            Self::DescribeAutoScalingAccountLimits => "DescribeAccountLimits",
            operation => operation.name(),
        }
    }

    /// As AWS's policies write it: `autoscaling:CreateAutoScalingGroup`.
    pub(super) fn action(self) -> String {
        let service = match self.row().0 {
            Service::Elb => "elasticloadbalancing",
            Service::AutoScaling => "autoscaling",
            Service::Sts => "sts",
        };
        format!("{service}:{}", self.aws_name())
    }

    /// A call that AWS calls so; `None` when the adapter makes none.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|operation| operation.aws_name() == name)
    }

    /// Whether it only looks: it may be sent without a deadline to be sent before.
    pub(super) const fn only_looks(self) -> bool {
        matches!(self.row().1, Kind::Look)
    }

    /// Whether it gives the credentials that others are signed with.
    pub(super) const fn gives_credentials(self) -> bool {
        matches!(self.row().1, Kind::Session)
    }

    /// What it may be made on; nothing for a call that changes nothing.
    pub(super) const fn grounds(self) -> &'static [Ground] {
        match self.row().1 {
            Kind::Look | Kind::Session => &[],
            Kind::Change(grounds) => grounds,
        }
    }

    /// The bucket that it draws on; none for what is asked once an hour.
    pub(super) const fn class(self) -> Option<Class> {
        match self.row() {
            (Service::Elb, Kind::Change(_)) => Some(Class::ElbChanges),
            (Service::Elb, Kind::Look | Kind::Session) => Some(Class::ElbLooks),
            (Service::AutoScaling, _) => Some(Class::AutoScaling),
            (Service::Sts, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_is_called_describe_and_nothing_else_is() {
        for operation in Operation::ALL {
            assert_eq!(operation.only_looks(), operation.name().starts_with("Describe"), "{operation:?}");
            let changes_nothing = operation.only_looks() || operation.gives_credentials();
            assert_eq!(changes_nothing, operation.grounds().is_empty(), "{operation:?} is allowed nowhere");
            let named = Operation::named(operation.aws_name()).map(Operation::only_looks);
            assert_eq!(named, Some(operation.only_looks()), "{operation:?}");
        }
        assert_eq!(Operation::named("DeleteLoadBalancer"), None);
        let limits = [Operation::DescribeAccountLimits, Operation::DescribeAutoScalingAccountLimits].map(Operation::action);
        assert_eq!(limits, ["elasticloadbalancing:DescribeAccountLimits", "autoscaling:DescribeAccountLimits"]);
    }
}
