//! What Postgres promises beyond the port: the schema refuses what no code should try, and trouble stays small.

use std::time::{Duration, Instant};

use cutover::{
    domain::{
        command::Command,
        declaration::Declaration,
        deployment::{Given, Intent},
        drill::DrillSpec,
        ids::DrillId,
        phase::{BackAs, Phase},
        schedule::Schedule,
        weight::Weight,
    },
    engine::{
        bundles::Bundles,
        drills::ports::{Begun, DrillStore, Due, NewDrill, Turn},
        ports::{Commanded, LaneStore, Settled, Settlement, Store, StoreError, TokenOwner},
    },
    store::{PgStore, StoreSettings},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

use super::store::{
    LEASE, bring, by, claim, create, declaration, declare, eventually, give, now, of, read, release, replica, settle,
};
use crate::support::{own_postgres::OwnPostgres, postgres::database};
use uuid::Uuid;

async fn refused_by(connection: &mut PgConnection, statement: String) -> Option<String> {
    let error = sqlx::query(AssertSqlSafe(statement)).execute(connection).await.err()?;
    error.as_database_error()?.constraint().map(str::to_owned)
}

async fn run(connection: &mut PgConnection, statement: &'static str) -> u64 {
    sqlx::query(statement).execute(connection).await.unwrap().rows_affected()
}

#[tokio::test]
async fn the_schema_lets_nothing_that_ended_change_but_a_late_acceptance() {
    let database = database().await;
    let store = database.store().await;
    let web = release(&store, "web").await;
    store.lane().raise_rollback(web, &by("ada")).await.unwrap();
    bring(&store, web, Phase::RolledBack).await;
    let mut raw = database.connection().await;
    assert_eq!(
        run(&mut raw, "select from deployments where record ? 'intent'").await,
        0,
        "the commands' part has its own column"
    );
    for change in [
        "record = jsonb_set(record, '{phase}', '{\"name\": \"baking\"}'), due_at = now(), ended_at = null",
        "record = jsonb_set(record, '{attention}', '\"x\"')",
        "intent = jsonb_set(intent, '{cancel}', '{}')",
        "version = version + 1",
        "ended_at = now()",
        "quiet_from = null",
        "lease_holder = 'replica-1', lease_until = now()",
    ] {
        let refused = refused_by(&mut raw, format!("update deployments set {change}")).await;
        assert_eq!(refused.as_deref(), Some("deployments_ended_never_changes"), "{change}");
    }
    assert_eq!(run(&mut raw, "update deployments set rollback_accepted_at = now()").await, 1);
    let again = refused_by(&mut raw, "update deployments set rollback_accepted_at = null".to_owned()).await;
    assert_eq!(again.as_deref(), Some("deployments_acceptance_stays"));
}

#[tokio::test]
async fn of_two_replicas_that_see_a_schedule_due_one_begins_one_drill() {
    let database = database().await;
    let store = database.store().await;
    let target = of("web");
    let schedule = Some(Schedule::parse("0 3 * * *", "Europe/Berlin").unwrap());
    let drill = Some(DrillSpec { schedule, ..DrillSpec::default() });
    store.declare(&target, &Declaration { drill, ..declaration("web") }, "ada", None).await.unwrap();
    let mut raw = database.connection().await;
    run(&mut raw, "update environments set drill_due_at = now() - interval '10 days'").await;
    let Due { at, now, declaration, .. } = store.due_schedules(10).await.unwrap().remove(0);
    let next = declaration.drill.unwrap().schedule.unwrap().next_after(now);
    let new = || NewDrill {
        id: DrillId::new(Uuid::now_v7()),
        target: target.clone(),
        reason: None,
        created_by: "schedule".to_owned(),
        created_at: now,
        scheduled: Some(Turn { due: at, next }),
    };
    let (one, other) = tokio::join!(store.begin_drill(new()), store.begin_drill(new()));
    let started = [one.unwrap(), other.unwrap()].into_iter().filter(|begun| matches!(begun, Begun::Started(_))).count();
    assert_eq!((started, store.drills(&target, None, 10).await.unwrap().len()), (1, 1));
    run(&mut raw, "update drills set due_at = null, ended_at = now()").await;
    assert!(store.due_schedules(10).await.unwrap().is_empty(), "the nights before are not caught up");
    assert!(matches!(store.begin_drill(new()).await.unwrap(), Begun::Moved), "its turn is over");
    let left = store.next_drill(&replica(1)).await.unwrap().unwrap();
    assert!(left > Duration::ZERO && left <= Duration::from_secs(25 * 3600), "{left:?}");
}

#[tokio::test]
async fn the_schema_lets_no_rollback_be_taken_back() {
    let database = database().await;
    let store = database.store().await;
    let web = release(&store, "web").await;
    store.lane().raise_rollback(web, &by("ada")).await.unwrap();
    let mut raw = database.connection().await;
    for value in ["null", "{\"by\": \"bob\"}"] {
        let change = format!("update deployments set intent = jsonb_set(intent, '{{rollback}}', '{value}')");
        assert_eq!(refused_by(&mut raw, change).await.as_deref(), Some("deployments_rollback_stays"), "{value}");
    }
}

#[tokio::test]
async fn the_schema_lets_no_two_running_deployments_hold_one_thing() {
    let database = database().await;
    let store = database.store().await;
    let (web, api) = (release(&store, "web").await, release(&store, "api").await);
    bring(&store, web, Phase::Provisioning).await;
    let mut raw = database.connection().await;
    for kind in ["environment", "route", "slot", "group", "number"] {
        let steal = format!(
            "insert into deployment_holds (deployment_id, kind, key, number)
             select '{api}', kind, key, number from deployment_holds where deployment_id = '{web}' and kind = '{kind}' limit 1"
        );
        assert_eq!(refused_by(&mut raw, steal).await.as_deref(), Some("deployment_holds_one_running"), "{kind}");
    }
}

#[tokio::test]
async fn the_status_column_says_what_the_domain_says_for_every_phase_and_intent() {
    let database = database().await;
    let store = database.store().await;
    let web = release(&store, "web").await;
    let mut d = read(&store, web).await;
    let shifting = Phase::Shifting { stage: 0, weight: Weight::ALL, by_hand: false, hurry: false, seen_at: None };
    let baking = Phase::Baking { seen_at: None, commit_now: false };
    let (committing, back) =
        (Phase::Committing { quiet_since: None }, Phase::RollingBack { shield: true, ends: BackAs::Cancelled });
    let open = [Phase::Pending, Phase::Provisioning, Phase::Verifying, shifting, baking, committing, Phase::Retiring, back];
    let ended = [Phase::Succeeded, Phase::RolledBack, Phase::Cancelled, Phase::Failed];
    let mut raw = database.connection().await;
    // Beside the table, which would not let all of them be: the two columns come out of its own expressions.
    sqlx::query("create temporary table said (like deployments including generated)").execute(&mut raw).await.unwrap();
    let given = || Some(Given { by: "ada".to_owned(), reason: None, at: now() });
    for phase in open.into_iter().chain(ended) {
        for bits in 0..8_u8 {
            let set = |bit: u8| bits & bit != 0;
            d.phase = phase.clone();
            d.intent = Intent {
                paused_since: set(1).then(now),
                rollback: given().filter(|_| set(2)),
                cancel: given().filter(|_| set(4)),
                ..Intent::default()
            };
            let insert = "insert into said (id, service, environment, number, record, intent, version, created_at)
                values ($1, 'web', 'prod', 1, $2, $3, 1, now()) returning phase, status";
            let said: (String, String) = sqlx::query_as(insert)
                .bind(web.uuid())
                .bind(serde_json::to_value(&d).unwrap())
                .bind(serde_json::to_value(&d.intent).unwrap())
                .fetch_one(&mut raw)
                .await
                .unwrap();
            assert_eq!((said.0.as_str(), said.1.as_str()), (phase.name(), d.status().name()), "{phase:?} {bits:03b}");
        }
    }
}

#[tokio::test]
async fn a_lease_ends_by_the_databases_clock() {
    let database = database().await;
    let store = database.store().await;
    let web = release(&store, "web").await;
    claim(&store, &replica(1), web).await;
    let mut raw = database.connection().await;
    // As if the database's clock had moved past the lease's end while ours has not.
    run(&mut raw, "update deployments set lease_until = now(), due_at = now()").await;
    assert_eq!(store.claim_due(&replica(2), LEASE, 1, &Bundles::default()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_rollback_that_waited_for_the_engines_write_acts_on_what_that_left() {
    let database = database().await;
    let store = database.store().await;
    let lane = store.lane();
    let web = release(&store, "web").await;
    bring(&store, web, Phase::Committing { quiet_since: None }).await;
    let mut raw = database.connection().await;
    let mut engine = raw.begin().await.unwrap();
    run(&mut engine, "update deployments set record = jsonb_set(record, '{phase}', '{\"name\": \"retiring\"}')").await;
    let raising = tokio::spawn(async move { lane.raise_rollback(web, &by("ada")).await.unwrap() });
    let mut watcher = database.connection().await;
    eventually(&store, "the rollback to wait", async || {
        let mut watcher = database.connection().await;
        let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
        (sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut watcher).await.unwrap() == 1).then_some(())
    })
    .await;
    engine.commit().await.unwrap();
    let raised = raising.await.unwrap();
    assert!(
        matches!(&raised, Commanded::Refused { deployment, .. } if deployment.deployment.phase == Phase::Retiring),
        "{raised:?}"
    );
    assert_eq!(run(&mut watcher, "delete from events where kind = 'command.rollback'").await, 0, "nothing was told either");
}

#[tokio::test]
async fn a_statement_that_hangs_is_given_up_and_told_as_unreachable() {
    let database = database().await;
    let settings = StoreSettings {
        lane_statement_timeout: Duration::from_millis(100),
        statement_timeout: Duration::from_millis(100),
        ..database.settings()
    };
    let store = PgStore::open(&settings).await.unwrap();
    let web = release(&store, "web").await;
    let mut raw = database.connection().await;
    let mut stalled = raw.begin().await.unwrap();
    run(&mut stalled, "select from deployments for update").await;
    let raised = store.lane().raise_rollback(web, &by("ada")).await;
    assert!(matches!(raised, Err(StoreError::Unreachable { .. })), "{raised:?}");
    let given = store.command(web, Command::Pause, by("ada"), None).await;
    assert!(matches!(given, Err(StoreError::Unreachable { .. })), "{given:?}");
    stalled.rollback().await.unwrap();
    give(&store, web, Command::Pause).await;
}

#[tokio::test]
async fn after_a_restart_of_the_database_the_first_rollback_succeeds() {
    let database = database().await;
    let store = database.store().await;
    let web = release(&store, "web").await;
    let mut raw = database.connection().await;
    let ended = run(
        &mut raw,
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()",
    )
    .await;
    assert!(ended >= 2, "the lane's connections were open before they were needed, not {ended}");
    let raised = store.lane().raise_rollback(web, &by("ada")).await.unwrap();
    assert!(matches!(raised, Commanded::Done { changed: true, .. }), "{raised:?}");
}

#[tokio::test]
async fn a_listener_that_lost_its_connection_listens_again() {
    let database = database().await;
    let store = database.store().await;
    declare(&store, "web").await;
    let mut raw = database.connection().await;
    run(
        &mut raw,
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()",
    )
    .await;
    let web = create(&store, "web").await.deployment.id;
    eventually(&store, "a wake", async || {
        let woken = tokio::time::timeout(Duration::from_millis(500), store.changed(LEASE));
        let command = if read(&store, web).await.intent.is_paused() { Command::Resume } else { Command::Pause };
        give(&store, web, command).await;
        woken.await.ok()
    })
    .await;
}

/// Postgres lets transactions that notify commit only one after the other: a rollback would stand behind every tick.
#[tokio::test]
async fn the_commit_of_a_record_holds_up_no_other() {
    let postgres = OwnPostgres::with_fsync().await;
    let raw = PgPool::connect(&postgres.url()).await.unwrap();
    // Each commit takes long enough to be met.
    for sql in ["alter system set commit_delay = 100000", "alter system set commit_siblings = 0", "select pg_reload_conf()"] {
        sqlx::query(sql).execute(&raw).await.unwrap();
    }
    let store = PgStore::open(&StoreSettings::new(postgres.url())).await.unwrap();
    let (web, api, blog) = (release(&store, "web").await, release(&store, "api").await, release(&store, "blog").await);
    declare(&store, "shop").await;
    let (engine, lane) = (replica(1), store.lane());
    let claimed = claim(&store, &engine, blog).await;
    let next = claimed.deployment.entering(Phase::Verifying, now());
    let commits = async {
        lane.raise_rollback(web, &by("ada")).await.unwrap();
        lane.accepted(web, now()).await.unwrap();
        give(&store, api, Command::Pause).await;
        settle(&store, &engine, &claimed, &next).await;
        create(&store, "shop").await;
    };
    let mut commits = std::pin::pin!(commits);
    loop {
        // Theirs, who tell the other replicas, is held for no longer than it takes to queue it.
        let holding = sqlx::query_scalar::<_, String>(
            "select left(query, 100) from pg_locks join pg_stat_activity using (pid)
             where locktype = 'object' and classid = 'pg_database'::regclass and objid = 0 and query not like 'select pg_notify%'",
        );
        tokio::select! {
            () = &mut commits => break,
            holding = holding.fetch_optional(&raw) => assert_eq!(holding.unwrap(), None, "it holds up every other that notifies"),
        }
    }
}

#[tokio::test]
async fn one_replica_is_told_of_what_another_one_wrote() {
    let database = database().await;
    let (here, there) = (database.store().await, database.store().await);
    let web = release(&here, "web").await;
    eventually(&here, "a wake", async || {
        let woken = tokio::time::timeout(Duration::from_millis(500), there.changed(LEASE));
        let command = if read(&here, web).await.intent.is_paused() { Command::Resume } else { Command::Pause };
        give(&here, web, command).await;
        woken.await.ok()
    })
    .await;
    // From now on it listens.
    let woken = there.changed(LEASE);
    here.lane().raise_rollback(web, &by("ada")).await.unwrap();
    tokio::time::timeout(LEASE / 2, woken).await.expect("told of a rollback");
}

#[tokio::test]
async fn what_comes_late_of_an_earlier_lease_gives_no_later_one_back() {
    let database = database().await;
    let store = database.store().await;
    let web = release(&store, "web").await;
    let old = claim(&store, &replica(1), web).await;
    store.release_all(&replica(1)).await.unwrap();
    let new = claim(&store, &replica(1), web).await;
    assert_eq!(new.version, old.version, "nothing was written in between");
    let seen_again = |claim| Settlement::new(claim, &old.deployment, &[], LEASE, true);
    assert_eq!(store.settle(&replica(1), seen_again(&old)).await.unwrap(), Settled::Lost);
    assert_eq!(store.settle(&replica(1), seen_again(&new)).await.unwrap(), Settled::Stored);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_stops_no_other() {
    let database = database().await;
    let store = database.store().await;
    let (web, api) = (release(&store, "web").await, release(&store, "api").await);
    let mut raw = database.connection().await;
    run(&mut raw, "update deployments set record = record - 'strategy' where service = 'web'").await;
    let claims = store.claim_due(&replica(1), LEASE, 10, &Bundles::default()).await.unwrap();
    assert_eq!(claims.iter().map(|claim| claim.deployment.id).collect::<Vec<_>>(), [api]);
    assert_eq!(store.running(10).await.unwrap().len(), 1);
    assert!(matches!(store.get(web).await, Err(StoreError::Broken { .. })), "whoever asks for it is told");
}

#[tokio::test]
async fn replicas_that_start_together_on_an_empty_database_bring_it_up_once() {
    let database = database().await;
    let mut raw = database.connection().await;
    run(&mut raw, "drop schema public cascade").await;
    run(&mut raw, "create schema public").await;
    let settings = database.settings();
    let (a, b, c) = tokio::join!(PgStore::open(&settings), PgStore::open(&settings), PgStore::open(&settings));
    let id = a.unwrap().installation().await.unwrap();
    for store in [b, c] {
        assert_eq!(store.unwrap().installation().await.unwrap(), id);
    }
}

#[tokio::test]
async fn a_schema_that_a_newer_replica_brought_up_is_good_enough() {
    let database = database().await;
    let mut raw = database.connection().await;
    let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
        values (9999, 'later', true, '\\x00', 1)";
    run(&mut raw, newer).await;
    PgStore::open(&database.settings()).await.unwrap().ping().await.unwrap();
}

#[tokio::test]
async fn without_a_database_it_says_so_and_does_not_hang() {
    let nobody = StoreSettings {
        acquire_timeout: Duration::from_millis(300),
        ..StoreSettings::new("postgres://nobody@127.0.0.1:1/none".to_owned())
    };
    let began = Instant::now();
    let refused = PgStore::open(&nobody).await;
    assert!(matches!(refused, Err(StoreError::Unreachable { .. })), "{refused:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn tokens_are_known_by_their_digest_and_replaced_by_name() {
    let database = database().await;
    let store = database.store().await;
    let ada = TokenOwner { name: "ada".to_owned(), admin: true };
    assert_eq!(store.token_owner([1; 32]).await.unwrap(), None);
    assert!(store.put_first_token(&ada, [1; 32]).await.unwrap());
    assert!(!store.put_first_token(&ada, [2; 32]).await.unwrap(), "the one that is known stays");
    assert_eq!(store.token_owner([1; 32]).await.unwrap(), Some(ada.clone()));
    store.put_token(&ada, [3; 32]).await.unwrap();
    assert_eq!(store.token_owner([1; 32]).await.unwrap(), None);
    assert_eq!(store.token_owner([3; 32]).await.unwrap(), Some(ada));
}
