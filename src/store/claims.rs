//! What the records say of what a sweep found: whose it was, who has it now, and where its service is served from.
//!
//! Read for many at once. A record that cannot be read counts as none, and what has none is never removed.

use std::collections::{HashMap, HashSet};

use sqlx::PgPool;
use uuid::Uuid;

use super::{
    deployments,
    error::Doing,
    lease::readable,
    rows::{DeploymentRow, Text},
};
use crate::{
    domain::{
        declaration::Provider,
        deployment::{Deployment, Live},
        drill::Drill,
        ids::{DeploymentId, GroupName, SlotRef},
        orphan::{Facts, Found, Thing},
        survey::Role,
    },
    engine::ports::StoreError,
};

const DOING: &str = "reading whose an orphan is";
/// More services than one sweep asks about adopted groups.
const ADOPTED_MAX: i64 = 10_000;

pub(super) async fn facts(pool: &PgPool, found: &[Found]) -> Result<Vec<Facts>, StoreError> {
    let of_groups = groups(pool, found).await?;
    let live = live(pool, found).await?;
    let tagged = tagged(pool, found).await?;
    let drills = drills(pool, found).await?;
    let targets = tagged.values().map(|d| &d.target).chain(drills.values().map(|d| &d.target));
    let busy = busy(pool, found, targets.clone().map(ToString::to_string)).await?;
    let serving = serving(pool, targets.map(ToString::to_string).collect()).await?;
    Ok(found
        .iter()
        .map(|found| {
            let tags = found.tags.as_ref();
            let tagged = tags.and_then(|tags| tagged.get(&tags.deployment?)).cloned();
            let drill = tags.and_then(|tags| drills.get(&tags.deployment?)).cloned();
            let target = tagged.as_ref().map(|d| &d.target).or(drill.as_ref().map(|d| &d.target)).map(ToString::to_string);
            match &found.thing {
                Thing::ServerGroup(name) => {
                    let (last, shared) = of_groups.get(name.as_str()).cloned().unzip();
                    let (shared, live) = (shared.unwrap_or(false), live.contains(name.as_str()));
                    Facts { tagged, last, shared, live, ..Facts::default() }
                }
                Thing::Rule(_) => {
                    let route = tags.and_then(|tags| tags.route.as_ref());
                    let busy = route.is_some_and(|route| busy.contains(&("route".to_owned(), route.to_string())))
                        || target.as_ref().is_some_and(|target| busy.contains(&("environment".to_owned(), target.clone())));
                    let serving = target.and_then(|target| serving.get(&target).cloned());
                    Facts { tagged, drill, busy, serving, ..Facts::default() }
                }
            }
        })
        .collect())
}

fn names(found: &[Found]) -> Vec<String> {
    let groups = found.iter().filter(|found| matches!(found.thing, Thing::ServerGroup(_)));
    groups.map(|found| found.thing.name().to_owned()).collect()
}

/// By group: the last deployment whose plan names it, and whether plans of several services do.
async fn groups(pool: &PgPool, found: &[Found]) -> Result<HashMap<String, (Deployment, bool)>, StoreError> {
    let rows = sqlx::query!(
        r#"select distinct on (h.key) h.key, d.record as "record: Text", d.intent as "intent: Text", d.rollback_accepted_at, d.seen_at, d.version,
               (select count(distinct (o.service, o.environment)) > 1
                from deployment_holds as other join deployments as o on o.id = other.deployment_id
                where other.kind = 'group' and other.key = h.key) as "shared!"
           from deployment_holds as h join deployments as d on d.id = h.deployment_id
           where h.kind = 'group' and h.key = any($1)
           order by h.key, d.created_at desc, d.id desc"#,
        &names(found),
    )
    .fetch_all(pool)
    .await
    .doing(DOING)?;
    let read = rows.into_iter().filter_map(|row| {
        let (key, shared) = (row.key, row.shared);
        let row = DeploymentRow {
            record: row.record,
            intent: row.intent,
            rollback_accepted_at: row.rollback_accepted_at,
            seen_at: row.seen_at,
            version: row.version,
        };
        readable(vec![row]).next().map(|read| (key, (read.deployment, shared)))
    });
    Ok(read.collect())
}

/// Groups that some environment has live, or would adopt as its first blue.
async fn live(pool: &PgPool, found: &[Found]) -> Result<HashSet<String>, StoreError> {
    let names = sqlx::query_scalar!(
        r#"select coalesce(e.live ->> 'group', r.declaration ->> 'blue') as "name!"
           from environments as e join environment_revisions as r using (service, environment, revision)
           where coalesce(e.live ->> 'group', r.declaration ->> 'blue') = any($1)"#,
        &names(found),
    )
    .fetch_all(pool)
    .await
    .doing(DOING)?;
    Ok(names.into_iter().collect())
}

/// The deployments that tags name, as far as they are in the records.
async fn tagged(pool: &PgPool, found: &[Found]) -> Result<HashMap<DeploymentId, Deployment>, StoreError> {
    let ids: Vec<_> = found.iter().filter_map(|found| found.tags.as_ref()?.deployment).collect();
    let read = deployments::some(pool, &ids).await?;
    Ok(read.into_iter().map(|read| (read.deployment.id, read.deployment)).collect())
}

/// The routes and service/environments of them that running deployments hold.
async fn busy(
    pool: &PgPool,
    found: &[Found],
    targets: impl Iterator<Item = String>,
) -> Result<HashSet<(String, String)>, StoreError> {
    let routes = found.iter().filter_map(|found| found.tags.as_ref()?.route.as_ref());
    let keys: Vec<_> = routes.map(ToString::to_string).chain(targets).collect();
    let rows = sqlx::query!(
        "select kind, key from deployment_holds where active and kind in ('route', 'environment') and key = any($1)",
        &keys,
    )
    .fetch_all(pool)
    .await
    .doing(DOING)?;
    Ok(rows.into_iter().map(|row| (row.kind, row.key)).collect())
}

/// The drills that rules' tags name, as far as they are in the records.
async fn drills(pool: &PgPool, found: &[Found]) -> Result<HashMap<DeploymentId, Drill>, StoreError> {
    let tags = found.iter().filter_map(|found| found.tags.as_ref()).filter(|tags| tags.role == Some(Role::Drill));
    let ids: Vec<Uuid> = tags.filter_map(|tags| Some(tags.deployment?.uuid())).collect();
    Ok(super::drills::named(pool, &ids).await?.into_iter().map(|drill| (drill.id.tag(), drill)).collect())
}

/// The slot that each service/environment has live.
async fn serving(pool: &PgPool, targets: Vec<String>) -> Result<HashMap<String, SlotRef>, StoreError> {
    let rows = sqlx::query!(
        r#"select service || '/' || environment as "target!", live as "live!" from environments
           where live is not null and service || '/' || environment = any($1)"#,
        &targets,
    )
    .fetch_all(pool)
    .await
    .doing(DOING)?;
    rows.into_iter()
        .map(|row| {
            let live: Live = serde_json::from_value(row.live).doing("reading the live group")?;
            Ok((row.target, live.slot))
        })
        .collect()
}

/// The blue that the first success of each service/environment replaced, with where it was.
pub(super) async fn adopted(pool: &PgPool) -> Result<Vec<(Provider, GroupName)>, StoreError> {
    let rows = sqlx::query!(
        r#"select first.record -> 'declaration' -> 'provider' as "provider!",
               first.record -> 'plan' -> 'blue' ->> 'group' as "blue!"
           from environments as e cross join lateral (
               select d.record from deployments as d
               where d.service = e.service and d.environment = e.environment and d.phase = 'succeeded'
               order by d.number limit 1
           ) as first
           where first.record -> 'plan' -> 'blue' ->> 'group' is not null
           order by e.service, e.environment limit $1"#,
        ADOPTED_MAX,
    )
    .fetch_all(pool)
    .await
    .doing("reading which groups were adopted")?;
    rows.into_iter().map(|row| Ok((serde_json::from_value(row.provider).doing(DOING)?, GroupName::new(row.blue)))).collect()
}
