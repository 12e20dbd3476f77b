//! Listeners. Their ports are the load balancer's; where they really listen on this machine is `/_sim/listeners`.

use serde_json::{Value, json};

use super::{
    super::{Answer, Call, query, refusal::Refusal},
    actions, few, tags,
};
use crate::{
    model::{Listener, Region},
    names,
};

const PAGE_MAX: u32 = 400;

pub fn create(region: &mut Region, call: &Call<'_>) -> Answer {
    let params = call.params;
    let load_balancer = params.required("LoadBalancerArn")?.to_owned();
    if !region.load_balancers.contains_key(&load_balancer) {
        return Err(Refusal::load_balancer_not_found());
    }
    let port = port(call)?.ok_or_else(|| Refusal::validation("A listener port must be specified"))?;
    let default_actions = actions::parse(params, "DefaultActions")?;
    let tags = tags::given(params)?;
    actions::allowed(region, &load_balancer, &default_actions)?;
    if taken(region, &load_balancer, port, None) {
        return Err(duplicate());
    }
    let arn = names::listener(region, &load_balancer);
    let listener = Listener { arn: arn.clone(), load_balancer, port, address: None, default_actions, tags };
    let shown = show(&listener);
    region.listeners.insert(arn, listener);
    Ok(json!({ "Listeners": [shown] }))
}

fn port(call: &Call<'_>) -> Result<Option<u16>, Refusal> {
    Ok(call.params.whole("Port", 1..=65_535)?.and_then(|port| u16::try_from(port).ok()))
}

fn taken(region: &Region, load_balancer: &str, port: u16, but: Option<&str>) -> bool {
    let mut listeners = region.listeners.values().filter(|other| Some(other.arn.as_str()) != but);
    listeners.any(|other| other.load_balancer == load_balancer && other.port == port)
}

fn duplicate() -> Refusal {
    Refusal::new("DuplicateListener", "A listener already exists on this port for this load balancer")
}

/// The only way to change a default action.
pub fn modify(region: &mut Region, call: &Call<'_>) -> Answer {
    let params = call.params;
    let arn = params.required("ListenerArn")?;
    let listener = region.listeners.get(arn).ok_or_else(Refusal::listener_not_found)?;
    let given = params.has("DefaultActions");
    let actions = if given { Some(actions::parse(params, "DefaultActions")?) } else { None };
    let port = port(call)?.unwrap_or(listener.port);
    actions::allowed(region, &listener.load_balancer, actions.as_deref().unwrap_or_default())?;
    if taken(region, &listener.load_balancer, port, Some(arn)) {
        return Err(duplicate());
    }
    let listener = region.listeners.get_mut(arn).ok_or_else(Refusal::listener_not_found)?;
    listener.port = port;
    listener.default_actions = actions.unwrap_or_else(|| listener.default_actions.clone());
    Ok(json!({ "Listeners": [show(listener)] }))
}

pub fn delete(region: &mut Region, call: &Call<'_>) -> Answer {
    let arn = call.params.required("ListenerArn")?;
    region.listeners.remove(arn).ok_or_else(Refusal::listener_not_found)?;
    region.rules.retain(|_, rule| rule.listener != arn);
    Ok(json!({}))
}

pub fn describe(region: &Region, call: &Call<'_>) -> Answer {
    let params = call.params;
    let arns = params.texts("ListenerArns");
    few(arns.len(), "listeners")?;
    let shown = match (params.text("LoadBalancerArn"), arns.is_empty()) {
        (Some(balancer), true) => {
            if !region.load_balancers.contains_key(balancer) {
                return Err(Refusal::load_balancer_not_found());
            }
            let of_it = region.listeners.values().filter(|listener| listener.load_balancer == balancer);
            of_it.map(|listener| (listener.arn.clone(), show(listener))).collect()
        }
        (None, false) => {
            let one = |arn: &String| {
                let listener = region.listeners.get(arn).ok_or_else(Refusal::listener_not_found)?;
                Ok((arn.clone(), show(listener)))
            };
            arns.iter().map(one).collect::<Result<Vec<_>, Refusal>>()?
        }
        _ => return Err(Refusal::validation("You must specify either listener ARNs or a load balancer ARN")),
    };
    let size = params.whole("PageSize", 1..=PAGE_MAX)?.unwrap_or(PAGE_MAX);
    let (shown, next) = query::page(shown, params.text("Marker"), size as usize);
    Ok(json!({ "Listeners": shown, "NextMarker": next }))
}

fn show(listener: &Listener) -> Value {
    json!({
        "ListenerArn": listener.arn,
        "LoadBalancerArn": listener.load_balancer,
        "Port": listener.port,
        "Protocol": "HTTP",
        "DefaultActions": actions::show(&listener.default_actions),
    })
}
