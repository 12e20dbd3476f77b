//! Bugs planted from outside: a suite that finds none of them proves nothing.

use std::time::Instant;

use cutover_sim::{
    faults::{Effect, Fault},
    model::ServerGroup,
};

use super::{
    Case, Outcome, by_itself,
    ground::{Ground, PATIENCE},
    phase::At,
    weather::Weather,
};
use crate::support::oracle::PROPAGATION;

/// What is wrong with a case's world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    Nothing,
    /// The load balancer says that the overlays are deleted, and they are not.
    FeignedDeletion,
    /// The database loses the order to go back, and says that it has it.
    LostOrder,
    /// Somebody leaves a group behind.
    LeftGroup,
}

/// Takes the order out of whatever is written.
const LOSES_ORDERS: &str = "
    create function lose_orders() returns trigger language plpgsql as $$
    begin
        new.intent := jsonb_set(new.intent, '{rollback}', 'null');
        return new;
    end
    $$;
    create trigger lose_orders before update on deployments for each row
        when (old.intent ->> 'rollback' is null and new.intent ->> 'rollback' is not null)
        execute function lose_orders();
";

impl Plant {
    /// Right before somebody asks.
    pub async fn before(self, ground: &mut Ground) -> Result<(), String> {
        match self {
            Self::Nothing | Self::LeftGroup => {}
            // The lane's, and as many of the engine's as it makes until the weather ends.
            Self::FeignedDeletion => {
                ground.hold(Fault::on("DeleteRule", Effect::Feigned));
            }
            Self::LostOrder => {
                let mut connection = ground.connection().await?;
                sqlx::raw_sql(LOSES_ORDERS).execute(&mut connection).await.map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// Once it was acknowledged: a lie is told until it has cost something, however quick the machine.
    pub async fn lasts(self, ground: &Ground, acknowledged: Option<Instant>) {
        if let (Self::FeignedDeletion, Some(acknowledged)) = (self, acknowledged) {
            let met = || ground.load.record().answers_to_requests_sent_after("v2", acknowledged + PROPAGATION) > 0;
            // Where it costs nothing the verdict says so.
            let _ = ground.scene.comes(PATIENCE, met).await;
        }
    }

    /// Once it has ended.
    pub fn after(self, ground: &Ground) {
        if self == Self::LeftGroup {
            let blue = ground.scene.blue().to_owned();
            ground.scene.change(|region| {
                let like_blue = region.groups[blue.as_str()].clone();
                let name = "web-prod-v001".to_owned();
                let left = ServerGroup { name, min: 0, desired: 0, target_groups: Vec::new(), ..like_blue };
                region.groups.insert(left.name.clone(), left);
            });
        }
    }
}

async fn is_found(at: At, plant: Plant, words: &[&str]) -> Result<(), String> {
    let said = match by_itself(Case { at, weather: Weather::Healthy }, plant).await {
        Ok(Outcome { verdict, .. }) => verdict.faults.join("\n"),
        Err(why) => why,
    };
    let missing: Vec<_> = words.iter().filter(|words| !said.contains(**words)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("{plant:?}: {missing:?} is not in: {said}")) }
}

/// Whether each was found as what it is.
pub async fn all_found() -> [Result<(), String>; 3] {
    let (feigned, lost, left) = tokio::join!(
        is_found(At::Shifting, Plant::FeignedDeletion, &["green answers after an acknowledged rollback"]),
        is_found(At::Pending, Plant::LostOrder, &["says status \"succeeded\", not \"rolled_back\"", "green answers after"]),
        is_found(At::Verifying, Plant::LeftGroup, &["the group web-prod-v001 is left over"]),
    );
    [feigned, lost, left]
}

pub fn no_miss(found: [Result<(), String>; 3]) {
    let missed: Vec<_> = found.into_iter().filter_map(Result::err).collect();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_finds_whatever_is_planted() {
    no_miss(all_found().await);
}
