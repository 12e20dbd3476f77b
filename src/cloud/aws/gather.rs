//! One look for many: what several deployments ask for at the same time, or asked for a moment ago, is one call.
//!
//! A question waits a moment for others, like a bus at its stop, and leaves with all of them. Who needs to know how things
//! are *now* boards one that has not left yet; who only watches takes an answer that is recent enough. Room that is left is
//! filled with what was asked for longest ago, so that the others find it fresh. A failed call fails for all who boarded
//! it and is remembered by nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared, join_all},
};

use super::{fault, operation::Operation};
use crate::engine::ports::Fault;

/// How long a call waits for company. Little beside the call itself, and long enough for ticks that begin together.
const BOARDING: Duration = Duration::from_millis(10);
/// How long a call waits for one that left before it.
const HELD_UP_MAX: Duration = Duration::from_secs(1);
/// What nobody asked for during this time is not asked for along with others any more, and forgotten.
const INTEREST: Duration = Duration::from_secs(60);
/// Answers younger than this are not renewed along with others.
const YOUNG: Duration = Duration::from_secs(1);

/// Answers to one kind of question, by key.
#[derive(Debug)]
pub(super) struct Gather<K: Ord, V> {
    inner: Arc<Inner<K, V>>,
}

#[derive(Debug)]
struct Inner<K: Ord, V> {
    operation: Operation,
    /// Keys in one call.
    keys_max: usize,
    state: Mutex<State<K, V>>,
}

#[derive(Debug)]
struct State<K: Ord, V> {
    answers: BTreeMap<K, Answer<V>>,
    calls: BTreeMap<u64, Call<K, V>>,
    count: u64,
}

#[derive(Debug)]
struct Answer<V> {
    asked_at: Instant,
    wanted_at: Instant,
    /// `None`: asked for, and not there.
    value: Option<V>,
}

type Landed<K, V> = Result<Arc<BTreeMap<K, V>>, Fault>;
type Ride<K, V> = Shared<BoxFuture<'static, Landed<K, V>>>;

/// A call that waits for company, or is under way.
#[derive(Debug)]
struct Call<K: Ord, V> {
    keys: BTreeSet<K>,
    left_at: Option<Instant>,
    /// Weak: a call that nobody waits for any more is dropped with its last passenger.
    ride: Option<WeakShared<BoxFuture<'static, Landed<K, V>>>>,
}

impl<K, V> Gather<K, V>
where
    K: Ord + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new(operation: Operation, keys_max: usize) -> Self {
        let state = State { answers: BTreeMap::new(), calls: BTreeMap::new(), count: 0 };
        Self { inner: Arc::new(Inner { operation, keys_max: keys_max.max(1), state: Mutex::new(state) }) }
    }

    /// What is there of `keys`, asked for no earlier than `since`, by `deadline`.
    ///
    /// # Errors
    /// The fault of the call, for everybody who took part in it.
    pub(super) async fn get(
        &self,
        keys: &[K],
        since: Instant,
        deadline: Instant,
        fetch: impl Fn(Vec<K>) -> BoxFuture<'static, Result<BTreeMap<K, V>, Fault>> + Clone + Send + Sync + 'static,
    ) -> Result<BTreeMap<K, V>, Fault> {
        let (mut found, rides) = self.board(keys, since, fetch);
        let left = deadline.saturating_duration_since(Instant::now());
        let landed = tokio::time::timeout(left, join_all(rides)).await;
        for answers in landed.map_err(|_| fault::late(self.inner.operation, left))? {
            let answers = answers?;
            found.extend(keys.iter().filter_map(|key| Some((key.clone(), answers.get(key)?.clone()))));
        }
        Ok(found)
    }

    /// What is known well enough, and the calls that will bring the rest.
    fn board(
        &self,
        keys: &[K],
        since: Instant,
        fetch: impl Fn(Vec<K>) -> BoxFuture<'static, Result<BTreeMap<K, V>, Fault>> + Clone + Send + Sync + 'static,
    ) -> (BTreeMap<K, V>, Vec<Ride<K, V>>) {
        let now = Instant::now();
        let mut state = self.inner.lock();
        let (mut found, mut rides) = (BTreeMap::new(), BTreeMap::new());
        for key in keys {
            if let Some(answer) = state.answers.get_mut(key) {
                answer.wanted_at = now;
                if answer.asked_at >= since {
                    found.extend(answer.value.clone().map(|value| (key.clone(), value)));
                    continue;
                }
            }
            let (id, ride) = state.join(key, since, self.inner.keys_max).unwrap_or_else(|| {
                let id = state.count;
                state.count += 1;
                let ride = Inner::call(self.inner.clone(), id, fetch.clone()).boxed().shared();
                let call = Call { keys: BTreeSet::from([key.clone()]), left_at: None, ride: ride.downgrade() };
                state.calls.insert(id, call);
                (id, ride)
            });
            rides.insert(id, ride);
        }
        (found, rides.into_values().collect())
    }
}

impl<K: Ord + Clone, V: Clone> State<K, V> {
    /// A place for `key` in a call that leaves, or left, at `since` or later.
    fn join(&mut self, key: &K, since: Instant, keys_max: usize) -> Option<(u64, Ride<K, V>)> {
        self.calls.retain(|_, call| call.ride.as_ref().is_some_and(|ride| ride.upgrade().is_some()));
        self.calls.iter_mut().find_map(|(id, call)| {
            let takes = match call.left_at {
                None => call.keys.contains(key) || call.keys.len() < keys_max,
                Some(left_at) => left_at >= since && call.keys.contains(key),
            };
            let ride = call.ride.as_ref().filter(|_| takes)?.upgrade()?;
            call.keys.insert(key.clone());
            Some((*id, ride))
        })
    }
}

impl<K: Ord + Clone, V: Clone> Inner<K, V> {
    async fn call(
        inner: Arc<Self>,
        id: u64,
        fetch: impl Fn(Vec<K>) -> BoxFuture<'static, Result<BTreeMap<K, V>, Fault>>,
    ) -> Landed<K, V> {
        tokio::time::sleep(BOARDING).await;
        inner.let_the_last_land(id).await;
        let (left_at, keys) = inner.leave(id);
        let answer = fetch(keys.clone()).await;
        inner.land(id, left_at, keys, answer)
    }

    /// A call that asks for the same, and has not landed, may stand in line for a token: behind it stands one more at most, which takes
    /// all who come meanwhile. One that is lost holds nobody up for long.
    async fn let_the_last_land(&self, id: u64) {
        let until = tokio::time::Instant::now() + HELD_UP_MAX;
        let ahead = || {
            let state = self.lock();
            let keys = &state.calls.get(&id)?.keys;
            let is_ahead = |call: &&Call<K, V>| call.left_at.is_some() && !call.keys.is_disjoint(keys);
            state.calls.values().filter(is_ahead).find_map(|call| call.ride.as_ref()?.upgrade())
        };
        while let Some(ride) = ahead() {
            if tokio::time::timeout_at(until, ride).await.is_err() {
                return;
            }
        }
    }

    /// Closes the doors. Whatever room is left goes to what others will want soon.
    fn leave(&self, id: u64) -> (Instant, Vec<K>) {
        let now = Instant::now();
        let mut state = self.lock();
        let State { answers, calls, .. } = &mut *state;
        let Some(call) = calls.get_mut(&id) else { return (now, Vec::new()) };
        call.left_at = Some(now);
        let room = self.keys_max.saturating_sub(call.keys.len());
        let mut others: Vec<_> = answers
            .iter()
            .filter(|_| room > 0)
            .filter(|(key, answer)| {
                !call.keys.contains(key)
                    && now.duration_since(answer.wanted_at) < INTEREST
                    && now.duration_since(answer.asked_at) >= YOUNG
            })
            .map(|(key, answer)| (answer.asked_at, key))
            .collect();
        if others.len() > room {
            // There may be thousands: only who is among the first matters, not in which order.
            others.select_nth_unstable(room);
        }
        let longest_ago: Vec<_> = others.into_iter().take(room).map(|(_, key)| key.clone()).collect();
        call.keys.extend(longest_ago);
        (now, call.keys.iter().cloned().collect())
    }

    fn land(&self, id: u64, left_at: Instant, keys: Vec<K>, answer: Result<BTreeMap<K, V>, Fault>) -> Landed<K, V> {
        let mut state = self.lock();
        state.calls.remove(&id);
        let found = answer?;
        let now = Instant::now();
        state.answers.retain(|_, answer| now.duration_since(answer.wanted_at) < INTEREST);
        for key in keys {
            let wanted_at = state.answers.get(&key).map_or(now, |before| before.wanted_at);
            // A later call may have landed first.
            if state.answers.get(&key).is_none_or(|before| before.asked_at < left_at) {
                let value = found.get(&key).cloned();
                state.answers.insert(key, Answer { asked_at: left_at, wanted_at, value });
            }
        }
        Ok(Arc::new(found))
    }

    fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        // Nothing that holds it can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::engine::ports::FaultKind;

    type Asked = Arc<Mutex<Vec<Vec<u32>>>>;

    /// Answers each even key with the number of the call.
    fn counting(asked: &Asked) -> impl Fn(Vec<u32>) -> BoxFuture<'static, Result<BTreeMap<u32, usize>, Fault>> + Clone + use<> {
        let asked = Arc::clone(asked);
        move |keys| {
            let number = {
                let mut asked = asked.lock().unwrap();
                asked.push(keys.clone());
                asked.len()
            };
            async move { Ok(keys.into_iter().filter(|key| key % 2 == 0).map(|key| (key, number)).collect()) }.boxed()
        }
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test]
    async fn those_who_ask_together_share_one_call_and_learn_what_is_not_there() {
        let (gather, asked) = (Gather::new(Operation::DescribeRules, 3), Asked::default());
        let get = |keys: &'static [u32]| gather.get(keys, Instant::now(), later(), counting(&asked));
        let (a, b, c) = tokio::join!(get(&[1, 2]), get(&[2, 4]), get(&[6]));
        assert_eq!(a.unwrap(), BTreeMap::from([(2, 1)]), "1 is not there");
        assert_eq!(b.unwrap(), BTreeMap::from([(2, 1), (4, 1)]));
        assert_eq!(c.unwrap(), BTreeMap::from([(6, 2)]), "no room left in the first");
        assert_eq!(*asked.lock().unwrap(), [vec![1, 2, 4], vec![6]]);
    }

    #[tokio::test]
    async fn who_asks_how_it_is_now_is_not_told_how_it_was() {
        let (gather, asked) = (Gather::new(Operation::DescribeRules, 3), Asked::default());
        let first = gather.get(&[2], Instant::now(), later(), counting(&asked)).await.unwrap();
        let since = Instant::now();
        let old = gather.get(&[2], since - Duration::from_secs(1), later(), counting(&asked)).await.unwrap();
        assert_eq!((first[&2], old[&2]), (1, 1), "recent enough");
        assert_eq!(gather.get(&[2], since, later(), counting(&asked)).await.unwrap()[&2], 2);
    }

    #[tokio::test]
    async fn a_call_under_way_does_for_those_who_watch_and_not_for_those_who_decide() {
        let (gather, calls) = (Gather::new(Operation::DescribeRules, 3), Arc::new(AtomicUsize::new(0)));
        let (open, gate) = tokio::sync::watch::channel(false);
        let slow = {
            let calls = Arc::clone(&calls);
            move |keys: Vec<u32>| {
                let (number, mut gate) = (calls.fetch_add(1, Ordering::SeqCst) + 1, gate.clone());
                async move {
                    let _ = gate.wait_for(|open| *open).await;
                    Ok(keys.into_iter().map(|key| (key, number)).collect())
                }
                .boxed()
            }
        };
        let start = Instant::now();
        let first = gather.get(&[2], start, later(), slow.clone());
        let others = async {
            while calls.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            let watch = gather.get(&[2], start, later(), slow.clone());
            let decide = gather.get(&[2], Instant::now(), later(), slow.clone());
            let opens = async {
                while calls.load(Ordering::SeqCst) < 2 {
                    tokio::task::yield_now().await;
                }
                open.send_replace(true);
            };
            let (watch, decide, ()) = tokio::join!(watch, decide, opens);
            (watch.unwrap()[&2], decide.unwrap()[&2])
        };
        let (first, others) = tokio::join!(first, others);
        assert_eq!((first.unwrap()[&2], others), (1, (1, 2)));
    }

    #[tokio::test]
    async fn behind_a_call_that_waits_for_a_token_stands_one_more_for_all_who_come_meanwhile() {
        let (gather, calls) = (Arc::new(Gather::new(Operation::DescribeRules, 1)), Arc::new(AtomicUsize::new(0)));
        let (open, gate) = tokio::sync::watch::channel(false);
        let waits = move |keys: Vec<u32>| {
            let (number, mut gate) = (calls.fetch_add(1, Ordering::SeqCst) + 1, gate.clone());
            async move {
                let _ = gate.wait_for(|open| *open).await;
                Ok(keys.into_iter().map(|key| (key, number)).collect())
            }
            .boxed()
        };
        let mut asked = Vec::new();
        // Each comes once the doors of the one before would have closed.
        let mut comes = tokio::time::interval(BOARDING * 3);
        for _ in 0..6 {
            comes.tick().await;
            let (gather, waits) = (Arc::clone(&gather), waits.clone());
            asked.push(tokio::spawn(async move { gather.get(&[2], Instant::now(), later(), waits).await.unwrap()[&2] }));
        }
        open.send_replace(true);
        let told: Vec<_> = join_all(asked).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(told, [1, 2, 2, 2, 2, 2]);
    }

    #[tokio::test]
    async fn a_fault_is_told_to_all_who_took_part_and_remembered_by_nobody() {
        let gather = Gather::<u32, usize>::new(Operation::DescribeRules, 3);
        let failing = |_| async { Err(fault::late(Operation::DescribeRules, Duration::ZERO)) }.boxed();
        let (a, b) = tokio::join!(
            gather.get(&[2], Instant::now(), later(), failing),
            gather.get(&[4], Instant::now(), later(), failing)
        );
        assert_eq!((a.unwrap_err().kind, b.unwrap_err().kind), (FaultKind::Transient, FaultKind::Transient));
        let asked = Asked::default();
        let since = Instant::now() - Duration::from_secs(9);
        assert_eq!(gather.get(&[2], since, later(), counting(&asked)).await.unwrap()[&2], 1, "asked anew");
    }

    #[tokio::test]
    async fn a_call_that_all_gave_up_on_is_dropped_and_the_next_one_asks_anew() {
        let (gather, asked) = (Gather::new(Operation::DescribeRules, 3), Asked::default());
        let never = |_| futures::future::pending().boxed();
        let soon = Instant::now() + Duration::from_millis(30);
        assert_eq!(gather.get(&[2], Instant::now(), soon, never).await.unwrap_err().kind, FaultKind::Transient);
        let since = Instant::now() - Duration::from_secs(9);
        assert_eq!(gather.get(&[2], since, later(), counting(&asked)).await.unwrap()[&2], 1);
        assert_eq!(gather.inner.lock().calls.len(), 0);
    }
}
