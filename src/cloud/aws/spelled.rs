//! Rules as the `aws` command line takes them: JSON by AWS's own names, and safe to paste into a shell.
//!
//! Written from what the SDK would send, so that a line by hand and the lane's own call cannot say different things.

use aws_sdk_elasticloadbalancingv2::types::{
    Action, AuthenticateCognitoActionConfig, ForwardActionConfig, JwtValidationActionConfig, RewriteConfig, RuleCondition,
    RuleTransform, Tag, TargetGroupStickinessConfig, TargetGroupTuple,
};
use serde_json::{Map, Value, json};

/// An object of the members that are there: what AWS was not sent is not spelled.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let there = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(there.collect::<Map<_, _>>())
}

fn list(values: &[String]) -> Option<Value> {
    (!values.is_empty()).then(|| json!(values))
}

fn each<T>(all: &[T], one: impl Fn(&T) -> Value) -> Option<Value> {
    (!all.is_empty()).then(|| all.iter().map(one).collect())
}

/// For `--conditions`.
pub(super) fn conditions(conditions: &[RuleCondition]) -> Value {
    conditions.iter().map(condition).collect()
}

fn condition(condition: &RuleCondition) -> Value {
    let either = |values: &[String], regex: &[String]| object([("Values", list(values)), ("RegexValues", list(regex))]);
    object([
        ("Field", condition.field().map(Value::from)),
        ("Values", list(condition.values())),
        ("HostHeaderConfig", condition.host_header_config().map(|of| either(of.values(), of.regex_values()))),
        ("PathPatternConfig", condition.path_pattern_config().map(|of| either(of.values(), of.regex_values()))),
        (
            "HttpHeaderConfig",
            condition.http_header_config().map(|of| {
                object([
                    ("HttpHeaderName", of.http_header_name().map(Value::from)),
                    ("Values", list(of.values())),
                    ("RegexValues", list(of.regex_values())),
                ])
            }),
        ),
        ("HttpRequestMethodConfig", condition.http_request_method_config().map(|of| either(of.values(), &[]))),
        ("SourceIpConfig", condition.source_ip_config().map(|of| either(of.values(), &[]))),
        (
            "QueryStringConfig",
            condition.query_string_config().map(|of| {
                let pair = |pair: &aws_sdk_elasticloadbalancingv2::types::QueryStringKeyValuePair| {
                    object([("Key", pair.key().map(Value::from)), ("Value", pair.value().map(Value::from))])
                };
                object([("Values", each(of.values(), pair))])
            }),
        ),
    ])
}

/// For `--actions`.
pub(super) fn actions(actions: &[Action]) -> Value {
    actions.iter().map(action).collect()
}

fn action(action: &Action) -> Value {
    object([
        ("Type", action.r#type().map(|of| Value::from(of.as_str()))),
        ("Order", action.order().map(Value::from)),
        ("AuthenticateCognitoConfig", action.authenticate_cognito_config().map(cognito)),
        ("JwtValidationConfig", action.jwt_validation_config().map(jwt)),
        ("ForwardConfig", action.forward_config().map(forward)),
    ])
}

fn forward(to: &ForwardActionConfig) -> Value {
    let tuple = |tuple: &TargetGroupTuple| {
        object([("TargetGroupArn", tuple.target_group_arn().map(Value::from)), ("Weight", tuple.weight().map(Value::from))])
    };
    let sticky = |of: &TargetGroupStickinessConfig| {
        object([("Enabled", of.enabled().map(Value::from)), ("DurationSeconds", of.duration_seconds().map(Value::from))])
    };
    object([
        ("TargetGroups", each(to.target_groups(), tuple)),
        ("TargetGroupStickinessConfig", to.target_group_stickiness_config().map(sticky)),
    ])
}

fn cognito(of: &AuthenticateCognitoActionConfig) -> Value {
    object([
        ("UserPoolArn", of.user_pool_arn().map(Value::from)),
        ("UserPoolClientId", of.user_pool_client_id().map(Value::from)),
        ("UserPoolDomain", of.user_pool_domain().map(Value::from)),
        ("SessionCookieName", of.session_cookie_name().map(Value::from)),
        ("Scope", of.scope().map(Value::from)),
        ("SessionTimeout", of.session_timeout().map(Value::from)),
        ("AuthenticationRequestExtraParams", of.authentication_request_extra_params().map(|extra| json!(extra))),
        ("OnUnauthenticatedRequest", of.on_unauthenticated_request().map(|does| Value::from(does.as_str()))),
    ])
}

fn jwt(of: &JwtValidationActionConfig) -> Value {
    let claim = |claim: &aws_sdk_elasticloadbalancingv2::types::JwtValidationActionAdditionalClaim| {
        object([
            ("Format", claim.format().map(|format| Value::from(format.as_str()))),
            ("Name", claim.name().map(Value::from)),
            ("Values", list(claim.values())),
        ])
    };
    object([
        ("JwksEndpoint", of.jwks_endpoint().map(Value::from)),
        ("Issuer", of.issuer().map(Value::from)),
        ("AdditionalClaims", each(of.additional_claims(), claim)),
    ])
}

/// For `--transforms`.
pub(super) fn transforms(transforms: &[RuleTransform]) -> Value {
    let rewrite =
        |of: &RewriteConfig| object([("Regex", of.regex().map(Value::from)), ("Replace", of.replace().map(Value::from))]);
    let rewrites = |all: &[RewriteConfig]| object([("Rewrites", each(all, rewrite))]);
    let one = |transform: &RuleTransform| {
        object([
            ("Type", transform.r#type().map(|of| Value::from(of.as_str()))),
            ("HostHeaderRewriteConfig", transform.host_header_rewrite_config().map(|of| rewrites(of.rewrites()))),
            ("UrlRewriteConfig", transform.url_rewrite_config().map(|of| rewrites(of.rewrites()))),
        ])
    };
    transforms.iter().map(one).collect()
}

/// For `--tags`.
pub(super) fn tags(tags: &[Tag]) -> Value {
    tags.iter().map(|tag| object([("Key", tag.key().map(Value::from)), ("Value", tag.value().map(Value::from))])).collect()
}

/// One word of a shell's line, whatever is in it: nothing is special between single quotes but their end.
pub(super) fn quoted(word: &str) -> String {
    let plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&b));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{
        super::{conditions::ConditionForm, form::Form},
        *,
    };
    use crate::domain::ids::TargetGroupRef;

    #[test]
    fn a_rule_is_spelled_with_all_that_the_sdk_would_send() {
        let form: Form = serde_json::from_value(json!({
            "conditions": [
                {"on": "host-header", "values": ["it's.example.com"]},
                {"on": "path-pattern", "regex": ["^/a$"]},
                {"on": "http-header", "header": "X-A", "values": ["b"]},
                {"on": "query-string", "queries": [["k", "v"], [null, "w"]]},
                {"on": "http-request-method", "values": ["GET"]},
                {"on": "source-ip", "values": ["10.0.0.0/8"]},
            ],
            "actions": [
                {"type": "cognito", "order": 1, "user_pool": "arn:p", "client_id": "c", "domain": "d", "session_cookie": null,
                 "scope": "openid", "session_timeout": 60, "extra": {"a": "b"}, "on_unauthenticated": "deny"},
                {"type": "jwt", "order": 2, "jwks": "https://j", "issuer": "https://i",
                 "claims": [{"format": "single-string", "name": "n", "values": ["v"]}]},
                {"type": "forward", "order": 3, "stickiness": {"enabled": true, "seconds": 60}},
            ],
            "transforms": [{"rewrite": "url", "rules": [["^/x", "/y"]]}, {"rewrite": "host", "rules": [["a", "b"]]}],
        }))
        .unwrap();
        let written: Vec<_> = form.conditions.iter().map(ConditionForm::write).collect();
        assert_eq!(
            conditions(&written),
            json!([
                {"Field": "host-header", "HostHeaderConfig": {"Values": ["it's.example.com"]}},
                {"Field": "path-pattern", "PathPatternConfig": {"RegexValues": ["^/a$"]}},
                {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-A", "Values": ["b"]}},
                {"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "k", "Value": "v"}, {"Value": "w"}]}},
                {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["GET"]}},
                {"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}},
            ])
        );
        assert_eq!(
            actions(&form.to_one(&TargetGroupRef::new("arn:blue"))),
            json!([
                {"Type": "authenticate-cognito", "Order": 1, "AuthenticateCognitoConfig": {
                    "UserPoolArn": "arn:p", "UserPoolClientId": "c", "UserPoolDomain": "d", "Scope": "openid", "SessionTimeout": 60,
                    "AuthenticationRequestExtraParams": {"a": "b"}, "OnUnauthenticatedRequest": "deny"}},
                {"Type": "jwt-validation", "Order": 2, "JwtValidationConfig": {"JwksEndpoint": "https://j", "Issuer": "https://i",
                    "AdditionalClaims": [{"Format": "single-string", "Name": "n", "Values": ["v"]}]}},
                {"Type": "forward", "Order": 3, "ForwardConfig": {
                    "TargetGroups": [{"TargetGroupArn": "arn:blue", "Weight": 1}],
                    "TargetGroupStickinessConfig": {"Enabled": true, "DurationSeconds": 60}}},
            ])
        );
        let written: Vec<_> = form.transforms.iter().map(super::super::conditions::TransformForm::write).collect();
        assert_eq!(
            transforms(&written),
            json!([
                {"Type": "url-rewrite", "UrlRewriteConfig": {"Rewrites": [{"Regex": "^/x", "Replace": "/y"}]}},
                {"Type": "host-header-rewrite", "HostHeaderRewriteConfig": {"Rewrites": [{"Regex": "a", "Replace": "b"}]}},
            ])
        );
    }

    #[test]
    fn a_shell_takes_each_word_as_it_is() {
        assert_eq!(quoted("arn:aws:elb/a-b_1"), "arn:aws:elb/a-b_1");
        for word in ["", "it's", "$HOME `id` \\ \"x\" !", "a b\tc", "*?[a]~;&|<>(){}#", "'", "''\\'", "grüß\n2"] {
            let line = format!("printf %s {}", quoted(word));
            let said = Command::new("sh").args(["-c", &line]).output().unwrap().stdout;
            assert_eq!(String::from_utf8(said).unwrap(), word, "{line}");
        }
    }
}
