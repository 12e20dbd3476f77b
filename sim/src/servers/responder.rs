//! The built-in server: answers every request with its version and its instance, and can be made sick.
//!
//! The same few lines serve inside the region (for tests and scale runs) and as a process of their own (the demo's images),
//! so what is shown with processes is what is tested without them.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, Request, Response, StatusCode, header},
};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Connections waiting to be accepted: after a moment's standstill there are many, and one that is dropped is retried only a
/// second later.
pub const BACKLOG: u32 = 4096;
/// The longest answer that `delay_ms` may ask for.
const DELAY_MAX: Duration = Duration::from_secs(30);
/// What AWS's health checker calls itself; a sick server answers it with 500 whatever the path.
pub const HEALTH_CHECKER: &str = "ELB-HealthChecker/2.0";

/// What a server says about itself in each answer.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Sent as `x-version`.
    pub version: String,
    /// Sent as `x-instance`.
    pub instance: String,
}

/// A built-in server. Dropping it breaks its connections.
#[derive(Debug)]
pub struct Responder {
    healthy: Arc<AtomicBool>,
    stop: CancellationToken,
    kill: CancellationToken,
    serving: Option<JoinHandle<()>>,
}

impl Responder {
    /// Reserves a port now, and listens on it once `boot` is over: until then connections are refused, as by a machine that
    /// is still starting.
    ///
    /// # Errors
    /// No free loopback port.
    pub fn start(identity: Identity, boot: Duration, healthy: bool) -> io::Result<(Self, SocketAddr)> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = socket.local_addr()?;
        let booted = if boot.is_zero() { Ok(socket.listen(BACKLOG)?) } else { Err(socket) };
        let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
        let healthy = Arc::new(AtomicBool::new(healthy));
        let work = {
            let (stop, healthy) = (stop.clone(), healthy.clone());
            async move {
                let listener = match booted {
                    Ok(listener) => Ok(listener),
                    Err(socket) => {
                        sleep(boot).await;
                        socket.listen(BACKLOG)
                    }
                };
                match listener {
                    Ok(listener) => serve(listener, identity, healthy, stop).await,
                    Err(error) => tracing::warn!(%address, %error, "a built-in server could not listen"),
                }
            }
        };
        let killed = kill.clone();
        let serving = tokio::spawn(async move {
            tokio::select! {
                () = work => {}
                () = killed.cancelled() => {}
            }
        });
        Ok((Self { healthy, stop, kill, serving: Some(serving) }, address))
    }

    /// What the health endpoint answers from now on.
    pub fn set_healthy(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Relaxed);
    }

    /// Takes no new connection, lets requests finish, and ends; what is left after `patience` is cut off.
    pub async fn stop(mut self, patience: Duration) {
        self.stop.cancel();
        if let Some(serving) = self.serving.take() {
            let _ = timeout(patience, serving).await;
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.kill.cancel();
    }
}

/// Answers on `listener` until `stop`, then finishes what has begun. Dropping the future breaks the connections.
pub async fn serve(listener: TcpListener, identity: Identity, healthy: Arc<AtomicBool>, stop: CancellationToken) {
    let Some(face) = Face::new(&identity, healthy) else {
        tracing::warn!(?identity, "a version or instance that is no header value");
        return;
    };
    let face = Arc::new(face);
    let connections = TaskTracker::new();
    // Connections are tasks of their own; dropping this future must still end them.
    let cut = CancellationToken::new();
    let _cut_on_drop = cut.clone().drop_guard();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        if let Ok((stream, _)) = accepted {
            let (face, stop, cut) = (face.clone(), stop.clone(), cut.clone());
            connections.spawn(async move {
                tokio::select! {
                    () = serve_connection(stream, face, stop) => {}
                    () = cut.cancelled() => {}
                }
            });
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn serve_connection(stream: TcpStream, face: Arc<Face>, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let face = face.clone();
        async move { Ok::<_, Infallible>(face.answer(&request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to a server ended early");
    }
}

#[derive(Debug)]
struct Face {
    version: HeaderValue,
    instance: HeaderValue,
    body: Bytes,
    healthy: Arc<AtomicBool>,
}

impl Face {
    fn new(identity: &Identity, healthy: Arc<AtomicBool>) -> Option<Self> {
        Some(Self {
            version: HeaderValue::from_str(&identity.version).ok()?,
            instance: HeaderValue::from_str(&identity.instance).ok()?,
            body: format!("{} on {}\n", identity.version, identity.instance).into(),
            healthy,
        })
    }

    async fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        if let Some(delay) = delay(request.uri().query()) {
            sleep(delay).await;
        }
        let mut response = Response::new(Body::from(self.body.clone()));
        if is_health_check(request) && !self.healthy.load(Ordering::Relaxed) {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        response.headers_mut().insert("x-version", self.version.clone());
        response.headers_mut().insert("x-instance", self.instance.clone());
        response
    }
}

fn is_health_check<B>(request: &Request<B>) -> bool {
    let checker = request.headers().get(header::USER_AGENT).is_some_and(|agent| agent == HEALTH_CHECKER);
    checker || request.uri().path() == "/healthz"
}

/// `?delay_ms=250` holds the answer back: how a test keeps a request in flight while its server is taken away.
fn delay(query: Option<&str>) -> Option<Duration> {
    let (_, millis) = form_urlencoded::parse(query?.as_bytes()).find(|(key, _)| key == "delay_ms")?;
    Some(Duration::from_millis(millis.parse().ok()?).min(DELAY_MAX))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn identity() -> Identity {
        Identity { version: "v1".to_owned(), instance: "i-1".to_owned() }
    }

    #[tokio::test]
    async fn it_says_who_it_is_and_is_sick_only_when_told() {
        let (responder, address) = Responder::start(identity(), Duration::ZERO, true).unwrap();
        let url = format!("http://{address}");
        let answer = reqwest::get(format!("{url}/any")).await.unwrap();
        assert_eq!(answer.headers()["x-version"], "v1");
        assert_eq!(answer.headers()["x-instance"], "i-1");
        assert_eq!(reqwest::get(format!("{url}/healthz")).await.unwrap().status(), 200);
        responder.set_healthy(false);
        assert_eq!(reqwest::get(format!("{url}/healthz")).await.unwrap().status(), 500);
        assert_eq!(reqwest::get(format!("{url}/any")).await.unwrap().status(), 200, "users are still served");
    }

    #[tokio::test]
    async fn connections_are_refused_until_it_has_booted() {
        let (_responder, address) = Responder::start(identity(), Duration::from_secs(3600), true).unwrap();
        let refused = TcpStream::connect(address).await.expect_err("it is still booting");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_request_that_has_begun_is_finished_before_it_stops() {
        let (responder, address) = Responder::start(identity(), Duration::ZERO, true).unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET /?delay_ms=300 HTTP/1.1\r\nhost: web\r\n\r\n").await.unwrap();
        // Connections are accepted in order: with this one answered, the slow one has been taken.
        reqwest::get(format!("http://{address}/")).await.unwrap();
        responder.stop(Duration::from_secs(5)).await;
        let mut answer = String::new();
        slow.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    }
}
