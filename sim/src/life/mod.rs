//! Auto Scaling by itself: groups reach their size, instances boot, join their target groups, drain and go.
//!
//! A pass looks at everything and takes no hint: [`plan`] decides in a pure function, [`moves`] change the region, and this
//! file does what takes time, starting and stopping servers.

pub mod moves;
pub mod plan;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    model::{Name, Region, Shared},
    options::Options,
    servers::Servers,
};
use plan::Step;

/// Passes are at least this far apart, however much changes; and at most [`PAUSE_MAX`], since clocks run out unannounced.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Servers being started or stopped at a time.
const SERVERS_MAX: usize = 64;
/// Outcomes waiting to be written, and the most that are written in one change.
const OUTCOMES_MAX: usize = 1_024;

/// What a slow step came to.
enum Outcome {
    /// The server listens, or why it does not.
    Started(Name, Result<SocketAddr, String>),
    Stopped(Name),
}

/// Keeps the groups of `shared` at their size until `stop`.
pub fn start(shared: Shared, options: &Options, servers: Servers, tasks: &TaskTracker, stop: CancellationToken) {
    let (outcomes, arriving) = mpsc::channel(OUTCOMES_MAX);
    let life = Life {
        shared,
        servers,
        boot: options.scaled(options.clocks.boot),
        scale: options.scale,
        busy: BTreeSet::new(),
        room: Arc::new(Semaphore::new(SERVERS_MAX)),
        outcomes,
        tasks: tasks.clone(),
    };
    tasks.spawn(async move {
        tokio::select! {
            () = life.run(arriving) => {}
            () = stop.cancelled() => {}
        }
    });
}

struct Life {
    shared: Shared,
    servers: Servers,
    boot: Duration,
    scale: f64,
    /// Instances whose server is being started or stopped.
    busy: BTreeSet<Name>,
    room: Arc<Semaphore>,
    outcomes: mpsc::Sender<Outcome>,
    tasks: TaskTracker,
}

impl Life {
    async fn run(mut self, mut arriving: mpsc::Receiver<Outcome>) {
        let mut regions = self.shared.subscribe();
        let pause = Duration::from_secs(1).mul_f64(self.scale).clamp(PAUSE_MIN, PAUSE_MAX);
        let mut outcomes = Vec::new();
        loop {
            self.settle(&mut outcomes);
            self.pass();
            tokio::time::sleep(PAUSE_MIN).await;
            tokio::select! {
                changed = regions.changed() => if changed.is_err() { return },
                _ = arriving.recv_many(&mut outcomes, OUTCOMES_MAX) => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Writes what came of slow steps, all in one change.
    fn settle(&mut self, outcomes: &mut Vec<Outcome>) {
        if outcomes.is_empty() {
            return;
        }
        let (at, scale) = (Timestamp::now(), self.scale);
        let mut unwanted = Vec::new();
        self.shared.change(|region| {
            for outcome in outcomes.drain(..) {
                match outcome {
                    Outcome::Started(instance, started) => {
                        if !moves::booted(region, &instance, started, at, scale) {
                            unwanted.push(instance.clone());
                        }
                        self.busy.remove(&instance);
                    }
                    Outcome::Stopped(instance) => {
                        moves::finished(region, &instance, at);
                        self.busy.remove(&instance);
                    }
                }
            }
        });
        for instance in unwanted {
            let servers = self.servers.clone();
            self.tasks.spawn(async move { servers.stop(&instance).await });
        }
    }

    fn pass(&mut self) {
        let (now, at) = (Instant::now(), Timestamp::now());
        let region = self.shared.now();
        let mut quick = Vec::new();
        for step in plan::steps(&region, now, at, self.boot, self.scale) {
            match step {
                Step::Boot { instance } => self.boot(&region, instance),
                Step::Finish { instance } => self.finish(instance),
                Step::CarryOut { .. }
                | Step::Launch { .. }
                | Step::Condemn { .. }
                | Step::Terminate { .. }
                | Step::Forget { .. } => quick.push(step),
            }
        }
        if !quick.is_empty() {
            self.shared.change(|region| {
                for step in &quick {
                    moves::apply(region, step, at, now, self.scale);
                }
            });
        }
    }

    fn boot(&mut self, region: &Region, instance: Name) {
        let image = region.instances.get(&instance).and_then(|server| region.images.get(&server.image));
        let (servers, kind) = (self.servers.clone(), image.map(|image| image.server.clone()));
        self.spawn(instance, move |instance| async move {
            let started = match kind {
                Some(kind) => servers.start(&instance, &kind).await,
                None => Err("The image was deregistered. Launching EC2 instance failed.".to_owned()),
            };
            Outcome::Started(instance, started)
        });
    }

    fn finish(&mut self, instance: Name) {
        let servers = self.servers.clone();
        self.spawn(instance, move |instance| async move {
            servers.stop(&instance).await;
            Outcome::Stopped(instance)
        });
    }

    /// Starts `work` on `instance`, unless something is being done to it already.
    fn spawn<F>(&mut self, instance: Name, work: impl FnOnce(Name) -> F + Send + 'static)
    where
        F: Future<Output = Outcome> + Send,
    {
        if self.busy.insert(instance.clone()) {
            let (room, outcomes) = (self.room.clone(), self.outcomes.clone());
            self.tasks.spawn(async move {
                let _room = room.acquire().await;
                // Without a receiver the region has ended, and its servers with it.
                let _ = outcomes.send(work(instance).await).await;
            });
        }
    }
}
