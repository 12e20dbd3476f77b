//! What no API call of AWS's would do here: images, launch templates, sick servers, and a ready-made stage.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Here, Panel, Told, told, unknown};
use crate::{
    model::{Image, LaunchTemplate, Lifecycle, Region, TargetState},
    names, quotas,
    scenario::{self, Server, Stage, Staged},
    targets,
};

/// An image, new or replaced: `{"id": "ami-…", "server": {"command": ["…", "{port}"]}}`. Without an id one is drawn.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewImage {
    id: Option<String>,
    server: Server,
}

pub async fn image(Here(land): Here, Json(new): Json<NewImage>) -> (StatusCode, Json<Value>) {
    let id = land.shared.change(|region| {
        let id = new.id.unwrap_or_else(|| names::image(region));
        region.images.insert(id.clone(), Image { id: id.clone(), server: new.server.into() });
        id
    });
    (StatusCode::CREATED, Json(json!({ "id": id })))
}

/// A launch template, new or replaced: `{"name": "web", "versions": {"1": "ami-…"}}`. Without an id one is drawn.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewLaunchTemplate {
    id: Option<String>,
    name: String,
    versions: BTreeMap<u32, String>,
    default_version: Option<u32>,
}

pub async fn launch_template(Here(land): Here, Json(new): Json<NewLaunchTemplate>) -> Result<(StatusCode, Json<Value>), Told> {
    let default_version = new.default_version.or_else(|| new.versions.keys().next().copied());
    let default_version = default_version.filter(|version| new.versions.contains_key(version));
    let default_version = default_version.ok_or_else(|| {
        told(StatusCode::UNPROCESSABLE_ENTITY, "`default_version` must be one of `versions`, which must not be empty")
    })?;
    let id = land.shared.change(|region| {
        let id = new.id.unwrap_or_else(|| names::launch_template(region));
        let template = LaunchTemplate { id: id.clone(), name: new.name, versions: new.versions, default_version };
        region.launch_templates.insert(id.clone(), template);
        id
    });
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))))
}

/// `sick`: its health checks fail. `heal`: they pass again. `kill`: its server dies in the middle of what it does.
pub async fn instance(
    Here(land): Here,
    State(panel): State<Panel>,
    Path((id, what)): Path<(String, String)>,
) -> Result<StatusCode, Told> {
    let marked = land.shared.change(|region| {
        let server = region.instances.get_mut(&id)?;
        match what.as_str() {
            "sick" => server.sick = true,
            "heal" => server.sick = false,
            _ => server.killed |= what == "kill",
        }
        Some(())
    });
    marked.ok_or_else(|| unknown("instance", &id))?;
    // The server may not have started yet; the mark in the region stands all the same.
    let _started = match what.as_str() {
        "sick" => panel.servers.set_sick(&id, true),
        "heal" => panel.servers.set_sick(&id, false),
        "kill" => panel.servers.kill(&id),
        other => return Err(unknown("switch", other)),
    };
    Ok(StatusCode::NO_CONTENT)
}

/// What is set instead of AWS's own.
pub async fn quotas(Here(land): Here) -> Json<BTreeMap<String, u32>> {
    Json(land.shared.now().quotas.clone())
}

/// Instead of AWS's own: `{"rules-per-application-load-balancer": 3}`; those that are not named are AWS's again.
pub async fn set_quotas(Here(land): Here, Json(wanted): Json<BTreeMap<String, u32>>) -> Result<StatusCode, Told> {
    if let Some(unknown) = wanted.keys().find(|name| !quotas::known(name)) {
        return Err(told(StatusCode::UNPROCESSABLE_ENTITY, format!("there is no quota {unknown}")));
    }
    land.shared.change(|region| region.quotas = wanted);
    Ok(StatusCode::NO_CONTENT)
}

/// By ARN: where each listener takes connections on this machine.
pub async fn listeners(Here(land): Here) -> Json<Value> {
    let region = land.shared.now();
    let listeners = region.listeners.values();
    Json(listeners.map(|listener| (listener.arn.clone(), json!(listener.address))).collect::<serde_json::Map<_, _>>().into())
}

pub async fn figures(Here(land): Here) -> Json<Value> {
    Json(json!(land.traffic.figures()))
}

pub async fn stage(Here(land): Here, Json(stage): Json<Stage>) -> Result<(StatusCode, Json<Staged>), Told> {
    let staged = land.shared.try_change(|region| scenario::build(region, &stage, Timestamp::now()));
    let staged = staged.map_err(|sentence| told(StatusCode::UNPROCESSABLE_ENTITY, sentence))?;
    Ok((StatusCode::CREATED, Json(staged)))
}

/// A summary for people.
pub async fn region(Here(land): Here) -> Json<Value> {
    let region = land.shared.now();
    let rules = region.rules.values().map(|rule| {
        let groups: Vec<&String> = targets::named_by(&rule.actions).collect();
        json!({ "arn": rule.arn, "priority": rule.priority, "target_groups": groups })
    });
    Json(json!({
        "version": region.version,
        "load_balancers": region.load_balancers.values().map(|balancer| &balancer.arn).collect::<Vec<_>>(),
        "listeners": region.listeners.values().map(|it| json!({ "arn": it.arn, "address": it.address })).collect::<Vec<_>>(),
        "rules": rules.collect::<Vec<_>>(),
        "target_groups": target_groups(&region),
        "groups": groups(&region),
    }))
}

fn target_groups(region: &Region) -> Vec<Value> {
    let shown = region.target_groups.values().map(|group| {
        let in_state = |state| group.targets.values().filter(|target| target.state == state).count();
        json!({
            "arn": group.arn,
            "targets": group.targets.len(),
            "healthy": in_state(TargetState::Healthy),
            "draining": in_state(TargetState::Draining),
        })
    });
    shown.collect()
}

fn groups(region: &Region) -> Vec<Value> {
    let shown = region.groups.values().map(|group| {
        let servers = || region.instances.values().filter(|server| server.group == group.name);
        let in_service = servers().filter(|server| server.lifecycle == Lifecycle::InService).count();
        json!({
            "name": group.name,
            "desired": group.desired,
            "in_service": in_service,
            "instances": servers().map(|server| &server.id).collect::<Vec<_>>(),
            "deleting": group.delete_at.is_some(),
        })
    });
    shown.collect()
}
