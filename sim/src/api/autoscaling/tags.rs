//! Tags of groups.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::{
    Answer, Call,
    query::{self, Node},
    refusal::Refusal,
};
use crate::model::{Region, ServerGroup, Tags};

const PAGE_MAX: u32 = 100;

/// The tags of a creating call, and the keys that instances get too.
///
/// # Errors
/// `ValidationError` for a tag without a key.
pub fn given(params: Node<'_>) -> Result<(Tags, BTreeSet<String>), Refusal> {
    let (mut tags, mut propagated) = (Tags::new(), BTreeSet::new());
    for tag in params.list("Tags") {
        let key = tag.required("Key")?.to_owned();
        if tag.flag("PropagateAtLaunch")? == Some(true) {
            propagated.insert(key.clone());
        }
        tags.insert(key, tag.text("Value").unwrap_or_default().to_owned());
    }
    Ok((tags, propagated))
}

pub fn create_or_update(region: &mut Region, call: &Call<'_>) -> Answer {
    let tags = call.params.list("Tags");
    for tag in &tags {
        tag.required("Key")?;
        tag.flag("PropagateAtLaunch")?;
        group_of(region, *tag)?;
    }
    for tag in tags {
        let (key, value) = (tag.required("Key")?, tag.text("Value").unwrap_or_default());
        let propagate = tag.flag("PropagateAtLaunch")? == Some(true);
        let Some(group) = region.groups.get_mut(tag.required("ResourceId")?) else { continue };
        group.tags.insert(key.to_owned(), value.to_owned());
        if propagate {
            group.propagated.insert(key.to_owned());
        } else {
            group.propagated.remove(key);
        }
    }
    Ok(json!({}))
}

pub fn delete(region: &mut Region, call: &Call<'_>) -> Answer {
    let tags = call.params.list("Tags");
    for tag in &tags {
        tag.required("Key")?;
        group_of(region, *tag)?;
    }
    for tag in tags {
        let key = tag.required("Key")?;
        if let Some(group) = region.groups.get_mut(tag.required("ResourceId")?) {
            group.tags.remove(key);
            group.propagated.remove(key);
        }
    }
    Ok(json!({}))
}

fn group_of<'a>(region: &'a Region, tag: Node<'_>) -> Result<&'a ServerGroup, Refusal> {
    let name = tag.required("ResourceId")?;
    region.groups.get(name).ok_or_else(|| Refusal::group_not_found(name))
}

pub fn describe(region: &Region, call: &Call<'_>) -> Answer {
    let params = call.params;
    let filters = params.list("Filters");
    let matches = |shown: &Value| {
        filters.iter().all(|filter| {
            let field = match filter.text("Name") {
                Some("auto-scaling-group") => "ResourceId",
                Some("key") => "Key",
                Some("value") => "Value",
                _ => "PropagateAtLaunch",
            };
            let text = shown[field].as_str().map_or_else(|| shown[field].to_string(), str::to_owned);
            filter.texts("Values").contains(&text)
        })
    };
    let all = region.groups.values().flat_map(of_group).filter(matches);
    let keyed = all.map(|shown| (format!("{}/{}", shown["ResourceId"], shown["Key"]), shown)).collect();
    let size = params.whole("MaxRecords", 1..=PAGE_MAX)?.unwrap_or(PAGE_MAX);
    let (shown, next) = query::page(keyed, params.text("NextToken"), size as usize);
    Ok(json!({ "Tags": shown, "NextToken": next }))
}

/// As AWS shows them.
#[must_use]
pub fn of_group(group: &ServerGroup) -> Vec<Value> {
    let shown = group.tags.iter().map(|(key, value)| {
        json!({
            "ResourceId": group.name,
            "ResourceType": "auto-scaling-group",
            "Key": key,
            "Value": value,
            "PropagateAtLaunch": group.propagated.contains(key),
        })
    });
    shown.collect()
}
