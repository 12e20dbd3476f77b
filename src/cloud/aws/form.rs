//! A rule's conditions, actions and transforms as the plan keeps them, to be copied and restored exactly.
//!
//! The SDK's types cannot be stored, and AWS answers in forms that it does not take back: a host or path condition twice
//! (`Values` beside its `…Config`), a one-group forward twice. So a rule is read into this form from either, and only the
//! `…Config` forms are sent. What this does not know is refused by name before anything is changed, never left out.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, AuthenticateCognitoActionConditionalBehaviorEnum, AuthenticateCognitoActionConfig,
    ForwardActionConfig, JwtValidationActionAdditionalClaim, JwtValidationActionAdditionalClaimFormatEnum,
    JwtValidationActionConfig, Rule, TargetGroupStickinessConfig, TargetGroupTuple,
};
use serde::{Deserialize, Serialize};

use super::conditions::{ConditionForm, TransformForm};
use crate::domain::ids::TargetGroupRef;

/// One base rule, or a listener's default action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    pub(super) conditions: Vec<ConditionForm>,
    pub(super) actions: Vec<ActionForm>,
    #[serde(default)]
    pub(super) transforms: Vec<TransformForm>,
    /// For a forward to two target groups, where the base's own will not do: AWS wants group stickiness on in a weighted rule as
    /// soon as one of them is sticky.
    #[serde(default)]
    pub(super) split_stickiness: Option<Stickiness>,
}

/// One action. A base has one forward, and logins before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ActionForm {
    Forward {
        order: Option<i32>,
        stickiness: Option<Stickiness>,
    },
    Cognito {
        order: Option<i32>,
        user_pool: String,
        client_id: String,
        domain: String,
        session_cookie: Option<String>,
        scope: Option<String>,
        session_timeout: Option<i64>,
        #[serde(default)]
        extra: BTreeMap<String, String>,
        on_unauthenticated: Option<String>,
    },
    Jwt {
        order: Option<i32>,
        jwks: String,
        issuer: String,
        #[serde(default)]
        claims: Vec<ClaimForm>,
    },
}

/// A further claim that a token must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClaimForm {
    format: String,
    name: String,
    values: Vec<String>,
}

/// A forward's group stickiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stickiness {
    pub(super) enabled: bool,
    pub(super) seconds: Option<i32>,
}

impl Form {
    /// Reads a rule with what it forwards to.
    ///
    /// # Errors
    /// A sentence that names what cannot be copied.
    pub(super) fn read(rule: &Rule) -> Result<Self, String> {
        let conditions = rule.conditions().iter().map(ConditionForm::read).collect::<Result<_, _>>()?;
        let transforms = rule.transforms().iter().map(TransformForm::read).collect::<Result<_, _>>()?;
        let actions =
            rule.actions().iter().filter_map(|action| ActionForm::read(action).transpose()).collect::<Result<_, _>>()?;
        Ok(Self { conditions, actions, transforms, split_stickiness: None })
    }

    /// Values that its conditions compare with.
    pub(super) fn comparisons(&self) -> usize {
        self.conditions.iter().map(ConditionForm::comparisons).sum()
    }

    /// The base's group stickiness.
    pub(super) fn stickiness(&self) -> Option<Stickiness> {
        self.actions.iter().find_map(|action| match action {
            ActionForm::Forward { stickiness, .. } => *stickiness,
            ActionForm::Cognito { .. } | ActionForm::Jwt { .. } => None,
        })
    }

    /// All the base's actions with the forward to `target_group` alone.
    pub(super) fn to_one(&self, target_group: &TargetGroupRef) -> Vec<Action> {
        self.forwarding(&[(target_group, 1)], self.stickiness())
    }

    /// All the base's actions with the forward to two target groups.
    pub(super) fn to_both(&self, weights: &[(&TargetGroupRef, i32); 2]) -> Vec<Action> {
        self.forwarding(weights, self.split_stickiness.or(self.stickiness()))
    }

    /// What it does before and while it forwards, in words that tell all of it.
    pub(super) fn told(&self, stickiness: Option<Stickiness>) -> String {
        let mut actions: Vec<_> = self.actions.iter().collect();
        // AWS counts an order even where it was sent none: only the sequence means something.
        actions.sort_by_key(|action| action.order());
        let told: Vec<_> = actions.into_iter().map(|action| action.told(stickiness)).collect();
        if told.is_empty() { "no forward".to_owned() } else { told.join(", then ") }
    }

    fn forwarding(&self, weights: &[(&TargetGroupRef, i32)], stickiness: Option<Stickiness>) -> Vec<Action> {
        self.actions.iter().map(|action| action.write(weights, stickiness)).collect()
    }
}

/// Where a rule forwards, with its weights; empty when it does not. Either form is read: moto answers a default action in
/// the one it was sent, AWS a forward to one group in both.
pub(super) fn forwards(rule: &Rule) -> Vec<(TargetGroupRef, u32)> {
    let Some(action) = rule.actions().iter().find(|action| action.r#type() == Some(&ActionTypeEnum::Forward)) else {
        return Vec::new();
    };
    let tuples = action.forward_config().map(ForwardActionConfig::target_groups).unwrap_or_default();
    if tuples.is_empty() {
        return action.target_group_arn().map(|arn| (TargetGroupRef::new(arn), 1)).into_iter().collect();
    }
    tuples
        .iter()
        .filter_map(|tuple| {
            let weight = u32::try_from(tuple.weight().unwrap_or(1)).unwrap_or(0);
            tuple.target_group_arn().map(|arn| (TargetGroupRef::new(arn), weight))
        })
        .collect()
}

impl ActionForm {
    /// `None` for a redirect or a fixed response: a rule that ends in one has no forward, and preflight says so.
    fn read(action: &Action) -> Result<Option<Self>, String> {
        let order = action.order();
        match action.r#type() {
            Some(ActionTypeEnum::Forward) => {
                let config = action.forward_config().and_then(ForwardActionConfig::target_group_stickiness_config);
                let stickiness = config.map(|config| Stickiness {
                    enabled: config.enabled().unwrap_or(false),
                    seconds: config.duration_seconds(),
                });
                Ok(Some(Self::Forward { order, stickiness }))
            }
            Some(ActionTypeEnum::Redirect | ActionTypeEnum::FixedResponse) => Ok(None),
            Some(ActionTypeEnum::AuthenticateCognito) => {
                let config = action.authenticate_cognito_config().ok_or("its authenticate-cognito action has no settings")?;
                Ok(Some(Self::read_cognito(order, config)))
            }
            Some(ActionTypeEnum::JwtValidation) => {
                let config = action.jwt_validation_config().ok_or("its jwt-validation action has no settings")?;
                Ok(Some(Self::read_jwt(order, config)))
            }
            Some(ActionTypeEnum::AuthenticateOidc) => {
                Err("its authenticate-oidc action cannot be copied into an overlay: AWS never gives the client secret back; \
                     log in with authenticate-cognito or jwt-validation, or in the service itself"
                    .to_owned())
            }
            other => {
                let kind = other.map_or("without a type", ActionTypeEnum::as_str);
                Err(format!("its action {kind} is none that this version can copy into an overlay"))
            }
        }
    }

    fn read_cognito(order: Option<i32>, config: &AuthenticateCognitoActionConfig) -> Self {
        let extra = config.authentication_request_extra_params();
        Self::Cognito {
            order,
            user_pool: config.user_pool_arn().unwrap_or_default().to_owned(),
            client_id: config.user_pool_client_id().unwrap_or_default().to_owned(),
            domain: config.user_pool_domain().unwrap_or_default().to_owned(),
            session_cookie: config.session_cookie_name().map(str::to_owned),
            scope: config.scope().map(str::to_owned),
            session_timeout: config.session_timeout(),
            extra: extra.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect(),
            on_unauthenticated: config.on_unauthenticated_request().map(|does| does.as_str().to_owned()),
        }
    }

    fn read_jwt(order: Option<i32>, config: &JwtValidationActionConfig) -> Self {
        let claims = config.additional_claims().iter().map(|claim| ClaimForm {
            format: claim.format().map_or("", |format| format.as_str()).to_owned(),
            name: claim.name().unwrap_or_default().to_owned(),
            values: claim.values().to_vec(),
        });
        Self::Jwt {
            order,
            jwks: config.jwks_endpoint().unwrap_or_default().to_owned(),
            issuer: config.issuer().unwrap_or_default().to_owned(),
            claims: claims.collect(),
        }
    }

    fn order(&self) -> Option<i32> {
        match self {
            Self::Forward { order, .. } | Self::Cognito { order, .. } | Self::Jwt { order, .. } => *order,
        }
    }

    fn told(&self, stickiness: Option<Stickiness>) -> String {
        match self {
            Self::Forward { .. } => match stickiness.filter(|stickiness| stickiness.enabled) {
                Some(Stickiness { seconds: Some(seconds), .. }) => format!("forward, sticky for {seconds} s"),
                Some(Stickiness { seconds: None, .. }) => "forward, sticky".to_owned(),
                None => "forward".to_owned(),
            },
            Self::Cognito { .. } | Self::Jwt { .. } => {
                let mut settings = serde_json::to_value(self).unwrap_or_default();
                let kind = settings.as_object_mut().and_then(|settings| {
                    settings.remove("order");
                    settings.retain(|_, value| !value.is_null());
                    settings.remove("type")
                });
                format!("{} {settings}", kind.as_ref().and_then(serde_json::Value::as_str).unwrap_or("log in"))
            }
        }
    }

    fn write(&self, weights: &[(&TargetGroupRef, i32)], stickiness: Option<Stickiness>) -> Action {
        match self {
            Self::Forward { order, .. } => Action::builder()
                .r#type(ActionTypeEnum::Forward)
                .set_order(*order)
                .forward_config(write_forward(weights, stickiness))
                .build(),
            Self::Cognito { order, .. } => Action::builder()
                .r#type(ActionTypeEnum::AuthenticateCognito)
                .set_order(*order)
                .set_authenticate_cognito_config(self.write_cognito())
                .build(),
            Self::Jwt { order, jwks, issuer, claims } => Action::builder()
                .r#type(ActionTypeEnum::JwtValidation)
                .set_order(*order)
                .jwt_validation_config(
                    JwtValidationActionConfig::builder()
                        .jwks_endpoint(jwks)
                        .issuer(issuer)
                        .set_additional_claims(some(claims.iter().map(ClaimForm::write).collect()))
                        .build(),
                )
                .build(),
        }
    }

    fn write_cognito(&self) -> Option<AuthenticateCognitoActionConfig> {
        let Self::Cognito {
            order: _,
            user_pool,
            client_id,
            domain,
            session_cookie,
            scope,
            session_timeout,
            extra,
            on_unauthenticated,
        } = self
        else {
            return None;
        };
        let extra: HashMap<_, _> = extra.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let config = AuthenticateCognitoActionConfig::builder()
            .user_pool_arn(user_pool)
            .user_pool_client_id(client_id)
            .user_pool_domain(domain)
            .set_session_cookie_name(session_cookie.clone())
            .set_scope(scope.clone())
            .set_session_timeout(*session_timeout)
            .set_authentication_request_extra_params((!extra.is_empty()).then_some(extra))
            .set_on_unauthenticated_request(
                on_unauthenticated.as_deref().map(AuthenticateCognitoActionConditionalBehaviorEnum::from),
            );
        Some(config.build())
    }
}

impl ClaimForm {
    fn write(&self) -> JwtValidationActionAdditionalClaim {
        JwtValidationActionAdditionalClaim::builder()
            .format(JwtValidationActionAdditionalClaimFormatEnum::from(self.format.as_str()))
            .name(&self.name)
            .set_values(some(self.values.clone()))
            .build()
    }
}

fn write_forward(weights: &[(&TargetGroupRef, i32)], stickiness: Option<Stickiness>) -> ForwardActionConfig {
    let tuples = weights
        .iter()
        .map(|(to, weight)| TargetGroupTuple::builder().target_group_arn(to.as_str()).weight(*weight).build())
        .collect();
    let stickiness = stickiness.map(|stickiness| {
        TargetGroupStickinessConfig::builder()
            .enabled(stickiness.enabled)
            .set_duration_seconds(stickiness.seconds.filter(|_| stickiness.enabled))
            .build()
    });
    ForwardActionConfig::builder().set_target_groups(Some(tuples)).set_target_group_stickiness_config(stickiness).build()
}

/// AWS tells an empty list from none: none is what was there.
pub(super) fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
