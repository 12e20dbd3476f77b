//! What the provider is asked, as series: counted by the cloud itself, shown with or without the database.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::counted::Counted;
use crate::engine::ports::{BudgetFigures, CallFigures, ProviderFigures};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    lane: &'static str,
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    lane: &'static str,
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BudgetLabels {
    account: String,
    region: String,
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReadyLabels {
    account: String,
    region: String,
    class: &'static str,
    lane: &'static str,
}

type Float<M> = Family<M, Gauge<f64, AtomicU64>>;

/// The provider's part of the page.
#[derive(Debug, Default)]
pub(super) struct Series {
    requests: Family<OutcomeLabels, Counter>,
    took: Counted<CallLabels>,
    waited: Family<CallLabels, Counter<f64, AtomicU64>>,
    ready: Float<ReadyLabels>,
    pace: Float<BudgetLabels>,
}

impl Series {
    pub(super) fn of(figures: &ProviderFigures) -> Self {
        let mut series = Self::default();
        figures.calls.iter().for_each(|calls| series.add(calls));
        figures.budgets.iter().for_each(|budget| series.add_budget(budget));
        series
    }

    fn add(&mut self, calls: &CallFigures) {
        let CallFigures { lane, operation, outcomes, waited, took, took_at_most } = calls;
        for (outcome, count) in outcomes {
            self.requests.get_or_create(&OutcomeLabels { lane, operation, outcome }).inc_by(*count);
        }
        let labels = CallLabels { lane, operation };
        self.waited.get_or_create(&labels).inc_by(waited.as_secs_f64());
        self.took.push(labels, *took, took_at_most.clone());
    }

    fn add_budget(&self, budget: &BudgetFigures) {
        let BudgetFigures { account, region, class, ready, pace } = budget;
        for (lane, calls) in ready {
            let labels = ReadyLabels { account: account.clone(), region: region.clone(), class, lane };
            self.ready.get_or_create(&labels).set(*calls);
        }
        let labels = BudgetLabels { account: account.clone(), region: region.clone(), class };
        self.pace.get_or_create(&labels).set(*pace);
    }

    pub(super) fn register(self, registry: &mut Registry) {
        registry.register("cutover_provider_requests", "Requests to the provider, by how they ended", self.requests);
        let help = "How long the provider took to answer";
        registry.register_with_unit("cutover_provider_request_duration", help, Unit::Seconds, self.took);
        let help = "Time that requests waited for the request budget";
        registry.register_with_unit("cutover_provider_budget_wait", help, Unit::Seconds, self.waited);
        let help = "Requests that the budget would let go at once";
        registry.register("cutover_provider_budget_tokens", help, self.ready);
        let help = "How fast forward work's tokens come back: 1, and less while the provider throttles";
        registry.register("cutover_provider_budget_pace_ratio", help, self.pace);
    }
}
