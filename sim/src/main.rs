//! The pocket region as a program: prints its endpoint and runs until interrupted.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use clap::Parser;
use cutover_sim::{Sim, options::Options};
use jiff::SignedDuration;
use tracing_subscriber::EnvFilter;

/// The parts of AWS that Cutover talks to, on this machine. Point AWS_ENDPOINT_URL at it.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Where the AWS API answers; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:4566", env = "CUTOVER_SIM_LISTEN")]
    listen: SocketAddr,
    /// AWS's clocks are multiplied by this: 1 is AWS's own pace, 0.01 a hundredth of it.
    #[arg(long, default_value_t = 1.0, value_parser = scale)]
    scale: f64,
    /// Seed of everything drawn by chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Added to every API call, such as 20ms.
    #[arg(long, default_value = "0s", value_parser = duration)]
    latency: Duration,
    /// Enforce AWS's published token buckets.
    #[arg(long)]
    limits: bool,
}

fn scale(text: &str) -> Result<f64, String> {
    let scale: f64 = text.parse().map_err(|_| "a number such as 0.05 is wanted".to_owned())?;
    if (0.0001..=10.0).contains(&scale) { Ok(scale) } else { Err("it must be between 0.0001 and 10".to_owned()) }
}

fn duration(text: &str) -> Result<Duration, String> {
    let signed: SignedDuration = text.parse().map_err(|error| format!("a duration such as 20ms is wanted: {error}"))?;
    Duration::try_from(signed).map_err(|_| "it must not be negative".to_owned())
}

#[tokio::main]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")))
        .with_writer(std::io::stderr)
        .init();
    let Flags { listen, scale, seed, latency, limits } = flags;
    let options = Options { listen, scale, seed, latency, limits, ..Options::default() };
    let sim = match Sim::start(options).await {
        Ok(sim) => sim,
        Err(error) => {
            eprintln!("cutover-sim could not listen on {listen}: {error}. Choose another address with --listen.");
            return ExitCode::FAILURE;
        }
    };
    println!("{}", sim.endpoint());
    let mut terminated = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(terminated) => terminated,
        Err(error) => {
            eprintln!("cutover-sim could not wait for signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
    sim.shutdown().await;
    ExitCode::SUCCESS
}
