//! One node of a load balancer: which rules it knows at this moment, and which slot it draws for a request.
//!
//! AWS says that rule changes "do not take effect immediately", and gives no figure. Here every node draws a delay of its own
//! for every change, so between the answer to `ModifyRule` and the last node's obedience two requests side by side may see two
//! different worlds: what a rollback has to be honest about.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::rules::Table;
use crate::model::Name;

/// Changes a node may be behind; beyond it the oldest are applied at once.
const PENDING_MAX: usize = 1024;
/// The cookie that ties a session to a target group.
pub const STICKY_COOKIE: &str = "AWSALBTG";

/// One node.
#[derive(Debug)]
pub struct Node(Mutex<State>);

#[derive(Debug)]
struct State {
    table: Arc<Table>,
    /// In the order in which the changes were made; a later one never overtakes an earlier one.
    pending: VecDeque<(Instant, Arc<Table>)>,
    chance: StdRng,
}

impl Node {
    /// A node that knows `table` from the start.
    #[must_use]
    pub fn new(table: Arc<Table>, seed: u64) -> Self {
        Self(Mutex::new(State { table, pending: VecDeque::new(), chance: StdRng::seed_from_u64(seed) }))
    }

    /// Hears of a change now and applies it after a delay it draws, at most `delay_max`.
    pub fn hear(&self, table: &Arc<Table>, now: Instant, delay_max: Duration) {
        let mut state = self.lock();
        let drawn = now + delay_max.mul_f64(state.chance.random());
        let due = state.pending.back().map_or(drawn, |(last, _)| drawn.max(*last));
        state.pending.push_back((due, table.clone()));
        if state.pending.len() > PENDING_MAX
            && let Some((_, table)) = state.pending.pop_front()
        {
            state.table = table;
        }
    }

    /// The rules this node obeys now.
    #[must_use]
    pub fn table(&self, now: Instant) -> Arc<Table> {
        let mut state = self.lock();
        state.catch_up(now);
        state.table.clone()
    }

    /// Whether a change has not reached it yet.
    #[must_use]
    pub fn is_behind(&self, now: Instant) -> bool {
        let mut state = self.lock();
        state.catch_up(now);
        !state.pending.is_empty()
    }

    /// Draws one of the groups by weight; none when no group has any.
    #[must_use]
    pub fn draw<'a>(&self, groups: &'a [(Name, u32)]) -> Option<&'a Name> {
        let total: u64 = groups.iter().map(|(_, weight)| u64::from(*weight)).sum();
        if total == 0 {
            return None;
        }
        let mut left = self.lock().chance.random_range(0..total);
        for (name, weight) in groups {
            let weight = u64::from(*weight);
            if left < weight {
                return Some(name);
            }
            left -= weight;
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn catch_up(&mut self, now: Instant) {
        while self.pending.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, table)) = self.pending.pop_front() {
                self.table = table;
            }
        }
    }
}

/// The group a session is tied to, if the matched rule still names it, whatever its weight. Once the group has left the rule
/// the session is over and the request is drawn anew.
#[must_use]
pub fn sticky<'a, 'b>(cookies: impl Iterator<Item = &'b str>, groups: &'a [(Name, u32)]) -> Option<&'a Name> {
    let token = cookies
        .flat_map(|header| header.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(name, value)| (name == STICKY_COOKIE).then_some(value))?;
    groups.iter().map(|(name, _)| name).find(|name| sticky_token(name) == token)
}

/// What stands in the cookie for this group: opaque to the user, the same on every node.
#[must_use]
pub fn sticky_token(group: &str) -> String {
    let mut hasher = DefaultHasher::new();
    group.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Action, Region},
        scene,
    };

    fn table(status: u16) -> Arc<Table> {
        let mut listener = scene::listener("l");
        listener.default_actions = vec![Action::FixedResponse { status, body: String::new(), content_type: None }];
        Arc::new(Table::of(&Region::default(), &listener))
    }

    fn groups(weights: &[u32]) -> Vec<(Name, u32)> {
        weights.iter().enumerate().map(|(at, &weight)| (format!("tg-{at}"), weight)).collect()
    }

    #[test]
    fn a_change_shows_within_the_delay_and_changes_keep_their_order() {
        let delay_max = Duration::from_secs(5);
        for seed in 0..50 {
            let node = Node::new(table(201), seed);
            let start = Instant::now();
            node.hear(&table(202), start, delay_max);
            node.hear(&table(203), start, delay_max);
            assert!(node.is_behind(start));
            let mut shown = vec![node.table(start)];
            for step in 0..=500 {
                let now = node.table(start + delay_max * step / 500);
                if shown.last() != Some(&now) {
                    shown.push(now);
                }
            }
            let stations: Vec<_> = [201, 202, 203].map(table).into();
            assert!(shown.iter().all(|table| stations.contains(table)));
            assert!(shown.is_sorted_by_key(|table| stations.iter().position(|station| station == table)), "seed {seed}");
            assert_eq!(shown.last(), Some(&table(203)), "seed {seed}: both are through after the longest delay");
            assert!(!node.is_behind(start + delay_max));
        }
    }

    #[test]
    fn nodes_of_different_seeds_do_not_obey_in_the_same_moment() {
        let start = Instant::now();
        let first_obeyed = |seed| {
            let node = Node::new(table(201), seed);
            node.hear(&table(202), start, Duration::from_secs(1));
            (0..1000).find(|&ms| node.table(start + Duration::from_millis(ms)) == table(202))
        };
        let times: std::collections::BTreeSet<_> = (0..10).map(first_obeyed).collect();
        assert!(times.len() > 5, "{times:?}");
    }

    #[test]
    fn draws_follow_the_weights_within_four_standard_deviations() {
        let node = Node::new(table(200), 7);
        let draws = 20_000_u32;
        for (weights, share) in [([950, 50], 0.05), ([875, 125], 0.125), ([500, 500], 0.5), ([999, 1], 0.001)] {
            let groups = groups(&weights);
            let green = (0..draws).filter(|_| node.draw(&groups) == Some(&groups[1].0)).count();
            let expected = f64::from(draws) * share;
            let deviation = (expected * (1.0 - share)).sqrt();
            let off = (f64::from(u32::try_from(green).unwrap()) - expected).abs();
            assert!(off <= 4.0 * deviation, "{green} green of {draws} at {weights:?}");
        }
    }

    #[test]
    fn a_group_of_weight_nought_is_never_drawn_and_all_nought_is_nobody() {
        let node = Node::new(table(200), 7);
        let pair = groups(&[999, 0]);
        assert!((0..10_000).all(|_| node.draw(&pair) == Some(&pair[0].0)));
        assert_eq!(node.draw(&groups(&[0, 0])), None);
    }

    #[test]
    fn a_session_lasts_as_long_as_the_rule_names_its_group() {
        let pair = groups(&[999, 0]);
        let cookie = format!("theme=dark; {STICKY_COOKIE}={}", sticky_token("tg-1"));
        assert_eq!(sticky(std::iter::once(cookie.as_str()), &pair), Some(&pair[1].0), "even at weight 0");
        assert_eq!(sticky(std::iter::once(cookie.as_str()), &pair[..1]), None);
        assert_eq!(sticky(std::iter::empty(), &pair), None);
    }
}
