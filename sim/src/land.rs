//! What is one account's in one region: its values, and all that runs on them. Nothing is shared with another.
//!
//! The first is there from the start; the others come to be when they are first called, as on AWS, where every account has
//! every region and most are empty.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    health, life,
    model::{Place, Region, Shared},
    options::Options,
    servers::Servers,
    traffic::Traffic,
};

/// How many changing calls back a stale read may look.
const PAST_MAX: usize = 32;
/// Accounts and regions that may be in use.
const LANDS_MAX: usize = 64;

/// Which of its states a land shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    Now,
    /// A read, as it was so many changing calls ago.
    Stale(usize),
    /// The same; and a change must be possible then and now.
    NotYet(usize),
    /// A change is made on a copy that nobody sees.
    Feigned,
}

/// One account's share of one region.
#[derive(Debug)]
pub struct Land {
    pub shared: Shared,
    pub traffic: Traffic,
    /// The region before each of the last changing calls, oldest first.
    past: Mutex<VecDeque<Arc<Region>>>,
}

impl Land {
    fn start(place: Place, ground: &Ground) -> Self {
        let Ground { options, servers, tasks, stop } = ground;
        let shared = Shared::default();
        shared.change(|region| {
            region.seed = seed_of(options.seed, &place);
            region.place = place;
        });
        let traffic = Traffic::start(shared.clone(), options, stop.clone());
        health::start(shared.clone(), options, stop.clone());
        life::start(shared.clone(), options, servers.clone(), tasks, stop.clone());
        Self { shared, traffic, past: Mutex::default() }
    }

    /// The region now, or as many changing calls ago, or as far back as is kept.
    #[must_use]
    pub fn seen(&self, sight: Sight) -> Arc<Region> {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        match sight {
            Sight::Stale(depth) | Sight::NotYet(depth) if depth > 0 && !past.is_empty() => {
                past[past.len().saturating_sub(depth)].clone()
            }
            Sight::Now | Sight::Stale(_) | Sight::NotYet(_) | Sight::Feigned => self.shared.now(),
        }
    }

    /// A changing call; what was before it is kept for stale reads, unless it refuses.
    ///
    /// # Errors
    /// What `write` refused with.
    pub fn write<T, E>(&self, write: impl FnOnce(&mut Region) -> Result<T, E>) -> Result<T, E> {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.shared.now();
        let answer = self.shared.try_change(write)?;
        if past.len() >= PAST_MAX {
            past.pop_front();
        }
        past.push_back(before);
        Ok(answer)
    }
}

/// Ids must differ across places too: servers are known by them.
fn seed_of(seed: u64, place: &Place) -> u64 {
    if *place == Place::default() {
        return seed;
    }
    let mut hasher = DefaultHasher::new();
    (seed, place).hash(&mut hasher);
    hasher.finish()
}

/// What a land is made with.
#[derive(Debug)]
struct Ground {
    options: Options,
    servers: Servers,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// All lands in use.
#[derive(Debug)]
pub struct Lands {
    home: Arc<Land>,
    held: Mutex<BTreeMap<Place, Arc<Land>>>,
    ground: Ground,
}

impl Lands {
    /// With the first of them, whose traffic, health checks and groups begin to run.
    #[must_use]
    pub fn start(options: &Options, servers: &Servers, tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        let (options, servers) = (options.clone(), servers.clone());
        let ground = Ground { options, servers, tasks: tasks.clone(), stop: stop.clone() };
        let home = Arc::new(Land::start(Place::default(), &ground));
        let held = BTreeMap::from([(Place::default(), home.clone())]);
        Self { home, held: Mutex::new(held), ground }
    }

    /// The one that is meant where none is named.
    #[must_use]
    pub fn home(&self) -> &Arc<Land> {
        &self.home
    }

    /// The one at `place`, which begins to run when it is first asked for; None when there are too many.
    #[must_use]
    pub fn at(&self, place: &Place) -> Option<Arc<Land>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(land) = held.get(place) {
            return Some(land.clone());
        }
        if held.len() >= LANDS_MAX {
            return None;
        }
        let land = Arc::new(Land::start(place.clone(), &self.ground));
        held.insert(place.clone(), land.clone());
        Some(land)
    }

    /// Those in use.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Land>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
