//! On a real socket: slow heads, answers under way when the service stops.

use std::{
    net::TcpListener,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use cutover::http;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::door::{CI, Door};

#[tokio::test]
async fn a_stop_ends_long_polls_at_once_and_refuses_what_comes_after() {
    let door = Door::declared().await;
    let (_, url) = door.deploy_to_first_stage().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(http::serve(listener, door.router.clone(), door.stop.clone()));
    let before = door.front.reads.load(Ordering::Relaxed);
    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {url}?wait=55s&until=terminal HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {CI}\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    // Once the record was read, the request is being answered.
    while door.front.reads.load(Ordering::Relaxed) == before {
        tokio::task::yield_now().await;
    }
    let asked = Instant::now();
    door.stop.cancel();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    serving.await.unwrap().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_head_that_never_ends_is_hung_up_on() {
    let door = Door::open().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(http::serve(listener, door.router.clone(), door.stop.clone()));
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(b"GET /livez HTTP/1.1\r\nhost: ").await.unwrap();
    let asked = Instant::now();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(15), connection.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!((Duration::from_secs(4)..Duration::from_secs(10)).contains(&asked.elapsed()), "{:?}", asked.elapsed());
    door.stop.cancel();
    serving.await.unwrap().unwrap();
}
