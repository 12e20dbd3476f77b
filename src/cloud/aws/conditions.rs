//! A rule's conditions and transforms: to and from the stored form, and as the overlap proof reads them.

use aws_sdk_elasticloadbalancingv2::types::{
    HostHeaderConditionConfig, HostHeaderRewriteConfig, HttpHeaderConditionConfig, HttpRequestMethodConditionConfig,
    PathPatternConditionConfig, QueryStringConditionConfig, QueryStringKeyValuePair, RewriteConfig, RuleCondition,
    RuleTransform, SourceIpConditionConfig, TransformTypeEnum, UrlRewriteConfig,
};
use serde::{Deserialize, Serialize};

use super::form::some;
use crate::domain::overlap::Condition;

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ConditionForm {
    pub(super) on: Field,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) values: Vec<String>,
    /// Hosts, paths and headers may be matched by regular expressions instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    regex: Vec<String>,
    /// A header's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    /// Keys and values of a query condition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    queries: Vec<(Option<String>, Option<String>)>,
}

/// What a condition is on, named as AWS does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Field {
    HostHeader,
    PathPattern,
    HttpHeader,
    HttpRequestMethod,
    QueryString,
    SourceIp,
}

impl Field {
    fn read(name: &str) -> Option<Self> {
        Some(match name {
            "host-header" => Self::HostHeader,
            "path-pattern" => Self::PathPattern,
            "http-header" => Self::HttpHeader,
            "http-request-method" => Self::HttpRequestMethod,
            "query-string" => Self::QueryString,
            "source-ip" => Self::SourceIp,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::HostHeader => "host-header",
            Self::PathPattern => "path-pattern",
            Self::HttpHeader => "http-header",
            Self::HttpRequestMethod => "http-request-method",
            Self::QueryString => "query-string",
            Self::SourceIp => "source-ip",
        }
    }
}

impl ConditionForm {
    /// Every path: what the overlay of a default action matches.
    pub(super) fn everything() -> Self {
        Self { values: vec!["*".to_owned()], ..Self::on(Field::PathPattern) }
    }

    /// A header of this value.
    pub(super) fn header(name: &str, value: &str) -> Self {
        Self { header: Some(name.to_owned()), values: vec![value.to_owned()], ..Self::on(Field::HttpHeader) }
    }

    /// What AWS counts: a rule may hold five of them.
    pub(super) fn comparisons(&self) -> usize {
        self.values.len() + self.regex.len() + self.queries.len()
    }

    fn on(on: Field) -> Self {
        Self { on, values: Vec::new(), regex: Vec::new(), header: None, queries: Vec::new() }
    }

    /// # Errors
    /// A sentence that names the kind that is not known.
    pub(super) fn read(condition: &RuleCondition) -> Result<Self, String> {
        let name = condition.field().unwrap_or_default();
        let field = Field::read(name)
            .ok_or_else(|| format!("its condition {name:?} is none that this version can copy into an overlay"))?;
        let mut form = Self::on(field);
        match field {
            Field::HostHeader => {
                let config = condition.host_header_config();
                form.values = either(config.map(HostHeaderConditionConfig::values), condition.values());
                form.regex = either(config.map(HostHeaderConditionConfig::regex_values), condition.regex_values());
            }
            Field::PathPattern => {
                let config = condition.path_pattern_config();
                form.values = either(config.map(PathPatternConditionConfig::values), condition.values());
                form.regex = either(config.map(PathPatternConditionConfig::regex_values), condition.regex_values());
            }
            Field::HttpHeader => {
                let config = condition.http_header_config();
                form.header = config.and_then(|config| config.http_header_name()).map(str::to_owned);
                form.values = either(config.map(HttpHeaderConditionConfig::values), &[]);
                form.regex = either(config.map(HttpHeaderConditionConfig::regex_values), condition.regex_values());
            }
            Field::HttpRequestMethod => {
                let config = condition.http_request_method_config();
                form.values = either(config.map(HttpRequestMethodConditionConfig::values), condition.values());
            }
            Field::SourceIp => {
                let config = condition.source_ip_config();
                form.values = either(config.map(SourceIpConditionConfig::values), condition.values());
            }
            Field::QueryString => {
                let pairs = condition.query_string_config().map(QueryStringConditionConfig::values).unwrap_or_default();
                form.queries =
                    pairs.iter().map(|pair| (pair.key().map(str::to_owned), pair.value().map(str::to_owned))).collect();
            }
        }
        Ok(form)
    }

    pub(super) fn write(&self) -> RuleCondition {
        let condition = RuleCondition::builder().field(self.on.name());
        let (values, regex) = (some(self.values.clone()), some(self.regex.clone()));
        match self.on {
            Field::HostHeader => condition
                .host_header_config(HostHeaderConditionConfig::builder().set_values(values).set_regex_values(regex).build()),
            Field::PathPattern => condition
                .path_pattern_config(PathPatternConditionConfig::builder().set_values(values).set_regex_values(regex).build()),
            Field::HttpHeader => condition.http_header_config(
                HttpHeaderConditionConfig::builder()
                    .set_http_header_name(self.header.clone())
                    .set_values(values)
                    .set_regex_values(regex)
                    .build(),
            ),
            Field::HttpRequestMethod => {
                condition.http_request_method_config(HttpRequestMethodConditionConfig::builder().set_values(values).build())
            }
            Field::SourceIp => condition.source_ip_config(SourceIpConditionConfig::builder().set_values(values).build()),
            Field::QueryString => {
                let pair = |(key, value): &(Option<String>, Option<String>)| {
                    QueryStringKeyValuePair::builder().set_key(key.clone()).set_value(value.clone()).build()
                };
                let pairs = self.queries.iter().map(pair).collect();
                condition.query_string_config(QueryStringConditionConfig::builder().set_values(Some(pairs)).build())
            }
        }
        .build()
    }

    /// In words that tell all of it; the order of values means nothing.
    pub(super) fn told(&self) -> String {
        let alternatives = |values: &[String]| {
            let mut values: Vec<_> = values.iter().map(|value| quoted(value)).collect();
            values.sort();
            values.join(" or ")
        };
        let mut told = self.on.name().to_owned();
        if let Some(header) = &self.header {
            told = format!("{told} {}", quoted(header));
        }
        if !self.values.is_empty() {
            told = format!("{told} {}", alternatives(&self.values));
        }
        if !self.regex.is_empty() {
            told = format!("{told} matching {}", alternatives(&self.regex));
        }
        let query = |(key, value): &(Option<String>, Option<String>)| {
            let [key, value] = [key, value].map(|text| quoted(text.as_deref().unwrap_or_default()));
            format!("{key}={value}")
        };
        let mut queries: Vec<_> = self.queries.iter().map(query).collect();
        queries.sort();
        if !queries.is_empty() {
            told = format!("{told} {}", queries.join(" or "));
        }
        told
    }

    fn overlap(&self) -> Condition {
        let proved_by_values = self.regex.is_empty() && !self.values.is_empty();
        match self.on {
            Field::HostHeader if proved_by_values => Condition::Host(self.values.clone()),
            Field::PathPattern if proved_by_values => Condition::Path(self.values.clone()),
            Field::HttpRequestMethod if proved_by_values => Condition::Method(self.values.clone()),
            Field::SourceIp if proved_by_values => Condition::Source(self.values.clone()),
            on => Condition::Opaque(on.name().to_owned()),
        }
    }
}

/// As it is where it reads well, else in quotes: no value can be taken for a part of the sentence.
fn quoted(value: &str) -> String {
    let plain = !value.is_empty() && value.chars().all(|c| c.is_alphanumeric() || ".-_*?/:@%+^$\\[]()|&".contains(c));
    if plain { value.to_owned() } else { format!("{value:?}") }
}

/// Conditions as the overlap proof reads them; of a kind that is not known, nothing can be proved.
pub(super) fn overlap(conditions: &[RuleCondition]) -> Vec<Condition> {
    conditions
        .iter()
        .map(|condition| match ConditionForm::read(condition) {
            Ok(form) => form.overlap(),
            Err(_) => Condition::Opaque(condition.field().unwrap_or_default().to_owned()),
        })
        .collect()
}

/// Values from the `…Config` form, else from the old one: AWS answers both, moto the one it was sent.
fn either(config: Option<&[String]>, old: &[String]) -> Vec<String> {
    config.filter(|values| !values.is_empty()).unwrap_or(old).to_vec()
}

/// A rewrite of host or path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TransformForm {
    rewrite: Rewritten,
    /// Each a regular expression and what replaces it.
    rules: Vec<(String, String)>,
}

/// What is rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Rewritten {
    Host,
    Url,
}

impl TransformForm {
    /// # Errors
    /// A sentence that names the kind that is not known.
    pub(super) fn read(transform: &RuleTransform) -> Result<Self, String> {
        let (rewrite, rules) = match transform.r#type() {
            Some(TransformTypeEnum::HostHeaderRewrite) => {
                (Rewritten::Host, transform.host_header_rewrite_config().map(HostHeaderRewriteConfig::rewrites))
            }
            Some(TransformTypeEnum::UrlRewrite) => {
                (Rewritten::Url, transform.url_rewrite_config().map(UrlRewriteConfig::rewrites))
            }
            other => {
                let kind = other.map_or("without a type", TransformTypeEnum::as_str);
                return Err(format!("its transform {kind} is none that this version can copy into an overlay"));
            }
        };
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let rules = rules.unwrap_or_default().iter().map(|rule| (text(rule.regex()), text(rule.replace())));
        Ok(Self { rewrite, rules: rules.collect() })
    }

    /// In words that tell all of it.
    pub(super) fn told(&self) -> String {
        let what = match self.rewrite {
            Rewritten::Host => "host",
            Rewritten::Url => "url",
        };
        let rules: Vec<_> =
            self.rules.iter().map(|(regex, replace)| format!("{} to {}", quoted(regex), quoted(replace))).collect();
        format!("{what} rewritten {}", rules.join(", "))
    }

    pub(super) fn write(&self) -> RuleTransform {
        let rewrites = self.rules.iter().map(|(regex, replace)| RewriteConfig::builder().regex(regex).replace(replace).build());
        let rewrites = Some(rewrites.collect());
        let transform = RuleTransform::builder();
        match self.rewrite {
            Rewritten::Host => transform
                .r#type(TransformTypeEnum::HostHeaderRewrite)
                .host_header_rewrite_config(HostHeaderRewriteConfig::builder().set_rewrites(rewrites).build()),
            Rewritten::Url => transform
                .r#type(TransformTypeEnum::UrlRewrite)
                .url_rewrite_config(UrlRewriteConfig::builder().set_rewrites(rewrites).build()),
        }
        .build()
    }
}
