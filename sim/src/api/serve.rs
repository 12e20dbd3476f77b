//! The port: connections are served by hyper itself, since only below axum can one be closed without an answer.

use std::{io, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use super::door::Cut;

/// How long a client may take over a request's headers, and how long an idle connection stays open.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(120);

/// Serves `router` on `listener` until `stop`; connections then break.
pub fn start(listener: TcpListener, router: Router, tasks: &TaskTracker, stop: CancellationToken) {
    let router = Arc::new(router);
    let connections = tasks.clone();
    tasks.spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (router, stop) = (router.clone(), stop.clone());
                    connections.spawn(async move {
                        tokio::select! {
                            () = connection(stream, &router) => {}
                            () = stop.cancelled() => {}
                        }
                    });
                }
                // Out of files: a pause lets some connection end.
                Err(error) => {
                    tracing::warn!(%error, "the API's port could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    });
}

async fn connection(stream: TcpStream, router: &Router) {
    // Answers are small: waiting to fill a packet would only add to every call.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let router = router.clone();
        async move {
            let response = router.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {});
            match response.extensions().get::<Cut>() {
                Some(Cut) => Err(io::Error::other("closed without an answer, as a fault demands")),
                None => Ok(response),
            }
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS_TIMEOUT);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection to the API ended");
    }
}
