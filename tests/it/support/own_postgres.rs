//! A Postgres of one story's own, that can be stopped, started again, and made to hang.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    thread,
};

use cutover::store::{
    embedded::{Embedded, EmbeddedSettings},
    state_dir::StateDir,
};
use secrecy::ExposeSecret;
use tempfile::TempDir;

pub struct OwnPostgres {
    state: StateDir,
    embedded: Embedded,
    hangs: bool,
    /// Removed last.
    _dir: TempDir,
}

fn settings() -> EmbeddedSettings {
    EmbeddedSettings { without_fsync: true, ..EmbeddedSettings::default() }
}

impl OwnPostgres {
    pub async fn start() -> Self {
        Self::start_with(&settings()).await
    }

    /// Its commits wait for the disk.
    pub async fn with_fsync() -> Self {
        Self::start_with(&EmbeddedSettings::default()).await
    }

    async fn start_with(settings: &EmbeddedSettings) -> Self {
        let dir = tempfile::Builder::new().prefix("cutover-pg-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let embedded = Embedded::start(&state, settings).await.unwrap();
        Self { state, embedded, hangs: false, _dir: dir }
    }

    pub fn url(&self) -> String {
        self.embedded.url().expose_secret().to_owned()
    }

    /// Nobody listens any more; every connection is cut.
    pub async fn stop(&self) {
        self.embedded.stop().await.unwrap();
    }

    pub async fn again(&mut self) {
        self.embedded = Embedded::start(&self.state, &settings()).await.unwrap();
    }

    /// SIGSTOP to the server and all that serve its connections: it takes what it is sent and says nothing.
    pub fn hang(&mut self) {
        self.hangs = true;
        // The server first: it makes no new ones then.
        signal("-STOP", self.pid());
        children(self.pid()).into_iter().for_each(|child| signal("-STOP", child));
    }

    pub fn go_on(&mut self) {
        self.hangs = false;
        children(self.pid()).into_iter().for_each(|child| signal("-CONT", child));
        signal("-CONT", self.pid());
    }

    fn pid(&self) -> u32 {
        let note = fs::read_to_string(self.state.path().join("postgres/data/postmaster.pid")).unwrap();
        note.lines().next().unwrap().trim().parse().unwrap()
    }
}

fn signal(signal: &str, pid: u32) {
    let sent = Command::new("kill").args([signal, &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
    assert!(sent.success() || signal == "-CONT", "{signal} {pid}");
}

fn children(of: u32) -> Vec<u32> {
    let parent = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // After the name in brackets: the state, then the parent.
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
    };
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    all.filter(|pid| parent(*pid) == Some(of)).collect()
}

impl Drop for OwnPostgres {
    /// A story that failed leaves no server behind.
    fn drop(&mut self) {
        if self.hangs {
            self.go_on();
        }
        let embedded = &self.embedded;
        // A runtime of its own: the test's may be the one that is dropping this. One that is stopped already says so.
        thread::scope(|scope| {
            let stopped = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let _ = runtime.block_on(embedded.stop());
            });
            let _ = stopped.join();
        });
    }
}
