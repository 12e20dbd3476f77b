//! `cutover-bench`: measures the real program against a pocket region, prints figures and writes them as JSON.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use cutover_sim::bench::calls::{self, Counting};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What Cutover costs: calls of AWS.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// A folder for the service's state; Postgres' user must be able to pass through it.
    #[arg(long)]
    folder: PathBuf,
    /// The `cutover` binary; by default the one beside this program. An older one shows what has changed.
    #[arg(long)]
    cutover: Option<PathBuf>,
    /// How many deployments bake at a time.
    #[arg(long, value_delimiter = ',', default_value = "10,100", value_parser = clap::value_parser!(u32).range(1..=1000))]
    fleets: Vec<u32>,
    /// A file with the service's settings while many bake; an older one does not know those that are given it by default.
    #[arg(long)]
    settings: Option<PathBuf>,
    /// Where the figures go.
    #[arg(long, default_value = "bench.json")]
    out: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match bench(Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cutover-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(flags: Flags) -> Result<(), String> {
    let here = std::env::current_exe().map_err(|error| format!("looking for this program's own path: {error}"))?;
    let cutover = flags.cutover.unwrap_or_else(|| here.with_file_name("cutover"));
    let settings = match &flags.settings {
        Some(file) => std::fs::read_to_string(file).map_err(|error| format!("reading {}: {error}", file.display()))?,
        None => calls::SETTINGS.to_owned(),
    };
    let interrupt = CancellationToken::new();
    tokio::spawn(interrupted(interrupt.clone()));
    let load = load();
    let counting = Counting { program: &cutover, folder: &flags.folder, settings: &settings, interrupt: &interrupt };
    let calls = counting.count(&flags.fleets, |doing| eprintln!("{doing}")).await?;
    println!("{}load of the machine: {load} before, {} after", calls.table(), self::load());
    let figures = json!({"aws": calls.json(), "load": {"before": load, "after": self::load()}});
    std::fs::write(&flags.out, format!("{figures:#}\n")).map_err(|error| format!("writing {}: {error}", flags.out.display()))
}

/// What was started has to be stopped in its order: a signal is only noted here.
async fn interrupted(interrupt: CancellationToken) {
    let Ok(mut terminated) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
    interrupt.cancel();
}

/// Processes that run or want to, of the last minute; calls are counted, not timed, so that a busy machine only makes them fewer.
fn load() -> String {
    let all = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    all.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("unknown").to_owned()
}
