//! A listener: one loopback port, and the nodes that its connections are spread over.

use std::{
    convert::Infallible,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::body::Body;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

use super::{answer::answer, figures::ListenerFigures, node::Node, rules::Table, slots::Slots};

/// Nodes of a load balancer: AWS starts with one in each of two zones.
const NODES: usize = 2;
/// Connections waiting to be accepted. The default of 128 overflows as soon as a busy machine stands still for a moment; each
/// one that is dropped comes back a second later, and the users call that lost.
const BACKLOG: u32 = 4096;
/// Connections one listener holds at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 8192;
/// AWS's idle timeout for a user's connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Before trying again when a connection could not be accepted, which is when this process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// An open listener. Dropping it closes the port; requests in flight are finished.
#[derive(Debug)]
pub struct Frontend {
    address: SocketAddr,
    newest: Arc<Table>,
    nodes: Arc<[Node]>,
    connections: Arc<AtomicU64>,
    stop: CancellationToken,
}

impl Frontend {
    /// Opens a free loopback port whose nodes know `table` from the start.
    ///
    /// # Errors
    /// No free port, or no descriptors left.
    pub fn open(name: &str, table: Table, slots: Arc<Slots>, seed: u64) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let listener = socket.listen(BACKLOG)?;
        let newest = Arc::new(table);
        let nodes: Arc<[Node]> = (0..NODES).map(|node| Node::new(newest.clone(), seed_of(seed, name, node))).collect();
        let frontend = Self {
            address: listener.local_addr()?,
            newest,
            nodes: nodes.clone(),
            connections: Arc::default(),
            stop: CancellationToken::new(),
        };
        tokio::spawn(accept(listener, nodes, slots, frontend.connections.clone(), frontend.stop.clone()));
        Ok(frontend)
    }

    /// Where it takes connections.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells the nodes of new rules; each obeys after a delay of its own, at most `delay_max`.
    pub fn follow(&mut self, table: Table, now: Instant, delay_max: Duration) {
        if *self.newest != table {
            self.newest = Arc::new(table);
            for node in self.nodes.iter() {
                node.hear(&self.newest, now, delay_max);
            }
        }
    }

    /// Its figures as they are now.
    #[must_use]
    pub fn figures(&self, name: &str) -> ListenerFigures {
        let now = Instant::now();
        ListenerFigures {
            listener: name.to_owned(),
            connections: self.connections.load(Ordering::Relaxed),
            nodes: self.nodes.len(),
            nodes_behind: self.nodes.iter().filter(|node| node.is_behind(now)).count(),
        }
    }
}

impl Drop for Frontend {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Every node of every listener draws from a sequence of its own, the same one in every run of this seed.
fn seed_of(seed: u64, listener: &str, node: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, listener, node).hash(&mut hasher);
    hasher.finish()
}

async fn accept(
    listener: TcpListener,
    nodes: Arc<[Node]>,
    slots: Arc<Slots>,
    connections: Arc<AtomicU64>,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    for turn in 0_usize.. {
        let accepted = async {
            let permit = room.clone().acquire_owned().await.expect("the semaphore is never closed");
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            accepted = accepted => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                connections.fetch_add(1, Ordering::Relaxed);
                let (nodes, slots, stop) = (nodes.clone(), slots.clone(), stop.clone());
                tokio::spawn(async move {
                    serve(stream, peer, nodes, turn % NODES, slots, stop).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a listener could not take a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    nodes: Arc<[Node]>,
    node: usize,
    slots: Arc<Slots>,
    stop: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let (nodes, slots) = (&nodes, &slots);
        async move { Ok::<_, Infallible>(answer(request.map(Body::new), peer, &nodes[node], slots).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a user's connection ended early");
    }
}
