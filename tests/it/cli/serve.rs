//! `cutover serve` from outside: its first token, its place, its end.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
};

use super::{
    fake::DEADLINE,
    run::{end, program},
};

/// A state folder that user postgres can reach: the embedded Postgres is theirs when root starts it.
fn folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("cutover-it-").tempdir_in("/tmp").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    folder
}

/// A service with an embedded Postgres, on a port that it chooses; no AWS is there, and none is needed.
fn serve(folder: &TempDir) -> Command {
    let mut command = program(&["serve", "--listen", "127.0.0.1:0", "--state-dir"]);
    command.arg(folder.path()).env("PATH", std::env::var_os("PATH").unwrap());
    command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x");
    command
}

struct Running {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    log: Lines<BufReader<ChildStderr>>,
    url: String,
}

impl Running {
    async fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = tokio::time::timeout(DEADLINE * 2, async {
            let mut said = Vec::new();
            while let Some(line) = log.next_line().await.unwrap() {
                let logged: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                if let Some(url) = logged["url"].as_str() {
                    return url.to_owned();
                }
                said.push(line);
            }
            panic!("it ended before it listened: {said:#?}");
        });
        let url = url.await.expect("it did not start in time");
        Self { child, out, log, url }
    }

    async fn status(&self, token: &str) -> i32 {
        let mut command = program(&["status", "web/prod", "--url", &self.url]);
        end(command.env("CUTOVER_TOKEN", token).spawn().unwrap()).await.code.unwrap()
    }

    /// SIGTERM; how long it took, and the rest of stdout.
    async fn stop(mut self) -> (Duration, Vec<String>) {
        let began = Instant::now();
        let pid = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        while self.log.next_line().await.unwrap().is_some() {}
        let ended = tokio::time::timeout(DEADLINE, self.child.wait()).await.expect("it did not stop").unwrap();
        assert!(ended.success(), "{ended:?}");
        let took = began.elapsed();
        let mut lines = Vec::new();
        while let Some(line) = self.out.next_line().await.unwrap() {
            lines.push(line);
        }
        (took, lines)
    }
}

#[tokio::test]
async fn the_first_token_is_printed_once_and_lets_in_for_good() {
    let folder = folder();
    let first = Running::start(serve(&folder)).await;
    let (took, printed) = first.stop().await;
    assert!(took < Duration::from_secs(10), "stopping took {took:?}");
    let [token] = printed.as_slice() else { panic!("not one line: {printed:?}") };

    let second = Running::start(serve(&folder)).await;
    assert_eq!(second.status(token).await, 8, "it lets in: there is no deployment yet");
    assert_eq!(second.status("some-token-of-somebody-else").await, 4);
    let (_, printed) = second.stop().await;
    assert_eq!(printed, Vec::<String>::new());
    let postgres = folder.path().join("postgres");
    assert!(postgres.exists(), "{}", postgres.display());
    assert!(!postgres.join("data/postmaster.pid").exists(), "its Postgres still runs");
}

#[tokio::test]
async fn a_second_service_on_one_folder_is_told_whom_to_stop() {
    let folder = folder();
    let mut command = serve(&folder);
    command.env("CUTOVER_BOOTSTRAP_TOKEN", "a-token-of-twenty-characters");
    let first = Running::start(command).await;
    let second = end(serve(&folder).spawn().unwrap()).await;
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.err.contains(&format!("process {}", first.child.id().unwrap())), "{second:?}");
    assert_eq!(first.status("a-token-of-twenty-characters").await, 8);
    first.stop().await;
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_before_anything_is_made() {
    let folder = folder();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = end(program(&["serve", "--listen", &address, "--state-dir"]).arg(folder.path()).spawn().unwrap()).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains(&format!("cannot listen on {address}")), "{ran:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
