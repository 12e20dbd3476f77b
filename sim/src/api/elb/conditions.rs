//! What a rule matches: read from a request with AWS's own refusals, and shown in both of AWS's forms.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::super::{query::Node, refusal::Refusal};
use crate::model::Condition;

/// Comparison strings a rule may hold, over all its conditions.
const VALUES_MAX: usize = 5;
/// Characters of one comparison string.
const VALUE_LENGTH_MAX: usize = 128;

/// Reads `Conditions`.
///
/// # Errors
/// `ValidationError`, as AWS words it: `Values` beside a `…Config`, no value, too many, a field given twice.
pub fn parse(params: Node<'_>) -> Result<Vec<Condition>, Refusal> {
    let conditions = params.list("Conditions").into_iter().map(one).collect::<Result<Vec<_>, _>>()?;
    if conditions.is_empty() {
        return Err(Refusal::validation("A condition must be specified"));
    }
    let values: usize = conditions.iter().map(count).sum();
    if values > VALUES_MAX {
        return Err(Refusal::validation(format!("A rule can have at most '{VALUES_MAX}' condition values")));
    }
    for single in ["host-header", "path-pattern", "http-request-method", "source-ip"] {
        if conditions.iter().filter(|condition| field(condition) == single).count() > 1 {
            return Err(Refusal::validation(format!("A rule can only have one '{single}' condition")));
        }
    }
    Ok(conditions)
}

fn one(node: Node<'_>) -> Result<Condition, Refusal> {
    let field = node.required("Field")?;
    match field {
        "host-header" => simple(node, field, "HostHeaderConfig", Condition::Host),
        "path-pattern" => simple(node, field, "PathPatternConfig", Condition::Path),
        "http-request-method" => {
            let methods = configured(node, "HttpRequestMethodConfig")?;
            let fine = |letter: char| letter.is_ascii_uppercase() || letter == '-' || letter == '_';
            match methods.iter().find(|method| !method.chars().all(fine)) {
                Some(bad) => Err(Refusal::validation(format!("HTTP request method '{bad}' is not valid"))),
                None => Ok(Condition::Method(methods)),
            }
        }
        "source-ip" => {
            let networks = configured(node, "SourceIpConfig")?;
            match networks.iter().find(|network| network.parse::<IpNet>().is_err()) {
                Some(bad) => Err(Refusal::validation(format!("'{bad}' is not a valid CIDR block"))),
                None => Ok(Condition::SourceIp(networks)),
            }
        }
        "http-header" => {
            let config = config(node, "HttpHeaderConfig")?;
            let name = config.required("HttpHeaderName")?.to_owned();
            let regular = config.texts("RegexValues");
            if !regular.is_empty() {
                return Ok(Condition::Regex { field: field.to_owned(), name: Some(name), values: checked(regular)? });
            }
            Ok(Condition::Header { name, values: checked(config.texts("Values"))? })
        }
        "query-string" => {
            let pairs = config(node, "QueryStringConfig")?.list("Values").into_iter();
            let pairs = pairs.map(|pair| Ok((pair.text("Key").map(str::to_owned), pair.required("Value")?.to_owned())));
            let pairs = pairs.collect::<Result<Vec<_>, Refusal>>()?;
            checked(pairs.iter().map(|(_, value)| value.clone()).collect())?;
            Ok(Condition::Query(pairs))
        }
        other => Err(Refusal::validation(format!("Condition field '{other}' must be one of '[path-pattern, host-header]'"))),
    }
}

/// Hosts and paths come as `Values`, as `…Config`, or as regular expressions; two of them at once are refused.
fn simple(node: Node<'_>, field: &str, name: &str, make: fn(Vec<String>) -> Condition) -> Result<Condition, Refusal> {
    let config = node.child(name);
    let (plain, outer) = (node.texts("Values"), node.texts("RegexValues"));
    if config.is_some() && !plain.is_empty() {
        return Err(Refusal::validation(format!("You cannot provide both Values and '{name}'")));
    }
    if config.is_some() && !outer.is_empty() {
        return Err(Refusal::validation(format!("You cannot provide both RegexValues and '{name}'")));
    }
    let inner = config.map(|config| config.texts("RegexValues")).unwrap_or_default();
    let plain = config.map_or(plain, |config| config.texts("Values"));
    let regular = if outer.is_empty() { inner } else { outer };
    if regular.is_empty() {
        return Ok(make(checked(plain)?));
    }
    if !plain.is_empty() {
        return Err(Refusal::validation("You cannot provide both Values and RegexValues"));
    }
    Ok(Condition::Regex { field: field.to_owned(), name: None, values: checked(regular)? })
}

fn config<'a>(node: Node<'a>, name: &str) -> Result<Node<'a>, Refusal> {
    let given = node.child(name).ok_or_else(|| Refusal::validation(format!("'{name}' must be specified")))?;
    if node.texts("Values").is_empty() {
        return Ok(given);
    }
    Err(Refusal::validation(format!("You cannot provide both Values and '{name}'")))
}

fn configured(node: Node<'_>, name: &str) -> Result<Vec<String>, Refusal> {
    checked(config(node, name)?.texts("Values"))
}

fn checked(values: Vec<String>) -> Result<Vec<String>, Refusal> {
    if values.is_empty() {
        return Err(Refusal::validation("A condition value must be specified"));
    }
    match values.iter().find(|value| value.is_empty() || value.len() > VALUE_LENGTH_MAX) {
        Some(bad) => Err(Refusal::validation(format!("Condition value '{bad}' must have 1 to {VALUE_LENGTH_MAX} characters"))),
        None => Ok(values),
    }
}

fn count(condition: &Condition) -> usize {
    match condition {
        Condition::Host(values) | Condition::Path(values) | Condition::Method(values) | Condition::SourceIp(values) => {
            values.len()
        }
        Condition::Header { values, .. } | Condition::Regex { values, .. } => values.len(),
        Condition::Query(pairs) => pairs.len(),
    }
}

fn field(condition: &Condition) -> &str {
    match condition {
        Condition::Host(_) => "host-header",
        Condition::Path(_) => "path-pattern",
        Condition::Method(_) => "http-request-method",
        Condition::Header { .. } => "http-header",
        Condition::Query(_) => "query-string",
        Condition::SourceIp(_) => "source-ip",
        Condition::Regex { field, .. } => field,
    }
}

/// As DescribeRules shows it: hosts and paths twice, the rest once.
#[must_use]
pub fn show(condition: &Condition) -> Value {
    let mut shown = json!({ "Field": field(condition) });
    let (name, config) = match condition {
        Condition::Host(values) => ("HostHeaderConfig", json!({ "Values": values })),
        Condition::Path(values) => ("PathPatternConfig", json!({ "Values": values })),
        Condition::Method(values) => ("HttpRequestMethodConfig", json!({ "Values": values })),
        Condition::SourceIp(values) => ("SourceIpConfig", json!({ "Values": values })),
        Condition::Header { name, values } => ("HttpHeaderConfig", json!({ "HttpHeaderName": name, "Values": values })),
        Condition::Query(pairs) => {
            let pairs: Vec<Value> = pairs.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
            ("QueryStringConfig", json!({ "Values": pairs }))
        }
        Condition::Regex { field, name, values } => match field.as_str() {
            "host-header" => ("HostHeaderConfig", json!({ "RegexValues": values })),
            "path-pattern" => ("PathPatternConfig", json!({ "RegexValues": values })),
            _ => ("HttpHeaderConfig", json!({ "HttpHeaderName": name, "RegexValues": values })),
        },
    };
    match condition {
        Condition::Host(values) | Condition::Path(values) => shown["Values"] = json!(values),
        Condition::Regex { name: None, values, .. } => shown["RegexValues"] = json!(values),
        Condition::Method(_)
        | Condition::Header { .. }
        | Condition::Query(_)
        | Condition::SourceIp(_)
        | Condition::Regex { .. } => {}
    }
    shown[name] = config;
    shown
}
