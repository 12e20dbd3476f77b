//! The way of one call: arrive, be journalled, meet the faults, be checked, be applied, be answered.
//!
//! A call runs in a task of its own: whoever hangs up does not stop it, on AWS neither. That is what makes a late write late.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, Response, StatusCode, header::CONTENT_TYPE},
};
use jiff::Timestamp;
use serde_json::Value;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Answer, Call, Handler, Params, Refusal, Service, Signed, fresh, signed, xml};
use crate::{
    faults::{Effect, Faults, Met},
    journal::{self, Journal},
    land::{Land, Lands, Sight},
    limits::Limits,
    model::{Place, Region},
    options::Options,
    sessions::{Caller, Sessions},
};

/// The longest that a call is hung or held.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// Marks a response that must not be sent: the connection is closed instead.
#[derive(Debug, Clone, Copy)]
pub struct Cut;

/// What every call passes through.
#[derive(Debug)]
pub struct Door {
    pub lands: Lands,
    pub sessions: Sessions,
    pub options: Options,
    pub faults: Arc<Faults>,
    pub journal: Arc<Journal>,
    pub limits: Arc<Limits>,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

/// A request that could be read.
struct Arrived {
    number: u64,
    request_id: String,
    signed: Signed,
    caller: Caller,
    operation: String,
    params: Params,
}

impl Door {
    #[must_use]
    pub fn new(lands: Lands, options: Options, tasks: TaskTracker, stop: CancellationToken) -> Self {
        let (faults, limits) = (Arc::new(Faults::new(options.seed)), Arc::new(Limits::new(options.limits)));
        let (sessions, journal) = (Sessions::default(), Arc::default());
        Self { lands, sessions, options, faults, journal, limits, tasks, stop }
    }

    /// The handler of every AWS call.
    pub async fn answer(State(door): State<Arc<Self>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
        let stop = door.stop.clone();
        let task = door.tasks.spawn({
            let door = door.clone();
            async move { door.pass(&headers, &body).await }
        });
        tokio::select! {
            answered = task => answered.unwrap_or_else(|_| cut()),
            () = stop.cancelled() => cut(),
        }
    }

    async fn pass(&self, headers: &HeaderMap, body: &[u8]) -> Response<Body> {
        let request_id = uuid::Uuid::new_v4().to_string();
        let read = signed(headers).and_then(|signed| {
            let caller = self.sessions.caller(&signed.access_key, signed.token.as_deref())?;
            Ok((Params::parse(body)?, signed, caller))
        });
        let (params, signed, caller) = match read {
            Ok(read) => read,
            Err(refusal) => return respond(Service::Elb, "", &request_id, &Err(refusal)),
        };
        let operation = params.root().text("Action").unwrap_or_default().to_owned();
        let parameters = journal::parameters(body);
        let reads = operation.starts_with("Describe") || operation.starts_with("Get");
        let met = self.faults.meet(signed.service, &operation, &parameters, reads);
        let number = self.journal.begin(signed.service, &operation, parameters, &request_id);
        self.journal.note(number, |entry| entry.fault = met.as_ref().map(|met| met.id.clone()));
        let arrived = Arrived { number, request_id, signed, caller, operation, params };
        let silence = async {
            tokio::select! {
                () = tokio::time::sleep(SILENCE_MAX) => {}
                () = self.stop.cancelled() => {}
            }
        };
        tokio::select! {
            response = self.with_fault(&arrived, met) => response,
            () = silence => cut(),
        }
    }

    async fn with_fault(&self, arrived: &Arrived, met: Option<Met>) -> Response<Body> {
        let Some(mut met) = met else {
            let answer = self.apply(arrived, Sight::Now).await;
            return self.respond(arrived, &answer);
        };
        match met.effect.clone() {
            Effect::Error { code, message, status } => self.respond(arrived, &Err(Refusal::injected(status, code, message))),
            Effect::Hang => self.silent(arrived, "hung").await,
            Effect::Reset => self.cut(arrived, "reset"),
            Effect::Lost { hang } => {
                let answer = self.apply(arrived, Sight::Now).await;
                let outcome = answer.as_ref().err().map_or("lost", |refusal| &refusal.code);
                if hang { self.silent(arrived, outcome).await } else { self.cut(arrived, outcome) }
            }
            Effect::Feigned => {
                let answer = self.apply(arrived, Sight::Feigned).await;
                self.respond(arrived, &answer)
            }
            Effect::Stale { depth } => {
                let answer = self.apply(arrived, Sight::Stale(depth)).await;
                self.respond(arrived, &answer)
            }
            Effect::NotYet { depth } => {
                let answer = self.apply(arrived, Sight::NotYet(depth)).await;
                self.respond(arrived, &answer)
            }
            Effect::HoldBefore => {
                met.released().await;
                drop(met);
                let answer = self.apply(arrived, Sight::Now).await;
                self.respond(arrived, &answer)
            }
            Effect::HoldAfter => {
                let answer = self.apply(arrived, Sight::Now).await;
                met.released().await;
                drop(met);
                self.respond(arrived, &answer)
            }
        }
    }

    fn land(&self, place: &Place) -> Result<Arc<Land>, Refusal> {
        let told = || format!("There is no room for account {} in {}", place.account, place.region);
        self.lands.at(place).ok_or_else(|| Refusal::new("AuthFailure", told()).with_status(403))
    }

    async fn silent(&self, arrived: &Arrived, outcome: &str) -> Response<Body> {
        self.journal.note(arrived.number, |entry| entry.outcome = Some(outcome.to_owned()));
        std::future::pending().await
    }

    fn cut(&self, arrived: &Arrived, outcome: &str) -> Response<Body> {
        self.journal.note(arrived.number, |entry| entry.outcome = Some(outcome.to_owned()));
        cut()
    }

    fn respond(&self, arrived: &Arrived, answer: &Answer) -> Response<Body> {
        let outcome = answer.as_ref().err().map_or("ok", |refusal| &refusal.code);
        self.journal.note(arrived.number, |entry| entry.outcome = Some(outcome.to_owned()));
        respond(arrived.signed.service, &arrived.operation, &arrived.request_id, answer)
    }

    /// Does what the call asks for. Its signature is looked at when it arrives here, not when it was sent.
    async fn apply(&self, arrived: &Arrived, sight: Sight) -> Answer {
        if !self.options.latency.is_zero() {
            tokio::time::sleep(self.options.latency).await;
        }
        let Arrived { signed, caller, operation, params, .. } = arrived;
        let (now, at) = (Instant::now(), Timestamp::now());
        fresh(signed.at, at, self.options.scaled(self.options.clocks.signature_life))?;
        self.sessions.alive(&signed.access_key, now)?;
        let place = Place { account: caller.account.clone(), region: signed.region.clone() };
        if !self.limits.allow(&place, signed.service, operation, now) {
            return Err(Refusal::throttled());
        }
        let call = Call {
            params: params.root(),
            caller,
            access_key: &signed.access_key,
            now,
            at,
            scale: self.options.scale,
            delete_lag: self.options.scaled(self.options.clocks.delete_lag),
        };
        let answer = match signed.service.handler(operation)? {
            Handler::Identity(identity) => identity(&self.sessions, &call),
            Handler::Read(read) => read(&self.land(&place)?.seen(sight), &call),
            Handler::Write(write) => {
                let land = self.land(&place)?;
                let feigned = || write(&mut Region::clone(&land.seen(sight)), &call);
                match sight {
                    Sight::Now | Sight::Stale(_) => land.write(|region| write(region, &call)),
                    Sight::NotYet(_) => feigned().and_then(|_| land.write(|region| write(region, &call))),
                    Sight::Feigned => feigned(),
                }
            }
        };
        self.journal.note(arrived.number, |entry| entry.applied = answer.is_ok() && sight != Sight::Feigned);
        answer
    }
}

fn cut() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Cut);
    response
}

fn respond(service: Service, operation: &str, request_id: &str, answer: &Result<Value, Refusal>) -> Response<Body> {
    let (status, document) = match answer {
        Ok(result) => (200, xml::answer(service, operation, result, request_id)),
        Err(refusal) => (refusal.status, xml::error(service, refusal, request_id)),
    };
    let mut response = Response::new(Body::from(document.unwrap_or_default()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}
