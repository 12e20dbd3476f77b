//! Names and ids as types, so that a slot cannot be passed where a rule is wanted.
//!
//! References to things of the provider (`RuleRef`, `SlotRef`, …) are opaque here: only the adapter knows their form.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(String);

        impl $type {
            /// Wraps a name whose form was checked at the door, or which the provider gave us.
            pub fn new(name: impl Into<String>) -> Self {
                Self(name.into())
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// What is released: `[a-z][a-z0-9-]{0,31}`.
    ServiceName
}
name! {
    /// Where: `[a-z][a-z0-9]{0,15}`. No hyphen: `a-b`/`c` and `a`/`b-c` would share group names.
    EnvironmentName
}
name! {
    /// A server group.
    GroupName
}
name! {
    /// Where a group's targets are registered with one load balancer. It belongs to one at most.
    TargetGroupRef
}
name! {
    /// What routes are on.
    LoadBalancerRef
}
name! {
    /// A place where production traffic enters, as declared.
    RouteRef
}
name! {
    /// What carries rules: numbers are unique within one.
    ListenerRef
}
name! {
    /// One rule: an overlay, a shield, or a base.
    RuleRef
}
name! {
    /// A replica of the service, the same after a restart on the same state directory.
    HolderId
}

/// One attempt to move a service/environment to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeploymentId(Uuid);

impl DeploymentId {
    #[must_use]
    pub fn new(id: Uuid) -> Self {
        Self(id)
    }

    #[must_use]
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

/// One drill of the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DrillId(Uuid);

impl DrillId {
    #[must_use]
    pub fn new(id: Uuid) -> Self {
        Self(id)
    }

    #[must_use]
    pub fn uuid(self) -> Uuid {
        self.0
    }

    /// As its rules carry it, in the place of a deployment's.
    #[must_use]
    pub fn tag(self) -> DeploymentId {
        DeploymentId(self.0)
    }
}

impl fmt::Display for DrillId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a group's targets are registered: a target group for each load balancer that the routes are on, in the same order in
/// every slot of a service. Written as a text when it is one, else as a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "OneOrMore", try_from = "OneOrMore")]
pub struct SlotRef(Vec<TargetGroupRef>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(TargetGroupRef),
    More(Vec<TargetGroupRef>),
}

impl SlotRef {
    /// A slot of one target group.
    pub fn new(target_group: impl Into<String>) -> Self {
        Self(vec![TargetGroupRef::new(target_group)])
    }

    /// A slot of one or more; `None` of none.
    #[must_use]
    pub fn of(target_groups: Vec<TargetGroupRef>) -> Option<Self> {
        (!target_groups.is_empty()).then_some(Self(target_groups))
    }

    /// At least one.
    #[must_use]
    pub fn target_groups(&self) -> &[TargetGroupRef] {
        &self.0
    }

    /// The one at a route's position.
    #[must_use]
    pub fn at(&self, position: usize) -> Option<&TargetGroupRef> {
        self.0.get(position)
    }

    #[must_use]
    pub fn position(&self, target_group: &TargetGroupRef) -> Option<usize> {
        self.0.iter().position(|own| own == target_group)
    }
}

impl fmt::Display for SlotRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, target_group) in self.0.iter().enumerate() {
            write!(f, "{}{target_group}", if i == 0 { "" } else { " and " })?;
        }
        Ok(())
    }
}

impl From<SlotRef> for OneOrMore {
    fn from(slot: SlotRef) -> Self {
        match <[TargetGroupRef; 1]>::try_from(slot.0) {
            Ok([one]) => Self::One(one),
            Err(more) => Self::More(more),
        }
    }
}

impl TryFrom<OneOrMore> for SlotRef {
    type Error = &'static str;

    fn try_from(written: OneOrMore) -> Result<Self, Self::Error> {
        let target_groups = match written {
            OneOrMore::One(one) => vec![one],
            OneOrMore::More(more) => more,
        };
        Self::of(target_groups).ok_or("a slot has one target group at least")
    }
}

/// A service in an environment: the unit that is declared, deployed and rolled back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    pub service: ServiceName,
    pub environment: EnvironmentName,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.environment)
    }
}

impl Target {
    /// The name of the group that deployment `number` creates: `web-prod-v042`.
    #[must_use]
    pub fn group(&self, number: u32) -> GroupName {
        GroupName::new(format!("{}-{}-v{number:03}", self.service, self.environment))
    }
}

/// What a server is made from. Never changed after it is named.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Image {
    /// A machine image, `ami-…`.
    Machine(String),
    /// A version of the declared launch template, `lt:7`.
    Template(u32),
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(id) => f.write_str(id),
            Self::Template(version) => write!(f, "lt:{version}"),
        }
    }
}

impl From<Image> for String {
    fn from(image: Image) -> Self {
        image.to_string()
    }
}

impl TryFrom<String> for Image {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl Image {
    /// Reads `ami-` with 1 to 17 hex digits, or `lt:` with a version number.
    ///
    /// # Errors
    /// A sentence that says what an image looks like.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(digits) = text.strip_prefix("ami-")
            && (1..=17).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            return Ok(Self::Machine(text.to_owned()));
        }
        if let Some(version) = text.strip_prefix("lt:")
            && !version.starts_with(['0', '+'])
            && let Ok(version) = version.parse::<u32>()
        {
            return Ok(Self::Template(version));
        }
        Err("an image is `ami-` with 1 to 17 lower-case hex digits, or `lt:N` with a launch template version".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_a_machine_image_or_a_numbered_template_version() {
        assert_eq!(Image::parse("ami-0bb2"), Ok(Image::Machine("ami-0bb2".into())));
        assert_eq!(Image::parse("lt:7"), Ok(Image::Template(7)));
        for wrong in
            ["", "ami-", "ami-xyz", "ami-0123456789abcdef01", "lt:", "lt:0", "lt:+7", "lt:$Latest", "latest", "AMI-0bb2"]
        {
            assert!(Image::parse(wrong).is_err(), "{wrong:?} was taken for an image");
        }
    }

    #[test]
    fn a_slot_is_written_as_a_text_or_a_list_and_read_from_both() {
        let read = |text: &str| serde_json::from_str::<SlotRef>(text);
        let two = SlotRef::of(vec![TargetGroupRef::new("public"), TargetGroupRef::new("internal")]).unwrap();
        assert_eq!(serde_json::to_string(&SlotRef::new("a")).unwrap(), r#""a""#, "as records had it before there were lists");
        assert_eq!(serde_json::to_string(&two).unwrap(), r#"["public","internal"]"#);
        assert_eq!(read(r#""a""#).unwrap(), SlotRef::new("a"));
        assert_eq!(read(r#"["a"]"#).unwrap(), SlotRef::new("a"));
        assert_eq!(read(r#"["public","internal"]"#).unwrap(), two);
        assert!(read("[]").unwrap_err().to_string().contains("one target group at least"));
        assert_eq!(two.to_string(), "public and internal");
        assert_eq!((two.position(&TargetGroupRef::new("internal")), two.at(2)), (Some(1), None));
    }

    #[test]
    fn group_names_carry_the_number_in_three_digits_or_more() {
        let target = Target { service: ServiceName::new("web"), environment: EnvironmentName::new("prod") };
        assert_eq!(target.group(42).as_str(), "web-prod-v042");
        assert_eq!(target.group(1042).as_str(), "web-prod-v1042");
    }
}
