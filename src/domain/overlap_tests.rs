//! `disjoint` held against a matcher that knows nothing but single requests, over an alphabet small enough to try them all.

use proptest::prelude::*;

use super::*;

/// A request, as far as conditions see it.
#[derive(Debug, Clone)]
struct Request {
    host: String,
    path: String,
    method: String,
    source: std::net::IpAddr,
}

/// Whether `text` matches `pattern`, by trying every split at every star.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=text.len()).any(|taken| glob(rest, &text[taken..])),
        (Some((p, rest)), Some((t, left))) => (p == t || *p == b'?') && glob(rest, left),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn matches(rule: &[Condition], request: &Request) -> bool {
    rule.iter().all(|condition| match condition {
        Condition::Host(any) => {
            any.iter().any(|p| glob(p.to_ascii_lowercase().as_bytes(), request.host.to_ascii_lowercase().as_bytes()))
        }
        Condition::Path(any) => any.iter().any(|p| glob(p.as_bytes(), request.path.as_bytes())),
        Condition::Method(any) => any.contains(&request.method),
        Condition::Source(any) => any.iter().any(|net| net.parse::<IpNet>().unwrap().contains(&request.source)),
        Condition::Opaque(_) => true,
    })
}

/// Every text over `ab` of up to `length_max` characters.
fn texts(length_max: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut from = 0;
    for _ in 0..length_max {
        let longer: Vec<_> = all[from..].iter().flat_map(|text| ["a", "b"].map(|c| format!("{text}{c}"))).collect();
        from = all.len();
        all.extend(longer);
    }
    all
}

fn every_request() -> Vec<Request> {
    let mut all = Vec::new();
    for host in texts(3) {
        for path in texts(3) {
            for method in ["GET", "PUT"] {
                for source in ["10.0.0.1", "10.0.0.2", "10.1.0.1", "fd00::1"] {
                    all.push(Request {
                        host: host.to_uppercase(),
                        path: path.clone(),
                        method: method.to_owned(),
                        source: source.parse().unwrap(),
                    });
                }
            }
        }
    }
    all
}

fn condition() -> impl Strategy<Value = Condition> {
    let some = |values: &'static str| prop::collection::vec(values, 1..3);
    let networks = prop::sample::select(vec!["10.0.0.0/16", "10.0.0.1/32", "10.1.0.0/16", "0.0.0.0/0", "fd00::/8", "::/0"]);
    prop_oneof![
        some("[aAbB?*]{0,3}").prop_map(Condition::Host),
        some("[ab?*]{0,3}").prop_map(Condition::Path),
        some("GET|PUT").prop_map(Condition::Method),
        prop::collection::vec(networks.prop_map(str::to_owned), 1..3).prop_map(Condition::Source),
        Just(Condition::Opaque("http-header".to_owned())),
    ]
}

fn host(patterns: &[&str]) -> Condition {
    Condition::Host(patterns.iter().map(|p| (*p).to_owned()).collect())
}

fn path(patterns: &[&str]) -> Condition {
    Condition::Path(patterns.iter().map(|p| (*p).to_owned()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_request_matches_two_rules_that_were_proved_disjoint(
        a in prop::collection::vec(condition(), 0..3), b in prop::collection::vec(condition(), 0..3),
    ) {
        let proved = disjoint(&a, &b);
        prop_assert_eq!(proved, disjoint(&b, &a), "it does not matter which rule comes first");
        if proved {
            let both = every_request().into_iter().find(|request| matches(&a, request) && matches(&b, request));
            prop_assert!(both.is_none(), "{:?} matches both", both);
        }
    }

    // The shortest text that matches two globs is no longer than both together.
    #[test]
    fn globs_that_share_no_text_are_always_told_apart(a in "[ab?*]{0,4}", b in "[ab?*]{0,4}") {
        let shared = texts(8).into_iter().any(|text| glob(a.as_bytes(), text.as_bytes()) && glob(b.as_bytes(), text.as_bytes()));
        prop_assert_eq!(globs_meet(&a, &b), shared);
    }
}

#[test]
fn neighbours_for_other_hosts_and_paths_are_disjoint() {
    assert!(disjoint(&[host(&["web.example.com"])], &[host(&["api.example.com", "shop.example.com"])]));
    assert!(disjoint(&[host(&["web.example.com"]), path(&["/v1/*"])], &[path(&["/v2/*"])]));
    assert!(disjoint(&[host(&["*.example.com"])], &[host(&["*.example.org"])]));
    assert!(!disjoint(&[host(&["Web.Example.com"])], &[host(&["web.example.COM"])]), "hosts have no case");
    assert!(disjoint(&[path(&["/A"])], &[path(&["/a"])]), "paths have");
    assert!(!disjoint(&[path(&["/api/*"])], &[path(&["*/users"])]), "/api/users");
    assert!(!disjoint(&[host(&["web.example.com"])], &[path(&["/v2/*"])]), "different kinds say nothing of each other");
    assert!(!disjoint(&[], &[host(&["web.example.com"])]), "a default action matches everything");
}

#[test]
fn what_is_not_understood_proves_nothing() {
    let long = "a".repeat(PATTERN_MAX + 1);
    assert!(!disjoint(&[path(&[&long])], &[path(&["/b"])]));
    assert!(!disjoint(&[path(&["/ü"])], &[path(&["/b"])]));
    assert!(!disjoint(&[path(&["/\\*"])], &[path(&["/b"])]));
    assert!(!disjoint(&[host(&[])], &[host(&["b"])]), "AWS has no condition without values");
    let source = |net: &str| [Condition::Source(vec![net.to_owned()])];
    assert!(!disjoint(&source("not a network"), &source("10.0.0.0/8")));
    assert!(disjoint(&source("192.168.0.0/16"), &source("10.0.0.0/8")));
    assert!(disjoint(&source("10.0.0.0/8"), &source("fd00::/8")));
    assert!(!disjoint(&source("10.0.0.0/8"), &source("::ffff:0:0/96")), "one client, written in two ways");
}
