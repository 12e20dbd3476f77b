//! The work that no rollback can do without, and nothing else: one commit on one prepared connection, one call of the load balancer.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_elasticloadbalancingv2::{
    Client,
    config::{Credentials, SharedCredentialsProvider},
};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

/// What the lane's own statement writes, on tables like its own.
const COMMIT: &str = "with raised as (
        update bare.deployments set intent = jsonb_set(intent, '{rollback}', $2), version = version + 1, due_at = now()
        where id = $1 returning id, record, intent, version
    ), told as (
        insert into bare.events (deployment_id, kind, message, actor, data)
        select id, 'command.rollback', 'rollback asked for: measured', 'bootstrap', $2 from raised
    )
    select record, intent, version from raised";

/// A user of the same database and the same load balancers.
pub struct Bare {
    connection: PgConnection,
    elb: Client,
    file: File,
}

fn words(doing: &'static str) -> impl Fn(sqlx::Error) -> String {
    move |error| format!("{doing}: {error}")
}

impl Bare {
    pub async fn connect(database: &str, aws: &str, folder: &Path) -> Result<Self, String> {
        let connection = PgConnection::connect(database).await.map_err(words("connecting for the bare commit"))?;
        let credentials = SharedCredentialsProvider::new(Credentials::new("pocket", "pocket", None, None, "bench"));
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .endpoint_url(aws)
            .credentials_provider(credentials)
            .build();
        let file = File::create(folder.join("bare-journal")).map_err(|error| format!("creating the bare journal: {error}"))?;
        Ok(Self { connection, elb: Client::new(&config), file })
    }

    /// Copies, two of each, of so many of the records that there are, to be written to.
    pub async fn copies(&mut self, of: u32) -> Result<Vec<Uuid>, String> {
        let making = "create schema if not exists bare;
            drop table if exists bare.deployments, bare.events;
            create table bare.deployments (like public.deployments including all);
            create table bare.events (like public.events including all);
            insert into bare.deployments (id, service, environment, number, record, intent, created_at)
            select gen_random_uuid(), service, environment, number + 10000 * copy, record, intent, created_at
            from (select * from public.deployments limit LIMIT) as chosen, generate_series(1, 2) as copy";
        let making = making.replace("LIMIT", &of.to_string());
        sqlx::raw_sql(sqlx::AssertSqlSafe(making)).execute(&mut self.connection).await.map_err(words("copying the records"))?;
        let ids = sqlx::query_scalar("select id from bare.deployments");
        ids.fetch_all(&mut self.connection).await.map_err(words("reading the copies"))
    }

    /// Makes every commit of the database's wait as long as a slow disk would.
    pub async fn slow_commits(&mut self, by: Duration) -> Result<(), String> {
        let setting = format!("alter system set commit_delay = {}", by.as_micros());
        for sql in [setting, "alter system set commit_siblings = 0".to_owned(), "select pg_reload_conf()".to_owned()] {
            self.run(sql).await?;
        }
        Ok(())
    }

    async fn run(&mut self, sql: String) -> Result<(), String> {
        // Our own words, with a number in them.
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut self.connection)
            .await
            .map(|_| ())
            .map_err(words("setting the database up"))
    }

    /// Connections and statements that are warm, as the lane's are.
    pub async fn warm(&mut self) -> Result<(), String> {
        let known = self.elb.describe_load_balancers().send().await.map_err(|error| format!("{error:?}"))?;
        drop(known);
        sqlx::query(COMMIT)
            .bind(Uuid::nil())
            .bind(serde_json::json!({}))
            .execute(&mut self.connection)
            .await
            .map(|_| ())
            .map_err(words("preparing the bare commit"))
    }

    /// Both started together and both awaited.
    pub async fn together(&mut self, id: Uuid, rule: &str) -> Result<Duration, String> {
        let started = Instant::now();
        let (commit, call) = tokio::join!(commit(&mut self.connection, id), delete(&self.elb, rule));
        commit.and(call).map(|()| started.elapsed())
    }

    /// One after the other: what must be told apart from the above.
    pub async fn one_after_the_other(&mut self, id: Uuid, rule: &str) -> Result<Duration, String> {
        let started = Instant::now();
        commit(&mut self.connection, id).await?;
        delete(&self.elb, rule).await?;
        Ok(started.elapsed())
    }

    /// Without a database: 200 bytes appended and on the disk, and the call.
    pub async fn journaled(&mut self, rule: &str) -> Result<Duration, String> {
        let started = Instant::now();
        let mut file = self.file.try_clone().map_err(|error| format!("the bare journal: {error}"))?;
        let append = tokio::task::spawn_blocking(move || file.write_all(&[b'x'; 200]).and_then(|()| file.sync_data()));
        let (append, call) = tokio::join!(append, delete(&self.elb, rule));
        append.map_err(|error| format!("the bare journal: {error}"))?.map_err(|error| format!("the bare journal: {error}"))?;
        call.map(|()| started.elapsed())
    }
}

async fn commit(connection: &mut PgConnection, id: Uuid) -> Result<(), String> {
    let given = serde_json::json!({"by": "bootstrap", "reason": "measured", "at": "2026-11-30T12:00:00Z"});
    let row = sqlx::query(COMMIT).bind(id).bind(given).fetch_one(connection).await;
    row.map(|_| ()).map_err(words("the bare commit"))
}

async fn delete(elb: &Client, rule: &str) -> Result<(), String> {
    elb.delete_rule().rule_arn(rule).send().await.map(|_| ()).map_err(|error| format!("the bare call: {error:?}"))
}
