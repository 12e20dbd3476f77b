//! Ownership: the tags on everything that Cutover creates, so that nothing without them is ever changed.
//!
//! They are given with the creating call, never after: a thing that exists without them is somebody else's.

use aws_sdk_autoscaling::types::Tag as GroupTag;
use aws_sdk_elasticloadbalancingv2::types::Tag as RuleTag;
use uuid::Uuid;

use crate::domain::{
    deployment::Deployment,
    drill::Drill,
    ids::{DeploymentId, EnvironmentName, RouteRef, ServiceName, Target},
    survey::{Owner, Role},
};

/// Tags that begin so are ours; a declaration may not use them.
pub(super) const PREFIX: &str = "cutover:";
pub(super) const INSTALLATION: &str = "cutover:installation";
const SERVICE: &str = "cutover:service";
const ENVIRONMENT: &str = "cutover:environment";
const DEPLOYMENT: &str = "cutover:deployment";
const ROLE: &str = "cutover:role";
const ROUTE: &str = "cutover:route";

/// Who makes a thing: a deployment, or a drill under its own id.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whose<'a> {
    pub(super) id: DeploymentId,
    pub(super) target: &'a Target,
}

impl<'a> From<&'a Deployment> for Whose<'a> {
    fn from(d: &'a Deployment) -> Self {
        Self { id: d.id, target: &d.target }
    }
}

impl<'a> From<&'a Drill> for Whose<'a> {
    fn from(d: &'a Drill) -> Self {
        Self { id: d.id.tag(), target: &d.target }
    }
}

/// Ownership as read from tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) installation: String,
    pub(super) deployment: Option<DeploymentId>,
    pub(super) target: Option<Target>,
    /// `None` for a group, and for roles of later versions.
    pub(super) role: Option<Role>,
    /// The route that a rule was made for.
    pub(super) route: Option<String>,
}

impl Mark {
    /// Reads tags; `None` when they are not ours at all.
    pub(super) fn read<'a>(tags: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let mut mark = Self { installation: String::new(), deployment: None, target: None, role: None, route: None };
        let (mut service, mut environment) = (None, None);
        for (key, value) in tags {
            match key {
                INSTALLATION => value.clone_into(&mut mark.installation),
                DEPLOYMENT => mark.deployment = Uuid::parse_str(value).ok().map(DeploymentId::new),
                SERVICE => service = Some(ServiceName::new(value)),
                ENVIRONMENT => environment = Some(EnvironmentName::new(value)),
                ROLE => mark.role = role(value),
                ROUTE => mark.route = Some(value.to_owned()),
                _ => {}
            }
        }
        mark.target = service.zip(environment).map(|(service, environment)| Target { service, environment });
        (!mark.installation.is_empty()).then_some(mark)
    }

    /// As preflight sees it; `None` for a role that this version does not know.
    pub(super) fn owner(&self, installation: &str, route: &RouteRef) -> Option<Owner> {
        Some(Owner {
            this_installation: self.installation == installation,
            deployment: self.deployment,
            role: self.role?,
            on_our_route: self.is_for(route),
        })
    }

    /// A drill's rule: it stays for seconds only.
    pub(super) fn is_passing(&self, installation: &str) -> bool {
        self.role == Some(Role::Drill) && self.installation == installation
    }

    pub(super) fn is_for(&self, route: &RouteRef) -> bool {
        self.route.as_deref() == Some(route.as_str())
    }
}

fn role(value: &str) -> Option<Role> {
    match value {
        "overlay" => Some(Role::Overlay),
        "shield" => Some(Role::Shield),
        "preview" => Some(Role::Preview),
        "drill" => Some(Role::Drill),
        _ => None,
    }
}

/// A rule's tags and what they read back as.
pub(super) fn rule_tags(installation: &str, whose: Whose<'_>, route: &RouteRef, role: Role) -> (Vec<RuleTag>, Mark) {
    let name = match role {
        Role::Overlay => "overlay",
        Role::Shield => "shield",
        Role::Preview => "preview",
        Role::Drill => "drill",
    };
    let tags = ownership(installation, whose, name)
        .into_iter()
        .chain([(ROUTE, route.to_string())])
        .map(|(key, value)| RuleTag::builder().key(key).value(value).build())
        .collect();
    let mark = Mark {
        installation: installation.to_owned(),
        deployment: Some(whose.id),
        target: Some(whose.target.clone()),
        role: Some(role),
        route: Some(route.as_str().to_owned()),
    };
    (tags, mark)
}

/// A group's tags, the declared ones included; its servers carry them too.
pub(super) fn group_tags(installation: &str, d: &Deployment) -> Vec<GroupTag> {
    let declared = d.declaration.server_group.tags.iter().map(|(key, value)| (key.as_str(), value.clone()));
    declared
        .chain(ownership(installation, Whose::from(d), "group"))
        .map(|(key, value)| GroupTag::builder().key(key).value(value).propagate_at_launch(true).build())
        .collect()
}

fn ownership(installation: &str, whose: Whose<'_>, role: &'static str) -> [(&'static str, String); 5] {
    [
        (INSTALLATION, installation.to_owned()),
        (SERVICE, whose.target.service.to_string()),
        (ENVIRONMENT, whose.target.environment.to_string()),
        (DEPLOYMENT, whose.id.to_string()),
        (ROLE, role.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_without_our_tags_is_nobody_we_know() {
        assert_eq!(Mark::read([("Name", "web"), ("cutover:role", "overlay")].into_iter()), None);
    }

    #[test]
    fn tags_say_whose_and_what_for() {
        let id = "0193a3c8-1b7e-7cc0-8000-000000000001";
        let tags =
            [("cutover:installation", "i1"), ("cutover:deployment", id), ("cutover:role", "shield"), ("cutover:route", "r")];
        let mark = Mark::read(tags.into_iter()).unwrap();
        let owner = mark.owner("i1", &RouteRef::new("r")).unwrap();
        assert!(owner.this_installation && owner.on_our_route);
        assert_eq!((owner.role, owner.deployment.map(|id| id.to_string())), (Role::Shield, Some(id.to_owned())));
        assert!(!mark.owner("i2", &RouteRef::new("other")).unwrap().this_installation);
        assert!(!mark.is_for(&RouteRef::new("other")));
    }
}
