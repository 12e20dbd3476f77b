//! How the last drills of the way back went, as series.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::TargetLabels;
use crate::engine::drills::ports::DrillFigures;

type Seconds<L> = Family<L, Gauge<f64, std::sync::atomic::AtomicU64>>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    service: String,
    environment: String,
    change: &'static str,
    until: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    service: String,
    environment: String,
    outcome: &'static str,
}

pub(super) fn register(drills: &[DrillFigures], registry: &mut Registry) {
    let (took, passed) = (Seconds::default(), Seconds::default());
    let last: Family<OutcomeLabels, Gauge> = Family::default();
    for DrillFigures { drill, passed_at } in drills {
        let (service, environment) = (drill.target.service.to_string(), drill.target.environment.to_string());
        for (change, name) in [(&drill.opening, "opening"), (&drill.deletion, "deletion")] {
            for (after, until) in [(change.accepted_after(), "accepted"), (change.seen_after(), "seen")] {
                let Some(after) = after else { continue };
                let labels = DurationLabels { service: service.clone(), environment: environment.clone(), change: name, until };
                took.get_or_create(&labels).set(after.as_secs_f64());
            }
        }
        if let Some(outcome) = drill.outcome {
            let labels = OutcomeLabels { service: service.clone(), environment: environment.clone(), outcome: outcome.name() };
            last.get_or_create(&labels).set(1);
        }
        if let Some(at) = passed_at {
            passed.get_or_create(&TargetLabels { service, environment }).set(at.as_duration().as_secs_f64());
        }
    }
    let help = "How long the last drill's changes took";
    registry.register_with_unit("cutover_drill_duration", help, Unit::Seconds, took);
    let help = "When a drill last passed";
    registry.register_with_unit("cutover_drill_last_success_timestamp", help, Unit::Seconds, passed);
    registry.register("cutover_drill_last_outcome", "How the last drill ended; always 1", last);
}
