//! The rules of the house that a compiler does not know: who may know whom, how long a file may be, what must not come in.
//!
//! Every rule says what to do instead. A rule that stands in the way of something better is changed here, with its reason.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const LINES_MAX: usize = 500;

/// Rooms of `src` and the rooms that each may name, itself included. Arrows run one way.
const ROOMS: [(&str, &[&str]); 9] = [
    ("domain", &["domain"]),
    ("engine", &["domain", "engine"]),
    ("store", &["domain", "engine", "store"]),
    ("cloud", &["domain", "engine", "cloud"]),
    ("http", &["domain", "engine", "http"]),
    // It fills in the settings of those that are built from it.
    ("config", &["domain", "engine", "store", "cloud", "config"]),
    ("telemetry", &["config", "telemetry"]),
    // The client knows /v1 and nothing of the program it is part of.
    ("cli/client", &[]),
    ("cli", &["cli", "cloud", "config", "domain", "engine", "http", "store", "telemetry"]),
];

/// Where a test may pause, each in a loop with a deadline, because what it waits for cannot say when it is there.
const MAY_PAUSE: [&str; 3] = ["tests/it/contract/cloud/world.rs", "tests/it/support/postgres.rs", "sim/tests/api/region.rs"];

struct Source {
    /// From the repository's root, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// Lines that are not comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(i, line)| (i + 1, line))
    }

    fn names(&self, word: &str) -> Vec<String> {
        self.code().filter(|(_, line)| words(line).any(|w| w == word)).map(|(i, _)| format!("{}:{i}", self.path)).collect()
    }
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

fn sources(under: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = under.iter().map(|folder| Path::new(ROOT).join(folder)).filter(|path| path.exists()).collect();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let shown = path.strip_prefix(ROOT).unwrap().to_string_lossy().replace('\\', "/");
            found.push(Source { path: shown, text: fs::read_to_string(&path).unwrap() });
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(!found.is_empty(), "nothing to look at under {under:?}");
    found
}

fn all() -> Vec<Source> {
    sources(&["src", "sim/src", "sim/tests", "tests"])
}

fn none(found: &[String], what_to_do: &str) {
    assert!(found.is_empty(), "{what_to_do}:\n  {}", found.join("\n  "));
}

#[test]
fn every_file_says_at_its_head_what_it_is_for() {
    let mute: Vec<_> = all().into_iter().filter(|source| !source.text.starts_with("//! ")).map(|source| source.path).collect();
    none(&mute, "begin the file with `//!`: what it is, and why it is so");
}

#[test]
fn no_file_is_longer_than_a_sitting() {
    let long = all().into_iter().filter(|source| source.text.lines().count() > LINES_MAX).map(|source| source.path);
    none(&long.collect::<Vec<_>>(), "split it: add a room, not a drawer");
}

#[test]
fn no_drawer_for_whatever_has_no_place() {
    const BANNED: [&str; 9] = ["util", "utils", "common", "helper", "helpers", "manager", "managers", "misc", "shared"];
    let mut found = Vec::new();
    for source in all() {
        let parts = source.path.trim_end_matches(".rs").split('/');
        if parts.clone().any(|part| BANNED.contains(&part)) {
            found.push(source.path.clone());
        }
        let types = |line: &str| {
            let mut before = "";
            words(line).any(|word| {
                let named = matches!(before, "struct" | "enum" | "trait")
                    && ["Manager", "Helper", "Util", "Utils"].iter().any(|end| word.ends_with(end));
                before = word;
                named
            })
        };
        found.extend(source.code().filter(|(_, line)| types(line)).map(|(i, _)| format!("{}:{i}", source.path)));
    }
    none(&found, "name it for what it does");
}

/// The rooms that a file names by `crate::…`, groups included.
fn crate_rooms(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect();
    let mut rooms = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => rooms.extend(words(rest).next().map(str::to_owned)),
            Some(group) => rooms.extend(first_of_each(group)),
        }
    }
    rooms
}

/// `domain` and `engine` of `domain::{a, b}, engine::x}`.
fn first_of_each(group: &str) -> Vec<String> {
    let (mut depth, mut item, mut firsts) = (0_usize, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => firsts.push(std::mem::take(&mut item)),
            c if depth == 0 => item.push(c),
            _ => {}
        }
    }
    firsts.push(item);
    firsts.iter().filter_map(|item| words(item).next().map(str::to_owned)).collect()
}

#[test]
fn a_group_of_imports_is_read_by_its_first_names() {
    let text = "use crate::{\n    domain::{a, b::{c, d}},\n    engine::x,\n};\nuse crate::store;\n// crate::http\nlet x = crate::cloud::y();";
    let rooms: Vec<_> = crate_rooms(text).into_iter().collect();
    assert_eq!(rooms, ["cloud", "domain", "engine", "store"]);
}

#[test]
fn arrows_between_rooms_run_one_way() {
    let mut found = Vec::new();
    for source in sources(&["src"]) {
        let inside = source.path.trim_start_matches("src/").trim_end_matches(".rs");
        let of = |room: &str| inside == room || inside.starts_with(&format!("{room}/"));
        // The first that fits: `cli/client` stands before `cli`.
        let Some((room, allowed)) = ROOMS.iter().find(|(room, _)| of(room)) else {
            assert!(matches!(inside, "lib" | "main"), "{} lies in a room that has no arrows in tests/it/tidy.rs", source.path);
            continue;
        };
        let wrong = crate_rooms(&source.text).into_iter().filter(|named| !allowed.contains(&named.as_str()));
        found.extend(wrong.map(|named| format!("{} ({room}) names {named}", source.path)));
    }
    none(&found, "turn the dependency round, or let the engine declare a port for it");
}

#[test]
fn each_technology_stays_in_its_room() {
    const HOMES: [(&str, &str); 8] = [
        ("sqlx", "src/store/"),
        ("aws_sdk_autoscaling", "src/cloud/aws/"),
        ("aws_sdk_elasticloadbalancingv2", "src/cloud/aws/"),
        ("aws_config", "src/cloud/aws/"),
        ("aws_smithy_async", "src/cloud/aws/"),
        ("aws_smithy_runtime_api", "src/cloud/aws/"),
        ("aws_smithy_types", "src/cloud/aws/"),
        ("StatusCode", "src/http/error.rs"),
    ];
    let sources = sources(&["src"]);
    let strays = HOMES.iter().flat_map(|(word, home)| {
        sources.iter().filter(move |source| !source.path.starts_with(home)).flat_map(|source| source.names(word))
    });
    none(&strays.collect::<Vec<_>>(), "SQL lives in store, AWS in cloud/aws, status codes in http/error.rs");
}

/// The calls of `cloud/aws/operation.rs`, by AWS's names.
fn listed_calls() -> BTreeSet<String> {
    let table = fs::read_to_string(Path::new(ROOT).join("src/cloud/aws/operation.rs")).unwrap();
    let rows = table.split_once("operations! {").unwrap().1.split_once('}').unwrap().0.to_owned();
    rows.lines().filter_map(|row| Some(row.split_once(": ")?.0.trim().to_owned())).collect()
}

#[test]
fn no_call_of_awss_escapes_the_list_that_budget_metrics_and_policies_are_made_from() {
    let listed = listed_calls();
    assert!(listed.contains("DeleteRule") && listed.len() > 15, "the list was not understood: {listed:?}");
    let mut made = BTreeSet::new();
    let mut found = Vec::new();
    for source in sources(&["src/cloud/aws"]) {
        // It makes the clients.
        if source.path.ends_with("/client.rs") {
            continue;
        }
        // As written and as broken into lines.
        let code = source.code().map(|(_, line)| line.trim()).collect::<String>();
        for client in ["elb.", "autoscaling.", "sts."] {
            let whole_word = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let uses = code.match_indices(client).filter(|(at, _)| whole_word(*at));
            let calls = uses.filter_map(|(at, _)| words(&code[at + client.len()..]).next());
            for mut call in calls.map(pascal) {
                // Both services have a call of this name.
                if client == "autoscaling." && call == "DescribeAccountLimits" {
                    "DescribeAutoScalingAccountLimits".clone_into(&mut call);
                }
                if !listed.contains(&call) {
                    found.push(format!("{}: {call} is not in cloud/aws/operation.rs", source.path));
                }
                made.insert(call);
            }
        }
        if code.contains(".send().await") {
            found.push(format!("{}: a call is sent past Clients::look and Clients::change", source.path));
        }
    }
    found.extend(listed.difference(&made).map(|call| format!("{call} is listed, and nothing makes it")));
    none(&found, "give every call its line in cloud/aws/operation.rs and send it by Clients::look or Clients::change");
}

/// `DescribeRules` of `describe_rules`.
fn pascal(snake: &str) -> String {
    let word = |word: &str| word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect::<String>();
    snake.split('_').map(word).collect()
}

#[test]
fn the_domain_is_pure() {
    const FOREIGN: [&str; 9] = ["async", "await", "tokio", "rand", "SystemTime", "Instant", "tracing", "reqwest", "axum"];
    let mut sources = sources(&["src/domain"]);
    // The explorer is a test: it walks the domain, and prints how long that took.
    sources.retain(|source| !source.path.starts_with("src/domain/explore/"));
    let found = FOREIGN.iter().flat_map(|word| sources.iter().flat_map(|source| source.names(word)));
    none(&found.collect::<Vec<_>>(), "give it to the domain as an argument; clippy.toml bans the calls");
}

#[test]
fn tests_wait_for_the_thing_itself() {
    let tests = sources(&["tests", "sim/tests"]);
    let sleeps = tests.iter().filter(|source| !MAY_PAUSE.contains(&source.path.as_str()) && source.path != "tests/it/tidy.rs");
    none(
        &sleeps.flat_map(|source| source.names("sleep")).collect::<Vec<_>>(),
        "wait for what you want to see, with a deadline",
    );
}

#[test]
fn one_tls_stack_and_one_http_stack_are_locked() {
    let lock = fs::read_to_string(Path::new(ROOT).join("Cargo.lock")).unwrap();
    let packages: Vec<(&str, &str)> = lock
        .split("[[package]]")
        .filter_map(|package| {
            let field =
                |name: &str| package.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim_matches('"'));
            Some((field("name = ")?, field("version = ")?))
        })
        .collect();
    assert!(packages.len() > 100, "Cargo.lock was not understood");
    for (name, versions) in
        [("openssl-sys", ""), ("native-tls", ""), ("hyper", "0.14."), ("rustls", "0.21."), ("aws-sdk-ec2", "")]
    {
        let found = packages.iter().find(|(package, version)| *package == name && version.starts_with(versions));
        assert_eq!(found, None, "look who brings it with `cargo tree -i {name}`, and turn off the feature");
    }
}

#[test]
fn rustls_was_built_with_one_provider() {
    // With two, this panics: it cannot know which one is meant. So would the first TLS client of the service.
    let _ = rustls::ClientConfig::builder();
}

#[test]
fn the_makefile_names_only_scripts_that_are_there() {
    let makefile = fs::read_to_string(Path::new(ROOT).join("Makefile")).unwrap();
    let named = makefile
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("@").or(Some(word)))
        .filter(|word| word.starts_with("scripts/"));
    let missing: Vec<_> = named.filter(|script| !Path::new(ROOT).join(script).exists()).map(str::to_owned).collect();
    none(&missing, "a target that cannot run is worse than none");
}
