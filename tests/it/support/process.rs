//! The real program: `cutover serve` as a process of its own, with its embedded Postgres, that can be killed and started again.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::small_disk::SmallDisk;

/// How long a story waits for the service to answer, or to end.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Any 20 to 200 visible characters will do.
pub const TOKEN: &str = "a-token-for-the-stories-only";

/// The protocol's waits, as much faster as the pocket region of the stories is.
const SETTINGS: &str = r#"
[engine]
lease = "3s"
quiet_period = "1s"
commit_delay = "200ms"
absence_looks = 2
absence_spread = "100ms"
propagation = "100ms"
look_every = "100ms"
watch_every = "100ms"

# The region has no limits unless a story sets them, and is looked at as much faster as its clocks run.
[aws.budget]
elb_changes = { size = 1000, per_second = 1000 }
elb_looks = { size = 1000, per_second = 1000 }
auto_scaling = { size = 1000, per_second = 1000 }

# A busy machine is no outage.
[offline]
record_patience = "2s"

[log]
format = "text"
"#;

/// What is special about a replica's surroundings.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// Of the process, beside its settings.
    pub environment: Vec<(String, String)>,
    /// Its state lies on a disk that can be filled up.
    pub small_disk: bool,
}

/// One replica on a state directory of its own.
pub struct Service {
    pub url: String,
    /// Gone before the folder that it lies in.
    pub disk: Option<SmallDisk>,
    dir: TempDir,
    aws: String,
    environment: Vec<(String, String)>,
    child: Option<Child>,
    stands_still: bool,
    http: reqwest::Client,
}

impl Service {
    /// Starts it against an AWS endpoint and waits until it is ready.
    pub async fn start(aws: &str) -> Self {
        Self::with(aws, &[]).await
    }

    /// The same with other settings, by their names in the environment.
    pub async fn with(aws: &str, settings: &[(&str, &str)]) -> Self {
        Self::among(aws, settings, Surroundings::default()).await
    }

    pub async fn among(aws: &str, settings: &[(&str, &str)], surroundings: Surroundings) -> Self {
        // Below the system's temporary folder: user postgres must be able to pass every folder above.
        let dir = tempfile::Builder::new().prefix("cutover-it-").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        fs::write(dir.path().join("settings.toml"), SETTINGS).unwrap();
        let disk = surroundings.small_disk.then(|| SmallDisk::mount(&dir.path().join("state")).unwrap());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = settings.iter().map(|(key, value)| (format!("CUTOVER__{key}"), (*value).to_owned()));
        let mut service = Self {
            url: format!("http://127.0.0.1:{port}"),
            disk,
            dir,
            aws: aws.to_owned(),
            environment: settings.chain(surroundings.environment).collect(),
            child: None,
            stands_still: false,
            http: reqwest::Client::builder().timeout(Duration::from_secs(70)).build().unwrap(),
        };
        service.restart().await;
        service
    }

    /// Starts the process again on the same state.
    pub async fn restart(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_cutover"))
            .arg("serve")
            .arg("--config")
            .arg(self.dir.path().join("settings.toml"))
            .arg("--state-dir")
            .arg(self.state())
            .arg("--listen")
            .arg(self.url.trim_start_matches("http://"))
            .env("CUTOVER_BOOTSTRAP_TOKEN", TOKEN)
            .env("AWS_ENDPOINT_URL", &self.aws)
            .env("AWS_ACCESS_KEY_ID", "AKIATEST")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_REGION", "eu-west-1")
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let started = Instant::now();
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while !self.ready().await {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none() && started.elapsed() < START_PATIENCE, "it did not start ({ended:?}):\n{}", self.said());
            looks.tick().await;
        }
    }

    async fn ready(&self) -> bool {
        self.http.get(format!("{}/readyz", self.url)).send().await.is_ok_and(|answer| answer.status().is_success())
    }

    /// SIGKILL: it gets to do nothing more.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.unwrap();
        }
    }

    /// SIGSTOP: it does nothing, and does not know.
    pub fn stand_still(&mut self) {
        self.stands_still = true;
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub fn go_on(&mut self) {
        self.stands_still = false;
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        if let Some(id) = self.child.as_ref().and_then(Child::id) {
            let _ = std::process::Command::new("kill").arg(name).arg(id.to_string()).status();
        }
    }

    /// Who it is to the database.
    pub fn holder(&self) -> String {
        fs::read_to_string(self.state().join("holder")).unwrap().trim().to_owned()
    }

    /// SIGTERM to the service: it ends by itself within its 10 s, and its Postgres with it.
    pub async fn stop(mut self) {
        self.signal("-TERM");
        let Some(mut child) = self.child.take() else { return };
        let ended = tokio::time::timeout(Duration::from_secs(12), child.wait()).await;
        assert!(ended.is_ok_and(|status| status.unwrap().success()), "it did not stop by itself:\n{}", self.said());
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// What it said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// One call with the token, for who sends it by itself while the process may die.
    pub fn request(&self, method: &str, path: &str, body: Option<Value>) -> reqwest::RequestBuilder {
        let request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.url)).bearer_auth(TOKEN);
        match body {
            Some(body) => request.json(&body),
            None => request,
        }
    }

    /// The same, answered: status and body.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let answer = self.request(method, path, body).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.said()));
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// The same, where anything but success ends the story.
    pub async fn done(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let (status, body) = self.call(method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {body:#}\n{}", self.said());
        body
    }

    /// Long-polls a deployment until it is there.
    pub async fn until(&self, url: &str, what: &str, there: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let shown = self.done("GET", &format!("{url}?wait=1s"), None).await;
            if there(&shown) {
                return shown;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{what} never came: {shown:#}\n{}", self.said());
        }
    }
}

impl Drop for Service {
    /// A story that failed still leaves no process behind: the service takes its Postgres with it.
    fn drop(&mut self) {
        self.signal("-TERM");
        if self.stands_still {
            self.go_on();
        }
        let Some(child) = self.child.as_mut() else { return };
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(12) && child.try_wait().is_ok_and(|ended| ended.is_none()) {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        let _ = child.start_kill();
    }
}
