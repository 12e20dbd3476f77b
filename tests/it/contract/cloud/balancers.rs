//! Two load balancers, and slots of a target group on each: moved as one, and left as one.

use cutover::domain::{
    action::{Action as Change, Side},
    declaration::Declaration,
    deployment::Deployment,
    ids::{GroupName, LoadBalancerRef, RouteRef, SlotRef, TargetGroupRef},
    observation::{Attached, Forward, GroupView, Known, Observation},
    phase::{BackAs, Phase},
    weight::Weight,
};

use super::{
    Story,
    house::{House, forward, host, rule},
    story,
    world::{Emulator, World, eventually},
};

pub const STORIES: &[Story] = &[
    story!(each_load_balancer_splits_between_its_own_target_groups),
    story!(a_server_counts_once_every_load_balancer_finds_it_healthy),
    story!(a_group_detached_by_half_is_in_neither_and_leaves_the_other_half),
];

/// A house with a second load balancer: its base, and a target group of each slot on it.
struct Pair<'w> {
    house: House<'w>,
    second: House<'w>,
}

impl<'w> Pair<'w> {
    async fn build(world: &'w World, names: [&'static str; 2]) -> Self {
        let (house, second) = (House::build(world, names[0]).await, House::build(world, names[1]).await);
        house.group(&house.blue(), &house.slots[0]).await;
        attach(&house, &house.blue(), &second.slots[0]).await;
        Self { house, second }
    }

    fn declaration(&self) -> Declaration {
        let slot = |i: usize| SlotRef::of([&self.house, &self.second].map(|of| TargetGroupRef::new(&of.slots[i])).to_vec());
        Declaration {
            routes: [&self.house, &self.second].map(|of| RouteRef::new(&of.base)).to_vec(),
            slots: (0..2).filter_map(slot).collect(),
            blue: Some(GroupName::new(self.house.blue())),
            ..self.house.declaration(&self.house.base)
        }
    }

    /// A deployment in `verifying`, with an overlay on each route.
    async fn opened(&self) -> Deployment {
        let healthy = async || self.house.survey(&self.house.pending(self.declaration())).await.blue.filter(|b| b.healthy == 2);
        eventually("blue is healthy on both", healthy).await;
        let mut d = self.house.planned(self.declaration()).await;
        self.house.apply(&d, &Change::OpenOverlays { routes: vec![0, 1] }).await.unwrap();
        d.overlays = self.overlays(&d).await.into_iter().map(|(rule, _)| rule).collect();
        Deployment { phase: Phase::Verifying, ..d }
    }

    /// The overlay of each route, and where it forwards.
    async fn overlays(&self, d: &Deployment) -> Vec<(cutover::domain::ids::RuleRef, Forward)> {
        let seen = self.house.observe(d).await;
        let views = seen.routes.iter().map(|route| route.seen().unwrap_or_else(|| panic!("a route was not seen: {route:?}")));
        views.map(|view| (view.overlays[0].rule.clone(), view.overlays[0].forward)).collect()
    }
}

async fn attach(house: &House<'_>, group: &str, target_group: &str) {
    let call = house.world.autoscaling.attach_load_balancer_target_groups().auto_scaling_group_name(group);
    call.target_group_arns(target_group).send().await.unwrap();
}

async fn detach(house: &House<'_>, group: &str, target_group: &str) {
    let call = house.world.autoscaling.detach_load_balancer_target_groups().auto_scaling_group_name(group);
    call.target_group_arns(target_group).send().await.unwrap();
}

fn green(seen: &Observation) -> &GroupView {
    seen.green.seen().unwrap_or_else(|| panic!("green was not seen: {:?}", seen.green))
}

async fn each_load_balancer_splits_between_its_own_target_groups(world: &World) {
    let pair = Pair::build(world, ["split1", "split2"]).await;
    let survey = pair.house.survey(&pair.house.pending(pair.declaration())).await;
    let balancers = [&pair.house, &pair.second].map(|of| Some(LoadBalancerRef::new(&of.load_balancer)));
    assert_eq!(survey.slots[0].as_ref().unwrap().load_balancers, balancers);
    assert_eq!(survey.slots[1].as_ref().unwrap().load_balancers, [None, None]);

    let d = pair.opened().await;
    let weight = Weight::from_permille(250).unwrap();
    let routes = d.overlays.iter().cloned().enumerate().collect();
    pair.house.apply(&d, &Change::SetWeight { routes, weight }).await.unwrap();
    for (of, (_, seen)) in [&pair.house, &pair.second].into_iter().zip(pair.overlays(&d).await) {
        assert_eq!(seen, Forward::Split(weight));
        let overlay = of.rules().await.remove(0);
        let config = overlay.actions()[0].forward_config().unwrap();
        let tuples: Vec<_> = config.target_groups().iter().map(|t| (t.target_group_arn().unwrap(), t.weight())).collect();
        assert_eq!(tuples, [(of.slots[0].as_str(), Some(750)), (of.slots[1].as_str(), Some(250))]);
    }

    pair.house.apply(&d, &Change::SetBase { routes: vec![0, 1], to: Side::Green }).await.unwrap();
    let seen = pair.house.observe(&d).await;
    assert!(seen.routes.iter().all(|route| route.seen().is_some_and(|view| view.base.is_all_green())), "{:?}", seen.routes);
    // A rule of somebody else's that names only one half names the slot.
    rule(world, &pair.second.listener, 7, &host("other"), forward(&[(&pair.second.slots[0], 1)])).await;
    let retiring = Deployment { phase: Phase::Retiring, ..d };
    let seen = pair.house.observe(&retiring).await;
    assert_eq!(seen.blue_slot.seen().map(|slot| (slot.targets, slot.strangers, slot.named_by)), Some((2, 0, 3)));
}

async fn a_server_counts_once_every_load_balancer_finds_it_healthy(world: &World) {
    let pair = Pair::build(world, ["both1", "both2"]).await;
    let d = pair.opened().await;
    pair.house.apply(&d, &Change::CreateGreen).await.unwrap();
    let up =
        async || Some(pair.house.observe(&d).await).filter(|seen| seen.green.seen().is_some_and(|g| g.servers.healthy == 2));
    let seen = eventually("green is healthy on both", up).await;
    assert_eq!((green(&seen).attached, green(&seen).ours), (Attached::Everywhere, true));
    assert_eq!(seen.green_slot.seen().map(|slot| (slot.targets, slot.strangers)), Some((2, 0)));
}

async fn a_group_detached_by_half_is_in_neither_and_leaves_the_other_half(world: &World) {
    if world.emulator == Emulator::Moto {
        // It fails on a target group that a group has left.
        return;
    }
    let pair = Pair::build(world, ["half1", "half2"]).await;
    let mut d = pair.opened().await;
    let name = d.plan.as_ref().unwrap().green.group.clone();
    pair.house.apply(&d, &Change::CreateGreen).await.unwrap();
    let up =
        async || Some(pair.house.observe(&d).await).filter(|seen| seen.green.seen().is_some_and(|g| g.servers.healthy == 2));
    eventually("green is healthy on both", up).await;

    detach(&pair.house, name.as_str(), &pair.house.slots[1]).await;
    let seen = pair.house.observe(&d).await;
    assert_eq!(green(&seen).attached, Attached::Partly);
    let gone = async || Some(pair.house.observe(&d).await).filter(|seen| green(seen).servers.healthy == 0);
    let seen = eventually("nobody is healthy on both", gone).await;
    assert_eq!(seen.green_slot.seen().map(|slot| slot.targets), Some(2), "the other half is not empty");

    d.phase = Phase::RollingBack { shield: false, ends: BackAs::RolledBack };
    pair.house.apply(&d, &Change::DeleteRules { rules: d.overlays.clone() }).await.unwrap();
    for _ in 0..2 {
        pair.house.apply(&d, &Change::Detach { side: Side::Green }).await.unwrap();
        assert_eq!(green(&pair.house.observe(&d).await).attached, Attached::Nowhere);
    }
    let empty = async || match pair.house.observe(&d).await.green_slot {
        Known::Seen(slot) => (slot.targets == 0).then_some(()),
        other => panic!("the slot was not seen: {other:?}"),
    };
    eventually("both halves are empty", empty).await;
}
