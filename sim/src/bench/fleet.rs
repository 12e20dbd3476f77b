//! A region with many services, Cutover at work on them, and a deployment of each.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    Sim,
    demo::service::{Service, Setup},
    journal::Counts,
    model::Place,
    options::Options,
    scenario::{Stage, Staged, StagedService},
};

/// A server boots in 0.4 s and a rule is everywhere after 0.05 s: what is counted is calls, and those of a bake do not hang on it.
const SCALE: f64 = 0.01;
const TOKEN: &str = "the-token-of-the-benchmark";
/// From the first request until every deployment is where it is to be: so long, and longer by so much for each of them.
const PATIENCE: Duration = Duration::from_secs(300);
const PATIENCE_EACH: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Services declared and deployed at a time.
const AT_A_TIME: usize = 8;

/// Between two tries to reach a service that starts.
const COLD_EVERY: Duration = Duration::from_millis(2);

/// What runs.
#[derive(Debug)]
pub struct Fleet {
    sim: Sim,
    service: Service,
    staged: Staged,
    client: Client,
    program: PathBuf,
    folder: PathBuf,
    interrupt: CancellationToken,
}

/// What a fleet is made of.
#[derive(Debug, Clone, Copy)]
pub struct Making<'a> {
    /// The `cutover` binary, started as its user would.
    pub program: &'a Path,
    /// Where its state goes.
    pub folder: &'a Path,
    /// Its settings.
    pub config: &'a str,
    /// Services of one server each.
    pub services: u32,
    /// Of each call of AWS.
    pub latency: Duration,
    pub interrupt: &'a CancellationToken,
}

impl Fleet {
    /// # Errors
    /// What could not be started, in a sentence.
    pub async fn start(making: Making<'_>) -> Result<Self, String> {
        let Making { program, folder, config, services, latency, interrupt } = making;
        let sim = Sim::start(Options { scale: SCALE, latency, ..Options::default() })
            .await
            .map_err(|error| format!("starting the pocket region: {error}"))?;
        // Checks of a thousand servers ten times a second would measure those.
        let staged = sim.stage(&Stage { services, servers: 1, health_check_interval_seconds: 100, ..Stage::default() })?;
        let folder: PathBuf = folder.join(format!("{}-of-{services}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| format!("creating {}: {error}", folder.display()))?;
        let service = Service::start(setup(program, &folder, &sim, config, interrupt), |_| {}).await?;
        let (program, interrupt) = (program.to_owned(), interrupt.clone());
        Ok(Self { sim, service, staged, client: Client::new(), program, folder, interrupt })
    }

    /// The same again with another `config`, as one process after another; what it is left with is on record.
    ///
    /// # Errors
    /// It did not stop, or did not start.
    pub async fn again(self, config: &str) -> Result<Self, String> {
        let Self { sim, service, staged, client, program, folder, interrupt } = self;
        service.stop().await?;
        let service = Service::start(setup(&program, &folder, &sim, config, &interrupt), |_| {}).await?;
        Ok(Self { sim, service, staged, client, program, folder, interrupt })
    }

    /// Kills the service in the middle of whatever it does, lets go what the region holds of its calls, and starts another replica in its
    /// place, with a folder and a name of its own. When it was killed is returned, too.
    ///
    /// # Errors
    /// It could not be killed, or the other one did not start.
    pub async fn replaced(self, config: &str) -> Result<(Self, Timestamp), String> {
        let Self { sim, service, staged, client, program, folder, interrupt } = self;
        service.kill().await?;
        let killed = Timestamp::now();
        sim.faults().clear();
        let folder = folder.join("another");
        std::fs::create_dir_all(&folder).map_err(|error| format!("creating {}: {error}", folder.display()))?;
        let service = Service::start(setup(&program, &folder, &sim, config, &interrupt), |_| {}).await?;
        Ok((Self { sim, service, staged, client, program, folder, interrupt }, killed))
    }

    /// Stops it, starts it, and asks for the rollback of service `i` until that is answered: how long from the start of the process.
    ///
    /// # Errors
    /// It did not stop, did not start, or answered nothing in time.
    pub async fn cold(self, config: &str, i: usize) -> Result<(Self, Duration), String> {
        let Self { sim, service, staged, client, program, folder, interrupt } = self;
        service.stop().await?;
        let began = Instant::now();
        let service = Service::begin(setup(&program, &folder, &sim, config, &interrupt), |_| {})?;
        let fleet = Self { sim, service, staged, client, program, folder, interrupt };
        loop {
            match fleet.roll_back(i).await {
                Ok((_, answer)) if answer["rollback"]["accepted_at"].is_string() => return Ok((fleet, began.elapsed())),
                Ok((_, answer)) => return Err(format!("a cold rollback was not accepted at once: {answer:#}")),
                Err(error) if began.elapsed() > ANSWER_WITHIN => return Err(fleet.service.with_log(&error)),
                // Nobody listens yet.
                Err(_) => sleep(COLD_EVERY).await,
            }
        }
    }

    /// # Errors
    /// The service did not end when it was told to.
    pub async fn stop(self) -> Result<(), String> {
        let stopped = self.service.stop().await;
        self.sim.shutdown().await;
        stopped
    }

    /// Declares each service and asks for a deployment of each.
    ///
    /// # Errors
    /// What was refused, and why.
    pub async fn deploy(&self, strategy: &Value) -> Result<(), String> {
        let all = stream::iter(0..self.staged.services.len());
        all.map(|i| self.deploy_one(i, strategy)).buffer_unordered(AT_A_TIME).try_collect().await
    }

    async fn deploy_one(&self, i: usize, strategy: &Value) -> Result<(), String> {
        let of = &self.staged.services[i];
        let home = format!("/v1/services/{}/environments/{}", of.service, of.environment);
        self.taken(|| self.client.put(self.url(&home)), &declaration(of, strategy)).await?;
        let image = json!({"image": self.staged.images["v2"]});
        self.taken(|| self.client.post(self.url(&format!("{home}/deployments"))), &image).await
    }

    /// Asks until it is taken: blue may not be healthy yet.
    async fn taken(&self, request: impl Fn() -> reqwest::RequestBuilder, body: &Value) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.call(request(), body).await {
                Ok(_) => return Ok(()),
                Err(refused) if Instant::now() > deadline => return Err(refused),
                Err(_) => sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Waits until every deployment shows `phase`.
    ///
    /// # Errors
    /// When that takes too long: how many were there.
    pub async fn until_all(&self, phase: &str) -> Result<(), String> {
        let each = u32::try_from(self.staged.services.len()).unwrap_or(u32::MAX);
        let deadline = Instant::now() + PATIENCE + PATIENCE_EACH * each;
        let mut open: Vec<_> = (0..self.staged.services.len()).collect();
        loop {
            let mut not_yet = Vec::new();
            for i in open {
                if self.newest(i).await?["phase"] != phase {
                    not_yet.push(i);
                }
            }
            if not_yet.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let (missing, of) = (not_yet.len(), self.staged.services.len());
                return Err(self.service.with_log(&format!("{missing} of {of} were not {phase} in time")));
            }
            open = not_yet;
            sleep(LOOK_EVERY).await;
        }
    }

    #[must_use]
    pub fn sim(&self) -> &Sim {
        &self.sim
    }

    /// Asks to roll back what runs of service `i`: how long that took, and the answer.
    ///
    /// # Errors
    /// It was refused, or not answered.
    pub async fn roll_back(&self, i: usize) -> Result<(Duration, Value), String> {
        let of = self.staged.services.get(i).ok_or_else(|| format!("there is no service {i}"))?;
        let url = self.url(&format!("/v1/services/{}/environments/{}/rollback", of.service, of.environment));
        let started = Instant::now();
        let answer = self.call(self.client.post(url), &json!({"reason": "measured"})).await?;
        Ok((started.elapsed(), answer))
    }

    /// Sends service `i`'s deployment to a weight, in percent.
    ///
    /// # Errors
    /// It was refused, or not answered.
    pub async fn weigh(&self, i: usize, percent: f64) -> Result<(), String> {
        let id = self.newest(i).await?["id"].as_str().unwrap_or_default().to_owned();
        let url = self.url(&format!("/v1/deployments/{id}/weight"));
        self.call(self.client.put(url), &json!({"green": percent})).await.map(|_| ())
    }

    /// The newest deployment of service `i`.
    ///
    /// # Errors
    /// It was not answered, or there is none.
    pub async fn newest(&self, i: usize) -> Result<Value, String> {
        let of = self.staged.services.get(i).ok_or_else(|| format!("there is no service {i}"))?;
        let list =
            self.call(self.client.get(self.url(&format!("/v1/deployments?service={}&limit=1", of.service))), &Value::Null);
        let newest = list.await?["items"][0].take();
        if newest.is_null() { Err(format!("service {i} has no deployment")) } else { Ok(newest) }
    }

    /// The service's own process: its resident memory in bytes, and the time it has computed.
    ///
    /// # Errors
    /// It does not run, or this is no Linux.
    pub fn process(&self) -> Result<(u64, Duration), String> {
        let id = self.service.process().ok_or("the service does not run")?;
        let read =
            |file: &str| std::fs::read_to_string(format!("/proc/{id}/{file}")).map_err(|error| format!("{file}: {error}"));
        let (status, stat) = (read("status")?, read("stat")?);
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes: u64 = resident.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).ok_or("no VmRSS")?;
        // After the name in brackets: state, then fields 4 and on; user and system time are 14 and 15, in hundredths of a second.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |field: usize| fields.get(field - 3).and_then(|ticks| ticks.parse::<u64>().ok());
        let ticks = ticks(14).zip(ticks(15)).map(|(user, system)| user + system).ok_or("no times")?;
        Ok((kilobytes * 1024, Duration::from_millis(ticks * 10)))
    }

    /// The metrics page.
    ///
    /// # Errors
    /// It was not answered.
    pub async fn metrics(&self) -> Result<String, String> {
        let answer = self.client.get(self.url("/metrics")).timeout(ANSWER_WITHIN).send().await;
        let answer = answer.map_err(|error| format!("asking for the metrics: {error}"))?;
        answer.text().await.map_err(|error| format!("reading the metrics: {error}"))
    }

    /// How long the service takes to say that it is there.
    ///
    /// # Errors
    /// It was not answered.
    pub async fn greeted(&self) -> Result<Duration, String> {
        let asked = Instant::now();
        let answer = self.client.get(self.url("/livez")).timeout(ANSWER_WITHIN).send().await;
        let answer = answer.map_err(|error| format!("asking whether the service is there: {error}"))?;
        answer.bytes().await.map_err(|error| format!("reading whether the service is there: {error}"))?;
        Ok(asked.elapsed())
    }

    /// How often AWS was asked so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.sim.journal().counts()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.service.url())
    }

    async fn call(&self, request: reqwest::RequestBuilder, body: &Value) -> Result<Value, String> {
        let request = request.bearer_auth(TOKEN).timeout(ANSWER_WITHIN);
        let request = if body.is_null() { request } else { request.json(body) };
        let answer = request.send().await.map_err(|error| format!("asking the service: {error}"))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| format!("reading its answer: {error}"))?;
        if !status.is_success() {
            return Err(format!("the service answered {status}: {text}"));
        }
        serde_json::from_str(&text).map_err(|error| format!("its answer is no JSON: {error}"))
    }
}

fn setup<'a>(
    program: &'a Path,
    folder: &'a Path,
    sim: &'a Sim,
    config: &'a str,
    interrupt: &'a CancellationToken,
) -> Setup<'a> {
    Setup { program, folder, aws: sim.endpoint(), token: TOKEN, config, interrupt }
}

fn declaration(of: &StagedService, strategy: &Value) -> Value {
    json!({
        "provider": {"kind": "aws", "region": Place::default().region},
        "routes": of.routes,
        "slots": of.slots.iter().map(|slot| slot.first()).collect::<Vec<_>>(),
        "blue": of.blue,
        "server_group": {
            "launch_template": {"id": of.launch_template, "version": "1"}, "subnets": ["subnet-1"], "min": 1, "max": 4
        },
        "strategy": strategy,
    })
}
