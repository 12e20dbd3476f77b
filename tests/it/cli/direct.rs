//! `cutover rollback --direct`: which file it takes, and what it says of one that it does not.

use std::{fs, path::PathBuf, sync::Arc};

use cutover::{
    domain::ids::{DeploymentId, ServiceName},
    engine::{
        local::{KeptBundle, LocalFiles},
        ports::RecordFacts,
    },
    store::{local::Local, state_dir::StateDir},
};
use jiff::Timestamp;
use tempfile::TempDir;
use uuid::Uuid;

use super::run::{Ran, end, program};
use crate::support::house::{declaration, new_deployment};

/// A file as a service leaves it: deployments of these services that were not planned yet.
async fn kept(services: &[&str]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (files, _) = Local::open(&StateDir::open(folder.path()).unwrap()).unwrap();
    files.belongs_to(Uuid::from_u128(1));
    let bundle = |(n, service): (u128, &&str)| {
        let mut new = new_deployment("ami-0bb2");
        new.id = DeploymentId::new(Uuid::from_u128(n));
        new.target.service = ServiceName::new(*service);
        let facts =
            RecordFacts { number: 42, declaration: declaration(&[1000]), live: None, not_before: None, let_go: Vec::new() };
        KeptBundle { confirmed_at: Timestamp::now(), version: 1, deployment: Arc::new(new.recorded(facts)) }
    };
    files.keep_bundles((1..).zip(services).map(bundle).collect()).await.unwrap();
    let path = folder.path().join("lane/bundles");
    (folder, path)
}

async fn direct(path: &std::path::Path, more: &[&str]) -> Ran {
    let path = path.to_str().unwrap();
    // Nobody answers there: what is sent nothing asks nobody.
    let mut program = program(&[&["rollback", "--direct", "--bundle", path], more].concat());
    program.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").env("AWS_ACCESS_KEY_ID", "any").env("AWS_SECRET_ACCESS_KEY", "any");
    end(program.spawn().unwrap()).await
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_nothing_is_sent() {
    let (_folder, path) = kept(&["web"]).await;
    let whole = fs::read(&path).unwrap();
    for at in [0, whole.len() / 2, whole.len() - 2] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        let ran = direct(&path, &[]).await;
        assert_eq!(ran.code, Some(8), "byte {at}: {ran:?}");
        assert!(ran.err.contains("is damaged and is not used") && ran.err.contains("another replica's"), "{ran:?}");
    }
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(direct(&path, &[]).await.code, Some(8));
    fs::remove_file(&path).unwrap();
    let ran = direct(&path, &[]).await;
    assert!(ran.code == Some(2) && ran.err.contains("cannot be read"), "{ran:?}");
}

#[tokio::test]
async fn of_several_one_has_to_be_named() {
    let (_folder, path) = kept(&["web", "api"]).await;
    let ran = direct(&path, &[]).await;
    assert!(ran.code == Some(2) && ran.err.contains("web/prod #42") && ran.err.contains("api/prod #42"), "{ran:?}");
    for of in ["web/prod", "00000000-0000-0000-0000-000000000001"] {
        let ran = direct(&path, &[of]).await;
        assert!(ran.code == Some(8) && ran.err.contains("a newer file is needed"), "another replica may have gone on: {ran:?}");
        assert!(ran.err.contains("web/prod #42, pending when it was last read from the database, "), "{ran:?}");
    }
    let ran = direct(&path, &["shop/prod"]).await;
    assert!(ran.code == Some(8) && ran.err.contains("does not hold that"), "{ran:?}");
    let (_folder, empty) = kept(&[]).await;
    let ran = direct(&empty, &[]).await;
    assert!(ran.code == Some(8) && ran.err.contains("holds nothing"), "{ran:?}");
}

#[tokio::test]
async fn a_file_goes_with_direct_and_direct_with_a_file() {
    for args in [&["rollback", "--direct"][..], &["rollback"], &["rollback", "web/prod", "--bundle", "f"]] {
        let ran = end(program(args).spawn().unwrap()).await;
        assert_eq!(ran.code, Some(2), "{args:?}: {ran:?}");
    }
}
