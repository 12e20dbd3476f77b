//! The world that is modelled: rules, groups and slots, and what one call does to them. Nothing here decides.
//!
//! Two slots (0 and 1), three groups (the adopted one, and those of deployments 1 and 2), up to two routes. Shares are in
//! permille *to slot 1*, so that they mean the same to both deployments.

/// A rule above a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Never used again: a rule made anew has another ARN.
    pub id: u8,
    /// The deployment whose tag it carries.
    pub owner: u8,
    pub share: u16,
    /// The conditions that it has: those of the base at the start, or those that a person gave it.
    pub form: u8,
    /// A person edited it, and nobody has said what is to become of that.
    pub touched: bool,
    /// Mutants only: a rule that cannot go away, because it *is* the base.
    pub ghost: bool,
}

/// One route: what its base sends to slot 1, and what lies above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Route {
    pub base: u16,
    pub base_form: u8,
    pub base_touched: bool,
    pub overlay: Option<Rule>,
    pub shield: Option<Rule>,
    /// Sends only who asks for it: it is no share.
    pub preview: Option<Rule>,
    /// Rules made on it so far: the next id.
    pub made: u8,
    /// What some node of the load balancer still does: a change takes a while to be everywhere.
    pub lag: Option<u16>,
}

impl Route {
    /// What the topmost rule sends to slot 1.
    pub fn share(&self) -> u16 {
        self.shield.or(self.overlay.filter(|overlay| !overlay.ghost)).map_or(self.base, |rule| rule.share)
    }
}

/// A server group of two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Group {
    pub alive: bool,
    pub deleting: bool,
    /// The slot that it is attached to.
    pub slot: Option<u8>,
    /// The slot that it was taken out of, while its servers drain.
    pub drains: Option<u8>,
    /// Its minimum is its size.
    pub full: bool,
    pub protected: bool,
    pub healthy: u8,
}

/// Servers of every group.
pub const SIZE: u8 = 2;

/// All that a look can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Scene {
    pub routes: [Route; 2],
    pub groups: [Group; 3],
}

/// A share that goes to neither slot.
pub const ELSEWHERE: u16 = u16::MAX;

/// One call to the provider, about one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    Open { route: u8, owner: u8, to: u8, form: u8 },
    Weigh { route: u8, rule: u8, share: u16 },
    Shape { route: u8, rule: u8, share: u16, form: u8 },
    Base { route: u8, share: u16 },
    Mend { route: u8, share: u16, form: u8 },
    Shield { route: u8, owner: u8, to: u8 },
    Preview { route: u8, owner: u8, to: u8 },
    Delete { route: u8, rule: u8 },
    Pin { group: u8 },
    Unpin { group: u8 },
    Create { group: u8, slot: u8 },
    Release { group: u8 },
    Detach { group: u8 },
    Remove { group: u8 },
}

/// All traffic to one slot.
pub fn all_to(slot: u8) -> u16 {
    if slot == 0 { 0 } else { 1000 }
}

impl Scene {
    /// Targets registered in a slot, draining ones included.
    pub fn targets(&self, slot: u8) -> u32 {
        let there = |group: &&Group| group.alive && (group.slot == Some(slot) || group.drains == Some(slot));
        u32::try_from(self.groups.iter().filter(there).count()).unwrap() * u32::from(SIZE)
    }

    /// Rules that name a slot on any of the first `routes` routes: an overlay always names both.
    pub fn named_by(&self, slot: u8, routes: usize) -> u32 {
        let names = |route: &Route| {
            u32::from(route.base == all_to(slot))
                + u32::from(route.overlay.is_some_and(|overlay| !overlay.ghost))
                + u32::from(route.shield.is_some_and(|shield| shield.share == all_to(slot)))
                + u32::from(route.preview.is_some_and(|preview| preview.share == all_to(slot)))
        };
        self.routes[..routes].iter().map(names).sum()
    }

    /// Lets a call land. Whatever it names that is not there makes it a success without effect, as the adapter takes it.
    pub fn land(&mut self, call: Call, lags: bool) {
        match call {
            Call::Open { route, .. }
            | Call::Weigh { route, .. }
            | Call::Shape { route, .. }
            | Call::Base { route, .. }
            | Call::Mend { route, .. }
            | Call::Shield { route, .. }
            | Call::Preview { route, .. }
            | Call::Delete { route, .. } => {
                let route = &mut self.routes[usize::from(route)];
                let before = route.share();
                land_on_route(route, call);
                if lags && route.share() != before {
                    route.lag = route.lag.or(Some(before));
                }
            }
            Call::Create { group, slot } => {
                let group = &mut self.groups[usize::from(group)];
                if !group.alive {
                    *group = Group { alive: true, slot: Some(slot), full: true, ..Group::default() };
                }
            }
            Call::Pin { group }
            | Call::Unpin { group }
            | Call::Release { group }
            | Call::Detach { group }
            | Call::Remove { group } => land_on_group(&mut self.groups[usize::from(group)], call),
        }
    }
}

fn land_on_route(route: &mut Route, call: Call) {
    let mut make = |share, owner, form| {
        route.made += 1;
        Rule { id: route.made, owner, share, form, touched: false, ghost: false }
    };
    match call {
        // `PriorityInUse` otherwise.
        Call::Open { owner, to, form, .. } if route.overlay.is_none() => route.overlay = Some(make(all_to(to), owner, form)),
        Call::Shield { owner, to, .. } if route.shield.is_none() => route.shield = Some(make(all_to(to), owner, 0)),
        // The shield's number: who finds it taken takes another.
        Call::Preview { owner, to, .. } if route.preview.is_none() && route.shield.is_none() => {
            route.preview = Some(make(all_to(to), owner, 0));
        }
        Call::Base { share, .. } => (route.base, route.base_touched) = (share, false),
        Call::Mend { share, form, .. } => (route.base, route.base_form, route.base_touched) = (share, form, false),
        Call::Weigh { rule, share, .. } => {
            if let Some(overlay) = route.overlay.as_mut().filter(|overlay| overlay.id == rule) {
                (overlay.share, overlay.touched, overlay.ghost) = (share, false, false);
            }
        }
        Call::Shape { rule, share, form, .. } => {
            if let Some(overlay) = route.overlay.as_mut().filter(|overlay| overlay.id == rule) {
                (overlay.share, overlay.form, overlay.touched) = (share, form, false);
            }
        }
        Call::Delete { rule, .. } => {
            route.overlay = route.overlay.filter(|overlay| overlay.id != rule);
            route.shield = route.shield.filter(|shield| shield.id != rule);
            route.preview = route.preview.filter(|preview| preview.id != rule);
        }
        _ => {}
    }
}

fn land_on_group(group: &mut Group, call: Call) {
    if !group.alive || group.deleting {
        return;
    }
    match call {
        Call::Pin { .. } => (group.full, group.protected) = (true, true),
        Call::Unpin { .. } => (group.full, group.protected) = (false, false),
        Call::Release { .. } => group.full = false,
        Call::Detach { .. } => group.drains = group.slot.take().or(group.drains),
        Call::Remove { .. } => group.deleting = true,
        _ => {}
    }
}
