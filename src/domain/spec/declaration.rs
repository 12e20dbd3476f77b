//! Reads what a service in an environment is declared to be.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use serde_json::Value;

use super::{
    drill,
    reader::{Faults, Fields, Node, child},
};
use crate::domain::{
    declaration::{
        AssumedRole, Capacity, Deadlines, Declaration, LaunchTemplate, Preview, Provider, ROUTES_MAX, SLOTS_MAX, STAGES_MAX,
        ServerGroupSpec, Stage, Strategy, TARGET_GROUPS_MAX,
    },
    ids::{GroupName, RouteRef, SlotRef, TargetGroupRef},
    survey::FieldFault,
    time::BakeTime,
    weight::Weight,
};

/// The longest reference to a thing of the provider (an ARN may have 2048 characters).
const REFERENCE_CHARS_MAX: usize = 2048;
/// The longest name of a server group (Auto Scaling's own limit).
const GROUP_CHARS_MAX: usize = 255;
/// The longest id of a subnet, launch template, instance type or region.
const ID_CHARS_MAX: usize = 128;
/// The longest external id (STS's own limit).
const EXTERNAL_ID_CHARS_MAX: usize = 1224;
const SUBNETS_MAX: usize = 20;
/// What a mixed-instances policy takes.
const INSTANCE_TYPES_MAX: usize = 40;
/// A group carries at most 50 tags, some of which are ours.
const TAGS_MAX: usize = 40;
const TAG_KEY_CHARS_MAX: usize = 128;
const TAG_VALUE_CHARS_MAX: usize = 256;
/// More servers than any one group may have is a typing error.
const SERVERS_MAX: u32 = 10_000;
/// AWS's limits of a header condition.
const HEADER_CHARS_MAX: usize = 40;
const HEADER_VALUE_CHARS_MAX: usize = 128;
const GRACE_DEFAULT: Duration = Duration::from_secs(60);
/// A phase with less time than this would go back before its first look.
const DEADLINE_MIN: Duration = Duration::from_secs(1);

/// Reads a declaration.
///
/// # Errors
/// Every fault at once, with pointers into `value`.
pub fn declaration(value: &Value) -> Result<Declaration, Vec<FieldFault>> {
    let mut faults = Faults::default();
    let read = whole(&Node::root(value), &mut faults);
    faults.unless_any(read)
}

fn whole(node: &Node<'_>, faults: &mut Faults) -> Option<Declaration> {
    let known = &["provider", "routes", "slots", "blue", "server_group", "preview", "drill", "strategy"];
    let fields = node.fields(known, faults)?;
    let provider = fields.required("provider", faults).and_then(|node| provider(&node, faults));
    let routes =
        fields.required("routes", faults).and_then(|node| node.different_texts(1..=ROUTES_MAX, REFERENCE_CHARS_MAX, faults));
    let slots = fields.required("slots", faults).and_then(|node| slots(&node, faults));
    let blue = fields.maybe("blue", faults, |node, faults| node.text(GROUP_CHARS_MAX, faults).map(GroupName::new));
    let server_group = fields.required("server_group", faults).and_then(|node| server_group(&node, faults));
    let preview = fields.maybe("preview", faults, |node, faults| preview(&node, faults));
    let drill = fields.maybe("drill", faults, |node, faults| drill::drill(&node, faults));
    let strategy = fields.required("strategy", faults).and_then(|node| strategy(&node, faults));
    Some(Declaration {
        provider: provider?,
        routes: routes?.into_iter().map(RouteRef::new).collect(),
        slots: slots?,
        blue: blue?,
        server_group: server_group?,
        preview: preview?,
        drill: drill?,
        strategy: strategy?,
    })
}

fn provider(node: &Node<'_>, faults: &mut Faults) -> Option<Provider> {
    let fields = node.fields(&["kind", "region", "role_arn", "external_id"], faults)?;
    let kind = fields.required("kind", faults).and_then(|node| node.word(&[("aws", ())], faults));
    let region = fields.required("region", faults).and_then(|node| {
        let text = node.text(ID_CHARS_MAX, faults)?;
        let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !plain {
            faults.add(node.at, "must be a region's name, such as \"eu-west-1\"");
        }
        plain.then(|| text.to_owned())
    });
    let role = role(&fields, faults);
    kind.and(region).zip(role).map(|(region, role)| Provider::Aws { region, role })
}

fn role(fields: &Fields<'_>, faults: &mut Faults) -> Option<Option<AssumedRole>> {
    let text = |chars_max| move |node: Node<'_>, faults: &mut Faults| node.text(chars_max, faults).map(str::to_owned);
    let arn = fields.maybe("role_arn", faults, text(REFERENCE_CHARS_MAX));
    let external_id = fields.maybe("external_id", faults, text(EXTERNAL_ID_CHARS_MAX));
    match (arn?, external_id?) {
        (Some(arn), external_id) => Some(Some(AssumedRole { arn, external_id })),
        (None, None) => Some(None),
        (None, Some(_)) => {
            fields.add("external_id", "is told to whoever owns a role: give `role_arn` too", faults);
            None
        }
    }
}

/// Lists of target groups, all as long: position `k` is the same load balancer's in each.
fn slots(node: &Node<'_>, faults: &mut Faults) -> Option<Vec<SlotRef>> {
    let entries = node.list(2..=SLOTS_MAX, faults)?;
    let mut named = HashSet::new();
    let read: Vec<_> = entries.iter().map(|entry| slot(entry, &mut named, faults)).collect();
    let count = |slot: &SlotRef| slot.target_groups().len();
    let wanted = read.iter().flatten().next().map(count);
    for (entry, slot) in entries.iter().zip(&read) {
        if let (Some(has), Some(wanted)) = (slot.as_ref().map(count), wanted)
            && has != wanted
        {
            faults.add(
                &entry.at,
                format!("has {has} target groups, the first slot {wanted}: each names one for every load balancer, in the same order"),
            );
        }
    }
    read.into_iter().collect()
}

/// A target group, or a list of them.
fn slot<'a>(node: &Node<'a>, named: &mut HashSet<&'a str>, faults: &mut Faults) -> Option<SlotRef> {
    let entries = if node.value.is_array() { node.list(1..=TARGET_GROUPS_MAX, faults)? } else { vec![node.clone()] };
    let target_groups: Vec<_> = entries
        .iter()
        .map(|entry| {
            let text = entry.text(REFERENCE_CHARS_MAX, faults)?;
            let new = named.insert(text);
            if !new {
                faults.add(&entry.at, "is named twice: a target group belongs to one slot");
            }
            new.then(|| TargetGroupRef::new(text))
        })
        .collect();
    target_groups.into_iter().collect::<Option<_>>().and_then(SlotRef::of)
}

fn server_group(node: &Node<'_>, faults: &mut Faults) -> Option<ServerGroupSpec> {
    let known = &[
        "launch_template",
        "subnets",
        "capacity",
        "min",
        "max",
        "instance_types",
        "health_check_grace",
        "instance_warmup",
        "tags",
    ];
    let fields = node.fields(known, faults)?;
    let launch_template = fields.required("launch_template", faults).and_then(|node| launch_template(&node, faults));
    let subnets =
        fields.required("subnets", faults).and_then(|node| node.different_texts(1..=SUBNETS_MAX, ID_CHARS_MAX, faults));
    let min = fields.required("min", faults).and_then(|node| node.whole(0..=SERVERS_MAX, faults));
    let max = fields.required("max", faults).and_then(|node| node.whole(1..=SERVERS_MAX, faults));
    let bounds = min.zip(max);
    if let Some((min, max)) = bounds
        && min > max
    {
        faults.add(child(&node.at, "min"), format!("is {min}, above max, which is {max}"));
    }
    let capacity = fields.or("capacity", Capacity::MatchBlue, faults, |node, faults| capacity(&node, bounds, faults));
    let instance_types = fields.or("instance_types", Vec::new(), faults, |node, faults| {
        node.different_texts(0..=INSTANCE_TYPES_MAX, ID_CHARS_MAX, faults)
    });
    let health_check_grace = fields.or("health_check_grace", GRACE_DEFAULT, faults, |node, faults| grace(&node, faults));
    let instance_warmup = fields.or("instance_warmup", Duration::ZERO, faults, |node, faults| grace(&node, faults));
    let tags = fields.or("tags", BTreeMap::new(), faults, |node, faults| tags(&node, faults));
    let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
    Some(ServerGroupSpec {
        launch_template: launch_template?,
        subnets: owned(subnets?),
        capacity: capacity?,
        min: min?,
        max: max?,
        instance_types: owned(instance_types?),
        health_check_grace: health_check_grace?,
        instance_warmup: instance_warmup?,
        tags: tags?,
    })
}

/// A header that users do not send. AWS matches its value with `*` and `?` as wildcards.
fn preview(node: &Node<'_>, faults: &mut Faults) -> Option<Preview> {
    let fields = node.fields(&["header", "value", "bake_time"], faults)?;
    let header = fields.required("header", faults).and_then(|node| {
        let name = node.text(HEADER_CHARS_MAX, faults)?;
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)) && !name.eq_ignore_ascii_case("host");
        if !plain {
            faults.add(node.at, "must be a header's name of letters, digits, - and _, and not Host");
        }
        plain.then(|| name.to_owned())
    });
    let value = fields.required("value", faults).and_then(|node| {
        let value = node.text(HEADER_VALUE_CHARS_MAX, faults)?;
        let plain = value.bytes().all(|b| b.is_ascii_graphic() && !b"*?\\".contains(&b));
        if !plain {
            faults.add(node.at, "must be visible ASCII without spaces, *, ? and \\: anything else could match what users send");
        }
        plain.then(|| value.to_owned())
    });
    let bake_time = bake_time(&fields, faults);
    Some(Preview { header: header?, value: value?, bake_time: bake_time? })
}

fn launch_template(node: &Node<'_>, faults: &mut Faults) -> Option<LaunchTemplate> {
    let fields = node.fields(&["id", "version"], faults)?;
    let id = fields.required("id", faults).and_then(|node| node.text(ID_CHARS_MAX, faults));
    let version = fields.required("version", faults).and_then(|node| template_version(&node, faults));
    Some(LaunchTemplate { id: id?.to_owned(), version: version? })
}

/// A number, written as one or as a text. `$Latest` is somebody else's variable: it may change between two launches.
fn template_version(node: &Node<'_>, faults: &mut Faults) -> Option<u32> {
    let Value::String(text) = node.value else { return node.whole(1..=u32::MAX, faults) };
    let number = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
    let number = number.filter(|_| !text.starts_with('0'));
    if number.is_none() {
        faults.add(
            &node.at,
            match text.as_str() {
                "$Latest" | "$Default" => format!(
                    "{text} may name another version by the time a server is launched, and a release would then not be one image: name the version by its number"
                ),
                _ => "must be a launch template version's number, 1 or higher".to_owned(),
            },
        );
    }
    number
}

/// `bounds` are `min` and `max`, where both could be read.
fn capacity(node: &Node<'_>, bounds: Option<(u32, u32)>, faults: &mut Faults) -> Option<Capacity> {
    if let Value::String(_) = node.value {
        return node.word(&[("match_blue", Capacity::MatchBlue)], faults);
    }
    if !node.value.is_object() {
        faults.add(&node.at, "must be \"match_blue\" or {\"fixed\": n}");
        return None;
    }
    let fields = node.fields(&["fixed"], faults)?;
    let fixed = fields.required("fixed", faults)?;
    let size = fixed.whole(1..=SERVERS_MAX, faults)?;
    if let Some((min, max)) = bounds
        && min <= max
        && !(min..=max).contains(&size)
    {
        faults.add(fixed.at, format!("is {size}, outside min and max, {min} to {max}"));
        return None;
    }
    Some(Capacity::Fixed(size))
}

fn grace(node: &Node<'_>, faults: &mut Faults) -> Option<Duration> {
    let grace = node.duration(faults)?;
    if grace.subsec_nanos() != 0 {
        faults.add(&node.at, "must be in whole seconds");
        return None;
    }
    Some(grace)
}

fn tags(node: &Node<'_>, faults: &mut Faults) -> Option<BTreeMap<String, String>> {
    let Value::Object(map) = node.value else {
        faults.add(&node.at, "must be an object of texts");
        return None;
    };
    if map.len() > TAGS_MAX {
        faults.add(&node.at, format!("has {} tags; at most {TAGS_MAX} are allowed", map.len()));
        return None;
    }
    let mut tags = BTreeMap::new();
    for (key, value) in map {
        let entry = Node { at: child(&node.at, key), value };
        let reserved = ["aws:", "cutover:"].iter().any(|prefix| key.to_ascii_lowercase().starts_with(prefix));
        let long = key.chars().count() > TAG_KEY_CHARS_MAX;
        if key.is_empty() || long || key.chars().any(char::is_control) {
            faults.add(&entry.at, format!("a tag's key has 1 to {TAG_KEY_CHARS_MAX} characters, no control characters"));
        } else if reserved {
            faults.add(&entry.at, "tags that begin with `aws:` or `cutover:` are reserved");
        } else if let Some(text) = entry.prose(TAG_VALUE_CHARS_MAX, faults) {
            tags.insert(key.clone(), text.to_owned());
        }
    }
    Some(tags)
}

/// Reads a strategy, wherever it stands.
pub(super) fn strategy(node: &Node<'_>, faults: &mut Faults) -> Option<Strategy> {
    let fields = node.fields(&["stages", "bake_time", "verify", "gates", "deadlines"], faults)?;
    fields.not_yet("verify", faults);
    fields.not_yet("gates", faults);
    let stages = fields.required("stages", faults).and_then(|node| stages(&node, faults));
    let bake_time = bake_time(&fields, faults);
    let deadlines = fields.or("deadlines", Deadlines::default(), faults, |node, faults| deadlines(&node, faults));
    Some(Strategy { stages: stages?, bake_time: bake_time?, deadlines: deadlines? })
}

fn stages(node: &Node<'_>, faults: &mut Faults) -> Option<Vec<Stage>> {
    let entries = node.list(1..=STAGES_MAX, faults)?;
    let read: Vec<_> = entries.iter().map(|entry| stage(entry, faults)).collect();
    let mut before: Option<Weight> = None;
    for (entry, weight) in entries.iter().zip(read.iter().map(|stage| stage.map(|stage| stage.weight))) {
        if let (Some(weight), Some(before)) = (weight, before)
            && weight <= before
        {
            faults
                .add(child(&entry.at, "weight"), format!("is {weight}, not above the stage before, {before}: weights ascend"));
        }
        before = weight.or(before);
    }
    if let (Some(last), Some(Some(stage))) = (entries.last(), read.last())
        && stage.weight != Weight::ALL
    {
        faults.add(child(&last.at, "weight"), format!("is {}: the last stage must be 100", stage.weight));
    }
    read.into_iter().collect()
}

fn stage(node: &Node<'_>, faults: &mut Faults) -> Option<Stage> {
    let fields = node.fields(&["weight", "bake_time", "gates"], faults)?;
    fields.not_yet("gates", faults);
    let weight = fields.required("weight", faults).and_then(|node| node.weight(faults));
    let bake_time = bake_time(&fields, faults);
    Some(Stage { weight: weight?, bake_time: bake_time? })
}

fn bake_time(fields: &Fields<'_>, faults: &mut Faults) -> Option<BakeTime> {
    fields.or("bake_time", BakeTime::For(Duration::ZERO), faults, |node, faults| {
        if node.value == "manual" { Some(BakeTime::Manual) } else { node.duration(faults).map(BakeTime::For) }
    })
}

fn deadlines(node: &Node<'_>, faults: &mut Faults) -> Option<Deadlines> {
    let fields = node.fields(&["pending", "provisioning", "verifying", "shifting"], faults)?;
    let usual = Deadlines::default();
    let mut read = |name, usual| {
        fields.or(name, usual, faults, |node, faults| {
            let limit = node.duration(faults)?;
            if limit < DEADLINE_MIN {
                faults.add(node.at, "must be at least 1s");
            }
            Some(limit)
        })
    };
    let pending = read("pending", usual.pending);
    let provisioning = read("provisioning", usual.provisioning);
    let verifying = read("verifying", usual.verifying);
    let shifting = read("shifting", usual.shifting);
    Some(Deadlines { pending: pending?, provisioning: provisioning?, verifying: verifying?, shifting: shifting? })
}
