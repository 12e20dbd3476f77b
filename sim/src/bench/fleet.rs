//! A region with many services, Cutover at work on them, and a deployment of each.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

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
/// From the first request until every deployment is where it is to be.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What runs.
#[derive(Debug)]
pub struct Fleet {
    sim: Sim,
    service: Service,
    staged: Staged,
    client: Client,
}

impl Fleet {
    /// `services` of one server each, and `program` as its user starts it, with `config`; its state is in `folder`.
    ///
    /// # Errors
    /// What could not be started, in a sentence.
    pub async fn start(
        program: &Path,
        folder: &Path,
        config: &str,
        services: u32,
        interrupt: &CancellationToken,
    ) -> Result<Self, String> {
        let sim = Sim::start(Options { scale: SCALE, ..Options::default() })
            .await
            .map_err(|error| format!("starting the pocket region: {error}"))?;
        let staged = sim.stage(&Stage { services, servers: 1, ..Stage::default() })?;
        let folder: PathBuf = folder.join(format!("{}-of-{services}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| format!("creating {}: {error}", folder.display()))?;
        let setup = Setup { program, folder: &folder, aws: sim.endpoint(), token: TOKEN, config, interrupt };
        let service = Service::start(setup, |_| {}).await?;
        Ok(Self { sim, service, staged, client: Client::new() })
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
        for of in &self.staged.services {
            let home = format!("/v1/services/{}/environments/{}", of.service, of.environment);
            self.settled(&home, &declaration(of, strategy)).await?;
            self.call(self.client.post(self.url(&format!("{home}/deployments"))), &json!({"image": self.staged.images["v2"]}))
                .await?;
        }
        Ok(())
    }

    /// Declares one, as soon as its blue is healthy.
    async fn settled(&self, home: &str, declaration: &Value) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.call(self.client.put(self.url(home)), declaration).await {
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
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut there = 0;
            for of in &self.staged.services {
                let query = format!("/v1/deployments?service={}&limit=1", of.service);
                let list = self.call(self.client.get(self.url(&query)), &Value::Null).await?;
                there += usize::from(list["items"][0]["phase"] == phase);
            }
            if there == self.staged.services.len() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.service.with_log(&format!("{there} of {} were {phase} in time", self.staged.services.len())));
            }
            sleep(LOOK_EVERY).await;
        }
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
