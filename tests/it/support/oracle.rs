//! Who judges how a story with the real process ended: nothing was lost, nobody met green after an acknowledged rollback, nothing is
//! left over, and what the record says is what the world shows.
//!
//! It finds and counts, and never panics: a suite goes on with its next case. It waits for nothing but the groups that are being deleted.

use std::time::{Duration, Instant};

use cutover_sim::{
    load::record::Record,
    model::{Action, Region, Rule, ServerGroup, TargetState},
};
use jiff::Timestamp;
use serde_json::Value;

use super::region::Scene;

/// A rule change takes up to 50 ms to reach the last node here; a request under way then may take as long again.
pub const PROPAGATION: Duration = Duration::from_millis(100);
/// How long deleted groups may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(15);

/// How a deployment is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Succeeded,
    RolledBack,
}

/// The world before anything was done.
#[derive(Debug, Clone)]
pub struct Before {
    blue: Option<String>,
    bases: Vec<Option<String>>,
    /// All of the other services.
    others: Vec<String>,
}

impl Before {
    pub fn of(scene: &Scene) -> Self {
        let region = scene.region();
        Self {
            blue: region.groups.get(scene.blue()).map(shape),
            bases: scene.staged.services[0].routes.iter().map(|route| base(&region, route)).collect(),
            others: others(scene, &region),
        }
    }
}

/// A story that is over.
pub struct Ended<'a> {
    pub scene: &'a Scene,
    pub before: &'a Before,
    /// Of a load that was finished.
    pub load: &'a Record,
    /// As the API shows it.
    pub deployment: &'a Value,
    /// Its service/environment as the API shows it.
    pub home: &'a Value,
    pub wanted: End,
    /// When the first answer came that said that a rollback is accepted.
    pub acknowledged: Option<Instant>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    pub requests: u64,
    pub lost: u64,
    /// Green answers to requests sent after the acknowledged rollback and the propagation bound.
    pub green_after_rollback: u64,
    /// Groups, rules, pins, servers.
    pub left_over: u64,
    /// A sentence each; none is good.
    pub faults: Vec<String>,
}

impl Ended<'_> {
    pub async fn judge(&self) -> Verdict {
        let still = || self.scene.region().groups.values().all(|group| group.delete_at.is_none());
        let gone = self.scene.comes(GONE_WITHIN, still).await;
        let mut verdict = Verdict::default();
        self.traffic(&mut verdict);
        let left = self.left_over(&self.scene.region());
        verdict.left_over = left.len() as u64;
        verdict.faults.extend(left);
        if !gone {
            verdict.faults.push(format!("a group was still being deleted {GONE_WITHIN:?} after the end"));
        }
        self.record(&mut verdict.faults);
        self.agreement(&self.scene.region(), &mut verdict.faults);
        verdict
    }

    fn traffic(&self, verdict: &mut Verdict) {
        let totals = self.load.totals();
        (verdict.requests, verdict.lost) = (totals.sent, totals.lost);
        if totals.answered == 0 {
            verdict.faults.push("no request was answered: that proves nothing".to_owned());
        }
        if totals.lost > 0 {
            let why: Vec<_> = self.load.losses().iter().map(|loss| format!("{} after {:?}", loss.why, loss.sent)).collect();
            verdict.faults.push(format!("{} of {} requests were lost: {}", totals.lost, totals.sent, why.join("; ")));
        }
        let Some(acknowledged) = self.acknowledged else { return };
        let Some(green) = self.version() else {
            verdict.faults.push(format!("its image {} is none of the stage's", self.deployment["image"]));
            return;
        };
        verdict.green_after_rollback = self.load.answers_to_requests_sent_after(green, acknowledged + PROPAGATION);
        if verdict.green_after_rollback > 0 {
            verdict.faults.push(format!("{} green answers after an acknowledged rollback", verdict.green_after_rollback));
        }
        // Whoever reads that it was seen on every route believes it.
        if let Some(observed) = instant(&self.deployment["rollback"]["observed_at"]) {
            let met = self.load.answers_to_requests_sent_after(green, observed + PROPAGATION);
            if met > 0 {
                verdict.faults.push(format!("{met} green answers after the rollback was seen, as the record says"));
            }
        }
    }

    /// What green's servers call themselves.
    fn version(&self) -> Option<&str> {
        let image = self.deployment["image"].as_str()?;
        self.scene.staged.images.iter().find(|(_, id)| *id == image).map(|(version, _)| version.as_str())
    }

    /// The group that is to serve.
    fn remains(&self) -> &str {
        match self.wanted {
            End::RolledBack => self.scene.blue(),
            End::Succeeded => self.deployment["green"]["server_group"].as_str().unwrap_or("(a green without a name)"),
        }
    }

    fn left_over(&self, region: &Region) -> Vec<String> {
        let remains = self.remains();
        let services = &self.scene.staged.services;
        let of_others: Vec<_> = services[1..].iter().filter_map(|service| service.blue.as_deref()).collect();
        let stays = |group: &str| group == remains || of_others.contains(&group);
        let mut left: Vec<String> =
            region.groups.keys().filter(|group| !stays(group)).map(|group| format!("the group {group} is left over")).collect();
        let is_base = |arn: &String| services.iter().any(|service| service.routes.contains(arn));
        let rules = region.rules.values().filter(|rule| !is_base(&rule.arn));
        left.extend(rules.map(|rule| format!("the rule {} on number {} is left over", rule.arn, rule.priority)));
        let strays = region.instances.values().filter(|instance| !region.groups.contains_key(&instance.group));
        left.extend(strays.map(|stray| format!("the server {} of {} is left over", stray.id, stray.group)));
        for slot in services[0].slots.iter().flatten().filter_map(|slot| region.target_groups.get(slot)) {
            let serving = slot.targets.values().filter(|target| target.state != TargetState::Draining);
            let owner = |id: &String| region.instances.get(id).map(|instance| instance.group.as_str());
            let foreign = serving.filter(|target| owner(&target.instance).is_none_or(|owner| !stays(owner)));
            left.extend(foreign.map(|target| format!("the target {} in {} is left over", target.instance, slot.name)));
        }
        left.extend(self.pins(region));
        left
    }

    /// What is left on the group that serves; it may not be there at all.
    fn pins(&self, region: &Region) -> Option<String> {
        let name = self.remains();
        let Some(group) = region.groups.get(name) else {
            return (self.wanted == End::Succeeded || self.before.blue.is_some())
                .then(|| format!("the group {name}, which is to serve, is not there"));
        };
        if self.wanted == End::RolledBack {
            let (was, is) = (self.before.blue.as_ref()?, shape(group));
            return (*was != is).then(|| format!("blue is not as it was: {is}, before {was}"));
        }
        let declared = self.home["declaration"]["server_group"]["min"].as_u64();
        let pinned =
            declared != Some(u64::from(group.min)) || group.deletion_protection != "none" || !group.suspended.is_empty();
        pinned.then(|| format!("a pin is left over, declared is a minimum of {declared:?}: {}", shape(group)))
    }

    /// What the record says of the end by itself.
    fn record(&self, faults: &mut Vec<String>) {
        let (d, home) = (self.deployment, self.home);
        let mut is = |what: &str, is: &Value, wanted: Value| {
            if *is != wanted {
                faults.push(format!("the record says {what} {is}, not {wanted}"));
            }
        };
        let (name, weight) = match self.wanted {
            End::Succeeded => ("succeeded", 100),
            End::RolledBack => ("rolled_back", 0),
        };
        is("status", &d["status"], name.into());
        is("phase", &d["phase"], name.into());
        is("weight.desired", &d["weight"]["desired"], weight.into());
        is("attention", &d["attention"], Value::Null);
        is("running", &home["running"], Value::Null);
        is("last", &home["last"], d["url"].clone());
        match self.wanted {
            End::Succeeded => {
                is("live.server_group", &home["live"]["server_group"], d["green"]["server_group"].clone());
                is("live.slot", &home["live"]["slot"], d["green"]["slot"].clone());
                is("live.image", &home["live"]["image"], d["image"].clone());
                is("rollback", &d["rollback"], Value::Null);
            }
            End::RolledBack if home["live"]["number"] == d["number"] => {
                faults.push("the record says that what was rolled back is live".to_owned());
            }
            End::RolledBack => {}
        }
        if self.wanted == End::RolledBack {
            self.times(faults);
        }
        if d["ended_at"].is_null() {
            faults.push("the record has no end".to_owned());
        }
    }

    /// When it was asked for, accepted and seen; but of one that turned back before there was a plan, and so names no slot, nothing
    /// was ever at the load balancer to be seen.
    fn times(&self, faults: &mut Vec<String>) {
        let (back, was_planned) = (&self.deployment["rollback"], !self.deployment["green"]["slot"].is_null());
        if !was_planned && !back["observed_at"].is_null() {
            faults.push(format!("the record has an observed_at, and nothing was there to be seen: {back}"));
        }
        for field in ["requested_at", "accepted_at", "observed_at"] {
            if self.acknowledged.is_some() && (was_planned || field != "observed_at") && !back[field].is_string() {
                faults.push(format!("a rollback was acknowledged, and the record has no {field}: {back}"));
            }
        }
    }

    /// The record against the rules as they are.
    fn agreement(&self, region: &Region, faults: &mut Vec<String>) {
        let service = &self.scene.staged.services[0];
        let slot = &self.deployment["green"]["slot"];
        // One that turned back before there was a plan names no slot: green's is the second then, since blue has the first.
        let green: Vec<&str> = match (slot.as_str(), slot.as_array()) {
            (Some(one), _) => vec![one],
            (_, Some(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => service.slots[1].iter().map(String::as_str).collect(),
        };
        let wanted = if self.wanted == End::Succeeded { 1000 } else { 0 };
        for (route, before) in service.routes.iter().zip(&self.before.bases) {
            let share = actions(region, route).and_then(|actions| share(actions, &green));
            if share != Some(wanted) {
                faults.push(format!("{route} sends {share:?} permille to green, not {wanted}, which the record says"));
            }
            if base(region, route) != *before {
                faults.push(format!("{route} is not the rule it was: {:?}, before {before:?}", base(region, route)));
            }
        }
        let shown = &self.deployment["weight"]["observed"];
        // It was seen on its way, and nobody looks once it is over.
        if !shown.is_null() && shown.as_f64() != Some(f64::from(wanted) / 10.0) {
            faults.push(format!("the record says weight.observed {shown}, and the rules say {wanted} permille"));
        }
        if others(self.scene, region) != self.before.others {
            faults.push("something of another service was touched".to_owned());
        }
    }
}

/// A time on record, by this process's monotonic clock.
fn instant(at: &Value) -> Option<Instant> {
    let at: Timestamp = at.as_str()?.parse().ok()?;
    Instant::now().checked_sub(Timestamp::now().duration_since(at).try_into().ok()?)
}

/// Everything of a group that somebody may have changed for a while.
fn shape(group: &ServerGroup) -> String {
    format!(
        "{} min {} max {} desired {} protection {} suspended {:?} scale-in protection {} in {:?} policies {:?} scheduled {:?} tags {:?}",
        group.name,
        group.min,
        group.max,
        group.desired,
        group.deletion_protection,
        group.suspended,
        group.new_instances_protected,
        group.target_groups,
        group.policies.keys().collect::<Vec<_>>(),
        group.scheduled.keys().collect::<Vec<_>>(),
        group.tags
    )
}

/// What a base is, whatever it forwards to.
fn base(region: &Region, route: &str) -> Option<String> {
    let rule = |rule: &Rule| format!("{} {:?} {} {:?}", rule.priority, rule.conditions, rule.transforms, rule.tags);
    let of_listener = || region.listeners.get(route).map(|listener| format!("default action, {:?}", listener.tags));
    region.rules.get(route).map(rule).or_else(of_listener)
}

fn actions<'a>(region: &'a Region, route: &str) -> Option<&'a [Action]> {
    let of_listener = || region.listeners.get(route).map(|listener| &listener.default_actions[..]);
    region.rules.get(route).map(|rule| &rule.actions[..]).or_else(of_listener)
}

/// Permille that go to one of `slots`; none where it does not forward.
fn share(actions: &[Action], slots: &[&str]) -> Option<u32> {
    let Action::Forward { groups, .. } = actions.last()? else { return None };
    let all: u32 = groups.iter().map(|(_, weight)| weight).sum();
    let theirs: u32 = groups.iter().filter(|(slot, _)| slots.contains(&slot.as_str())).map(|(_, weight)| weight).sum();
    (theirs * 1000).checked_div(all)
}

fn others(scene: &Scene, region: &Region) -> Vec<String> {
    let others = &scene.staged.services[1..];
    let bases = others.iter().flat_map(|service| &service.routes);
    let groups = others.iter().filter_map(|service| region.groups.get(service.blue.as_ref()?));
    bases.map(|route| format!("{:?} {:?}", base(region, route), actions(region, route))).chain(groups.map(shape)).collect()
}

#[cfg(test)]
mod tests {
    use cutover_sim::{
        load::record::{Answer, Kind},
        scenario::Stage,
        scene::forward,
    };
    use serde_json::json;

    use super::*;

    const PLAIN: Kind = Kind { session: false, fresh: false };

    /// A rolled-back deployment that left the world as it was.
    struct Story {
        scene: Scene,
        before: Before,
        load: Record,
        deployment: Value,
        home: Value,
        acknowledged: Instant,
    }

    impl Story {
        async fn new() -> Self {
            let scene = Scene::new(&Stage { services: 2, ..Stage::default() }).await;
            let (url, image, slot) = ("/v1/deployments/1", scene.image("v2"), &scene.staged.services[0].slots[1][0]);
            let deployment = json!({
                "url": url, "number": 1, "image": image, "status": "rolled_back", "phase": "rolled_back",
                "weight": {"desired": 0, "observed": 0}, "ended_at": "2026-01-01T00:00:00Z", "attention": null,
                "green": {"server_group": "web-0-prod-v001", "slot": slot},
                "rollback": {
                    "requested_at": "2026-01-01T00:00:00Z", "accepted_at": "2026-01-01T00:00:00Z", "observed_at": Timestamp::now(),
                },
            });
            let home = json!({"live": null, "running": null, "last": url, "declaration": {"server_group": {"min": 1}}});
            let (before, started) = (Before::of(&scene), Instant::now());
            let story = Self { scene, before, load: Record::starting_at(started), deployment, home, acknowledged: started };
            story.answer("v1", 1);
            story
        }

        /// An answer to a request sent so many ms after the acknowledgement.
        fn answer(&self, version: &str, ms: u64) {
            let sent = self.acknowledged + Duration::from_millis(ms);
            let answer = Answer::Status { status: 200, version: Some(version.to_owned()) };
            self.load.sent(PLAIN);
            self.load.answered(PLAIN, sent, sent + Duration::from_millis(1), answer);
        }

        async fn verdict(&self, wanted: End) -> Verdict {
            let Self { scene, before, load, deployment, home, acknowledged } = self;
            Ended { scene, before, load, deployment, home, wanted, acknowledged: Some(*acknowledged) }.judge().await
        }

        async fn finds(&self, words: &str) -> Verdict {
            let verdict = self.verdict(End::RolledBack).await;
            assert!(verdict.faults.iter().any(|fault| fault.contains(words)), "`{words}` is not in {verdict:#?}");
            verdict
        }

        /// Planted in the world, found, and taken away again.
        async fn planted(&self, words: &str, plant: impl FnOnce(&mut Region)) -> Verdict {
            let was = self.scene.region();
            self.scene.change(plant);
            let verdict = self.finds(words).await;
            self.scene.change(|region| {
                (region.rules, region.groups) = (was.rules.clone(), was.groups.clone());
            });
            verdict
        }
    }

    #[tokio::test]
    async fn what_ended_well_has_no_fault() {
        let story = Story::new().await;
        // Green still had users until the last node knew.
        story.answer("v2", 50);
        let verdict = story.verdict(End::RolledBack).await;
        assert_eq!(verdict, Verdict { requests: 2, ..Verdict::default() });
        story.scene.sim.shutdown().await;
    }

    #[tokio::test]
    async fn whatever_is_planted_in_the_world_is_found() {
        let story = Story::new().await;
        let service = story.scene.staged.services[0].clone();
        let (blue, route) = (story.scene.blue().to_owned(), service.routes[0].clone());
        let group = |region: &mut Region, change: fn(&mut ServerGroup)| change(region.groups.get_mut(&blue).unwrap());
        story
            .planted("the group web-0-prod-v001 is left over", |region| {
                let name = "web-0-prod-v001".to_owned();
                let left = ServerGroup {
                    name: name.clone(),
                    min: 0,
                    desired: 0,
                    target_groups: Vec::new(),
                    ..region.groups[blue.as_str()].clone()
                };
                region.groups.insert(name, left);
            })
            .await;
        let verdict = story
            .planted("number 7 is left over", |region| {
                let left = Rule { arn: "left".to_owned(), priority: 7, ..region.rules[route.as_str()].clone() };
                region.rules.insert("left".to_owned(), left);
            })
            .await;
        assert_eq!((verdict.left_over, verdict.faults.len()), (1, 1), "and nothing else: {verdict:?}");
        let pinned = "blue is not as it was";
        story.planted(pinned, |region| group(region, |blue| blue.min -= 1)).await;
        story
            .planted(pinned, |region| group(region, |blue| blue.deletion_protection = "prevent-all-deletion".to_owned()))
            .await;
        story.planted(pinned, |region| group(region, |blue| blue.suspended.push("Terminate".to_owned()))).await;
        story
            .planted("sends Some(250) permille to green", |region| {
                let [a, b] = &service.slots;
                region.rules.get_mut(&route).unwrap().actions = vec![forward(&[(&a[0], 750), (&b[0], 250)])];
            })
            .await;
        story.planted("is not the rule it was", |region| region.rules.get_mut(&route).unwrap().conditions.clear()).await;
        let other = story.scene.staged.services[1].clone();
        story
            .planted("another service was touched", |region| {
                region.rules.get_mut(&other.routes[0]).unwrap().actions = vec![forward(&[(&other.slots[1][0], 1)])];
            })
            .await;
        assert_eq!(story.verdict(End::RolledBack).await.faults, Vec::<String>::new(), "all was taken away");
        story.planted("is not there", |region| drop(region.groups.remove(&blue))).await;
        story.scene.sim.shutdown().await;
    }

    #[tokio::test]
    async fn whatever_users_met_is_counted() {
        let story = Story::new().await;
        let sent = story.acknowledged;
        story.load.sent(PLAIN);
        story.load.answered(PLAIN, sent, sent, Answer::Status { status: 503, version: None });
        story.answer("v2", 101);
        let verdict = story.finds("1 green answers after an acknowledged rollback").await;
        assert_eq!((verdict.green_after_rollback, verdict.lost, verdict.requests), (1, 1, 3));
        story.finds("1 of 3 requests were lost: status 503").await;
        story.finds("1 green answers after the rollback was seen, as the record says").await;
        let nobody = Record::starting_at(Instant::now());
        let verdict = Story { load: nobody, ..story }.finds("no request was answered").await;
        assert_eq!(verdict.requests, 0);
    }

    #[tokio::test]
    async fn whatever_the_record_says_that_is_not_so_is_found() {
        let mut story = Story::new().await;
        let lies = [
            ("/status", json!("succeeded"), "says status"),
            ("/phase", json!("rolling_back"), "says phase"),
            ("/weight/desired", json!(50), "says weight.desired"),
            ("/weight/observed", json!(25), "says weight.observed 25"),
            ("/attention", json!("Look."), "says attention"),
            ("/ended_at", Value::Null, "has no end"),
            ("/rollback/accepted_at", Value::Null, "the record has no accepted_at"),
            ("/rollback/observed_at", Value::Null, "the record has no observed_at"),
            ("/rollback/requested_at", Value::Null, "the record has no requested_at"),
            ("/url", json!("/v1/deployments/2"), "says last"),
        ];
        for (field, lie, words) in lies {
            let told = std::mem::replace(story.deployment.pointer_mut(field).unwrap(), lie);
            story.finds(words).await;
            *story.deployment.pointer_mut(field).unwrap() = told;
        }
        let slot = std::mem::take(&mut story.deployment["green"]["slot"]);
        story.finds("nothing was there to be seen").await;
        story.deployment["green"]["slot"] = slot;
        story.home["running"] = json!("/v1/deployments/1");
        story.finds("says running").await;
        story.home["running"] = Value::Null;
        story.home["live"] = json!({"number": 1});
        story.finds("what was rolled back is live").await;

        let verdict = story.verdict(End::Succeeded).await;
        for words in [
            "says status",
            "is left over",
            "which is to serve, is not there",
            "to green, not 1000",
            "says live.image",
            "says rollback",
        ] {
            assert!(verdict.faults.iter().any(|fault| fault.contains(words)), "`{words}` is not in {verdict:#?}");
        }
        story.scene.sim.shutdown().await;
    }
}
