//! `/metrics`: read from the records at the moment of asking, so nothing on it is ever stale; request durations are counted here.

mod counted;
mod drills;
mod lane;
mod provider;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::{
    Edge,
    error::{self, Kind, Problem},
};
use crate::{
    domain::{deployment::Deployment, observation::Servers, time, weight::Weight},
    engine::api::Figures,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    http_request_method: &'static str,
    http_route: String,
    http_response_status_code: u16,
}

type Requests = Family<RequestLabels, Histogram, fn() -> Histogram>;

/// How long requests took.
#[derive(Debug, Clone)]
pub struct Durations(Arc<Requests>);

impl Default for Durations {
    fn default() -> Self {
        // From a rollback on a warm connection to the longest long poll.
        let new: fn() -> Histogram =
            || Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0]);
        Self(Arc::new(Family::new_with_constructor(new)))
    }
}

/// A layer that counts each request under its route, never its path.
pub async fn measure(State(edge): State<Edge>, request: Request, next: Next) -> Response {
    let method = method(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let started = Instant::now();
    let response = next.run(request).await;
    let labels =
        RequestLabels { http_request_method: method, http_route: route, http_response_status_code: error::code(&response) };
    edge.durations.0.get_or_create(&labels).observe(started.elapsed().as_secs_f64());
    response
}

/// Clients may send any word as a method; only the usual ones get a series of their own.
fn method(method: &Method) -> &'static str {
    let usual = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    usual.into_iter().find(|name| *name == method.as_str()).unwrap_or("_OTHER")
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InfoLabels {
    service: String,
    environment: String,
    deployment: String,
    status: &'static str,
    phase: &'static str,
    stage: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    service: String,
    environment: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WeightLabels {
    service: String,
    environment: String,
    color: &'static str,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabels {
    service: String,
    environment: String,
    color: &'static str,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OrphanLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TargetLabels {
    service: String,
    environment: String,
}

/// What the records show, as series.
#[derive(Debug, Default)]
struct Series {
    unobserved: Family<TargetLabels, Gauge<f64, std::sync::atomic::AtomicU64>>,
    info: Family<InfoLabels, Gauge>,
    ended: Family<OutcomeLabels, Counter>,
    weight: Family<WeightLabels, Gauge<f64, std::sync::atomic::AtomicU64>>,
    servers: Family<ServerLabels, Gauge>,
    tick_age: Gauge<f64, std::sync::atomic::AtomicU64>,
    orphans: Family<OrphanLabels, Gauge>,
    orphans_removed: Family<OrphanLabels, Counter>,
}

impl Series {
    fn of(figures: &Figures) -> Self {
        let series = Self::default();
        for d in &figures.running {
            series.add(d);
        }
        for (target, status, count) in &figures.ended {
            let labels = OutcomeLabels {
                service: target.service.to_string(),
                environment: target.environment.to_string(),
                outcome: status.name(),
            };
            series.ended.get_or_create(&labels).inc_by(*count);
        }
        series.tick_age.set(figures.tick_age.as_secs_f64());
        for (kind, count) in &figures.orphans.listed {
            let gauge = series.orphans.get_or_create(&OrphanLabels { kind: kind.name() });
            gauge.set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        for (kind, count) in &figures.orphans.removed {
            series.orphans_removed.get_or_create(&OrphanLabels { kind: kind.name() }).inc_by(*count);
        }
        series
    }

    fn add(&self, d: &Deployment) {
        let (service, environment) = (d.target.service.to_string(), d.target.environment.to_string());
        let stage = match d.phase {
            crate::domain::phase::Phase::Shifting { stage, .. } => (stage + 1).to_string(),
            _ => String::new(),
        };
        let info = InfoLabels {
            service: service.clone(),
            environment: environment.clone(),
            deployment: d.id.to_string(),
            status: d.status().name(),
            phase: d.phase.name(),
            stage,
        };
        self.info.get_or_create(&info).set(1);
        if let Some(asked) = unobserved_since(d) {
            let labels = TargetLabels { service: service.clone(), environment: environment.clone() };
            self.unobserved.get_or_create(&labels).set(time::between(asked, Timestamp::now()).as_secs_f64());
        }
        let weights = [("desired", Some(d.desired())), ("observed", d.seen.weight)];
        for (kind, weight) in weights {
            let Some(weight) = weight else { continue };
            let green = f64::from(weight.permille()) / f64::from(Weight::ALL.permille());
            for (color, ratio) in [("green", green), ("blue", 1.0 - green)] {
                let labels = WeightLabels { service: service.clone(), environment: environment.clone(), color, kind };
                self.weight.get_or_create(&labels).set(ratio);
            }
        }
        for (color, servers) in [("blue", d.seen.blue), ("green", d.seen.green)] {
            let Some(Servers { desired, in_service, healthy }) = servers else { continue };
            for (state, count) in [("desired", desired), ("in_service", in_service), ("healthy", healthy)] {
                let labels = ServerLabels { service: service.clone(), environment: environment.clone(), color, state };
                self.servers.get_or_create(&labels).set(i64::from(count));
            }
        }
    }

    fn register(self, registry: &mut Registry) {
        let help = "Age of a rollback that was not yet seen on every route";
        registry.register_with_unit("cutover_rollback_unobserved_age", help, Unit::Seconds, self.unobserved);
        registry.register("cutover_deployment_info", "Deployments that have not ended; always 1", self.info);
        registry.register("cutover_deployments", "Deployments that ended, by outcome", self.ended);
        registry.register("cutover_traffic_weight_ratio", "Share of traffic of a running deployment's groups", self.weight);
        registry.register("cutover_servers", "Servers of a running deployment's groups", self.servers);
        registry.register("cutover_orphans", "What ended deployments left in the cloud, as listed", self.orphans);
        registry.register("cutover_orphans_removed", "What the sweepers removed", self.orphans_removed);
        let help = "Time since the engine last looked for due work";
        registry.register_with_unit("cutover_engine_tick_age", help, Unit::Seconds, self.tick_age);
    }
}

/// Since when a running deployment is to go back, as long as users may still be on green.
fn unobserved_since(d: &Deployment) -> Option<Timestamp> {
    match &d.going_back {
        Some(back) => back.observed_at.is_none().then_some(back.requested_at),
        None => d.intent.rollback.as_ref().map(|given| given.at),
    }
}

/// How long the page waits for the records.
const PATIENCE: Duration = Duration::from_secs(2);

/// Read the metrics
///
/// Without the database only what this process counts itself is shown, with `cutover_database_up` 0.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "operations", security(()),
    responses((status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text"))
)]
pub async fn scrape(State(edge): State<Edge>) -> Response {
    let mut registry = Registry::default();
    let help = "How long requests took to answer";
    registry.register_with_unit("http_server_request_duration", help, Unit::Seconds, edge.durations.0.as_ref().clone());
    provider::Series::of(&edge.api.provider()).register(&mut registry);
    let database_up: Gauge = Gauge::default();
    match tokio::time::timeout(PATIENCE, edge.api.figures()).await {
        Ok(Ok(figures)) => {
            database_up.set(1);
            drills::register(&figures.drills, &mut registry);
            Series::of(&figures).register(&mut registry);
        }
        Ok(Err(trouble)) => tracing::warn!(%trouble, "the metrics are without the records"),
        Err(_) => tracing::warn!("the metrics are without the records: the database does not answer"),
    }
    lane::register(&edge.api.lane(), &mut registry);
    registry.register("cutover_database_up", "Whether the records could be read for this page", database_up);
    let mut page = String::new();
    match encode(&mut page, &registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], page).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written");
            Problem::new(Kind::Internal, "the metrics could not be written").into_response()
        }
    }
}
