//! The forms of AWS's references. A rule's ARN holds its listener's and its load balancer's, so none of them needs a look.

use crate::domain::ids::{ListenerRef, LoadBalancerRef, RouteRef, RuleRef, TargetGroupRef};

/// The six parts of an ARN that matter here.
struct Arn<'a> {
    /// `arn:PARTITION:SERVICE:REGION:ACCOUNT`.
    prefix: &'a str,
    service: &'a str,
    region: &'a str,
    resource: &'a str,
}

fn split(text: &str) -> Option<Arn<'_>> {
    let mut parts = text.splitn(6, ':');
    let (arn, partition, service, region, account) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let resource = parts.next()?;
    let account_is_one = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    let whole = arn == "arn" && !partition.is_empty() && account_is_one && !resource.is_empty();
    whole.then(|| Arn { prefix: &text[..text.len() - resource.len() - 1], service, region, resource })
}

/// The account that an ARN names; `None` of what is no ARN.
pub(super) fn account(text: &str) -> Option<&str> {
    split(text)?.prefix.rsplit(':').next()
}

/// The account of a role.
///
/// # Errors
/// A sentence that says what a role is.
pub(super) fn role_account(text: &str) -> Result<&str, String> {
    const WANTED: &str = "a role is named by its ARN, like `arn:aws:iam::123456789012:role/cutover`";
    let arn = split(text).filter(|arn| arn.service == "iam" && arn.region.is_empty()).ok_or(WANTED)?;
    let named = arn.resource.strip_prefix("role/").is_some_and(|name| !name.is_empty() && !name.contains(char::is_whitespace));
    named.then(|| account(text)).flatten().ok_or_else(|| WANTED.to_owned())
}

/// A route, read from its ARN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) listener: ListenerRef,
    pub(super) load_balancer: LoadBalancerRef,
    /// `None` for a listener's default action.
    pub(super) rule: Option<RuleRef>,
}

/// Reads a route's ARN: a rule's, or a listener's for its default action.
///
/// # Errors
/// A sentence that says what a route is.
pub(super) fn route(route: &RouteRef, region: &str) -> Result<Route, String> {
    const WANTED: &str = "a route is the ARN of a listener rule (`arn:aws:elasticloadbalancing:…:listener-rule/app/…`), or of a \
                          listener (`…:listener/app/…`) for its default action";
    let arn = split(route.as_str()).filter(|arn| arn.service == "elasticloadbalancing").ok_or(WANTED)?;
    same_region(arn.region, region)?;
    let parts: Vec<_> = arn.resource.split('/').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(WANTED.to_owned());
    }
    let (kind, rule) = match parts.as_slice() {
        ["listener", kind, _, _, _] => (*kind, None),
        ["listener-rule", kind, _, _, _, _] => (*kind, Some(RuleRef::new(route.as_str()))),
        _ => return Err(WANTED.to_owned()),
    };
    match kind {
        "app" => {}
        "net" => {
            return Err(
                "this is a Network Load Balancer's listener: it has no rules, so there is no overlay to go back with at \
                        once; routes must be on an Application Load Balancer"
                    .to_owned(),
            );
        }
        _ => return Err(WANTED.to_owned()),
    }
    let (prefix, name, balancer, listener) = (arn.prefix, parts[2], parts[3], parts[4]);
    Ok(Route {
        listener: ListenerRef::new(format!("{prefix}:listener/app/{name}/{balancer}/{listener}")),
        load_balancer: LoadBalancerRef::new(format!("{prefix}:loadbalancer/app/{name}/{balancer}")),
        rule,
    })
}

/// The listener that a rule is on; `None` of what is no rule's ARN.
pub(super) fn listener_of(rule: &RuleRef) -> Option<ListenerRef> {
    let region = split(rule.as_str())?.region;
    route(&RouteRef::new(rule.as_str()), region).ok().filter(|named| named.rule.is_some()).map(|named| named.listener)
}

/// Reads a listener's ARN, of whatever region: its region, and what it names.
///
/// # Errors
/// A sentence that says what a listener is.
pub(super) fn listener(text: &str) -> Result<(String, Route), String> {
    const WANTED: &str = "a listener is named by its ARN (`arn:aws:elasticloadbalancing:…:listener/app/…`)";
    let region = split(text).ok_or(WANTED)?.region;
    let named = route(&RouteRef::new(text), region)?;
    match named.rule {
        None => Ok((region.to_owned(), named)),
        Some(_) => Err(WANTED.to_owned()),
    }
}

/// Checks the form of a target group's ARN.
///
/// # Errors
/// A sentence that says what a slot is.
pub(super) fn target_group(target_group: &TargetGroupRef, region: &str) -> Result<(), String> {
    const WANTED: &str =
        "a slot is the ARN of a target group (`arn:aws:elasticloadbalancing:…:targetgroup/…`), or a list of them";
    let arn = split(target_group.as_str()).filter(|arn| arn.service == "elasticloadbalancing").ok_or(WANTED)?;
    same_region(arn.region, region)?;
    match arn.resource.split('/').collect::<Vec<_>>().as_slice() {
        ["targetgroup", name, id] if !name.is_empty() && !id.is_empty() => Ok(()),
        _ => Err(WANTED.to_owned()),
    }
}

fn same_region(named: &str, declared: &str) -> Result<(), String> {
    if named == declared {
        return Ok(());
    }
    Err(format!("it is in region {named:?}, the provider's region is {declared:?}: name things of one region"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener-rule/app/web/50dc/f2f7/9683";

    #[test]
    fn a_rule_names_its_listener_and_its_load_balancer() {
        let read = route(&RouteRef::new(RULE), "eu-west-1").unwrap();
        assert_eq!(read.listener.as_str(), "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener/app/web/50dc/f2f7");
        assert_eq!(
            read.load_balancer.as_str(),
            "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/web/50dc"
        );
        assert_eq!(read.rule, Some(RuleRef::new(RULE)));
        let default = route(&RouteRef::new(read.listener.as_str()), "eu-west-1").unwrap();
        assert_eq!((default.listener, default.rule), (read.listener, None));
    }

    #[test]
    fn a_listener_names_its_region_and_a_rule_is_none() {
        let arn = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener/app/web/50dc/f2f7";
        let (region, read) = listener(arn).unwrap();
        assert_eq!((region.as_str(), read.listener.as_str()), ("eu-west-1", arn));
        assert!(listener(RULE).unwrap_err().contains("a listener is named"));
        assert!(listener(&arn.replace("/app/", "/net/")).unwrap_err().contains("Network Load Balancer"));
    }

    #[test]
    fn what_is_no_route_is_told_what_one_is() {
        let said = |text: &str| route(&RouteRef::new(text), "eu-west-1").unwrap_err();
        assert!(said("web").contains("a route is the ARN"));
        assert!(said(&RULE.replace("/9683", "")).contains("a route is the ARN"));
        assert!(said(&RULE.replace("/9683", "/")).contains("a route is the ARN"));
        assert!(said(&RULE.replace("123456789012", "me")).contains("a route is the ARN"));
        assert!(said(&RULE.replace("/app/", "/net/")).contains("Network Load Balancer"));
        assert!(said(&RULE.replace("eu-west-1", "us-east-1")).contains("region \"us-east-1\""));
    }

    #[test]
    fn a_role_is_of_an_account() {
        assert_eq!(role_account("arn:aws:iam::210987654321:role/team/cutover"), Ok("210987654321"));
        assert_eq!(account(RULE), Some("123456789012"));
        for wrong in ["cutover", RULE, "arn:aws:iam::210987654321:user/ada", "arn:aws:iam::210987654321:role/"] {
            assert!(role_account(wrong).unwrap_err().contains("named by its ARN"), "{wrong}");
        }
    }

    #[test]
    fn a_slot_is_a_target_group_of_the_region() {
        let slot = |text, region| target_group(&TargetGroupRef::new(text), region);
        let arn = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web-a/73e2";
        assert_eq!(slot(arn, "eu-west-1"), Ok(()));
        assert!(slot(arn, "eu-west-2").is_err());
        assert!(slot(RULE, "eu-west-1").unwrap_err().contains("target group"));
    }
}
