//! What Cutover says happened, as it happens: the sentences of the deployment's own history.

use std::time::Duration;

use serde_json::Value;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::screen::Screen;

/// How often the history is read.
const READ_EVERY: Duration = Duration::from_millis(250);
/// A page of the history; what does not fit comes with the next read.
const EVENTS_MAX: u32 = 100;

/// Where the history is read.
#[derive(Debug, Clone)]
pub struct Source {
    pub url: String,
    pub token: String,
}

/// Shows the events of the deployment that `spoken_of` names, whichever it is, until `stop`.
pub async fn follow(screen: Screen, source: Source, mut spoken_of: watch::Receiver<String>, stop: CancellationToken) {
    let (client, mut last) = (reqwest::Client::new(), 0);
    let mut ticks = interval(READ_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        if spoken_of.has_changed().unwrap_or(false) {
            last = 0;
        }
        let id = spoken_of.borrow_and_update().clone();
        if id.is_empty() {
            continue;
        }
        // A read that fails is made again; the story itself notices when the service is gone.
        for event in read(&client, &source, &id, last).await.unwrap_or_default() {
            last = event.get("id").and_then(Value::as_i64).unwrap_or(last).max(last);
            let word = |key| event.get(key).and_then(Value::as_str).unwrap_or_default();
            screen.say(&format!("{}{}", word("message"), by(word("actor"))));
        }
    }
}

/// Who did it, unless it was Cutover itself.
fn by(actor: &str) -> String {
    if matches!(actor, "" | "cutover") { String::new() } else { format!(" (by {actor})") }
}

async fn read(client: &reqwest::Client, source: &Source, id: &str, after: i64) -> Option<Vec<Value>> {
    let url = format!("{}/v1/deployments/{id}/events?after={after}&limit={EVENTS_MAX}", source.url);
    let page: Value = client.get(url).bearer_auth(&source.token).send().await.ok()?.json().await.ok()?;
    page.get("items")?.as_array().cloned()
}
