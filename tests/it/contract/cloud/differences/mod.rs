//! Where the two stand-ins differ, each measured: a difference that is no longer one fails here, and so does a stale table.

mod accounts;
mod groups;
mod rules;
mod scaling;

use std::{fmt::Write, fs, path::Path};

use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use futures::future::BoxFuture;

use super::world::{Emulator, World};

/// One behaviour.
pub struct Difference {
    pub when: &'static str,
    pub moto: &'static str,
    pub pocket_region: &'static str,
    pub like_aws: LikeAws,
    /// What is done, and what came of it in a word or two.
    pub probe: for<'w> fn(&'w World) -> BoxFuture<'w, String>,
}

/// Which stand-in behaves as AWS does.
pub enum LikeAws {
    PocketRegion,
    Moto,
}

impl LikeAws {
    fn name(&self) -> &'static str {
        match self {
            Self::PocketRegion => "the pocket region",
            Self::Moto => "moto",
        }
    }
}

/// A probe as a value.
macro_rules! probe {
    ($($path:tt)+) => {
        |world: &$crate::contract::cloud::world::World| Box::pin($($path)+(world))
    };
}
pub(crate) use probe;

fn all() -> impl Iterator<Item = &'static Difference> {
    [rules::DIFFERENCES, groups::DIFFERENCES, scaling::DIFFERENCES, accounts::DIFFERENCES].into_iter().flatten()
}

/// Probes every difference on one stand-in.
pub async fn verify(world: &World) {
    let mut wrong = Vec::new();
    for difference in all() {
        let expected = match world.emulator {
            Emulator::Moto => difference.moto,
            Emulator::PocketRegion => difference.pocket_region,
        };
        let seen = (difference.probe)(world).await;
        if seen != expected {
            wrong.push(format!("{}: listed {expected:?}, seen {seen:?}", difference.when));
        }
    }
    assert!(wrong.is_empty(), "on {:?} the list of differences is stale:\n{}", world.emulator, wrong.join("\n"));
}

/// "accepted", or the code that it was refused with.
pub fn outcome<T, E: ProvideErrorMetadata>(answer: Result<T, SdkError<E, HttpResponse>>) -> String {
    match answer {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or("no answer").to_owned(),
    }
}

#[test]
fn the_table_of_differences_is_the_list() {
    let mut table = String::from("| when | moto 5.2.5 | the pocket region | like AWS |\n|---|---|---|---|\n");
    for difference in all() {
        let Difference { when, moto, pocket_region, like_aws, .. } = difference;
        writeln!(table, "| {when} | {moto} | {pocket_region} | {} |", like_aws.name()).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/emulators.md");
    let page = fs::read_to_string(&path).unwrap();
    let start = page.find("| when |").expect("docs/emulators.md has the table");
    if page[start..] != table {
        if std::env::var_os("CUTOVER_UPDATE").is_some() {
            fs::write(&path, format!("{}{table}", &page[..start])).unwrap();
            return;
        }
        panic!("docs/emulators.md is stale: run this test with CUTOVER_UPDATE=1, and look at the change");
    }
}
