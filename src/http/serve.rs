//! Serves the router on a listener until told to stop; what is being answered then is finished, within a limit.

use std::{io, net::TcpListener, time::Duration};

use axum::Router;
use axum_server::{Handle, accept::NoDelayAcceptor};
use hyper_util::rt::TokioTimer;
use tokio_util::sync::CancellationToken;

/// How long a client may take for a request's head.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How long answers under way may take after the order to stop. The whole process has 10 s.
const STOP_WITHIN: Duration = Duration::from_secs(8);

/// Serves until `stop` is cancelled and the answers under way are sent.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let handle = Handle::new();
    // An answer is one small write, and somebody may be waiting for it at 3 a.m.: it is not held back for a fuller packet.
    let mut server = axum_server::from_tcp(listener)?.handle(handle.clone()).acceptor(NoDelayAcceptor::new());
    server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
    let stopper = tokio::spawn(async move {
        stop.cancelled().await;
        handle.graceful_shutdown(Some(STOP_WITHIN));
    });
    let served = server.serve(router.into_make_service()).await;
    stopper.abort();
    served
}
