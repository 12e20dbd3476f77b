//! The `Cloud` port on two stand-ins for AWS: moto, which nobody here wrote, and the pocket region.
//!
//! Every story is told through `AwsCloud`, and what it left is looked at through the bare SDK. Where the two stand-ins
//! differ, `differences` says so, and which one is like AWS: `docs/emulators.md` is that table.

mod balancers;
mod bases;
mod budget;
mod command_line;
mod differences;
mod drift;
mod groups;
mod hazards;
mod house;
mod inspection;
mod orphans;
mod overlays;
mod preflight;
mod rights;
mod roles;
mod scaling;
mod shields;
mod world;

use futures::future::BoxFuture;

use self::world::World;

/// A story, and its name for the report.
type Story = (&'static str, for<'w> fn(&'w World) -> BoxFuture<'w, ()>);

/// A story as a value: `story!(overlays::opened_twice)`.
macro_rules! story {
    ($($path:tt)+) => {
        (stringify!($($path)+), |world: &$crate::contract::cloud::world::World| Box::pin($($path)+(world)))
    };
}
pub(crate) use story;

/// Tells every story, whatever becomes of the others, so that one run shows all that is wrong.
async fn tell_all(world: &World) {
    let stories: Vec<Story> = [
        overlays::STORIES,
        bases::STORIES,
        drift::STORIES,
        shields::STORIES,
        preflight::STORIES,
        groups::STORIES,
        balancers::STORIES,
        orphans::STORIES,
        roles::STORIES,
        scaling::STORIES,
    ]
    .concat();
    let mut failed = Vec::new();
    for (name, story) in stories {
        let told = std::panic::AssertUnwindSafe(story(world));
        if futures::FutureExt::catch_unwind(told).await.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "on {:?} these do not hold (their panics are above): {failed:#?}", world.emulator);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_on_moto() {
    tell_all(&World::moto().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_on_the_pocket_region() {
    tell_all(&World::pocket_region().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moto_differs_from_aws_where_the_list_says_so() {
    differences::verify(&World::moto().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pocket_region_differs_from_moto_where_the_list_says_so() {
    differences::verify(&World::pocket_region().await).await;
}
