//! Single instances: protected from scale-in, or terminated by hand.

use serde_json::json;

use super::{
    super::{Answer, Call, refusal::Refusal},
    activities, living,
};
use crate::{
    life::moves,
    model::{Lifecycle, Region},
};

pub fn protect(region: &mut Region, call: &Call<'_>) -> Answer {
    let name = call.params.required("AutoScalingGroupName")?;
    living(region, name)?;
    let protected = call.params.flag("ProtectedFromScaleIn")?;
    let protected = protected.ok_or_else(|| Refusal::validation("ProtectedFromScaleIn must be specified"))?;
    let ids = call.params.texts("InstanceIds");
    for id in &ids {
        if region.instances.get(id).is_none_or(|server| server.group != name) {
            return Err(Refusal::validation(format!("The instance {id} is not part of Auto Scaling group {name}.")));
        }
    }
    for id in ids {
        if let Some(server) = region.instances.get_mut(&id) {
            server.protected = protected;
        }
    }
    Ok(json!({}))
}

/// Protection from scale-in does not stop it, on AWS neither.
pub fn terminate(region: &mut Region, call: &Call<'_>) -> Answer {
    let id = call.params.required("InstanceId")?;
    let shrink = call.params.flag("ShouldDecrementDesiredCapacity")?;
    let shrink = shrink.ok_or_else(|| Refusal::validation("ShouldDecrementDesiredCapacity must be specified"))?;
    let server = region.instances.get(id).filter(|server| server.lifecycle != Lifecycle::Terminating);
    let server = server.ok_or_else(|| {
        Refusal::validation(format!("Instance Id not found - No managed instance found for instance ID: {id}"))
    })?;
    let name = server.group.clone();
    let group = living(region, &name)?;
    if shrink && group.desired <= group.min {
        let told = "Currently, desiredSize equals minSize. Terminating instance without replacement will violate group's min \
                    size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size.";
        return Err(Refusal::validation(told));
    }
    if shrink && let Some(group) = region.groups.get_mut(&name) {
        group.desired -= 1;
    }
    moves::terminate(region, id, "a user request", call.at, call.now, call.scale);
    let activity = region.activities.last().map(|activity| activities::show(region, activity));
    Ok(json!({ "Activity": activity }))
}
