//! A Postgres of the service's own, for who has none: the machine's binaries, run on a folder below the state folder, with a
//! socket in a private folder, no port and no password.
//!
//! It outlives a service that is killed, and is found again: *connect* first, start only when nobody answers. The state
//! folder's lock says that no other service is at it. `postmaster.pid` is never touched: it is what keeps two servers off one
//! folder, and a killed server's may still be true for a moment, so starting is tried again for a while.

mod account;
mod binaries;

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, chown},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use secrecy::SecretString;
use sha2::{Digest, Sha256};
use sqlx::{
    ConnectOptions, Connection, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::{net::UnixStream, process::Command};
use tokio_util::sync::CancellationToken;

use super::state_dir::StateDir;
use account::Account;

/// How long a start is tried. A server killed with its service lingers for seconds on a busy machine.
const START_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a server that is there may take to replay its log after a crash.
const RECOVERY_TIME_MAX: Duration = Duration::from_secs(300);
const TRY_EVERY: Duration = Duration::from_millis(100);
/// How soon one that has died is missed. A look costs the server one short process.
const LOOK_EVERY: Duration = Duration::from_secs(3);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
const INITDB_TIME_MAX: Duration = Duration::from_secs(120);
/// A graceful stop ends within what the service itself has for it.
const STOP_TIME_MAX: Duration = Duration::from_secs(8);
const CONNECTIONS_MAX: u32 = 100;
const LOG_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// What a socket's path may be long (`sun_path`, its closing zero aside).
const SOCKET_PATH_MAX: usize = 107;
const PORT: u16 = 5432;
/// Superuser and database.
const NAME: &str = "cutover";

/// Why there is no embedded Postgres.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    #[error(
        "no Postgres is installed: `apt install postgresql`, `brew install postgresql@17`, or run one with `docker run -e \
         POSTGRES_PASSWORD=… -p 5432:5432 postgres:17` and name it in database.url"
    )]
    NoPostgres,
    #[error(
        "the data was made by Postgres {major}, which is not installed: install it again (`apt install postgresql-{major}`)"
    )]
    NoSuchPostgres { major: String },
    #[error("{} has no initdb, pg_ctl and postgres: give the folder of a whole Postgres", .0.display())]
    NotThere(PathBuf),
    #[error(
        "Postgres does not run as root, and there is no user `postgres` to run it: start the service as another user, or name a database in database.url"
    )]
    NoUser,
    #[error("user `postgres` may not pass {}, and the data is below it: `chmod o+x` it, or give another folder with --state-dir", .0.display())]
    Barred(PathBuf),
    #[error("cannot {doing} {}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("{program} failed: {said}")]
    Failed { program: &'static str, said: String },
    #[error("{program} did not end within {} s", after.as_secs())]
    Late { program: &'static str, after: Duration },
    #[error("Postgres did not answer within {} s; its log {} ends with: {said}", after.as_secs(), log.display())]
    Silent { after: Duration, log: PathBuf, said: String, source: sqlx::Error },
    #[error("the embedded Postgres could not be asked")]
    Asked(#[source] sqlx::Error),
    #[error(
        "the embedded Postgres runs with fsync off, so an acknowledged rollback could be lost: remove `fsync` from its settings"
    )]
    Fsync,
}

/// What may be chosen about it.
#[derive(Debug, Clone, Default)]
pub struct EmbeddedSettings {
    /// The folder of its binaries; looked for when not given.
    pub binaries: Option<PathBuf>,
    /// Only for data that is thrown away: a test's.
    pub without_fsync: bool,
}

/// A running embedded Postgres. Dropping it leaves it running, as a killed service does.
#[derive(Debug)]
pub struct Embedded {
    server: Server,
    settings: EmbeddedSettings,
}

impl Embedded {
    /// Finds it running or starts it, with a fresh database if there is none yet.
    ///
    /// # Errors
    /// When there is no Postgres, it may not use the folder, or it does not come up; each says what to do.
    pub async fn start(state: &StateDir, settings: &EmbeddedSettings) -> Result<Self, EmbeddedError> {
        let embedded = Self::find(state, settings).await?;
        embedded.run().await?;
        Ok(embedded)
    }

    /// Where it is, running or not.
    ///
    /// # Errors
    /// When there is no Postgres, or it may not use the folder.
    pub async fn find(state: &StateDir, settings: &EmbeddedSettings) -> Result<Self, EmbeddedError> {
        Ok(Self { server: Server::find(state, settings).await?, settings: settings.clone() })
    }

    /// Starts it unless it runs already.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn run(&self) -> Result<(), EmbeddedError> {
        let Self { server, settings } = self;
        if !server.data().join("PG_VERSION").exists() {
            server.initialise().await?;
        }
        let mut connection = match server.connect("postgres").await {
            Ok(connection) => connection,
            Err(_) => server.start(settings).await?,
        };
        let fsync: String = sqlx::query_scalar("show fsync").fetch_one(&mut connection).await.map_err(EmbeddedError::Asked)?;
        if fsync != "on" && !settings.without_fsync {
            return Err(EmbeddedError::Fsync);
        }
        make_database(&mut connection).await.map_err(EmbeddedError::Asked)
    }

    /// Where the store connects to.
    #[must_use]
    pub fn url(&self) -> SecretString {
        self.server.connect_to(NAME).to_url_lossy().to_string().into()
    }

    /// Starts it again whenever it has died under the running service (out of memory, say), until `stop` is cancelled.
    ///
    /// Nobody else would: it is no service of the machine's.
    pub fn keep_up(&self, stop: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        let (server, settings) = (self.server.clone(), self.settings.clone());
        async move { stop.run_until_cancelled(server.keep_up(&settings)).await.unwrap_or(()) }
    }

    /// Stops it, ending its connections; what was committed is on disk either way.
    ///
    /// # Errors
    /// When it does not stop in time; it goes on stopping.
    pub async fn stop(&self) -> Result<(), EmbeddedError> {
        let seconds = STOP_TIME_MAX.as_secs().to_string();
        self.server.pg_ctl(&["stop", "-m", "fast", "-t", &seconds], STOP_TIME_MAX + TRY_EVERY).await?;
        // Not below the state folder it would be left over. It is empty, or it stays.
        let _ = fs::remove_dir(&self.server.run);
        Ok(())
    }
}

async fn make_database(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let there: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(NAME)
        .fetch_one(&mut *connection)
        .await?;
    if !there {
        sqlx::query("create database cutover").execute(connection).await?;
    }
    Ok(())
}

/// Where it lives and who runs it.
#[derive(Debug, Clone)]
struct Server {
    binaries: PathBuf,
    /// Ours alone: `data`, `run`, `log`.
    home: PathBuf,
    /// The socket's folder.
    run: PathBuf,
    account: Option<Account>,
}

impl Server {
    async fn find(state: &StateDir, settings: &EmbeddedSettings) -> Result<Self, EmbeddedError> {
        let account = account::to_become().await?;
        let home = state.path().join("postgres");
        if let Some(folder) = account.and_then(|account| account::barred(account, &home)) {
            return Err(EmbeddedError::Barred(folder));
        }
        let made_by = fs::read_to_string(home.join("data/PG_VERSION")).ok();
        let binaries = binaries::find(settings.binaries.as_deref(), made_by.as_deref().map(str::trim)).await?;
        private_folder(&home, account)?;
        let run = socket_folder(&home);
        private_folder(&run, account)?;
        Ok(Self { binaries, home, run, account })
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// Made beside its place and then moved there, so that one cut short is not taken for whole.
    async fn initialise(&self) -> Result<(), EmbeddedError> {
        let half = self.home.join("data.new");
        let io = |doing| {
            let path = half.clone();
            move |source| EmbeddedError::Io { doing, path, source }
        };
        if half.exists() {
            fs::remove_dir_all(&half).map_err(io("remove the remains of a first start in"))?;
        }
        let arguments = ["-D", "data.new", "-A", "trust", "-U", NAME, "--data-checksums", "-E", "UTF8", "--no-locale"];
        self.run("initdb", &arguments, INITDB_TIME_MAX).await?;
        fs::rename(&half, self.data()).map_err(io("move into place"))
    }

    /// Starts it, again and again while a killed one still lingers, until it answers.
    async fn start(&self, settings: &EmbeddedSettings) -> Result<PgConnection, EmbeddedError> {
        self.bound_log();
        let began = Instant::now();
        loop {
            let started = self.pg_ctl(&["start", "-t", "10", "-l", "log", "-o", &self.options(settings)], START_TIME_MAX).await;
            if let Err(error) = started {
                // A lingering one, or one that replays its log: whether it answers is what counts.
                tracing::debug!(%error, "the embedded Postgres is not started yet");
            }
            let source = match self.connect("postgres").await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            let limit = if is_recovering(&source) { RECOVERY_TIME_MAX } else { START_TIME_MAX };
            if began.elapsed() > limit {
                let log = self.home.join("log");
                return Err(EmbeddedError::Silent { after: limit, said: last_lines(&log), log, source });
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
    }

    async fn keep_up(&self, settings: &EmbeddedSettings) {
        let socket = self.run.join(format!(".s.PGSQL.{PORT}"));
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if UnixStream::connect(&socket).await.is_ok() {
                continue;
            }
            tracing::warn!("the embedded Postgres has gone; starting it again");
            match self.start(settings).await {
                Ok(_) => tracing::info!("the embedded Postgres is back"),
                Err(error) => tracing::error!(%error, "the embedded Postgres does not start; trying on"),
            }
        }
    }

    /// Given on the command line, where no settings file can override them.
    fn options(&self, settings: &EmbeddedSettings) -> String {
        let fsync = if settings.without_fsync { "off" } else { "on" };
        format!(
            "-k {run} -p {PORT} -c listen_addresses= -c unix_socket_permissions=0700 -c fsync={fsync} \
             -c synchronous_commit=on -c max_connections={CONNECTIONS_MAX} -c shared_buffers=32MB -c log_checkpoints=off \
             -c max_wal_senders=0 -c jit=off",
            run = self.run.display(),
        )
    }

    fn connect_to(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.run)
            .port(PORT)
            .username(NAME)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
    }

    async fn connect(&self, database: &str) -> Result<PgConnection, sqlx::Error> {
        let options = self.connect_to(database);
        tokio::time::timeout(CONNECT_TIME_MAX, PgConnection::connect_with(&options))
            .await
            .unwrap_or_else(|_| Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into())))
    }

    async fn pg_ctl(&self, arguments: &[&str], at_most: Duration) -> Result<(), EmbeddedError> {
        let mut all = vec!["-w"];
        all.extend(arguments);
        self.run("pg_ctl", &all, at_most).await
    }

    /// Runs one of its programs in its folder, as its user. Paths go by the working folder and the environment: `pg_ctl` puts
    /// what it is given into a line for the shell.
    async fn run(&self, program: &'static str, arguments: &[&str], at_most: Duration) -> Result<(), EmbeddedError> {
        let path = self.binaries.join(program);
        let mut command = Command::new(&path);
        command.args(arguments).current_dir(&self.home).stdin(Stdio::null()).kill_on_drop(true);
        // PGPORT, PGOPTIONS, PGDATA … of whoever started us are meant for another server.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C");
        if program == "pg_ctl" {
            command.env("PGDATA", self.data());
        }
        if let Some(Account { uid, gid }) = self.account {
            command.uid(uid).gid(gid);
        }
        let ended = tokio::time::timeout(at_most, command.output()).await;
        let output = ended
            .map_err(|_| EmbeddedError::Late { program, after: at_most })?
            .map_err(|source| EmbeddedError::Io { doing: "run", path, source })?;
        if output.status.success() {
            return Ok(());
        }
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Err(EmbeddedError::Failed { program, said: last_of(&said) })
    }

    /// One old log is kept.
    fn bound_log(&self) {
        let log = self.home.join("log");
        if fs::metadata(&log).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX) {
            // A log that cannot be moved is no reason not to start.
            let _ = fs::rename(&log, self.home.join("log.old"));
        }
    }
}

/// In the home where its path is short enough and plain enough for a shell; else a private one in /tmp, the same each time.
fn socket_folder(home: &Path) -> PathBuf {
    let run = home.join("run");
    let socket = run.join(format!(".s.PGSQL.{PORT}.lock"));
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    let bytes = socket.as_os_str().as_encoded_bytes();
    if bytes.len() <= SOCKET_PATH_MAX && bytes.iter().all(plain) {
        return run;
    }
    let digest = Sha256::digest(home.as_os_str().as_encoded_bytes());
    let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Path::new("/tmp").join(format!("cutover-{short}"))
}

/// Makes a folder that only the server's user may enter, or makes sure that one is such: /tmp is everybody's.
fn private_folder(path: &Path, account: Option<Account>) -> Result<(), EmbeddedError> {
    let io = |doing| move |source| EmbeddedError::Io { doing, path: path.to_owned(), source };
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            let (uid, gid) = (account.map(|account| account.uid), account.map(|account| account.gid));
            return chown(path, uid, gid).map_err(io("give user `postgres`"));
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io("make")(error)),
    }
    let meta = fs::symlink_metadata(path).map_err(io("look at"))?;
    let owned = account.is_none_or(|account| account.uid == meta.uid());
    if meta.is_dir() && owned && meta.mode() & 0o077 == 0 {
        return Ok(());
    }
    let source = io::Error::other("it is not a folder, or not private to the user that runs Postgres: remove it");
    Err(io("use")(source))
}

/// `cannot_connect_now`: it is there and not ready.
fn is_recovering(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).as_deref() == Some("57P03")
}

fn last_lines(log: &Path) -> String {
    fs::read(log).map_or_else(|error| error.to_string(), |bytes| last_of(&String::from_utf8_lossy(&bytes)))
}

/// The last few lines: the cause stands there, and a log has no end.
fn last_of(said: &str) -> String {
    let lines: Vec<_> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_lies_in_the_state_folder_unless_its_path_would_be_too_long_or_need_quotes() {
        assert_eq!(socket_folder(Path::new("/var/lib/cutover/postgres")), Path::new("/var/lib/cutover/postgres/run"));
        for home in [PathBuf::from("/home/a b/postgres"), PathBuf::from("/x".repeat(60)), PathBuf::from("/it's/$HOME")] {
            let run = socket_folder(&home);
            assert!(run.starts_with("/tmp"), "{}", run.display());
            assert_eq!(run, socket_folder(&home), "it must be found again");
            assert_ne!(run, socket_folder(&home.join("other")));
        }
    }

    #[test]
    fn only_the_last_lines_are_told() {
        assert_eq!(last_of("one\ntwo\n\nthree\nfour\n"), "two; three; four");
        assert_eq!(last_of(""), "");
    }
}
