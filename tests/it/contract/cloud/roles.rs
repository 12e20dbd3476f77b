//! Roles: other accounts are reached with sessions that are kept, renewed, and given up when they are refused as too old.

use std::time::Instant;

use cutover::{
    domain::{
        action::Action as Change,
        declaration::{AssumedRole, Declaration, Provider},
        deployment::Deployment,
        ids::{GroupName, RouteRef, SlotRef},
        observation::Observation,
        plan::{self, Inputs},
    },
    engine::{
        ports::{Cloud, Fault as Refusal, FaultKind, Recency},
        sweeper::ports::SweptCloud,
    },
};
use cutover_sim::{
    faults::{Effect, Fault},
    model::Place,
    scenario::{Stage, StagedService},
};

use super::{
    Story,
    house::{House, later},
    story,
    world::{Emulator, REGION, World},
};

pub const STORIES: &[Story] = &[story!(a_role_of_the_same_account_acts_as_the_service_itself_does)];

const ACCOUNT: &str = "222222222222";
const EXTERNAL_ID: &str = "cutover-at-example";

fn role(account: &str, external_id: Option<&str>) -> Provider {
    let role =
        AssumedRole { arn: format!("arn:aws:iam::{account}:role/team/cutover"), external_id: external_id.map(str::to_owned) };
    Provider::Aws { region: REGION.to_owned(), role: Some(role) }
}

async fn a_role_of_the_same_account_acts_as_the_service_itself_does(world: &World) {
    let house = House::build(world, "sameacct").await;
    let account = house.base.split(':').nth(4).unwrap();
    let with_role = Declaration { provider: role(account, None), ..house.declaration(&house.base) };
    let d = house.opened(with_role).await;
    assert_eq!(house.numbers().await, [99, 100]);
    house.apply(&d, &Change::DeleteRules { rules: d.overlays.clone() }).await.unwrap();
    assert_eq!(house.numbers().await, [100]);
    // Whoever acts there draws on the account's budget, and it is one place to look through.
    house.survey(&house.pending(house.declaration(&house.base))).await;
    let figures = house.cloud.figures();
    assert!(figures.budgets.iter().all(|budget| budget.account == account), "{:?}", figures.budgets);
    let place = |declaration: &Declaration| house.cloud.whereabouts(declaration);
    assert_eq!(place(&d.declaration), place(&house.declaration(&house.base)));
    let elsewhere = house.pending(Declaration { provider: role(ACCOUNT, None), ..house.declaration(&house.base) });
    assert_ne!(place(&d.declaration), place(&elsewhere.declaration));
    let faults = house.survey(&elsewhere).await.faults;
    assert_eq!(faults.len(), 3, "the route and both slots: {faults:?}");
    assert!(faults[0].detail.contains("the role in 222222222222"), "{faults:?}");
}

/// A service in another account, whose role wants an external id.
struct Abroad {
    world: World,
    service: StagedService,
}

impl Abroad {
    async fn build() -> Self {
        let world = World::pocket_region().await;
        assert_eq!(world.emulator, Emulator::PocketRegion);
        let place = Place { account: ACCOUNT.to_owned(), region: REGION.to_owned() };
        let service = world.sim().stage_at(&place, &Stage::default()).unwrap().services.remove(0);
        let wanted = ("arn:aws:iam::222222222222:role/team/cutover".to_owned(), EXTERNAL_ID.to_owned());
        world.sim().sessions().require([wanted].into());
        Self { world, service }
    }

    fn declaration(&self, house: &House<'_>, provider: Provider) -> Declaration {
        Declaration {
            provider,
            routes: self.service.routes.iter().map(RouteRef::new).collect(),
            slots: self.service.slots.iter().map(|slot| SlotRef::new(&slot[0])).collect(),
            blue: self.service.blue.as_ref().map(GroupName::new),
            ..house.declaration(&house.base)
        }
    }

    /// A deployment there, with its overlay open and recorded.
    async fn opened(&self, house: &House<'_>) -> Deployment {
        let mut d = house.pending(self.declaration(house, role(ACCOUNT, Some(EXTERNAL_ID))));
        let healthy =
            async || Some(house.survey(&d).await).filter(|survey| survey.blue.as_ref().is_some_and(|b| b.healthy == 2));
        let survey = super::world::eventually("blue is healthy", healthy).await;
        d.plan = Some(plan::make(&Inputs::of(&d), &survey).unwrap());
        d.phase = cutover::domain::phase::Phase::Verifying;
        house.apply(&d, &Change::OpenOverlays { routes: vec![0] }).await.unwrap();
        d.overlays = house.route(&d).await.overlays.iter().map(|overlay| overlay.rule.clone()).collect();
        d
    }

    fn assumed(&self) -> usize {
        self.world.sim().journal().calls(0, Some("AssumeRole")).len()
    }

    /// All sessions end now, whatever their holders were told.
    fn expire(&self) {
        self.world.sim().sessions().expire(Instant::now());
    }
}

fn unseen(seen: &Observation) -> String {
    format!("{:?}", seen.routes[0])
}

#[tokio::test]
async fn a_role_is_assumed_once_and_by_each_way_in() {
    let abroad = Abroad::build().await;
    let house = House::build(&abroad.world, "home").await;
    let d = abroad.opened(&house).await;
    house.observe(&d).await;
    assert_eq!(abroad.assumed(), 1, "every call was signed with one session");
    let figures = house.cloud.figures().calls;
    let counted = figures.iter().find(|calls| calls.operation == "AssumeRole").map(|calls| calls.outcomes.clone());
    assert_eq!(counted, Some(vec![("ok", 1)]), "and counted like every call");
    let call = abroad.world.sim().journal().calls(0, Some("AssumeRole")).remove(0);
    let sent = ["RoleArn", "RoleSessionName", "ExternalId"].map(|name| call.parameters.get(name).cloned().unwrap_or_default());
    assert_eq!(sent, ["arn:aws:iam::222222222222:role/team/cutover", "cutover-contract", EXTERNAL_ID]);

    // The lane's own is warm before anybody rolls back, so that no rollback waits for STS, nor fails with it.
    let lane = abroad.world.cloud().for_rollbacks();
    lane.warm(&d).await;
    assert_eq!(abroad.assumed(), 2);
    let down = Effect::Error { code: "ServiceUnavailable".to_owned(), message: String::new(), status: 503 };
    abroad.world.sim().faults().set(Fault::on("AssumeRole", down)).unwrap();
    lane.apply(&d, &Change::DeleteRules { rules: d.overlays.clone() }, later()).await.unwrap();
    assert_eq!(abroad.assumed(), 2);
    assert_eq!(house.route(&d).await.overlays, []);
}

#[tokio::test]
async fn a_role_that_is_refused_is_no_right_and_one_that_is_not_answered_may_pass() {
    let abroad = Abroad::build().await;
    let house = House::build(&abroad.world, "home").await;
    let look = async |external_id| -> Refusal {
        let d = house.pending(abroad.declaration(&house, role(ACCOUNT, external_id)));
        house.cloud.survey(Inputs::of(&d), Some(d.id), later()).await.unwrap_err()
    };
    for external_id in [None, Some("another")] {
        let fault = look(external_id).await;
        assert_eq!(fault.kind, FaultKind::Denied, "{fault}");
        assert!(fault.message.contains("role/team/cutover could not be assumed: AccessDenied"), "{fault}");
    }
    for code in ["ServiceUnavailable", "Throttling"] {
        let effect = Effect::Error { code: code.to_owned(), message: String::new(), status: 503 };
        let id = abroad.world.sim().faults().set(Fault::on("AssumeRole", effect)).unwrap();
        let fault = look(Some(EXTERNAL_ID)).await;
        assert_eq!(fault.kind, FaultKind::Transient, "{fault}");
        assert!(abroad.world.sim().faults().remove(&id));
    }
    abroad.opened(&house).await;
}

#[tokio::test]
async fn an_expired_session_costs_one_look_or_one_try() {
    let abroad = Abroad::build().await;
    let house = House::build(&abroad.world, "home").await;
    let d = abroad.opened(&house).await;
    abroad.expire();
    let seen = house.cloud.observe(&d, Recency::Now, later()).await;
    assert!(unseen(&seen).contains("ExpiredToken"), "unknown, and not gone: {}", unseen(&seen));
    let seen = house.cloud.observe(&d, Recency::Now, later()).await;
    assert_eq!(seen.routes[0].seen().map(|view| view.overlays.len()), Some(1), "{}", unseen(&seen));
    assert_eq!(abroad.assumed(), 2);

    let lane = abroad.world.cloud().for_rollbacks();
    lane.warm(&d).await;
    abroad.expire();
    let delete = Change::DeleteRules { rules: d.overlays.clone() };
    let fault = lane.apply(&d, &delete, later()).await.unwrap_err();
    assert_eq!((fault.kind, fault.code.as_deref()), (FaultKind::Transient, Some("ExpiredToken")), "{fault}");
    lane.apply(&d, &delete, later()).await.unwrap();
}
