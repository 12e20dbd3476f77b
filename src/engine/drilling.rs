//! What the edge asks of drills: begin one, read them.

use std::time::Instant;

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    api::{Actor, Drilling, Step, Steps, Trouble},
    app::App,
    drills::ports::{Begun, DrillStore, NewDrill},
    ports::{Cloud, LaneStore, Store, StoreError},
    sweeper::ports::SweepStore,
};
use crate::domain::{
    drill::Drill,
    ids::{DrillId, Image, Target},
    plan::{self, Inputs},
    time,
};

/// How often the one in the way may have ended before it could be read.
const TRIES_MAX: usize = 5;

impl<S: Store + SweepStore + DrillStore, L: LaneStore, C: Cloud> App<S, L, C> {
    /// Begins one, or answers with the one that runs.
    pub(super) async fn begin_drill(&self, by: Actor, target: Target, reason: Option<String>) -> Result<Drilling, Trouble> {
        for _ in 0..TRIES_MAX {
            let (id, created_by, created_at) = (DrillId::new(Uuid::now_v7()), by.name.clone(), Timestamp::now());
            let (target, reason) = (target.clone(), reason.clone());
            let new = NewDrill { id, target, reason, created_by, created_at, scheduled: None };
            return match self.store.begin_drill(new).await? {
                Begun::Started(drill) => {
                    self.drilled.notify_one();
                    Ok(Drilling { drill, new: true })
                }
                Begun::Running(drill) => Ok(Drilling { drill, new: false }),
                Begun::NotDeclared => Err(Trouble::NotFound("service/environment")),
                Begun::Deployment(running) => Err(Trouble::InProgress(running)),
                // The one in the way ended before it could be read.
                Begun::Moved => continue,
            };
        }
        let source = "drills kept coming and going: try again".into();
        Err(StoreError::Unreachable { doing: "beginning a drill", source }.into())
    }

    /// What one would do now. It looks at the provider and changes nothing.
    pub(super) async fn plan_drill(&self, target: Target) -> Result<Steps, Trouble> {
        let environment = self.open_for(&target).await?;
        let declaration = &environment.declaration;
        let image = Image::Template(declaration.server_group.launch_template.version);
        let (strategy, live) = (&declaration.strategy, environment.live.as_ref());
        let inputs = Inputs { target: &target, number: 0, image: &image, declaration, strategy, live, takes_back: false };
        let patience = self.settings.survey_timeout;
        let survey = match self.cloud.survey(inputs, None, Instant::now() + patience).await {
            Ok(survey) => survey,
            Err(fault) => return Ok(Steps { unknown: vec![fault.to_string()], ..Steps::default() }),
        };
        let (slot, routes) = plan::of_drill(declaration, live, &survey).map_err(Trouble::Invalid)?;
        let step = |phase, action: &str, detail: String, calls| Step { phase, action: action.to_owned(), detail, calls };
        let (opening, deleting): (Vec<_>, Vec<_>) = routes.iter().map(|route| self.cloud.drill_calls(route)).unzip();
        let budget = time::show_duration(declaration.drill.clone().unwrap_or_default().budget);
        // In the phases in which a release does the same.
        let mut steps = Vec::new();
        for (route, call) in routes.iter().zip(opening) {
            let detail = format!("rule {} above {}, forwarding to {slot} as its base does", route.overlay_number, route.route);
            steps.push(step("provisioning", "open_drill", detail, vec![call]));
        }
        steps.push(step("provisioning", "wait", "the rule is seen on every route".to_owned(), Vec::new()));
        steps.push(step("rolling_back", "delete_rules", "the drill's rule on every route".to_owned(), deleting));
        let gone = format!("it is seen gone from every route; {budget} are allowed");
        steps.push(step("rolling_back", "wait", gone, Vec::new()));
        Ok(Steps { steps, ..Steps::default() })
    }

    pub(super) async fn drill(&self, id: DrillId) -> Result<Drill, Trouble> {
        self.store.drill(id).await?.ok_or(Trouble::NotFound("drill"))
    }

    pub(super) async fn drills(&self, target: Target, before: Option<DrillId>, limit: usize) -> Result<Vec<Drill>, Trouble> {
        self.environment_of(&target).await?;
        Ok(self.store.drills(&target, before, limit).await?)
    }
}
