//! Orphans: what ended deployments left behind, why it is kept, and when it may go.
//!
//! A group removed by mistake costs users their service, one that stays too long costs some rent: so every doubt keeps it.
//! The *records* must say whose it was and that it was to go, a fresh *look* that nobody would miss it, and both for a whole
//! term. What carries no tags of ours is never removed: the blue that was adopted is removed by its own deployment, which
//! ends only when it was seen gone; a group that has its name afterwards was made anew, by somebody else.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    declaration::Declaration,
    deployment::{Deployment, Status},
    drill::{self, Drill},
    ids::{DeploymentId, GroupName, RouteRef, RuleRef, SlotRef, Target, TargetGroupRef},
    survey::Role,
    time,
};

/// A server group or a rule, by the name that the provider knows it by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Thing {
    ServerGroup(GroupName),
    Rule(RuleRef),
}

/// What a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    ServerGroup,
    Rule,
}

/// What a sweep came across.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub thing: Thing,
    /// What its tags say; `None` for a group that was looked for by its name and carries none of this installation's.
    pub tags: Option<Tags>,
}

/// This installation's tags, as read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags {
    pub deployment: Option<DeploymentId>,
    pub target: Option<Target>,
    /// Of a rule; `None` for a role that this version does not know.
    pub role: Option<Role>,
    /// The route that a rule was made for.
    pub route: Option<RouteRef>,
}

/// What the records say of one found thing. They must have been read whole: what is missing here is not there.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The deployment that its tags name.
    pub tagged: Option<Deployment>,
    /// Of a group: the last deployment whose plan names it, as blue or as green.
    pub last: Option<Deployment>,
    /// Of a group: plans of more than one service/environment name it.
    pub shared: bool,
    /// Of a group: some environment has it live, or would adopt it as its first blue.
    pub live: bool,
    /// Of a drill's rule: the drill that its tags name.
    pub drill: Option<Drill>,
    /// Of a rule: a running deployment is on its route, or of its service/environment, and sees to it.
    pub busy: bool,
    /// Of a rule: the slot that its service/environment has live.
    pub serving: Option<SlotRef>,
}

/// Whose it is now, by the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It serves, or a running deployment has it.
    Claimed,
    Orphan(Box<Orphan>),
}

/// What nobody claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The deployment that it belonged to; it may be in no record.
    pub deployment: Option<DeploymentId>,
    pub target: Option<Target>,
    /// One sentence.
    pub why: String,
    pub fate: Fate,
}

/// What may become of an orphan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It was to go. A group's servers were registered in this slot; a rule's base must forward to it and to nothing else.
    ToGo(SlotRef),
    /// It is listed and never removed, because …
    Kept(&'static str),
}

/// A look at one orphan, made for its removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    Group(GroupLook),
    Rule(RuleLook),
    Gone,
    /// With what was said.
    Unknown(String),
}

/// A group, just seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupLook {
    /// It carries the tags that it was found with.
    pub ours: bool,
    /// A deletion was accepted and goes on.
    pub deleting: bool,
    /// Target groups that its servers are registered in as they come up.
    pub attached: Vec<TargetGroupRef>,
    /// Rules and default actions that name one of those, whatever weight they give it.
    pub named_by: u32,
    /// Its servers that are registered in one of those or in the slot that it had, draining ones included.
    pub registered: u32,
}

/// A rule, just seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleLook {
    /// It carries the tags that it was found with.
    pub ours: bool,
    /// Other rules of this installation between it and its base: without it, they would carry the traffic.
    pub between: u32,
    /// Whether the base forwards to the slot that serves and to nothing else; `None` when there is no base.
    pub base_serves: Option<bool>,
}

/// One change on the way out. Each is idempotent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Its servers drain; no rule names their slot, so they get nothing new.
    Detach {
        from: Vec<TargetGroupRef>,
    },
    /// Protection first.
    DeleteGroup,
    DeleteRule,
}

/// Whether an orphan could go now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Nothing stands against it. The next step; none while the last one takes its time.
    Open(Option<Step>),
    /// Something does, and its term begins anew when that is over.
    Shut(String),
    /// It could not be told this time.
    Unknown(String),
}

/// How long things are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Nothing is removed without it.
    pub remove: bool,
    /// What is seen only once may be a deployment that ends right now.
    pub report_after: Duration,
    /// Since when nothing has stood against its removal.
    pub remove_after: Duration,
}

/// Since when an orphan has been seen, by one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    pub first_seen: Timestamp,
    /// Since when every look said that nothing stands against its removal, none of them long after the one before.
    pub clear_since: Option<Timestamp>,
    pub now: Timestamp,
}

/// Looks in a row that said that nothing stands against a removal: the first of them, and the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clear {
    pub since: Timestamp,
    pub until: Timestamp,
}

impl Clear {
    /// After one more look, which said whether it is clear (`None`: it could not tell). Two that said so further apart than `gap_max`
    /// are no row: with nobody to look, or nothing to be seen, anything may have been between them, and the term begins anew.
    #[must_use]
    pub fn after(before: Option<Self>, is_clear: Option<bool>, now: Timestamp, gap_max: Duration) -> Option<Self> {
        match is_clear {
            Some(true) => {
                let row = before.filter(|row| time::between(row.until, now) <= gap_max);
                Some(Self { since: row.map_or(now, |row| row.since), until: now })
            }
            Some(false) => None,
            None => before,
        }
    }
}

impl Thing {
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::ServerGroup(_) => Kind::ServerGroup,
            Self::Rule(_) => Kind::Rule,
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::ServerGroup(name) => name.as_str(),
            Self::Rule(rule) => rule.as_str(),
        }
    }
}

impl std::fmt::Display for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ServerGroup(name) => write!(f, "server group {name}"),
            Self::Rule(rule) => write!(f, "rule {rule}"),
        }
    }
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::ServerGroup, Self::Rule];

    /// As the API writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ServerGroup => "server_group",
            Self::Rule => "rule",
        }
    }
}

impl Step {
    /// Its name in the log.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Detach { .. } => "detach",
            Self::DeleteGroup => "delete_group",
            Self::DeleteRule => "delete_rule",
        }
    }
}

impl Way {
    /// What keeps an orphan, if something does.
    #[must_use]
    pub fn kept_because(&self) -> Option<&str> {
        match self {
            Self::Open(_) => None,
            Self::Shut(why) | Self::Unknown(why) => Some(why),
        }
    }

    /// Whether this look said that nothing stands against it; `None` when it could not tell.
    #[must_use]
    pub fn is_clear(&self) -> Option<bool> {
        match self {
            Self::Open(_) => Some(true),
            Self::Shut(_) => Some(false),
            Self::Unknown(_) => None,
        }
    }
}

impl Terms {
    /// When an orphan goes, if nothing comes between.
    #[must_use]
    pub fn remove_at(&self, clear_since: Option<Timestamp>) -> Option<Timestamp> {
        clear_since.filter(|_| self.remove).map(|since| time::after(since, self.remove_after))
    }

    /// Whether both terms are over.
    #[must_use]
    pub fn are_over(&self, seen: &Sighting) -> bool {
        let reported = seen.now >= time::after(seen.first_seen, self.report_after);
        reported && self.remove_at(seen.clear_since).is_some_and(|at| seen.now >= at)
    }
}

/// Whose `found` is. `here` says whether what is declared so is at the place where it was found.
#[must_use]
pub fn judge(found: &Found, facts: &Facts, here: &dyn Fn(&Declaration) -> bool) -> Standing {
    let verdict = match (&found.thing, &found.tags) {
        (Thing::ServerGroup(_), _) if facts.live || running(&facts.tagged) || running(&facts.last) => return Standing::Claimed,
        (Thing::ServerGroup(_), None) => namesake(facts),
        (Thing::ServerGroup(name), Some(_)) => group(name, facts, here),
        (Thing::Rule(_), _) if running(&facts.tagged) => return Standing::Claimed,
        // It ends only when its rule is seen gone.
        (Thing::Rule(_), _) if facts.drill.as_ref().is_some_and(|d| d.phase != drill::Phase::Ended) => {
            return Standing::Claimed;
        }
        (Thing::Rule(_), Some(tags)) if tags.role == Some(Role::Drill) => drills(tags, facts, here),
        (Thing::Rule(_), tags) => rule(tags.as_ref(), facts, here),
    };
    let (why, fate) = verdict;
    let of = facts.tagged.as_ref().or(facts.last.as_ref().filter(|_| found.tags.is_none()));
    let tags = found.tags.as_ref();
    Standing::Orphan(Box::new(Orphan {
        deployment: of.map(|d| d.id).or(tags.and_then(|tags| tags.deployment)),
        target: of.map(|d| d.target.clone()).or(tags.and_then(|tags| tags.target.clone())),
        why,
        fate,
    }))
}

fn running(d: &Option<Deployment>) -> bool {
    d.as_ref().is_some_and(|d| !d.phase.is_terminal())
}

fn named(d: &Deployment) -> String {
    format!("{} #{}", d.target, d.number)
}

fn kept(why: impl Into<String>, because: &'static str) -> (String, Fate) {
    (why.into(), Fate::Kept(because))
}

const BY_HAND: &str = "remove it by hand, or take its cutover:installation tag off if it is to stay";

fn no_record(facts: &Facts) -> Option<(String, Fate)> {
    match &facts.tagged {
        None => Some(kept("no record tells of the deployment that its tags name", BY_HAND)),
        Some(d) if d.status() == Status::Failed => Some(let_go(d)),
        Some(_) => None,
    }
}

fn let_go(d: &Deployment) -> (String, Fate) {
    kept(format!("{} was abandoned, and Cutover let go of all it had", named(d)), BY_HAND)
}

fn unclear(why: &str) -> (String, Fate) {
    kept(why, BY_HAND)
}

/// A tagged group that serves nobody by the records: the last plan that names it says whether it was to go.
fn group(name: &GroupName, facts: &Facts, here: &dyn Fn(&Declaration) -> bool) -> (String, Fate) {
    if let Some(verdict) = no_record(facts) {
        return verdict;
    }
    let (Some(maker), Some(last)) = (&facts.tagged, &facts.last) else {
        return unclear("no plan names it, though it carries a deployment's tags");
    };
    if last.status() == Status::Failed {
        return let_go(last);
    }
    let made = maker.plan.as_ref().is_some_and(|plan| &plan.green.group == name);
    if !made || facts.shared || [maker, last].iter().any(|d| !here(&d.declaration)) {
        return unclear("its tags and the records tell different things of it");
    }
    let Some(plan) = &last.plan else { return unclear("the plan that names it is not in the records") };
    match last.status() {
        Status::RolledBack | Status::Cancelled if last.id == maker.id => {
            let ended = last.status().name();
            (format!("{} ended {ended}, and its server group is still there", named(last)), Fate::ToGo(plan.green.slot.clone()))
        }
        Status::Succeeded if plan.blue.as_ref().is_some_and(|blue| &blue.group == name) => {
            let why = format!("{} succeeded, and the server group that it replaced is still there", named(last));
            (why, Fate::ToGo(plan.blue_slot.clone()))
        }
        Status::RolledBack
        | Status::Cancelled
        | Status::Succeeded
        | Status::Failed
        | Status::Pending
        | Status::InProgress
        | Status::Paused => unclear("the last deployment that had it says that it serves, and no environment has it live"),
    }
}

/// A group without our tags under the name of a blue that was adopted, and that a deployment saw gone.
fn namesake(facts: &Facts) -> (String, Fate) {
    let by = facts.last.as_ref().map_or_else(|| "a deployment".to_owned(), named);
    let why = format!("{by} replaced the server group of this name and saw it gone, and there is one again");
    kept(why, "it carries no tags of this installation: whoever made it knows whether it is needed")
}

fn rule(tags: Option<&Tags>, facts: &Facts, here: &dyn Fn(&Declaration) -> bool) -> (String, Fate) {
    if let Some(verdict) = no_record(facts) {
        return verdict;
    }
    let (Some(tags), Some(d)) = (tags, &facts.tagged) else { return unclear("it carries no tags of this installation") };
    let planned = |route: &RouteRef| d.plan.as_ref().is_some_and(|plan| plan.routes.iter().any(|r| &r.route == route));
    let (Some(role), Some(route)) = (tags.role, &tags.route) else {
        return unclear("its tags tell of a role that this version does not know");
    };
    if !planned(route) || !here(&d.declaration) {
        return unclear("its tags and the records tell different things of it");
    }
    let role = match role {
        Role::Overlay => "overlay",
        Role::Shield => "shield",
        Role::Preview => "preview",
        Role::Drill => "drill",
    };
    let why = format!("{} ended {}, and its {role} is still there", named(d), d.status().name());
    // Without a success yet, the slot that every deployment so far went back to.
    left_over(why, facts, d.plan.as_ref().map(|plan| &plan.blue_slot))
}

/// A drill ends when it sees its rule gone: what is there afterwards came by a call that was under way for long.
fn drills(tags: &Tags, facts: &Facts, here: &dyn Fn(&Declaration) -> bool) -> (String, Fate) {
    let Some(d) = &facts.drill else { return kept("no record tells of the drill that its tags name", BY_HAND) };
    let planned = d.plan.as_ref().filter(|plan| plan.routes.iter().any(|planned| Some(&planned.route) == tags.route.as_ref()));
    match planned.filter(|_| here(&d.declaration)) {
        Some(plan) => {
            left_over(format!("a drill of {} has ended, and its rule is still there", d.target), facts, Some(&plan.slot))
        }
        None => unclear("its tags and the records tell different things of it"),
    }
}

fn left_over(why: String, facts: &Facts, back_to: Option<&SlotRef>) -> (String, Fate) {
    if facts.busy {
        return kept(why, "a deployment runs on its route and sees to it first");
    }
    match facts.serving.as_ref().or(back_to) {
        Some(slot) => (why, Fate::ToGo(slot.clone())),
        None => unclear("the records do not tell which slot serves"),
    }
}

/// Whether `orphan` could go now, by a fresh look.
#[must_use]
pub fn way_out(orphan: &Orphan, look: &Look) -> Way {
    if let Fate::Kept(because) = orphan.fate {
        return Way::Shut(because.to_owned());
    }
    match look {
        Look::Gone => Way::Open(None),
        Look::Unknown(said) => Way::Unknown(format!("it could not be looked at: {said}")),
        Look::Group(group) => group_way(group),
        Look::Rule(rule) => rule_way(rule),
    }
}

/// The step to take now: its term is over and nothing stands against it.
#[must_use]
pub fn due(way: &Way, seen: &Sighting, terms: &Terms) -> Option<Step> {
    match way {
        Way::Open(step) if terms.are_over(seen) => step.clone(),
        Way::Open(_) | Way::Shut(_) | Way::Unknown(_) => None,
    }
}

const NOT_OURS: &str = "it does not carry the tags any more that it was found with";

fn group_way(group: &GroupLook) -> Way {
    if !group.ours {
        return Way::Shut(NOT_OURS.to_owned());
    }
    if group.deleting {
        return Way::Open(None);
    }
    if group.named_by > 0 {
        return Way::Shut(format!("{} rule(s) name its slot: it may serve", group.named_by));
    }
    if !group.attached.is_empty() {
        return Way::Open(Some(Step::Detach { from: group.attached.clone() }));
    }
    if group.registered > 0 {
        // They drain.
        return Way::Open(None);
    }
    Way::Open(Some(Step::DeleteGroup))
}

/// From the bottom up: under a rule of ours that stays, traffic does not change; without any, it falls to the base.
fn rule_way(rule: &RuleLook) -> Way {
    if !rule.ours {
        return Way::Shut(NOT_OURS.to_owned());
    }
    if rule.between > 0 {
        return Way::Shut(format!("{} rule(s) of this installation lie between it and its base, and go first", rule.between));
    }
    match rule.base_serves {
        Some(true) => Way::Open(Some(Step::DeleteRule)),
        Some(false) => Way::Shut("its base does not forward to the slot that serves: traffic would change".to_owned()),
        None => Way::Shut("its base is gone: what would get its traffic cannot be told".to_owned()),
    }
}

#[cfg(test)]
#[path = "orphan_tests.rs"]
mod tests;
