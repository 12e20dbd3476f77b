//! `cutover-demo`: plays a story. As `cutover-demo server …` it is the server that the demo's images run.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, Parser, Subcommand};
use cutover_sim::{
    demo::story::{self, Settings, Story},
    servers::responder::{BACKLOG, Identity, serve},
};
use tokio::{
    io::AsyncReadExt,
    net::TcpSocket,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

/// Real traffic moves from blue to green in stages, and back with one call, on this machine.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Flags {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: DemoFlags,
}

#[derive(Debug, Args)]
struct DemoFlags {
    /// What is told.
    #[arg(long, value_enum, default_value_t)]
    story: Story,
    /// An empty folder for the service's state and log; Postgres' user must be able to pass through it.
    #[arg(long, required = true)]
    folder: Option<PathBuf>,
    /// The `cutover` binary; by default the one beside this program.
    #[arg(long)]
    cutover: Option<PathBuf>,
    /// The AWS command line, which only the story of drift uses; scripts/setup installs it.
    #[arg(long, env = "CUTOVER_AWS", default_value = ".venv/bin/aws")]
    aws: PathBuf,
    /// Where the picture is drawn.
    #[arg(long, default_value = "demo.svg")]
    picture: PathBuf,
    #[arg(long, default_value_t = 320)]
    requests_per_second: u32,
    /// Leave everything running at the end, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves one version until SIGTERM, or until its standard input ends.
    Server {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        version: String,
        #[arg(long)]
        instance: String,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "error".into()))
        .with_writer(std::io::stderr)
        .init();
    let flags = Flags::parse();
    let done = match flags.command {
        Some(Command::Server { port, version, instance }) => server(port, Identity { version, instance }).await.map(|()| true),
        None => demo(flags.demo).await,
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cutover-demo: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(flags: DemoFlags) -> Result<bool, String> {
    let server = std::env::current_exe().map_err(|error| format!("looking for this program's own path: {error}"))?;
    let settings = Settings {
        story: flags.story,
        aws: flags.aws,
        cutover: flags.cutover.unwrap_or_else(|| server.with_file_name("cutover")),
        server,
        folder: flags.folder.unwrap_or_default(),
        picture: flags.picture,
        requests_per_second: flags.requests_per_second,
        keep: flags.keep,
    };
    let interrupt = CancellationToken::new();
    tokio::spawn(interrupted(interrupt.clone()));
    story::play(&settings, &interrupt).await
}

/// Everything that was started has to be stopped in its order: a signal is only noted here.
async fn interrupted(interrupt: CancellationToken) {
    let Ok(mut terminated) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
    interrupt.cancel();
}

async fn server(port: u16, identity: Identity) -> Result<(), String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listen = || {
        let socket = TcpSocket::new_v4()?;
        // The port was free a moment ago; what is left of a connection to its last owner does not matter.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    let listener = listen().map_err(|error: std::io::Error| format!("listening on {address}: {error}"))?;
    let mut terminated = signal(SignalKind::terminate()).map_err(|error| format!("waiting for SIGTERM: {error}"))?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        let mut nothing = [0_u8; 64];
        let mut stdin = tokio::io::stdin();
        let orphaned = async { while stdin.read(&mut nothing).await.is_ok_and(|read| read > 0) {} };
        tokio::select! {
            _ = terminated.recv() => {}
            // Whoever started this server holds the other end: it has died, and nobody will send the signal.
            () = orphaned => {}
        }
        stopping.cancel();
    });
    serve(listener, identity, Arc::new(true.into()), stop).await;
    Ok(())
}
