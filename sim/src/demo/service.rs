//! The service itself: the real binary, as a user would start it, with its embedded Postgres.

use std::{
    fmt::Write as _,
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use process_wrap::tokio::{ChildWrapper, CommandWrap, KillOnDrop};
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;

/// From the start of the process until it is ready: a first `initdb` on a busy machine takes most of it.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// From SIGTERM to its end; the service promises 10 s, and its Postgres stops with it.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
const SIGTERM: i32 = 15;
/// Of a log, what is shown when the service fails.
const LOG_LINES_SHOWN: usize = 15;

/// Credentials as good as any other there. Whatever profile this machine's user has is none of the demo's business.
pub const CREDENTIALS: [(&str, &str); 4] = [
    ("AWS_ACCESS_KEY_ID", "pocket"),
    ("AWS_SECRET_ACCESS_KEY", "pocket"),
    ("AWS_CONFIG_FILE", "/dev/null"),
    ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
];

/// The service's clocks, at the pace of a region whose own run at a tenth: everything else is as it comes.
pub const CONFIG: &str = r#"# Written by `make demo`. AWS's clocks run ten times as fast in the pocket region, so Cutover's do too.
[engine]
quiet_period = "6s"
look_every = "250ms"
watch_every = "500ms"
absence_spread = "500ms"
propagation = "1s"

# Looked at as much faster, it is asked as much more; the pocket region of the demo has no limits.
[aws.budget]
elb_changes = { size = 200, per_second = 30 }
elb_looks = { size = 400, per_second = 100 }
auto_scaling = { size = 100, per_second = 50 }
"#;

/// A running `cutover serve`.
#[derive(Debug)]
pub struct Service {
    process: Box<dyn ChildWrapper>,
    url: String,
    log: PathBuf,
}

/// What it needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// The `cutover` binary.
    pub program: &'a Path,
    /// A folder that Postgres' user may pass through.
    pub folder: &'a Path,
    /// `AWS_ENDPOINT_URL`.
    pub aws: &'a str,
    pub token: &'a str,
    /// The settings in its `--config` file.
    pub config: &'a str,
    /// Cancelled when the user wants the demo to end.
    pub interrupt: &'a CancellationToken,
}

impl Service {
    /// Starts it and waits until it is ready. `shown` is told the command line, as a user would type it.
    ///
    /// # Errors
    /// It cannot be started, ends, or is not ready in time: with the end of its log.
    pub async fn start(setup: Setup<'_>, shown: impl Fn(&str)) -> Result<Self, String> {
        let mut service = Self::begin(setup, shown)?;
        let ready = setup.interrupt.run_until_cancelled(service.ready()).await;
        match ready.unwrap_or_else(|| Err("interrupted".to_owned())) {
            Ok(()) => Ok(service),
            Err(error) => {
                // Killed outright it would leave its Postgres behind.
                let _ = service.stop().await;
                Err(error)
            }
        }
    }

    /// Starts it, and waits for nothing.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn begin(setup: Setup<'_>, shown: impl Fn(&str)) -> Result<Self, String> {
        let (config, state, log) =
            (setup.folder.join("cutover.toml"), setup.folder.join("state"), setup.folder.join("cutover.log"));
        let words = |error: &io::Error| format!("preparing {}: {error}", setup.folder.display());
        std::fs::write(&config, setup.config).map_err(|error| words(&error))?;
        let out = File::create(&log).map_err(|error| words(&error))?;
        let errors = out.try_clone().map_err(|error| words(&error))?;
        let address = free_address().map_err(|error| words(&error))?;
        let arguments = [
            "serve".to_owned(),
            format!("--config={}", config.display()),
            format!("--listen={address}"),
            format!("--state-dir={}", state.display()),
        ];
        shown(&command_line(setup, &arguments));
        let mut command = CommandWrap::with_new(setup.program, |command| {
            command
                .args(&arguments)
                // A terminal sends Ctrl-C to a whole group. Together with our SIGTERM it would be the second signal, on which the
                // service ends at once and leaves its Postgres behind.
                .process_group(0)
                .env("AWS_ENDPOINT_URL", setup.aws)
                .envs(CREDENTIALS)
                .env("AWS_REGION", crate::model::Place::default().region)
                .env_remove("AWS_PROFILE")
                .env("CUTOVER_BOOTSTRAP_TOKEN", setup.token)
                .stdin(Stdio::null())
                .stdout(out)
                .stderr(errors);
        });
        command.wrap(KillOnDrop);
        let program = setup.program.display();
        let process = command.spawn().map_err(|error| format!("starting {program}: {error}. Build it with: cargo build"))?;
        Ok(Self { process, url: format!("http://{address}"), log })
    }

    /// Where it answers.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    async fn ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let mut looks = interval(Duration::from_millis(50));
        loop {
            looks.tick().await;
            if let Ok(Some(status)) = self.process.try_wait() {
                return Err(self.with_log(&format!("the service ended with {status} before it was ready")));
            }
            let answer = reqwest::get(format!("{}/readyz", self.url)).await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.with_log(&format!("the service was not ready after {READY_TIMEOUT:?}")));
            }
        }
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.process.id()
    }

    /// `what`, and the end of the service's log.
    #[must_use]
    pub fn with_log(&self, what: &str) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let mut text = format!("{what}; its log ends:\n");
        for line in &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..] {
            let _ = writeln!(text, "    {line}");
        }
        text
    }

    /// SIGKILL: it gets to do nothing more, and its embedded Postgres, if it has one, is left alone.
    ///
    /// # Errors
    /// It could not be killed.
    pub async fn kill(mut self) -> Result<(), String> {
        self.process.start_kill().map_err(|error| format!("killing the service: {error}"))?;
        self.process.wait().await.map(|_| ()).map_err(|error| format!("waiting for the killed service: {error}"))
    }

    /// Stops it as an operator would, with SIGTERM.
    ///
    /// # Errors
    /// It did not end in time and was killed.
    pub async fn stop(mut self) -> Result<(), String> {
        // It may be gone already, after a Ctrl-C that both of us have seen.
        let _ = self.process.signal(SIGTERM);
        match timeout(STOP_TIMEOUT, self.process.wait()).await {
            Ok(_) => Ok(()),
            Err(_) => Err(self.with_log(&format!("the service did not stop within {STOP_TIMEOUT:?} and was killed"))),
        }
    }
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn command_line(setup: Setup<'_>, arguments: &[String]) -> String {
    format!(
        "AWS_ENDPOINT_URL={} AWS_REGION={} AWS_ACCESS_KEY_ID=pocket AWS_SECRET_ACCESS_KEY=pocket \\\n  CUTOVER_BOOTSTRAP_TOKEN={} {} {}",
        setup.aws,
        crate::model::Place::default().region,
        setup.token,
        setup.program.display(),
        arguments.join(" "),
    )
}
