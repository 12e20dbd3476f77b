//! The watcher: a few requests a second over several connections, each answer told with its moments.
//!
//! A load balancer is several nodes, and what one of them obeys the others may not yet. So every address of its name is
//! asked, and of the connections half are kept (each stays with its node) and half are new for each request.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use reqwest::{Client, Url, header, redirect};
use tokio::{
    net::lookup_host,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::{
    super::{
        client::exit::{Exit, Failure},
        serve::told,
    },
    timeline::{Answer, Said, Text},
};

/// Connections, and as many askers; more where there are more addresses than half of it.
const ASKERS: usize = 8;
/// Addresses of one load balancer that are asked; AWS names at most eight at a time.
const ADDRESSES_MAX: usize = 16;
/// After this there is no answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than any text of ours: of somebody else's page no more is read.
const BODY_MAX: usize = 256;
/// Answers not yet looked at. With more the askers wait, and lose nothing but their pace.
const QUEUE: usize = 4096;

/// What is asked, and how often.
#[derive(Debug)]
pub(super) struct Aim {
    pub(super) url: Url,
    pub(super) host: String,
    /// Requests a second in all.
    pub(super) rate: u32,
    /// The probe's, which its texts carry.
    pub(super) id: String,
}

/// A running watch; it ends when dropped.
#[derive(Debug)]
pub(super) struct Watch {
    began: Instant,
    pub(super) addresses: usize,
    answers: mpsc::Receiver<Answer>,
    _askers: JoinSet<()>,
}

impl Watch {
    /// Begins to ask, once somebody has answered at all.
    ///
    /// # Errors
    /// Nobody answers at the URL.
    pub(super) async fn start(aim: Aim) -> Result<Self, Failure> {
        let addresses = addresses(&aim.url).await?;
        let askers = ASKERS.max(2 * addresses.len());
        let apart = Duration::from_secs(1) / aim.rate;
        let every = apart * u32::try_from(askers).unwrap_or(u32::MAX);
        let clients = (0..askers).map(|i| client(&aim.url, addresses[i / 2 % addresses.len()], i % 2 == 0));
        let clients = clients
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Failure::new(Exit::Error, format!("the HTTP client cannot be set up: {}", told(&error))))?;
        ask(&clients[0], &aim).await.map_err(|error| {
            let text = format!("{} does not answer, nothing was changed: {}; give --url", aim.url, told(&error));
            Failure::new(Exit::Error, text)
        })?;
        let (aim, (tell, answers)) = (Arc::new(aim), mpsc::channel(QUEUE));
        let began = Instant::now();
        let mut running = JoinSet::new();
        for (client, first) in clients.into_iter().zip((0..).map(|i| began + apart * i)) {
            running.spawn(ask_on(client, aim.clone(), began, first, every, tell.clone()));
        }
        Ok(Self { began, addresses: addresses.len(), answers, _askers: running })
    }

    /// How long it has been running: what an answer's moments count from.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// The moment that `at` is.
    pub(super) fn instant(&self, at: Duration) -> Instant {
        self.began + at
    }

    /// The next answer. Cancel-safe.
    pub(super) async fn next(&mut self) -> Answer {
        match self.answers.recv().await {
            Some(answer) => answer,
            // The askers end only with the watch; whoever waits has a deadline of its own.
            None => std::future::pending().await,
        }
    }
}

/// Where the URL's host is. One family only: a machine without IPv6 would count every request to such an address as lost.
async fn addresses(url: &Url) -> Result<Vec<SocketAddr>, Failure> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let found = lookup_host((host, url.port_or_known_default().unwrap_or(80))).await;
    let found: Vec<_> = found.map(Iterator::collect).map_err(|error| {
        Failure::new(Exit::Error, format!("{host} has no address, nothing was changed: {error}; give --url"))
    })?;
    let v4 = found.iter().any(SocketAddr::is_ipv4);
    let mut chosen: Vec<_> = found.into_iter().filter(|address| address.is_ipv4() == v4).collect();
    chosen.sort_unstable();
    chosen.dedup();
    chosen.truncate(ADDRESSES_MAX);
    if chosen.is_empty() {
        return Err(Failure::new(Exit::Error, format!("{host} has no address, nothing was changed; give --url")));
    }
    Ok(chosen)
}

/// One asker's connections: always to `address`; kept between two requests, or not.
fn client(url: &Url, address: SocketAddr, kept: bool) -> reqwest::Result<Client> {
    Client::builder()
        .timeout(REQUEST_TIMEOUT)
        .user_agent(concat!("cutover-probe/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        // Through a proxy the proxy's connections would be measured, and the chosen address would not be asked.
        .no_proxy()
        .http1_only()
        .resolve(url.host_str().unwrap_or_default(), address)
        .pool_max_idle_per_host(usize::from(kept))
        .build()
}

async fn ask_on(client: Client, aim: Arc<Aim>, began: Instant, first: Instant, every: Duration, tell: mpsc::Sender<Answer>) {
    let mut turns = interval_at(first, every);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let sent = began.elapsed();
        let said = ask(&client, &aim).await.unwrap_or(Said::Nothing);
        if tell.send(Answer { sent, received: began.elapsed(), said }).await.is_err() {
            return;
        }
    }
}

async fn ask(client: &Client, aim: &Aim) -> reqwest::Result<Said> {
    let mut response = client.get(aim.url.clone()).header(header::HOST, &aim.host).send().await?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while body.len() <= BODY_MAX
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    let text = Text::read(&aim.id, &body).filter(|_| status == 200);
    Ok(text.map_or(Said::Status(status), Said::Text))
}
