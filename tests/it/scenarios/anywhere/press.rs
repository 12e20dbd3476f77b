//! Asking to go back, as `curl` would: one call, and where the answer is 202 one goes on looking until it is accepted.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    breaking::Broken,
    ground::{Ground, HOME, PATIENCE},
    phase::At,
    weather::Weather,
};

/// A rollback that was asked for.
#[derive(Debug)]
pub struct Pressed {
    pub status: u16,
    pub answer: Value,
    /// Of the other replica, where both are asked in one moment.
    pub second: Option<(u16, Value)>,
    /// Until the answer.
    pub answered_in: Duration,
    /// When the asker first knew that it is accepted.
    pub accepted: Option<Accepted>,
}

#[derive(Debug, Clone, Copy)]
pub struct Accepted {
    pub at: Instant,
    /// Since the request.
    pub took: Duration,
    /// Since the world was mended, where that came first.
    pub after_mending: Option<Duration>,
}

/// Asks, and looks on until it is accepted; the world is mended before that only where it cannot be else.
pub async fn press(ground: &mut Ground, at: At, weather: Weather, broken: &mut Broken) -> Result<Pressed, String> {
    let asked = Instant::now();
    let both = async {
        let second = weather == Weather::TwoReplicas;
        if second { Some(ask(ground, 1 - broken.asked).await) } else { None }
    };
    let ((status, answer), second) = tokio::join!(ask(ground, broken.asked), both);
    let mut pressed = Pressed { status, answer, second, answered_in: asked.elapsed(), accepted: None };
    let accepted = |mended: Option<Instant>| Accepted {
        at: Instant::now(),
        took: asked.elapsed(),
        after_mending: mended.map(|mended| mended.elapsed()),
    };
    if status == 200 {
        pressed.accepted = Some(accepted(None));
    }
    broken.is_felt(ground, at).await?;
    broken.outlast(ground).await;
    let mut mended = None;
    if matches!(status, 202 | 503) && weather != Weather::Throttled {
        broken.mend(ground).await;
        mended = Some(Instant::now());
    }
    if status == 202 {
        let there = |d: &Value| d["rollback"]["accepted_at"].is_string() || !d["ended_at"].is_null();
        ground.until(broken.asked, "the acceptance", there).await?;
        pressed.accepted = Some(accepted(mended));
    }
    // Nobody has taken it, and whoever asked was told so: they ask again.
    while status == 503 && pressed.accepted.is_none() {
        let (again, answer) = ask(ground, broken.asked).await;
        if again == 200 {
            pressed.accepted = Some(accepted(mended));
        } else if asked.elapsed() > PATIENCE {
            return Err(format!("asked again with the database back: {again} {answer:#}\n{}", ground.said()));
        }
    }
    Ok(pressed)
}

async fn ask(ground: &Ground, whom: usize) -> (u16, Value) {
    ground.services[whom].call("POST", &format!("{HOME}/rollback"), Some(json!({"reason": "INC-1"}))).await
}
