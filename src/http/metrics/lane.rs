//! What this replica did and could do of rollbacks, as series: shown with or without the database.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::gauge::Gauge,
    registry::{Registry, Unit},
};

use super::counted::Counted;
use crate::engine::api::LaneFigures;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RollbackLabels {
    trigger: &'static str,
    until: &'static str,
}

pub(super) fn register(figures: &LaneFigures, registry: &mut Registry) {
    let series = [
        ("cutover_lane_bundles", "Running deployments that this replica could roll back without the database", figures.bundles),
        (
            "cutover_lane_journal_entries",
            "Rollbacks that were taken without the database and wait to be put on record",
            figures.journal,
        ),
    ];
    for (name, help, count) in series {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    }
    let mut took = Counted::default();
    for rollback in &figures.rollbacks {
        let labels = RollbackLabels { trigger: rollback.trigger, until: rollback.until };
        took.push(labels, rollback.took, rollback.took_at_most.clone());
    }
    let help = "From the decision to go back until the load balancer had accepted it, and until it was seen on every route";
    registry.register_with_unit("cutover_rollback_duration", help, Unit::Seconds, took);
}
