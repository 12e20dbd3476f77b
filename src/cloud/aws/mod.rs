//! AWS: listener rules of Application Load Balancers (ELBv2) and Auto Scaling groups, nothing else.
//!
//! One `AwsCloud` is one way in, with connections of its own. Two are made: one for forward work, one for the rollback
//! lane, so that a rollback never waits for a connection that forward work holds. They share one `Budget` of requests.

mod apply;
mod arn;
mod budget;
mod by_hand;
mod calls;
mod client;
mod clock;
mod conditions;
mod drills;
mod edits;
#[cfg(test)]
mod edits_tests;
mod fault;
mod fence;
mod form;
#[cfg(test)]
mod form_tests;
mod gate;
mod gather;
mod group_changes;
mod groups;
mod inspect;
mod inventory;
mod looks;
mod names;
mod observe;
mod operation;
mod planned;
pub mod probe;
mod rights;
mod rule_changes;
mod rules;
mod scaling;
mod session;
mod shape;
mod slots;
mod spelled;
mod strays;
mod survey;
mod weights;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_config::SdkConfig;

use self::{
    budget::Lane,
    client::{Clients, Regions},
    clock::ClockLead,
    operation::Operation,
    rules::Marks,
};
pub use self::{
    budget::{Budget, BudgetSettings, Grant},
    client::AwsSettings,
    rights::Policy,
};
use crate::{
    domain::{
        action::Action,
        declaration::{Declaration, ROUTES_MAX},
        deployment::Deployment,
        ids::DeploymentId,
        inspection::Inspection,
        observation::Observation,
        plan::{Inputs, Plan, RoutePlan},
        survey::{FieldFault, Survey},
    },
    engine::ports::{Cloud, Fault, ProviderFigures, Recency},
};

/// How long opening connections in advance may take.
const WARM_TIMEOUT: Duration = Duration::from_secs(5);

/// The `Cloud` port on AWS.
#[derive(Debug)]
pub struct AwsCloud {
    regions: Regions,
    clock: Arc<ClockLead>,
    marks: Arc<Marks>,
    /// Which installation of Cutover this is: it stands in every tag, and rules of others are left alone.
    installation: String,
    lane: Lane,
}

impl AwsCloud {
    /// For forward work, by the SDK's configuration from environment and profile. Makes no connection.
    pub async fn new(settings: &AwsSettings, installation: impl Into<String>, budget: &Arc<Budget>) -> Self {
        Self::with(&client::load(settings).await, settings, installation, budget)
    }

    /// By a configuration at hand, of which the endpoint and the credentials count.
    pub fn with(config: &SdkConfig, settings: &AwsSettings, installation: impl Into<String>, budget: &Arc<Budget>) -> Self {
        let clock = Arc::new(ClockLead::default());
        let installation = installation.into();
        let regions = Regions::new(config, settings, session::name(&installation), Arc::clone(&clock), Arc::clone(budget));
        Self { regions, clock, marks: Arc::default(), installation, lane: Lane::Forward }
    }

    /// The same for the rollback lane: its calls draw on the whole budget.
    #[must_use]
    pub fn for_rollbacks(self) -> Self {
        Self { lane: Lane::Rollback, ..self }
    }

    fn clients(&self, declaration: &Declaration) -> Clients {
        self.regions.of(&declaration.provider, &declaration.routes).on(self.lane)
    }
}

impl Cloud for AwsCloud {
    /// By AWS's answers of the last minutes.
    fn clock_lead(&self) -> Duration {
        self.clock.lead()
    }

    fn figures(&self) -> ProviderFigures {
        self.regions.budget().figures()
    }

    fn shape(&self, declaration: &Declaration) -> Vec<FieldFault> {
        shape::faults(declaration)
    }

    async fn survey(&self, inputs: Inputs<'_>, deployment: Option<DeploymentId>, deadline: Instant) -> Result<Survey, Fault> {
        self.look_around(inputs, deployment, deadline).await.whole()
    }

    async fn survey_all(&self, inputs: Inputs<'_>, deadline: Instant) -> Inspection {
        self.look_at_all(inputs, deadline).await
    }

    fn calls(&self, plan: &Plan, action: &Action) -> Vec<String> {
        planned::calls(plan, action)
    }

    fn drill_calls(&self, route: &RoutePlan) -> (String, String) {
        planned::drill_calls(route)
    }

    async fn observe(&self, d: &Deployment, recency: Recency, deadline: Instant) -> Observation {
        observe::observe(self, d, recency, deadline).await
    }

    /// Calls of the cheapest kind, side by side; credentials that age are renewed with them. Idle connections close after a minute
    /// and a half. Not urgent: whoever needs
    /// the connections needs the tokens too.
    async fn warm(&self, d: &Deployment) {
        let clients = self.clients(&d.declaration).on(Lane::Forward);
        let deadline = Instant::now() + WARM_TIMEOUT;
        let calls = d.declaration.routes.iter().take(ROUTES_MAX).map(|_| {
            let call = clients.elb.describe_account_limits().page_size(1);
            clients.look(Operation::DescribeAccountLimits, deadline, call.send())
        });
        if let Err(fault) = futures::future::try_join_all(calls).await {
            tracing::debug!(%fault, "connections could not be kept warm");
        }
    }

    async fn overdue(&self, d: &Deployment, _action: &Action) {
        self.clients(&d.declaration).overdue().await;
    }

    fn is_scarce(&self, d: &Deployment) -> bool {
        self.clients(&d.declaration).is_scarce()
    }

    fn is_sticky(&self, plan: &Plan) -> Option<bool> {
        rule_changes::is_sticky(plan)
    }

    fn by_hand(&self, d: &Deployment, old: bool) -> Vec<String> {
        by_hand::lines(&self.installation, d, old)
    }

    async fn apply(&self, d: &Deployment, action: &Action, deadline: Instant) -> Result<(), Fault> {
        self.act(d, action, deadline).await
    }
}
