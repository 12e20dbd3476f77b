//! The API document, held against the service by somebody who has read only the document: schemathesis.

use std::{net::TcpListener, path::PathBuf, process::Stdio, time::Duration};

use cutover::http;
use tokio::process::Command;

use super::door::{CI, Door};

/// Some thousand requests take well under this.
const AT_MOST: Duration = Duration::from_secs(150);

fn schemathesis() -> PathBuf {
    let named = std::env::var_os("CUTOVER_SCHEMATHESIS").map(PathBuf::from);
    let path = named.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/schemathesis"));
    assert!(path.exists(), "{} is not there: run scripts/setup, or name schemathesis in CUTOVER_SCHEMATHESIS", path.display());
    path
}

#[tokio::test]
async fn a_stranger_with_the_document_finds_nothing_that_it_does_not_say() {
    let door = Door::declared().await;
    let (id, _) = door.deploy_to_first_stage().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/openapi.json", listener.local_addr().unwrap());
    let serving = tokio::spawn(http::serve(listener, door.router.clone(), door.stop.clone()));
    let folder = tempfile::tempdir().unwrap();
    // Names that exist (made-up ones would all end at 404), and no patience.
    let given = [("path.service", "web"), ("path.environment", "prod"), ("path.id", &id.to_string()), ("query.wait", "10ms")];
    let lines: String = given.iter().map(|(name, value)| format!("\"{name}\" = \"{value}\"\n")).collect();
    std::fs::write(folder.path().join("schemathesis.toml"), format!("[parameters]\n{lines}")).unwrap();
    let run = Command::new(schemathesis())
        .current_dir(folder.path())
        .args(["run", &url, "--header", &format!("Authorization: Bearer {CI}")])
        // A fixed seed: the same requests every time, so that a red run is red again.
        .args(["--seed", "1", "--max-examples", "15", "--workers", "1", "--phases", "examples,coverage,fuzzing"])
        // What the schema cannot say (weights ascend, min <= max) makes well-formed input refusable.
        .args(["--checks", "all", "--exclude-checks", "positive_data_acceptance", "--no-color"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(AT_MOST, run).await.expect("schemathesis ends in time").unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    door.stop.cancel();
    serving.await.unwrap().unwrap();
}
