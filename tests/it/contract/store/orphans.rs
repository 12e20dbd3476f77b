//! Sweeping: whose turn it is, what is noted of an orphan and for how long, and what the records say of what was found.

use cutover::{
    domain::{
        ids::RuleRef,
        orphan::{Fate, Found, Kind, Orphan, Tags, Thing, Way},
        phase::BackAs,
        survey::Role,
    },
    engine::{
        ports::LaneStore,
        sweeper::ports::{Listed, Noted, OrphanFilter, Sighted, Sweep, SweepStore},
    },
};

use super::*;

on_both_stores! {
    a_turn_is_one_replicas_until_it_ends_it_or_its_lease_runs_out,
    an_orphan_keeps_its_first_time_and_is_clear_since_the_last_doubt,
    a_look_long_after_the_last_one_begins_the_term_anew,
    what_is_seen_no_more_is_forgotten_and_a_removal_is_told_and_counted,
    a_turn_that_is_over_notes_begins_and_forgets_nothing,
    orphans_are_listed_once_they_were_seen_for_long_enough,
    what_is_noted_of_a_place_that_is_no_more_goes_with_the_turn,
    a_groups_facts_are_those_of_the_last_plan_that_names_it,
    a_declared_blue_is_live_until_there_is_a_success,
    a_rules_facts_say_what_serves_and_who_is_at_work,
    only_the_blue_that_was_adopted_is_looked_for_by_name,
}

const NONE: Duration = Duration::ZERO;

fn group(name: &str) -> Thing {
    Thing::ServerGroup(GroupName::new(name))
}

fn here() -> cutover::domain::declaration::Provider {
    declaration("web").provider
}

fn orphan(of: Option<DeploymentId>) -> Orphan {
    let fate = Fate::ToGo(SlotRef::new("web-b"));
    Orphan { deployment: of, target: Some(super::of("web")), why: "it was left behind".to_owned(), fate }
}

async fn turn(store: &impl SweepStore, lease: Duration) -> Sweep {
    store.claim_sweep(&replica(1), lease).await.unwrap().expect("a turn is due")
}

async fn sight(store: &impl SweepStore, sweep: Sweep, thing: &Thing, of: Option<DeploymentId>, way: &Way) -> Option<Noted> {
    sight_after(store, sweep, thing, of, way, LEASE * 100).await
}

/// Whatever was seen longer than `gap_max` ago proves nothing.
async fn sight_after(
    store: &impl SweepStore,
    sweep: Sweep,
    thing: &Thing,
    of: Option<DeploymentId>,
    way: &Way,
    gap_max: Duration,
) -> Option<Noted> {
    let (provider, orphan) = (here(), orphan(of));
    store.sight(sweep, Sighted { provider: &provider, thing, orphan: &orphan, way, gap_max }).await.unwrap()
}

async fn listed(store: &impl SweepStore) -> Vec<Listed> {
    store.orphans(&OrphanFilter { limit: 100, ..OrphanFilter::default() }).await.unwrap()
}

async fn finish(store: &impl SweepStore, sweep: Sweep) {
    store.finish_sweep(sweep, &[here()], NONE).await.unwrap();
}

async fn a_turn_is_one_replicas_until_it_ends_it_or_its_lease_runs_out(store: &(impl Store + SweepStore), _: &impl LaneStore) {
    assert_eq!(store.next_sweep().await.unwrap(), NONE, "the first is due at once");
    let (one, two) = (replica(1), replica(2));
    let (a, b) = tokio::join!(store.claim_sweep(&one, LEASE), store.claim_sweep(&two, LEASE));
    let first = match (a.unwrap(), b.unwrap()) {
        (Some(sweep), None) | (None, Some(sweep)) => sweep,
        both => panic!("not one of two has it: {both:?}"),
    };
    let left = store.next_sweep().await.unwrap();
    assert!(left > LEASE / 2 && left <= LEASE && first.ends <= Instant::now() + LEASE, "{left:?}");
    store.finish_sweep(first, &[here()], LEASE * 6).await.unwrap();
    assert!(store.next_sweep().await.unwrap() > LEASE * 5);
    assert_eq!(store.claim_sweep(&two, LEASE).await.unwrap(), None, "the next one is due later");

    store.finish_sweep(first, &[here()], NONE).await.unwrap();
    let lost = store.claim_sweep(&one, Duration::from_millis(50)).await.unwrap().expect("due");
    let next = eventually(store, "the end of the lease", async || store.claim_sweep(&two, LEASE).await.unwrap()).await;
    assert!(Instant::now() >= lost.ends && next.number > lost.number && lost.number > first.number);
}

async fn an_orphan_keeps_its_first_time_and_is_clear_since_the_last_doubt(
    store: &(impl Store + SweepStore),
    _: &impl LaneStore,
) {
    let thing = group("web-prod-v001");
    let mut seen = Vec::new();
    let ways = [
        Way::Open(None),
        Way::Unknown("throttled".to_owned()),
        Way::Open(None),
        Way::Shut("a rule names it".to_owned()),
        Way::Open(None),
    ];
    for way in &ways {
        let sweep = turn(store, LEASE).await;
        seen.push(sight(store, sweep, &thing, None, way).await.expect("it is its turn"));
        let shown = listed(store).await.remove(0);
        assert_eq!(shown.kept_because.as_deref(), way.kept_because());
        finish(store, sweep).await;
    }
    let clear: Vec<_> = seen.iter().map(|noted| noted.sighting.clear_since).collect();
    assert!(seen.iter().all(|noted| noted.id == seen[0].id && noted.sighting.first_seen == seen[0].sighting.first_seen));
    assert!(seen.windows(2).all(|pair| pair[0].sighting.now < pair[1].sighting.now));
    assert_eq!(clear[0], Some(seen[0].sighting.now));
    assert_eq!(clear[..3], [clear[0]; 3], "what could not be told changes nothing");
    assert_eq!((clear[3], clear[4]), (None, Some(seen[4].sighting.now)), "the term begins anew");
}

async fn a_look_long_after_the_last_one_begins_the_term_anew(store: &(impl Store + SweepStore), _: &impl LaneStore) {
    let (thing, open) = (group("web-prod-v001"), Way::Open(None));
    let mut seen = Vec::new();
    for (way, gap_max) in [(&open, LEASE), (&open, LEASE), (&Way::Unknown("throttled".to_owned()), NONE), (&open, NONE)] {
        let sweep = turn(store, LEASE).await;
        seen.push(sight_after(store, sweep, &thing, None, way, gap_max).await.expect("it is its turn").sighting);
        finish(store, sweep).await;
    }
    let clear: Vec<_> = seen.iter().map(|seen| seen.clear_since).collect();
    assert_eq!(clear[..3], [Some(seen[0].now); 3]);
    assert_eq!(clear[3], Some(seen[3].now), "the one before it was too long ago");
    assert_eq!(seen[3].first_seen, seen[0].first_seen);
}

async fn what_is_seen_no_more_is_forgotten_and_a_removal_is_told_and_counted(
    store: &(impl Store + SweepStore),
    _: &impl LaneStore,
) {
    let web = release(store, "web").await;
    let (removed, claimed, left, rule) = (group("removed"), group("claimed"), group("left"), Thing::Rule(RuleRef::new("rule")));
    let first = turn(store, LEASE).await;
    for thing in [&removed, &claimed, &rule] {
        let of = if thing == &rule { DeploymentId::new(Uuid::now_v7()) } else { web };
        let noted = sight(store, first, thing, Some(of), &Way::Open(None)).await.unwrap();
        assert!(store.begin_removal(first, noted.id).await.unwrap());
        assert!(store.begin_removal(first, noted.id).await.unwrap(), "and once more");
    }
    sight(store, first, &left, Some(web), &Way::Open(None)).await.unwrap();
    assert_eq!(store.forget(first, &here(), &[]).await.unwrap(), [], "all were seen in this turn");
    finish(store, first).await;
    assert!(listed(store).await.iter().all(|seen| seen.removing_since.is_some() == (seen.name != "left")));

    let second = turn(store, LEASE).await;
    let mut gone = store.forget(second, &here(), std::slice::from_ref(&claimed)).await.unwrap();
    gone.sort();
    assert_eq!(gone, [removed.clone(), rule], "what was claimed again was not removed, nor what nobody began with");
    assert_eq!(listed(store).await, []);
    let told: Vec<_> = store.events(web, 0, 100).await.unwrap().into_iter().map(|event| event.event).collect();
    assert_eq!(told[1..], [event::swept(&removed)], "the rule's deployment is in no record");
    let figures = store.orphan_figures(NONE).await.unwrap();
    assert_eq!(figures.listed, [(Kind::ServerGroup, 0), (Kind::Rule, 0)]);
    assert_eq!(figures.removed, [(Kind::ServerGroup, 1), (Kind::Rule, 1)]);
}

async fn a_turn_that_is_over_notes_begins_and_forgets_nothing(store: &(impl Store + SweepStore), _: &impl LaneStore) {
    let thing = group("web-prod-v001");
    let old = turn(store, LEASE).await;
    let noted = sight(store, old, &thing, None, &Way::Open(None)).await.unwrap();
    finish(store, old).await;
    let over = async || {
        assert_eq!(sight(store, old, &group("late"), None, &Way::Open(None)).await, None);
        assert!(!store.begin_removal(old, noted.id).await.unwrap());
        assert_eq!(store.forget(old, &here(), &[]).await.unwrap(), []);
        store.finish_sweep(old, &[], NONE).await.unwrap();
        assert_eq!(listed(store).await.len(), 1);
    };
    over().await;
    turn(store, LEASE).await;
    over().await;
    assert_eq!(store.claim_sweep(&replica(2), LEASE).await.unwrap(), None, "the new turn was not ended by the old one");
}

async fn orphans_are_listed_once_they_were_seen_for_long_enough(store: &(impl Store + SweepStore), _: &impl LaneStore) {
    let things = [group("a"), group("b"), Thing::Rule(RuleRef::new("rule"))];
    let first = turn(store, LEASE).await;
    for thing in &things {
        sight(store, first, thing, None, &Way::Open(None)).await.unwrap();
    }
    finish(store, first).await;
    let seen_for = Duration::from_millis(20);
    let filter = OrphanFilter { seen_for, limit: 100, ..OrphanFilter::default() };
    let names = async |filter: OrphanFilter| {
        store.orphans(&filter).await.unwrap().into_iter().map(|seen| seen.name).collect::<Vec<_>>()
    };
    assert_eq!(names(filter.clone()).await, [""; 0], "seen once");
    assert_eq!(store.orphan_figures(seen_for).await.unwrap().listed, [(Kind::ServerGroup, 0), (Kind::Rule, 0)]);
    eventually(store, "the term", async || {
        let sweep = turn(store, LEASE).await;
        for thing in &things {
            sight(store, sweep, thing, None, &Way::Open(None)).await.unwrap();
        }
        finish(store, sweep).await;
        (names(filter.clone()).await == ["a", "b", "rule"]).then_some(())
    })
    .await;
    assert_eq!(store.orphan_figures(seen_for).await.unwrap().listed, [(Kind::ServerGroup, 2), (Kind::Rule, 1)]);
    let all = listed(store).await;
    assert_eq!((all[2].kind, all[0].target.clone(), all[0].provider.clone()), (Kind::Rule, Some(of("web")), here()));
    assert_eq!(names(OrphanFilter { after: all[0].id, limit: 1, ..filter.clone() }).await, ["b"]);
    let of = |service: &str| OrphanFilter { service: Some(ServiceName::new(service)), ..filter.clone() };
    assert_eq!((names(of("web")).await.len(), names(of("api")).await.len()), (3, 0));
    let of = |environment: &str| OrphanFilter { environment: Some(EnvironmentName::new(environment)), ..filter.clone() };
    assert_eq!((names(of("prod")).await.len(), names(of("staging")).await.len()), (3, 0));
}

async fn what_is_noted_of_a_place_that_is_no_more_goes_with_the_turn(store: &(impl Store + SweepStore), _: &impl LaneStore) {
    let sweep = turn(store, LEASE).await;
    sight(store, sweep, &group("a"), None, &Way::Open(None)).await.unwrap();
    store.finish_sweep(sweep, &[], NONE).await.unwrap();
    assert_eq!(listed(store).await, []);
}

fn found(thing: Thing, deployment: Option<DeploymentId>) -> Found {
    let route = Some(RouteRef::new("web-public"));
    Found { thing, tags: Some(Tags { deployment, target: None, role: Some(Role::Overlay), route }) }
}

/// Takes a new deployment of `web` to `phase` with what the last success left as its blue.
async fn follow(store: &impl Store, phase: Phase) -> DeploymentId {
    let id = create(store, "web").await.deployment.id;
    let claim = claim(store, &replica(9), id).await;
    let mut next = claim.deployment.entering(phase, now());
    let mut planned = plan(&next, 100);
    let live = next.live.as_ref().expect("one has succeeded");
    planned.blue.as_mut().unwrap().group = live.group.clone();
    planned.blue_slot = live.slot.clone();
    planned.green.slot = next.declaration.slots[usize::from(next.declaration.slots[0] == live.slot)].clone();
    next.plan = Some(planned);
    assert_eq!(settle(store, &replica(9), &claim, &next).await, Settled::Stored);
    id
}

async fn a_groups_facts_are_those_of_the_last_plan_that_names_it(store: &(impl Store + SweepStore), _: &impl LaneStore) {
    let first = release(store, "web").await;
    let v1 = found(group("web-prod-v001"), Some(first));
    let facts = async || store.facts(std::slice::from_ref(&v1)).await.unwrap().remove(0);
    assert!(facts().await.last.is_none() && facts().await.tagged.is_some(), "nothing is planned yet");
    bring(store, first, Phase::Provisioning).await;
    let last = async || facts().await.last.map(|d| (d.number, d.phase.name()));
    assert_eq!((last().await, facts().await.live), (Some((1, "provisioning")), false));
    bring(store, first, Phase::Succeeded).await;
    assert_eq!((last().await, facts().await.live), (Some((1, "succeeded")), true));

    let back = follow(store, Phase::Provisioning).await;
    assert_eq!((last().await, facts().await.live), (Some((2, "provisioning")), true));
    bring(store, back, Phase::RollingBack { shield: false, ends: BackAs::RolledBack }).await;
    bring(store, back, Phase::RolledBack).await;
    follow(store, Phase::Succeeded).await;
    let replaced = facts().await;
    assert_eq!((last().await, replaced.live, replaced.shared), (Some((3, "succeeded")), false, false));
    assert_eq!(replaced.tagged.map(|d| d.number), Some(1));

    let unknown = found(group("web-prod-v001"), Some(DeploymentId::new(Uuid::now_v7())));
    let both = store.facts(&[unknown, found(group("nobody"), None)]).await.unwrap();
    assert!(both[0].tagged.is_none() && both[0].last.is_some() && both[1].last.is_none(), "in the order asked for");
    // Another service adopts it.
    let mut adopting = declaration("api");
    adopting.blue = Some(GroupName::new("web-prod-v001"));
    store.declare(&of("api"), &adopting, "ada", None).await.unwrap();
    assert!(facts().await.live, "its declaration says that it serves");
    let api = create(store, "api").await.deployment.id;
    let claim = claim(store, &replica(9), api).await;
    let mut next = claim.deployment.entering(Phase::Provisioning, now());
    let mut planned = plan(&next, 200);
    planned.blue.as_mut().unwrap().group = GroupName::new("web-prod-v001");
    next.plan = Some(planned);
    assert_eq!(settle(store, &replica(9), &claim, &next).await, Settled::Stored);
    assert!(facts().await.shared);
}

async fn a_declared_blue_is_live_until_there_is_a_success(store: &(impl Store + SweepStore), _: &impl LaneStore) {
    let mut adopting = declaration("web");
    adopting.blue = Some(GroupName::new("web-old"));
    store.declare(&of("web"), &adopting, "ada", None).await.unwrap();
    let old = found(group("web-old"), None);
    let live = async || store.facts(std::slice::from_ref(&old)).await.unwrap()[0].live;
    assert!(live().await);
    let first = create(store, "web").await.deployment.id;
    bring(store, first, Phase::Succeeded).await;
    assert!(!live().await, "the declaration still names it, and is not asked any more");
}

async fn a_rules_facts_say_what_serves_and_who_is_at_work(store: &(impl Store + SweepStore), _: &impl LaneStore) {
    let first = release(store, "web").await;
    let rule = found(Thing::Rule(RuleRef::new("rule")), Some(first));
    let facts = async |found: &Found| store.facts(std::slice::from_ref(found)).await.unwrap().remove(0);
    assert!(facts(&rule).await.busy, "its own deployment runs");
    bring(store, first, Phase::Succeeded).await;
    let ended = facts(&rule).await;
    assert!(!ended.busy && ended.last.is_none() && !ended.live);
    assert_eq!((ended.serving, ended.tagged.map(|d| d.id)), (Some(SlotRef::new("web-b")), Some(first)));
    follow(store, Phase::Provisioning).await;
    assert!(facts(&rule).await.busy);
    let mut elsewhere = rule.clone();
    elsewhere.tags.as_mut().unwrap().route = Some(RouteRef::new("gone"));
    assert!(facts(&elsewhere).await.busy, "of the same service, on a route that it had before");
    elsewhere.tags.as_mut().unwrap().deployment = None;
    assert!(!facts(&elsewhere).await.busy);
    let mut nobodys = rule.clone();
    nobodys.tags.as_mut().unwrap().deployment = None;
    assert!(facts(&nobodys).await.busy, "on a route that a running deployment is on");
}

async fn only_the_blue_that_was_adopted_is_looked_for_by_name(store: &(impl Store + SweepStore), _: &impl LaneStore) {
    let first = release(store, "web").await;
    assert_eq!(store.adopted().await.unwrap(), []);
    bring(store, first, Phase::Succeeded).await;
    follow(store, Phase::Succeeded).await;
    assert_eq!(store.adopted().await.unwrap(), [(here(), GroupName::new("web-old"))]);
}
