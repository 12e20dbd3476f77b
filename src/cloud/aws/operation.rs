//! Every call of AWS's that the adapter makes, one line each: what is not in this list is not sent.
//!
//! Counting, the request budget and the policies of `deploy/iam` are made from it, so that none of them can fall behind the
//! calls.

/// Which of AWS's APIs a call belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    /// Elastic Load Balancing v2.
    Elb,
    AutoScaling,
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
    Change,
}

macro_rules! operations {
    ($($name:ident: $service:ident, $kind:ident;)+) => {
        /// A call, by AWS's own name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(super) enum Operation { $($name),+ }

        impl Operation {
            pub(super) const ALL: &[Self] = &[$(Self::$name),+];

            /// As AWS writes it.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            const fn row(self) -> (Service, Kind) {
                match self { $(Self::$name => (Service::$service, Kind::$kind)),+ }
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
    CreateRule: Elb, Change;
    DeleteRule: Elb, Change;
    ModifyListener: Elb, Change;
    ModifyRule: Elb, Change;
    DescribeAutoScalingGroups: AutoScaling, Look;
    DescribePolicies: AutoScaling, Look;
    DescribeScheduledActions: AutoScaling, Look;
    DescribeScalingActivities: AutoScaling, Look;
    BatchPutScheduledUpdateGroupAction: AutoScaling, Change;
    CreateAutoScalingGroup: AutoScaling, Change;
    DeleteAutoScalingGroup: AutoScaling, Change;
    DetachLoadBalancerTargetGroups: AutoScaling, Change;
    PutScalingPolicy: AutoScaling, Change;
    UpdateAutoScalingGroup: AutoScaling, Change;
}

impl Operation {
    /// The call of this name; `None` for one that the adapter does not make.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|operation| operation.name() == name)
    }

    /// Whether it only looks: it may be sent without a deadline to be sent before.
    pub(super) const fn only_looks(self) -> bool {
        matches!(self.row().1, Kind::Look)
    }

    /// The bucket that it draws on.
    pub(super) const fn class(self) -> Class {
        match self.row() {
            (Service::Elb, Kind::Change) => Class::ElbChanges,
            (Service::Elb, Kind::Look) => Class::ElbLooks,
            (Service::AutoScaling, _) => Class::AutoScaling,
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
            assert_eq!(Operation::named(operation.name()), Some(*operation));
        }
        assert_eq!(Operation::named("DeleteLoadBalancer"), None);
    }
}
