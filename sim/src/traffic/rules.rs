//! What one listener does with a request: rules by priority, the default action last.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use axum::http::{HeaderMap, Method, Request, Uri, header, request::Parts};
use ipnet::IpNet;

use super::wildcard::{Case, matches};
use crate::model::{self, Action, Condition, Listener, Name, Region};

/// One listener's rules as a load-balancer node knows them at some moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// By priority, lowest first; priorities are unique within a listener.
    rules: Vec<Rule>,
    default_actions: Vec<Action>,
}

#[derive(Debug, Clone, PartialEq)]
struct Rule {
    priority: u32,
    conditions: Vec<Condition>,
    actions: Vec<Action>,
}

/// What conditions look at.
#[derive(Debug)]
pub struct Seen<'a> {
    /// The host asked for, without its port.
    pub host: &'a str,
    pub method: &'a Method,
    pub uri: &'a Uri,
    pub headers: &'a HeaderMap,
    pub source: IpAddr,
}

impl<'a> Seen<'a> {
    /// The view of a request that came from `source`.
    #[must_use]
    pub fn of(request: &'a Parts, source: IpAddr) -> Self {
        let named = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = named.or_else(|| request.uri.host()).unwrap_or_default();
        Self { host: without_port(host), method: &request.method, uri: &request.uri, headers: &request.headers, source }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

impl Table {
    /// The rules of `listener` in this snapshot.
    #[must_use]
    pub fn of(region: &Region, listener: &Listener) -> Self {
        let own = region.rules.values().filter(|rule| rule.listener == listener.arn);
        Self::new(listener, own)
    }

    /// Those of every listener: one walk over the rules, of which there may be thousands.
    #[must_use]
    pub fn all(region: &Region) -> BTreeMap<&Name, Self> {
        let mut rules: BTreeMap<&Name, Vec<&model::Rule>> = BTreeMap::new();
        for rule in region.rules.values() {
            rules.entry(&rule.listener).or_default().push(rule);
        }
        let own = |listener: &Listener| rules.get(&listener.arn).into_iter().flatten().copied().collect::<Vec<_>>();
        region.listeners.values().map(|listener| (&listener.arn, Self::new(listener, own(listener).into_iter()))).collect()
    }

    fn new<'a>(listener: &Listener, own: impl Iterator<Item = &'a model::Rule>) -> Self {
        let own = own.map(|rule| Rule {
            priority: rule.priority,
            conditions: rule.conditions.clone(),
            actions: rule.actions.clone(),
        });
        let mut rules: Vec<Rule> = own.collect();
        rules.sort_by_key(|rule| rule.priority);
        Self { rules, default_actions: listener.default_actions.clone() }
    }

    /// The actions for this request.
    #[must_use]
    pub fn actions(&self, seen: &Seen<'_>) -> &[Action] {
        let matching = self.rules.iter().find(|rule| rule.conditions.iter().all(|condition| holds(condition, seen)));
        matching.map_or(&self.default_actions, |rule| &rule.actions)
    }
}

/// The weighted target groups that a plain GET of `host` and `path` is forwarded to, by the rules of this snapshot.
#[must_use]
pub fn forwarded(region: &Region, listener: &str, host: &str, path: &str) -> Option<Vec<(Name, u32)>> {
    let (request, ()) = Request::get(path).header(header::HOST, host).body(()).ok()?.into_parts();
    let table = Table::of(region, region.listeners.get(listener)?);
    let actions = table.actions(&Seen::of(&request, Ipv4Addr::LOCALHOST.into()));
    actions.iter().find_map(|action| match action {
        Action::Forward { groups, .. } => Some(groups.clone()),
        Action::FixedResponse { .. } | Action::Redirect(_) | Action::Other { .. } => None,
    })
}

/// The target groups that some rule or default action names, with whatever weight: those AWS checks the health of.
#[must_use]
pub fn named_groups(region: &Region) -> BTreeSet<&Name> {
    let rules = region.rules.values().flat_map(|rule| &rule.actions);
    let defaults = region.listeners.values().flat_map(|listener| &listener.default_actions);
    rules
        .chain(defaults)
        .flat_map(|action| match action {
            Action::Forward { groups, .. } => groups.as_slice(),
            Action::FixedResponse { .. } | Action::Redirect(_) | Action::Other { .. } => &[],
        })
        .map(|(group, _)| group)
        .collect()
}

/// Within a condition any value will do; a rule needs all its conditions.
fn holds(condition: &Condition, seen: &Seen<'_>) -> bool {
    let any = |patterns: &[String], text: &str, case| patterns.iter().any(|pattern| matches(pattern, text, case));
    match condition {
        Condition::Host(patterns) => any(patterns, seen.host, Case::Insensitive),
        Condition::Path(patterns) => any(patterns, seen.uri.path(), Case::Sensitive),
        Condition::Method(methods) => methods.iter().any(|method| method == seen.method.as_str()),
        Condition::Header { name, values } => {
            let mut sent = seen.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            sent.any(|value| any(values, value, Case::Insensitive))
        }
        Condition::Query(wanted) => wanted.iter().any(|(key, value)| asks(seen.uri.query(), key.as_deref(), value)),
        Condition::SourceIp(networks) => {
            networks.iter().filter_map(|network| network.parse::<IpNet>().ok()).any(|network| network.contains(&seen.source))
        }
        // Kept and returned, never matched: nothing here speaks AWS's dialect of regular expressions.
        Condition::Regex { .. } => false,
    }
}

fn asks(query: Option<&str>, key: Option<&str>, value: &str) -> bool {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes()).any(|(sent_key, sent_value)| {
        key.is_none_or(|key| matches(key, &sent_key, Case::Insensitive)) && matches(value, &sent_value, Case::Insensitive)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(request: axum::http::request::Builder) -> Parts {
        request.body(()).unwrap().into_parts().0
    }

    fn strings(values: &[&str]) -> Vec<String> {
        values.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_condition_looks_at_its_own_part_of_the_request() {
        let request = parts(
            Request::builder()
                .method("POST")
                .uri("/Shop/cart?Page=2&q=Red%20shoes")
                .header("host", "WWW.Example.com:8080")
                .header("x-tenant", "Gold"),
        );
        let seen = Seen::of(&request, IpAddr::from([10, 1, 2, 3]));
        let header = |name: &str, value: &str| Condition::Header { name: name.to_owned(), values: strings(&[value]) };
        for (condition, expected) in [
            (Condition::Host(strings(&["other", "*.example.com"])), true),
            (Condition::Host(strings(&["example.com"])), false),
            (Condition::Path(strings(&["/Shop/*"])), true),
            (Condition::Path(strings(&["/shop/*"])), false),
            (Condition::Method(strings(&["GET", "POST"])), true),
            (Condition::Method(strings(&["post"])), false),
            (header("X-Tenant", "gold"), true),
            (header("X-Tenant", "silver"), false),
            (Condition::Query(vec![(Some("page".to_owned()), "2".to_owned())]), true),
            (Condition::Query(vec![(None, "red*".to_owned())]), true),
            (Condition::Query(vec![(Some("page".to_owned()), "3".to_owned())]), false),
            (Condition::SourceIp(strings(&["192.168.0.0/16", "10.0.0.0/8"])), true),
            (Condition::SourceIp(strings(&["11.0.0.0/8"])), false),
            (Condition::Regex { field: "path-pattern".to_owned(), name: None, values: strings(&[".*"]) }, false),
        ] {
            assert_eq!(holds(&condition, &seen), expected, "{condition:?}");
        }
    }

    #[test]
    fn the_lowest_number_wins_and_the_default_comes_last() {
        let fixed = |status| vec![Action::FixedResponse { status, body: String::new(), content_type: None }];
        let rule = |priority, hosts: &[&str], status| Rule {
            priority,
            conditions: vec![Condition::Host(strings(hosts))],
            actions: fixed(status),
        };
        let table = Table { rules: vec![rule(10, &["a"], 210), rule(20, &["a", "b"], 220)], default_actions: fixed(404) };
        let status = |host: &str| {
            let request = parts(Request::builder().uri("/").header("host", host));
            match table.actions(&Seen::of(&request, IpAddr::from([127, 0, 0, 1]))) {
                [Action::FixedResponse { status, .. }] => *status,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!([status("a"), status("b"), status("c")], [210, 220, 404]);
    }
}
