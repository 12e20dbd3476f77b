//! How long a rollback takes, request to answer, held against the bare work in the same run.
//!
//! Each row rolls back deployments that bake, one a service, and takes turns with the bare work on the same database and the same
//! load balancers: what disturbs one disturbs the other. A handler that does commit and call one after the other runs beside
//! them, and has to be told apart.

mod bare;
mod figures;
mod goals;
mod holder;
mod short_of_tokens;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use cutover::store::{
    embedded::{Embedded, EmbeddedSettings},
    state_dir::StateDir,
};
use cutover_sim::{
    bench::fleet::{Fleet, Making},
    scenario::Stage,
};
use figures::{Compared, Sample};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::bare::Bare;

/// What both are slowed to: below it nobody could tell side by side from one after the other.
const SLOWED: Duration = Duration::from_millis(20);

/// Between two measurements: what a rollback leaves to the engine is not to be met by the next one.
const PAUSE: Duration = Duration::from_millis(150);

/// How long a service that nobody asks is watched.
const RESTING: Duration = Duration::from_secs(10);

/// A budget that is not met: waiting for tokens is measured by itself.
const PLENTY: &str = "[aws.budget]
elb_changes = { size = 2000, per_second = 300 }
elb_looks = { size = 4000, per_second = 1000 }
auto_scaling = { size = 1000, per_second = 500 }
";

#[derive(Debug, Parser)]
struct Flags {
    /// A folder for databases and state; Postgres' user must be able to pass through it.
    #[arg(long)]
    folder: PathBuf,
    /// Rollbacks of each row.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..=1000))]
    rollbacks: u32,
    /// Deployments that run while those of the row `with_1000` are measured.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=2000))]
    running: u32,
    /// Rollbacks at once, of the row `burst_200`.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(30..=1000))]
    burst: u32,
    /// Where the figures go: the key `rollback` of this file.
    #[arg(long, default_value = "bench.json")]
    out: PathBuf,
    /// Given by `cargo bench` to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rollback: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: &Flags) -> Result<(), String> {
    goals::can_lose()?;
    let before = load();
    let row = |name, latency, services| Row { name, latency, services, stopped: false };
    let slowed = with_a_database(flags, row("idle", SLOWED, flags.rollbacks)).await?;
    println!("{}", slowed.compared.line("idle, commit and call slowed to 20 ms"));
    let fast = with_a_database(flags, row("fast", Duration::ZERO, flags.rollbacks)).await?;
    println!("{}", fast.compared.line("idle, nothing slowed"));
    let stopped = Row { stopped: true, ..row("stopped", SLOWED, flags.rollbacks) };
    let stopped = with_a_database(flags, stopped).await?;
    println!("{}", stopped.compared.line("Postgres stopped, call slowed to 20 ms"));
    let many = with_a_database(flags, row("many", SLOWED, flags.running.max(flags.rollbacks))).await?;
    println!("{}", many.compared.line(&format!("with {} running, commit and call slowed to 20 ms", flags.running)));
    let empty = empty(flags).await?;
    let (memory, cpu) = at_rest(empty, &many);
    println!("at rest: memory {memory}, cpu {cpu}");
    let holder = holder::measured(flags).await?;
    println!("{}", holder.line());
    let short = short_of_tokens::measured(flags).await?;
    println!("{}", short.line());
    let after = load();
    println!("load of the machine: {before} before, {after} after");
    let mut idle = slowed.compared.json();
    idle["added_p50_ms"] = fast.compared.json()["added_p50_ms"].clone();
    let colds: Vec<_> = [&slowed, &fast, &many].iter().filter_map(|of| of.cold).map(ms).collect();
    println!("cold start to the first rollback: {colds:.0?} ms");
    let worst = colds.iter().copied().reduce(f64::max);
    let rollback = json!({
        "idle": idle, "idle_not_slowed": fast.compared.json(), "postgres_stopped": stopped.compared.json(),
        "with_1000": many.compared.json(), "running": flags.running, "cold_start": {"ms": colds, "worst_ms": worst},
        "holder_killed": holder.killed(), "burst_200": short.burst(), "drained_bucket": short.drained(),
        "load": {"before": before, "after": after},
    });
    let mut figures = json!({"rollback": rollback, "takeover": holder.takeover(), "memory": memory, "cpu": cpu});
    let goals = goals::held(&figures);
    goals.iter().for_each(|goal| println!("{goal}"));
    figures["goals"] = json!(goals);
    write(&flags.out, figures)?;
    on_record(&stopped.compared, [&slowed.compared, &fast.compared, &many.compared])?;
    told_apart(&slowed.compared)?;
    if !goals::is_to_be_trusted(&before) {
        return Err(format!(
            "the machine was too busy (load {before}) for these figures to be trusted; they are written all the same"
        ));
    }
    let missed = goals::missed(&goals);
    if missed.is_empty() { Ok(()) } else { Err(format!("goals missed: {}", missed.join(", "))) }
}

fn ms(of: Duration) -> f64 {
    of.as_secs_f64() * 1000.0
}

/// What the service's own process holds, in bytes, and the part of a core that it uses, while nobody asks and nothing runs.
async fn empty(flags: &Flags) -> Result<(u64, f64), String> {
    let folder = flags.folder.join("empty");
    std::fs::create_dir_all(&folder).map_err(|error| format!("creating {}: {error}", folder.display()))?;
    let interrupt = CancellationToken::new();
    let making = Making {
        program: Path::new(env!("CARGO_BIN_EXE_cutover")),
        folder: &folder,
        config: PLENTY,
        services: 1,
        latency: Duration::ZERO,
        interrupt: &interrupt,
    };
    let fleet = Fleet::start(making).await?;
    let rested = resting(&fleet).await;
    fleet.stop().await?;
    rested
}

/// Memory and part of a core, after a while and over a while.
async fn resting(fleet: &Fleet) -> Result<(u64, f64), String> {
    tokio::time::sleep(RESTING).await;
    let before = fleet.process()?;
    tokio::time::sleep(RESTING).await;
    let after = fleet.process()?;
    Ok((after.0, (after.1.saturating_sub(before.1)).as_secs_f64() / RESTING.as_secs_f64()))
}

/// Memory and processor: of a service where nothing runs, and of one where many deployments bake.
fn at_rest(empty: (u64, f64), many: &Measured) -> (Value, Value) {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let added = megabytes(many.resident) - megabytes(empty.0);
    let memory = json!({
        "empty_mb": megabytes(empty.0), "many_mb": megabytes(many.resident), "running": many.running,
        "added_per_1000_mb": added * 1000.0 / f64::from(many.running),
    });
    let cpu = json!({"empty_percent": empty.1 * 100.0, "with_1000_percent": many.busy * 100.0, "running": many.running});
    (memory, cpu)
}

/// The control: if it looked the same as the bare work, the ratio of the service would say nothing.
fn told_apart(slowed: &Compared) -> Result<(), String> {
    let ratio = slowed.serial.p50() / slowed.bare.p50();
    if ratio > 1.5 {
        return Ok(());
    }
    Err(format!("one after the other took {ratio:.2} times what both together took: they cannot be told apart in this run"))
}

/// Without a database no rollback is on record, and with one nearly all are: else it is something else that was measured.
fn on_record(stopped: &Compared, others: [&Compared; 3]) -> Result<(), String> {
    let some = others.iter().find(|of| of.without_record as usize * 50 > of.service.len());
    if stopped.without_record as usize == stopped.service.len() && some.is_none() {
        return Ok(());
    }
    Err("the database was there where it was to be away, or too slow for more than 2 of 100 rollbacks".to_owned())
}

/// Into the file that `make bench` writes, beside what is there.
fn write(out: &Path, measured: Value) -> Result<(), String> {
    let there = std::fs::read_to_string(out).ok().and_then(|text| serde_json::from_str(&text).ok());
    let mut figures: Value = there.filter(Value::is_object).unwrap_or_else(|| json!({}));
    if let (Some(figures), Value::Object(measured)) = (figures.as_object_mut(), measured) {
        figures.extend(measured);
    }
    std::fs::write(out, format!("{figures:#}\n")).map_err(|error| format!("writing {}: {error}", out.display()))
}

#[derive(Debug, Clone, Copy)]
struct Row {
    name: &'static str,
    latency: Duration,
    /// That run; the rows roll some of them back.
    services: u32,
    /// Postgres is stopped before the first rollback.
    stopped: bool,
}

/// What came of a row.
struct Measured {
    compared: Compared,
    /// From the start of a process to its first rollback; not without a database.
    cold: Option<Duration>,
    running: u32,
    /// Memory of the process, in bytes.
    resident: u64,
    /// Of a core, the part that it used while nobody asked.
    busy: f64,
}

/// A database below `folder`, and the settings of a service that keeps its records there.
async fn started(folder: &Path) -> Result<(Embedded, String), String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("creating {}: {error}", folder.display()))?;
    let state = StateDir::open(&folder.join("database")).map_err(|error| format!("the database's folder: {error}"))?;
    let database = Embedded::start(&state, &EmbeddedSettings::default()).await.map_err(|error| format!("{error:?}"))?;
    let config = format!("{PLENTY}\n[database]\nurl = \"{}\"\n", database.url().expose_secret());
    Ok((database, config))
}

async fn with_a_database(flags: &Flags, row: Row) -> Result<Measured, String> {
    let folder = flags.folder.join(row.name);
    let (database, config) = started(&folder).await?;
    let interrupt = CancellationToken::new();
    let making = Making {
        program: Path::new(env!("CARGO_BIN_EXE_cutover")),
        folder: &folder,
        config: &config,
        // One is kept for the cold start.
        services: row.services + 1,
        latency: row.latency,
        interrupt: &interrupt,
    };
    let fleet = Fleet::start(making).await?;
    let measured = measure(flags, row, &fleet, &database, &folder).await;
    if row.stopped {
        let stopped = fleet.stop().await;
        let measured = measured?;
        return stopped.map(|()| measured);
    }
    let (fleet, cold) = fleet.cold(&config, row.services as usize).await?;
    let stopped = fleet.stop().await;
    database.stop().await.map_err(|error| format!("stopping the database: {error}"))?;
    stopped?;
    Ok(Measured { cold: Some(cold), ..measured? })
}

async fn measure(flags: &Flags, row: Row, fleet: &Fleet, database: &Embedded, folder: &Path) -> Result<Measured, String> {
    eprintln!("{}: {} deployments to their bake", row.name, row.services);
    fleet.deploy(&json!({"stages": [{"weight": 100, "bake_time": "0s"}], "bake_time": "manual"})).await?;
    fleet.until_all("baking").await?;
    let (resident, busy) = resting(fleet).await?;
    let compared = compare(flags, row, fleet, database, folder).await?;
    Ok(Measured { compared, cold: None, running: row.services + 1, resident, busy })
}

async fn compare(flags: &Flags, row: Row, fleet: &Fleet, database: &Embedded, folder: &Path) -> Result<Compared, String> {
    // Rules that nobody minds: for the bare work, and for its control.
    let spare = Stage { service: "spare".to_owned(), services: flags.rollbacks * 2, servers: 0, ..Stage::default() };
    let spare = fleet.sim().stage(&spare)?;
    let mut rules = spare.services.iter().filter_map(|of| of.routes.first()).cloned();
    let mut bare = Bare::connect(database.url().expose_secret(), fleet.sim().endpoint(), folder).await?;
    let mut copies = bare.copies(flags.rollbacks).await?.into_iter();
    if !row.latency.is_zero() {
        bare.slow_commits(row.latency).await?;
    }
    bare.warm().await?;
    // The first request of a connection opens it.
    fleet.metrics().await?;
    if row.stopped {
        database.stop().await.map_err(|error| format!("stopping the database: {error}"))?;
    }
    let none = Sample::default;
    let mut compared = Compared { without_record: 0, service: none(), bare: none(), serial: none(), greeting: none() };
    for i in 0..flags.rollbacks as usize {
        let mut next = || rules.next().ok_or("there are no spare rules left");
        // In turn, so that none is always the first.
        for turn in 0..4 {
            tokio::time::sleep(PAUSE).await;
            match (i + turn) % 4 {
                0 => {
                    let (took, on_record) = rolled_back(fleet, i).await?;
                    // Where there is a database, one that is too slow is gone on without: counted, and its time with the others'.
                    compared.without_record += u32::from(!on_record);
                    compared.service.add(took);
                }
                1 if row.stopped => compared.bare.add(bare.journaled(&next()?).await?),
                1 => compared.bare.add(bare.together(copies.next().ok_or("there are no copies left")?, &next()?).await?),
                2 => compared.greeting.add(fleet.greeted().await?),
                _ if row.stopped => {}
                _ => {
                    let copy = copies.next().ok_or("there are no copies left")?;
                    compared.serial.add(bare.one_after_the_other(copy, &next()?).await?);
                }
            }
        }
    }
    Ok(compared)
}

/// How long it took, and whether it was on record when it was answered. One that was not accepted at once is no measurement.
async fn rolled_back(fleet: &Fleet, i: usize) -> Result<(Duration, bool), String> {
    let (took, answer) = fleet.roll_back(i).await?;
    match (&answer["mode"], answer["durable"].as_bool(), answer["rollback"]["accepted_at"].is_string()) {
        (mode, Some(on_record), true) if mode == "instant" => Ok((took, on_record)),
        _ => Err(format!("the rollback of service {i} answered otherwise than was measured for: {answer:#}")),
    }
}

/// Processes that run or want to, of the last minute.
fn load() -> String {
    let all = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    all.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("unknown").to_owned()
}
