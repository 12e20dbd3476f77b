//! A relay between a service and Postgres that stops one statement on its way there, or its answer on the way back.
//!
//! It reads the protocol as far as it must: which statement a `Bind` is of, and where an answer ends. What it has stopped it never
//! lets go: the service behind it is killed, and Postgres sees a client that hung up.

use std::{
    collections::HashMap,
    path::PathBuf,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The longest message that is read: a record is a few thousand bytes.
const MESSAGE_BYTES_MAX: usize = 1 << 24;

/// Where a statement is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Before Postgres has it.
    There,
    /// It is committed, and whoever sent it does not know.
    Back,
}

/// The next statement with these words is stopped.
#[derive(Debug, Clone, Copy)]
struct Trap {
    words: &'static str,
    way: Way,
}

#[derive(Debug)]
struct Switch {
    trap: watch::Sender<Option<Trap>>,
    caught: watch::Sender<bool>,
}

pub struct Relay {
    /// For the service.
    pub url: String,
    switch: Arc<Switch>,
    /// Cuts every connection.
    _stop: DropGuard,
}

impl Relay {
    /// To a server on a socket, which asks for no password.
    pub async fn to(database: &SecretString) -> Self {
        let connect = PgConnectOptions::from_str(database.expose_secret()).unwrap();
        let socket = connect.get_socket().expect("the tests' Postgres is on a socket");
        let socket = socket.join(format!(".s.PGSQL.{}", connect.get_port()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (user, name) = (connect.get_username(), connect.get_database().unwrap_or_default());
        let url = format!("postgres://{user}@{}/{name}?sslmode=disable", listener.local_addr().unwrap());
        let switch = Arc::new(Switch { trap: watch::Sender::new(None), caught: watch::Sender::new(false) });
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, socket, switch.clone(), stop.clone()));
        Self { url, switch, _stop: stop.drop_guard() }
    }

    /// Stops the next statement that has these words in it.
    pub fn stop_next(&self, words: &'static str, way: Way) {
        self.switch.caught.send_replace(false);
        self.switch.trap.send_replace(Some(Trap { words, way }));
    }

    /// Whether it was stopped in time.
    pub async fn has_stopped(&self, within: Duration) -> bool {
        let mut caught = self.switch.caught.subscribe();
        tokio::time::timeout(within, caught.wait_for(|caught| *caught)).await.is_ok()
    }

    /// Stops nothing more.
    pub fn opens(&self) {
        self.switch.trap.send_replace(None);
    }
}

async fn accept(listener: TcpListener, socket: PathBuf, switch: Arc<Switch>, stop: CancellationToken) {
    loop {
        let client = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((client, _)) = client else { continue };
        let (socket, switch, stop) = (socket.clone(), switch.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = pass(client, &socket, &switch) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// One connection, until either side hangs up.
async fn pass(client: TcpStream, socket: &PathBuf, switch: &Switch) {
    let Ok(server) = UnixStream::connect(socket).await else { return };
    let _ = client.set_nodelay(true);
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let stopped = AtomicBool::new(false);
    tokio::select! {
        _ = there(BufReader::new(from_client), to_server, switch, &stopped) => {}
        _ = back(BufReader::new(from_server), to_client, switch, &stopped) => {}
    }
}

/// Statements; ends when the client has hung up.
async fn there(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    switch: &Switch,
    stopped: &AtomicBool,
) -> std::io::Result<()> {
    // The first message has no kind.
    let mut message = body(&mut from, Vec::new()).await?;
    to.write_all(&message).await?;
    let mut named: HashMap<Vec<u8>, String> = HashMap::new();
    loop {
        let kind = from.read_u8().await?;
        message = body(&mut from, vec![kind]).await?;
        let mut texts = message[5..].split(|byte| *byte == 0);
        match (kind, texts.next(), texts.next()) {
            (b'P', Some(name), Some(sql)) => {
                named.insert(name.to_vec(), String::from_utf8_lossy(sql).into_owned());
            }
            (b'B', Some(_portal), Some(name)) => {
                let trap = named.get(name).and_then(|sql| switch.springs_at(sql));
                if trap.is_some() {
                    stopped.store(true, Ordering::SeqCst);
                }
                if trap == Some(Way::There) {
                    switch.caught.send_replace(true);
                    // What comes after it goes nowhere either.
                    while from.read_u8().await.is_ok() {}
                    return Ok(());
                }
            }
            _ => {}
        }
        to.write_all(&message).await?;
    }
}

/// Answers; ends when the server has hung up.
async fn back(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    switch: &Switch,
    stopped: &AtomicBool,
) -> std::io::Result<()> {
    loop {
        let kind = from.read_u8().await?;
        let message = body(&mut from, vec![kind]).await?;
        if !stopped.load(Ordering::SeqCst) {
            to.write_all(&message).await?;
        } else if kind == b'Z' {
            // Ready for the next: what was asked is committed.
            switch.caught.send_replace(true);
        }
    }
}

impl Switch {
    /// Once only.
    fn springs_at(&self, sql: &str) -> Option<Way> {
        let mut sprung = None;
        self.trap.send_if_modified(|trap| {
            if trap.is_some_and(|trap| sql.contains(trap.words)) {
                sprung = trap.take().map(|trap| trap.way);
            }
            sprung.is_some()
        });
        sprung
    }
}

/// The rest of a message, whose length counts itself.
async fn body(from: &mut (impl AsyncRead + Unpin), mut message: Vec<u8>) -> std::io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let rest = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(4);
    if rest > MESSAGE_BYTES_MAX {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    message.extend(length.to_be_bytes());
    let begun = message.len();
    message.resize(begun + rest, 0);
    from.read_exact(&mut message[begun..]).await?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection, PgConnection};

    use super::*;
    use crate::support::postgres::database;

    const PATIENCE: Duration = Duration::from_secs(20);
    const NAMES: &str = "insert into tokens (name, sha256, admin) values ($1, sha256($2), false)";

    async fn write(url: String, name: &'static str) -> Result<(), sqlx::Error> {
        let mut connection = PgConnection::connect(&url).await?;
        sqlx::query(NAMES).bind(name).bind(name.as_bytes()).execute(&mut connection).await?;
        connection.close().await
    }

    async fn names(database: &crate::support::postgres::TestDatabase) -> Vec<String> {
        sqlx::query_scalar("select name from tokens order by name").fetch_all(&mut database.connection().await).await.unwrap()
    }

    #[tokio::test]
    async fn a_statement_is_stopped_before_or_after_it_is_done_and_others_pass() {
        let database = database().await;
        let relay = Relay::to(&database.url()).await;
        write(relay.url.clone(), "ada").await.unwrap();
        for (way, name) in [(Way::There, "bob"), (Way::Back, "eve")] {
            relay.stop_next("insert into tokens", way);
            let writing = tokio::spawn(write(relay.url.clone(), name));
            assert!(relay.has_stopped(PATIENCE).await, "{way:?}");
            assert!(!writing.is_finished(), "nobody tells it");
            writing.abort();
            write(relay.url.clone(), if way == Way::There { "cid" } else { "fay" }).await.unwrap();
        }
        assert_eq!(names(&database).await, ["ada", "cid", "eve", "fay"]);
        relay.stop_next("insert into tokens", Way::There);
        relay.opens();
        write(relay.url.clone(), "gil").await.unwrap();
        assert!(!relay.has_stopped(Duration::ZERO).await);
    }
}
