//! Auto Scaling by itself: groups reach their size, instances boot, join their target groups, drain and go.
//!
//! A pass looks at everything and takes no hint: [`plan`] decides in a pure function, [`moves`] change the region, and this
//! file does what takes time, starting and stopping servers.

pub mod moves;
pub mod plan;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    model::{Name, Shared},
    options::Options,
    servers::Servers,
};
use plan::Step;

/// Passes are at least this far apart, however much changes; and at most [`PAUSE_MAX`], since clocks run out unannounced.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Servers being started or stopped at a time.
const SERVERS_MAX: usize = 64;

/// Keeps the groups of `shared` at their size until `stop`.
pub fn start(shared: Shared, options: &Options, servers: Servers, tasks: &TaskTracker, stop: CancellationToken) {
    let life = Arc::new(Life {
        shared,
        servers,
        boot: options.scaled(options.clocks.boot),
        scale: options.scale,
        busy: Mutex::default(),
        room: Semaphore::new(SERVERS_MAX),
        tasks: tasks.clone(),
    });
    tasks.spawn(async move {
        tokio::select! {
            () = life.run() => {}
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
    busy: Mutex<BTreeSet<Name>>,
    room: Semaphore,
    tasks: TaskTracker,
}

impl Life {
    async fn run(self: Arc<Self>) {
        let mut regions = self.shared.subscribe();
        let pause = Duration::from_secs(1).mul_f64(self.scale).clamp(PAUSE_MIN, PAUSE_MAX);
        loop {
            self.clone().pass();
            tokio::time::sleep(PAUSE_MIN).await;
            tokio::select! {
                changed = regions.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn pass(self: Arc<Self>) {
        let (now, at) = (Instant::now(), Timestamp::now());
        let steps = plan::steps(&self.shared.now(), now, self.boot, self.scale);
        let (slow, quick): (Vec<Step>, Vec<Step>) =
            steps.into_iter().partition(|step| matches!(step, Step::Boot { .. } | Step::Finish { .. }));
        if !quick.is_empty() {
            self.shared.change(|region| {
                for step in &quick {
                    moves::apply(region, step, at, now, self.scale);
                }
            });
        }
        for step in slow {
            match step {
                Step::Boot { instance } => self.clone().spawn(instance, Self::boot),
                Step::Finish { instance } => self.clone().spawn(instance, Self::finish),
                Step::Launch { .. } | Step::Condemn { .. } | Step::Terminate { .. } | Step::Forget { .. } => {}
            }
        }
    }

    /// Starts `work` on `instance`, unless something is being done to it already.
    fn spawn<F>(self: Arc<Self>, instance: Name, work: fn(Arc<Self>, Name) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if self.busy().insert(instance.clone()) {
            let tasks = self.tasks.clone();
            tasks.spawn(async move {
                let _room = self.room.acquire().await;
                work(self.clone(), instance.clone()).await;
                self.busy().remove(&instance);
            });
        }
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, BTreeSet<Name>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn boot(self: Arc<Self>, instance: Name) {
        let region = self.shared.now();
        let image = region.instances.get(&instance).and_then(|server| region.images.get(&server.image));
        let started = match image {
            Some(image) => self.servers.start(&instance, &image.server).await,
            None => Err("The image was deregistered. Launching EC2 instance failed.".to_owned()),
        };
        let wanted = self.shared.change(|region| moves::booted(region, &instance, started, Timestamp::now(), self.scale));
        if !wanted {
            self.servers.stop(&instance).await;
        }
    }

    async fn finish(self: Arc<Self>, instance: Name) {
        self.servers.stop(&instance).await;
        self.shared.change(|region| moves::finished(region, &instance, Timestamp::now()));
    }
}
