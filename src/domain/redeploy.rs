//! Going back from a deployment that has ended: its old servers are gone, so the image before it is deployed anew, straight to 100 %.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    declaration::{Declaration, Stage, Strategy},
    deployment::{Deployment, Live},
    ids::Image,
    phase::Phase,
    time::{self, BakeTime},
    weight::Weight,
};

/// How a rollback of a service/environment is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What runs goes back at once.
    Back,
    /// By the rollback that was asked for before, which runs, or ended well a moment ago: nothing is sent.
    Again,
    /// By a new deployment of the image before.
    Anew,
}

/// By the deployment that runs, else the last that ended. Whoever asks twice within `repeats_for` gets the same rollback twice.
#[must_use]
pub fn way(newest: &Deployment, now: Timestamp, repeats_for: Duration) -> Way {
    let lately = newest.ended_at.is_some_and(|at| time::between(at, now) <= repeats_for);
    match (newest.takes_back, &newest.phase) {
        (Some(_), phase) if !phase.is_terminal() => Way::Again,
        (None, phase) if !phase.is_terminal() => Way::Back,
        // Of one that took something back only a good end is a rollback: taken back itself it left users where they were.
        (Some(_), Phase::Succeeded) | (None, Phase::RolledBack) if lately => Way::Again,
        _ => Way::Anew,
    }
}

/// What to go back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    pub image: Image,
    /// CI's own label for it; `None` for what served before the first deployment.
    pub version: Option<String>,
}

/// The image that was live before the live one *first* was. The one before the last deployment would not do: after a rollback
/// that is the very release that was left. `history` holds deployments that succeeded, in any order, those two at least; `declared` is in force now: a
/// version of another launch template than its is another image, however it is called.
#[must_use]
pub fn image_before(live: &Live, history: &[Deployment], declared: &Declaration) -> Option<Before> {
    let succeeded = || history.iter().filter(|d| d.phase == Phase::Succeeded);
    let first = succeeded().filter(|d| d.image == live.image).min_by_key(|d| d.number)?;
    let before = succeeded().filter(|d| d.number < first.number).max_by_key(|d| d.number);
    let template = |of: &Declaration| of.server_group.launch_template.id.clone();
    let found = match before {
        Some(d) => {
            let same = matches!(d.image, Image::Machine(_)) || template(&d.declaration) == template(declared);
            same.then(|| Before { image: d.image.clone(), version: d.version.clone() })
        }
        // The first deployment found a group that somebody else had made, from whatever template.
        None => {
            let blue = first.plan.as_ref()?.blue.as_ref()?;
            let image = Image::parse(blue.image.as_ref()?).ok()?;
            let same = matches!(image, Image::Machine(_)) || blue.template.as_ref() == Some(&template(declared));
            same.then_some(Before { image, version: None })
        }
    };
    found.filter(|before| before.image != live.image)
}

/// Straight to 100 % behind the health gate; the last bake as declared, so that going back from it is instant, too.
#[must_use]
pub fn strategy(declared: &Strategy) -> Strategy {
    let all = Stage { weight: Weight::ALL, bake_time: BakeTime::For(Duration::ZERO) };
    Strategy { stages: vec![all], ..declared.clone() }
}

/// What is declared, but that nobody waits for a preview of what users had before.
#[must_use]
pub fn declaration(declared: Declaration) -> Declaration {
    Declaration { preview: None, ..declared }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        declaration::Preview,
        ids::{GroupName, SlotRef},
        sample,
    };

    #[test]
    fn whoever_asks_twice_gets_the_same_rollback_twice_and_what_went_on_since_is_gone_back_from() {
        let (ended, minute) = (100, Duration::from_secs(60));
        let by = |takes_back, phase: Phase, now| {
            let mut d = sample::deployment(1, phase);
            d.takes_back = takes_back;
            d.ended_at = d.phase.is_terminal().then(|| sample::at(ended));
            way(&d, sample::at(now), minute)
        };
        let baking = || Phase::Baking { seen_at: None, commit_now: false };
        let released = |phase, now| by(None, phase, now);
        assert_eq!([released(baking(), 0), released(Phase::Retiring, 0)], [Way::Back; 2]);
        assert_eq!([released(Phase::RolledBack, 160), released(Phase::RolledBack, 161)], [Way::Again, Way::Anew]);
        let others = [Phase::Succeeded, Phase::Cancelled, Phase::Failed].map(|phase| released(phase, 100));
        assert_eq!(others, [Way::Anew; 3]);
        let redeploy = |phase, now| by(Some(1), phase, now);
        assert_eq!([redeploy(baking(), 0), redeploy(Phase::Retiring, 0)], [Way::Again; 2], "it is the rollback");
        assert_eq!([redeploy(Phase::Succeeded, 160), redeploy(Phase::Succeeded, 161)], [Way::Again, Way::Anew]);
        assert_eq!(redeploy(Phase::RolledBack, 100), Way::Anew, "users are still on what was to be left");
    }

    fn succeeded(number: u32, image: u32) -> Deployment {
        let mut d = sample::deployment(1, Phase::Succeeded);
        (d.number, d.image, d.version) = (number, Image::Template(image), Some(format!("v{image}")));
        d
    }

    fn live(d: &Deployment) -> Live {
        Live { group: GroupName::new("live"), slot: SlotRef::new("slot-a"), image: d.image.clone(), number: d.number }
    }

    /// Of deployments in this order, with these images; the last one is live.
    fn before(images: &[u32], adopted: Option<&str>) -> Option<Image> {
        let mut history: Vec<_> = (1..).zip(images).map(|(n, image)| succeeded(10 * n, *image)).collect();
        if let Some(first) = history.first_mut() {
            first.plan.as_mut().unwrap().blue.as_mut().unwrap().image = adopted.map(str::to_owned);
        }
        let live = live(history.last().unwrap());
        // Ended otherwise, after each of them: what never was live.
        let others = history.iter().map(|d| Deployment { phase: Phase::RolledBack, ..succeeded(d.number + 5, 99) });
        history = others.chain(history.clone()).collect();
        history.reverse();
        let declared = &sample::pending(9, 1, sample::strategy(&[100], 0)).declaration;
        image_before(&live, &history, declared).map(|before| before.image)
    }

    #[test]
    fn it_is_the_image_before_the_live_one_first_was_and_never_what_a_rollback_left() {
        let template = |version| Some(Image::Template(version));
        assert_eq!(before(&[1, 2, 3], None), template(2));
        assert_eq!(before(&[1, 2, 1], None), None, "2 was left: there is nothing before 1");
        assert_eq!(before(&[1, 2, 3, 2], None), template(1), "3 was left");
        assert_eq!(before(&[1, 2, 1, 4], None), template(1));
        assert_eq!(before(&[1], None), None);
    }

    #[test]
    fn before_the_first_deployment_served_whatever_it_found() {
        let machine = Some(Image::Machine("ami-0aa1".to_owned()));
        assert_eq!(before(&[1], Some("ami-0aa1")), machine);
        assert_eq!(before(&[1, 2, 1], Some("ami-0aa1")), machine);
        assert_eq!(before(&[1], Some("resolve:ssm:/golden")), None, "no image that could be asked for");
        assert_eq!(before(&[1], Some("lt:7")), Some(Image::Template(7)), "the group is of the declared template");
        let mut first = succeeded(1, 1);
        let blue = first.plan.as_mut().unwrap().blue.as_mut().unwrap();
        (blue.image, blue.template) = (Some("lt:7".to_owned()), Some("lt-of-another-name".to_owned()));
        assert_eq!(image_before(&live(&first), std::slice::from_ref(&first), &first.declaration), None);
    }

    #[test]
    fn a_version_of_another_template_is_another_image() {
        let history = [succeeded(1, 1), succeeded(2, 2)];
        let mut declared = history[1].declaration.clone();
        declared.server_group.launch_template.id = "lt-of-another-name".to_owned();
        assert_eq!(image_before(&live(&history[1]), &history, &declared), None);
        assert!(image_before(&live(&history[1]), &history, &history[0].declaration).is_some());
    }

    #[test]
    fn nobody_waits_for_a_preview_of_what_users_had_before() {
        let plain = sample::pending(9, 1, sample::strategy(&[100], 0)).declaration;
        let preview = Preview { header: "X-Preview".to_owned(), value: "green".to_owned(), bake_time: BakeTime::Manual };
        assert_eq!(declaration(Declaration { preview: Some(preview), ..plain.clone() }), plain);
    }

    #[test]
    fn it_goes_straight_to_all_and_bakes_as_declared() {
        let declared = sample::strategy(&[50, 100], 60);
        let straight = strategy(&declared);
        assert_eq!(straight.stages, [Stage { weight: Weight::ALL, bake_time: BakeTime::For(Duration::ZERO) }]);
        assert_eq!((straight.bake_time, straight.deadlines), (declared.bake_time, declared.deadlines));
    }
}
