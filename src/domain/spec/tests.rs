//! The parser, by examples and by properties: it never panics, takes every valid declaration, and points at every fault.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::{
    command::PromoteTo,
    declaration::{AssumedRole, Capacity, Deadlines, Provider},
    survey::FieldFault,
    time::BakeTime,
    weight::Weight,
};

fn declared() -> Value {
    json!({
        "provider": {"kind": "aws", "region": "eu-west-1", "role_arn": null},
        "routes": ["rule-1", "rule-2"],
        "slots": ["slot-a", "slot-b"],
        "blue": "web-old",
        "server_group": {
            "launch_template": {"id": "lt-0a", "version": "7"}, "subnets": ["subnet-1"], "capacity": "match_blue",
            "min": 2, "max": 10, "instance_types": [], "health_check_grace": "60s", "instance_warmup": "2m",
            "tags": {"team": "shop"}
        },
        "strategy": {
            "stages": [{"weight": 5, "bake_time": "5m", "gates": []}, {"weight": 12.5}, {"weight": 100, "bake_time": "manual"}],
            "bake_time": "1h", "verify": [], "gates": {}, "deadlines": {"provisioning": "20m"}
        }
    })
}

fn pointers(faults: &[FieldFault]) -> Vec<&str> {
    faults.iter().map(|fault| fault.pointer.as_str()).collect()
}

#[test]
fn a_declaration_is_read_with_its_defaults() {
    let read = declaration(&declared()).unwrap();
    assert_eq!(read.server_group.launch_template.version, 7);
    assert_eq!(read.server_group.capacity, Capacity::MatchBlue);
    assert_eq!(read.server_group.instance_warmup.as_secs(), 120);
    assert_eq!(read.strategy.stages[1].weight, Weight::from_permille(125).unwrap());
    assert_eq!(read.strategy.stages[1].bake_time.to_string(), "0s");
    assert_eq!(read.strategy.stages[2].bake_time, BakeTime::Manual);
    assert_eq!(read.strategy.deadlines, Deadlines::default());
    let short = json!({
        "provider": {"kind": "aws", "region": "eu-west-1"}, "routes": ["r"], "slots": ["a", "b"],
        "server_group": {"launch_template": {"id": "lt-0a", "version": 7}, "subnets": ["s"], "min": 0, "max": 1},
        "strategy": {"stages": [{"weight": 100}]}
    });
    let read = declaration(&short).unwrap();
    assert_eq!(read.server_group.health_check_grace.as_secs(), 60);
    assert_eq!(read.blue, None);
}

#[test]
fn every_fault_is_told_at_once_in_the_order_of_reading() {
    let wrong = json!({
        "provider": {"kind": "gcp", "region": "EU", "zone": "a"},
        "routes": [],
        "slots": ["same", "same"],
        "server_group": {
            "launch_template": {"id": "", "version": "$Latest"}, "subnets": "subnet-1", "capacity": {"fixed": 11}, "min": 2,
            "max": 10, "tags": {"a/b~c": 1, "aws:x": "y"}
        },
        "strategy": {"stages": [{"weight": 25}, {"weight": 25.55}, {"weight": 5}, {"weight": 99}], "bake_time": "soon"},
        "color": "blue"
    });
    let faults = declaration(&wrong).unwrap_err();
    let expected = [
        "/color",
        "/provider/zone",
        "/provider/kind",
        "/provider/region",
        "/routes",
        "/slots/1",
        "/server_group/launch_template/id",
        "/server_group/launch_template/version",
        "/server_group/subnets",
        "/server_group/capacity/fixed",
        "/server_group/tags/a~1b~0c",
        "/server_group/tags/aws:x",
        "/strategy/stages/1/weight",
        "/strategy/stages/2/weight",
        "/strategy/stages/3/weight",
        "/strategy/bake_time",
    ];
    assert_eq!(pointers(&faults), expected, "{faults:#?}");
}

#[test]
fn a_preview_is_a_header_that_users_do_not_send() {
    let read = |preview: Value| {
        let mut with = declared();
        set(&mut with, "/preview", preview);
        declaration(&with).map(|read| read.preview.unwrap())
    };
    let preview = read(json!({"header": "X-Preview", "value": "green", "bake_time": "10m"})).unwrap();
    assert_eq!((preview.header.as_str(), preview.value.as_str()), ("X-Preview", "green"));
    assert_eq!(preview.bake_time.to_string(), "10m");
    assert_eq!(read(json!({"header": "X-Preview", "value": "green"})).unwrap().bake_time.to_string(), "0s");
    for (header, value) in [("Host", "green"), ("X Preview", "green"), ("X-Preview", "*"), ("X-Preview", "gr een")] {
        let at = if value == "green" { "/preview/header" } else { "/preview/value" };
        assert_eq!(pointers(&read(json!({"header": header, "value": value})).unwrap_err()), [at], "{header}: {value}");
    }
}

#[test]
fn what_later_work_brings_is_refused_and_says_so() {
    let gate = json!({"errors": {"type": "metric"}});
    for (pointer, value) in
        [("/strategy/stages/0/gates", json!(["errors"])), ("/strategy/verify", json!(["errors"])), ("/strategy/gates", gate)]
    {
        let mut with = declared();
        set(&mut with, pointer, value);
        let faults = declaration(&with).unwrap_err();
        assert_eq!(pointers(&faults), [pointer]);
        assert!(faults[0].detail.contains("not supported yet"), "{faults:?}");
    }
    for (pointer, value) in [
        ("/on_conflict", json!("queue")),
        ("/on_conflict", json!("supersede")),
        ("/force", json!(true)),
        ("/image_from", json!("staging")),
    ] {
        let mut with = json!({"image": "ami-1"});
        set(&mut with, pointer, value);
        let faults = release(&with).unwrap_err();
        assert_eq!(pointers(&faults), [pointer]);
        assert!(faults[0].detail.contains("not supported yet"), "{faults:?}");
    }
}

#[test]
fn a_role_may_be_assumed_with_the_external_id_that_its_owner_wants() {
    let read = |provider: Value| {
        let mut with = declared();
        with["provider"] = provider;
        declaration(&with).map(|read| read.provider)
    };
    let role = |external_id: Option<&str>| {
        let role = AssumedRole { arn: "arn:role".to_owned(), external_id: external_id.map(str::to_owned) };
        Provider::Aws { region: "eu-west-1".to_owned(), role: Some(role) }
    };
    let here = json!({"kind": "aws", "region": "eu-west-1"});
    let with = |more: Value| {
        let mut provider = here.clone();
        provider.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        read(provider)
    };
    assert_eq!(with(json!({"role_arn": "arn:role"})).unwrap(), role(None));
    assert_eq!(with(json!({"role_arn": "arn:role", "external_id": "e"})).unwrap(), role(Some("e")));
    assert_eq!(
        serde_json::from_value::<Provider>(here.clone()).unwrap(),
        read(json!({"kind": "aws", "region": "eu-west-1"})).unwrap()
    );
    for (more, pointer) in [
        (json!({"external_id": "e"}), "/provider/external_id"),
        (json!({"role_arn": " "}), "/provider/role_arn"),
        (json!({"role_arn": "arn:role", "external_id": 7}), "/provider/external_id"),
    ] {
        assert_eq!(pointers(&with(more).unwrap_err()), [pointer]);
    }
}

#[test]
fn a_slot_is_a_target_group_or_one_for_each_load_balancer() {
    let read = |slots: Value| {
        let mut with = declared();
        with["slots"] = slots;
        declaration(&with)
    };
    let two = read(json!([["a-public", "a-internal"], ["b-public", "b-internal"]])).unwrap();
    assert_eq!(two.slots[1].to_string(), "b-public and b-internal");
    assert_eq!(two.pointer_to(1, 1), "/slots/1/1");
    assert_eq!(read(json!([["a"], "b"])).unwrap(), read(json!(["a", "b"])).unwrap(), "a list of one is one");
    for (slots, pointer) in [
        (json!([["a", "b"], "c"]), "/slots/1"),
        (json!(["a", ["b", "c"]]), "/slots/1"),
        (json!([["a", "b"], ["c", "a"]]), "/slots/1/1"),
        (json!([["a", "a"], ["b", "c"]]), "/slots/0/1"),
        (json!([[], "b"]), "/slots/0"),
        (json!([["a", 7], ["b", "c"]]), "/slots/0/1"),
        (json!([["1", "2", "3", "4", "5", "6"], "b"]), "/slots/0"),
    ] {
        assert_eq!(pointers(&read(slots.clone()).unwrap_err()), [pointer], "{slots}");
    }
}

#[test]
fn a_moving_template_version_is_refused_with_the_reason() {
    for version in ["$Latest", "$Default"] {
        let mut with = declared();
        set(&mut with, "/server_group/launch_template/version", json!(version));
        let faults = declaration(&with).unwrap_err();
        assert!(faults[0].detail.contains("name the version by its number"), "{faults:?}");
    }
}

#[test]
fn a_release_needs_an_image_and_nothing_else() {
    let read = release(&json!({"image": "ami-0bb2", "on_conflict": "reject", "force": false, "image_from": null})).unwrap();
    assert_eq!((read.image.to_string(), read.version, read.reason, read.strategy), ("ami-0bb2".into(), None, None, None));
    assert_eq!(pointers(&release(&json!({})).unwrap_err()), ["/image"]);
    let wrong = json!({"image": "debian", "reason": "x".repeat(501), "version": "", "strategy": {"stages": []}});
    assert_eq!(pointers(&release(&wrong).unwrap_err()), ["/image", "/version", "/reason", "/strategy/stages"]);
}

#[test]
fn commands_take_a_reason_and_their_own_word() {
    assert_eq!(reason(&json!({})), Ok(None));
    assert_eq!(reason(&json!({"reason": "INC-1\nsee chat"})), Ok(Some("INC-1\nsee chat".into())));
    assert_eq!(promote(&json!({})), Ok((PromoteTo::Next, None)));
    assert_eq!(promote(&json!({"to": "full"})), Ok((PromoteTo::Full, None)));
    assert_eq!(pointers(&promote(&json!({"to": "all"})).unwrap_err()), ["/to"]);
    assert_eq!(weight(&json!({"green": 12.5})), Ok((Weight::from_permille(125).unwrap(), None)));
    assert_eq!(pointers(&weight(&json!({"green": "12.5", "blue": 1})).unwrap_err()), ["/blue", "/green"]);
    assert_eq!(pointers(&weight(&json!([])).unwrap_err()), [""]);
    // No database column takes it.
    assert_eq!(pointers(&reason(&json!({"reason": "a\u{0}b"})).unwrap_err()), ["/reason"]);
}

#[test]
fn names_are_short_lower_case_words() {
    for good in ["a", "web", "web-2", "a-"] {
        assert!(service_name(good).is_ok(), "{good}");
    }
    for wrong in ["", "-a", "2web", "Web", "web_1", "wéb", &"a".repeat(33)] {
        assert!(service_name(wrong).is_err(), "{wrong}");
    }
    assert!(environment_name("prod2").is_ok());
    for wrong in ["", "eu-prod", "2", &"a".repeat(17)] {
        assert!(environment_name(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn thousands_of_faults_are_counted_not_told() {
    let many: serde_json::Map<_, _> = (0..5000).map(|i| (format!("f{i}"), json!(1))).collect();
    let faults = reason(&Value::Object(many)).unwrap_err();
    assert_eq!(faults.len(), FAULTS_MAX + 1);
    assert_eq!(faults[FAULTS_MAX].detail, "and 4800 more faults");
}

/// Puts `value` at `pointer`; what holds it must be there.
fn set(root: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match root.pointer_mut(parent).unwrap() {
        Value::Object(map) => {
            map.insert(name.to_owned(), value);
        }
        Value::Array(entries) => entries[name.parse::<usize>().unwrap()] = value,
        other => panic!("{other} holds nothing"),
    }
}

fn remove(root: &mut Value, pointer: &str) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    root.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
}

fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        any::<String>(),
        "[a-z_]{1,16}",
        proptest::sample::select(vec![
            "provider",
            "routes",
            "slots",
            "server_group",
            "strategy",
            "stages",
            "weight",
            "bake_time",
            "min",
            "max",
            "tags",
            "capacity",
            "fixed",
            "launch_template",
            "version",
            "$Latest",
            "manual",
            "deadlines",
            "image",
            "green",
            "to",
            "reason",
        ])
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::hash_map(word.clone(), inner, 0..8).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn duration() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!("0s")),
        (0u32..100_000).prop_map(|n| json!(format!("{n}s"))),
        (1u32..40_000).prop_map(|n| json!(format!("{n}m"))),
        (1u32..31).prop_map(|n| json!(format!("{n}d"))),
    ]
}

fn stages() -> impl Strategy<Value = Value> {
    let bake = prop_oneof![duration().prop_map(Some), Just(Some(json!("manual"))), Just(None)];
    (proptest::collection::btree_set(1u16..1000, 0..18), proptest::collection::vec(bake, 20)).prop_map(|(weights, bakes)| {
        let weights = weights.into_iter().chain([1000]).map(|permille| f64::from(permille) / 10.0);
        let stage = |(weight, bake): (f64, Option<Value>)| match bake {
            Some(bake) => json!({"weight": weight, "bake_time": bake}),
            None => json!({"weight": weight}),
        };
        weights.zip(bakes).map(stage).collect::<Vec<_>>().into()
    })
}

fn names(at_least: usize, at_most: usize) -> impl Strategy<Value = Value> {
    proptest::collection::btree_set("[a-z0-9:/-]{1,40}", at_least..=at_most).prop_map(|set| json!(set))
}

prop_compose! {
    fn valid()(
        (routes, slots, subnets, types) in (names(1, 10), names(2, 5), names(1, 20), names(0, 40)),
        version in prop_oneof![(1u32..).prop_map(|n| json!(n)), (1u32..).prop_map(|n| json!(n.to_string()))],
        (min, more) in (0u32..5000, 0u32..5000),
        fixed in any::<Option<prop::sample::Index>>(),
        tags in proptest::collection::btree_map("[A-Z][A-Za-z/~ ]{0,20}", ".{0,20}", 0..10),
        stages in stages(),
        (grace, bake, limit) in (duration(), duration(), 1u32..80_000),
    ) -> Value {
        let max = (min + more).max(1);
        let capacity = match fixed {
            Some(index) => {
                let least = min.max(1);
                json!({"fixed": least + u32::try_from(index.index((max - least + 1) as usize)).unwrap()})
            }
            None => json!("match_blue"),
        };
        let tags: std::collections::BTreeMap<_, String> =
            tags.into_iter().map(|(k, v)| (k, v.chars().filter(|c| !c.is_control()).collect())).collect();
        json!({
            "provider": {"kind": "aws", "region": "eu-west-1"},
            "routes": routes, "slots": slots,
            "server_group": {
                "launch_template": {"id": "lt-0a", "version": version}, "subnets": subnets, "capacity": capacity, "min": min,
                "max": max, "instance_types": types, "health_check_grace": grace, "tags": tags
            },
            "strategy": {"stages": stages, "bake_time": bake, "deadlines": {"provisioning": format!("{limit}s")}}
        })
    }
}

/// One way to spoil a declaration, and the pointer that must be told.
fn mutation() -> impl Strategy<Value = (&'static str, Option<Value>)> {
    let required = proptest::sample::select(vec![
        "/provider",
        "/provider/kind",
        "/provider/region",
        "/routes",
        "/slots",
        "/server_group",
        "/server_group/launch_template",
        "/server_group/launch_template/id",
        "/server_group/launch_template/version",
        "/server_group/subnets",
        "/server_group/min",
        "/server_group/max",
        "/strategy",
        "/strategy/stages",
        "/strategy/stages/0/weight",
    ])
    .prop_map(|pointer| (pointer, None));
    let unknown = proptest::sample::select(vec![
        "/nonsense",
        "/provider/nonsense",
        "/server_group/nonsense",
        "/server_group/launch_template/nonsense",
        "/strategy/nonsense",
        "/strategy/stages/0/nonsense",
        "/strategy/deadlines/nonsense",
    ])
    .prop_map(|pointer| (pointer, Some(json!(1))));
    let wrong = proptest::sample::select(vec![
        ("/provider/kind", json!("gcp")),
        ("/provider/region", json!("EU West")),
        ("/routes", json!("r")),
        ("/routes", json!([])),
        ("/routes/0", json!(7)),
        ("/slots", json!(["one"])),
        ("/slots/1", json!(" ")),
        ("/blue", json!(false)),
        ("/server_group/launch_template/version", json!(0)),
        ("/server_group/launch_template/version", json!("07")),
        ("/server_group/launch_template/version", json!(1.5)),
        ("/server_group/subnets", json!({})),
        ("/server_group/min", json!(-1)),
        ("/server_group/min", json!(10_000.5)),
        ("/server_group/max", json!(0)),
        ("/server_group/max", json!("10")),
        ("/server_group/capacity", json!("same")),
        ("/server_group/capacity", json!(3)),
        ("/server_group/capacity/fixed", json!(null)),
        ("/server_group/instance_types", json!("t4g.small")),
        ("/server_group/health_check_grace", json!("250ms")),
        ("/server_group/health_check_grace", json!(60)),
        ("/server_group/tags", json!([])),
        ("/strategy/stages", json!([])),
        ("/strategy/stages/0/weight", json!(100.1)),
        ("/strategy/stages/0/weight", json!("5")),
        ("/strategy/stages/0/bake_time", json!("-5m")),
        ("/strategy/stages/0/bake_time", json!(300)),
        ("/strategy/bake_time", json!("31d")),
        ("/strategy/bake_time", json!("Manual")),
        ("/strategy/deadlines/pending", json!("0s")),
        ("/strategy/deadlines/shifting", json!("manual")),
    ])
    .prop_map(|(pointer, value)| (pointer, Some(value)));
    prop_oneof![required, unknown, wrong]
}

proptest! {
    #[test]
    fn no_json_makes_the_parser_panic(value in any_json()) {
        let _ = declaration(&value);
        let _ = release(&value);
        let _ = promote(&value);
        let _ = weight(&value);
        let _ = reason(&value);
        for wrapped in ["provider", "server_group", "strategy", "slots"] {
            let mut with = declared();
            set(&mut with, &format!("/{wrapped}"), value.clone());
            let _ = declaration(&with);
        }
    }

    #[test]
    fn every_valid_declaration_is_read_and_kept_as_it_was(value in valid()) {
        let read = declaration(&value).map_err(|faults| TestCaseError::fail(format!("{faults:?}")))?;
        let kept = serde_json::to_value(&read).unwrap();
        prop_assert_eq!(serde_json::from_value::<crate::domain::declaration::Declaration>(kept).unwrap(), read);
    }

    #[test]
    fn one_fault_is_told_at_its_own_place_and_nowhere_else(valid in valid(), (pointer, value) in mutation()) {
        let mut with = valid;
        match value {
            // `capacity` may be a word: then there is nothing inside it to spoil.
            Some(value) if pointer == "/server_group/capacity/fixed" => {
                set(&mut with, "/server_group/capacity", json!({"fixed": value}));
            }
            Some(value) => set(&mut with, pointer, value),
            None => remove(&mut with, pointer),
        }
        let faults = declaration(&with).unwrap_err();
        prop_assert_eq!(pointers(&faults), [pointer], "{:?}", faults);
    }
}
