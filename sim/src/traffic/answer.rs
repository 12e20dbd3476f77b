//! What a node answers: the target's word, or its own.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{HeaderValue, Request, Response, StatusCode, header},
};
use axum_reverse_proxy::{ProxyError, TunnelGuard};

use super::{
    node::{Node, STICKY_COOKIE, sticky, sticky_token},
    rules::Seen,
    slots::Slots,
};
use crate::model::{Action, Name};

/// Answers one request on `node`, as the rules it knows say.
pub async fn answer(request: Request<Body>, peer: SocketAddr, node: &Node, slots: &Slots) -> Response<Body> {
    let arrived = Instant::now();
    let (parts, body) = request.into_parts();
    let seen = Seen::of(&parts, peer.ip());
    let table = node.table(arrived);
    // Authentication and kinds like it come before the action that ends the rule; everybody is let through.
    let last = table.actions(&seen).iter().find(|action| !matches!(action, Action::Other { .. }));
    match last {
        Some(Action::Forward { groups, stickiness }) => {
            let cookies = parts.headers.get_all(header::COOKIE).iter().filter_map(|cookie| cookie.to_str().ok());
            let tied = stickiness.and_then(|_| sticky(cookies, groups));
            let Some(group) = tied.or_else(|| node.draw(groups)) else {
                return own(StatusCode::SERVICE_UNAVAILABLE, "no target group has any weight");
            };
            let mut response = forward(Request::from_parts(parts, body), peer, group, slots, arrived).await;
            if let Some(cookie) = stickiness.and_then(|lifetime| sticky_cookie(group, lifetime)) {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
            response
        }
        Some(Action::FixedResponse { status, body, content_type }) => fixed(*status, body, content_type.as_deref()),
        Some(Action::Redirect(config)) => redirect(config, &seen, peer_port(&parts)),
        Some(Action::Other { .. }) | None => own(StatusCode::SERVICE_UNAVAILABLE, "the rule has no action that answers"),
    }
}

async fn forward(
    mut request: Request<Body>,
    peer: SocketAddr,
    group: &Name,
    slots: &Slots,
    arrived: Instant,
) -> Response<Body> {
    let Some(slot) = slots.get(group) else {
        return own(StatusCode::SERVICE_UNAVAILABLE, "the target group is gone");
    };
    let in_flight = slot.counters.begin();
    let Some(target) = slot.next() else {
        slot.counters.failed();
        return own(StatusCode::SERVICE_UNAVAILABLE, "the target group has no targets");
    };
    request.extensions_mut().insert(ConnectInfo(peer));
    // Given back when the last byte of the answer has passed.
    request.extensions_mut().insert(TunnelGuard::new(in_flight));
    let Ok(response) = target.proxy.proxy_request(request).await;
    if response.extensions().get::<ProxyError>().is_some() {
        slot.counters.failed();
    } else {
        slot.counters.answered(response.status(), arrived.elapsed());
    }
    response
}

fn own(status: StatusCode, why: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{status}: {why}\n")));
    *response.status_mut() = status;
    response
}

fn fixed(status: u16, body: &str, content_type: Option<&str>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_owned()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    if let Some(kind) = content_type.and_then(|kind| HeaderValue::from_str(kind).ok()) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

fn peer_port(parts: &axum::http::request::Parts) -> &str {
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    host.rsplit_once(':').map_or("80", |(_, port)| port)
}

/// AWS's redirect: each part is what the request had unless the rule says otherwise, and may quote the request.
fn redirect(config: &serde_json::Value, seen: &Seen<'_>, port: &str) -> Response<Body> {
    let quote = |part: &str, otherwise: &str| {
        let template = config.get(part).and_then(|value| value.as_str()).unwrap_or(otherwise);
        template
            .replace("#{protocol}", "http")
            .replace("#{host}", seen.host)
            .replace("#{port}", port)
            .replace("#{path}", seen.uri.path().trim_start_matches('/'))
            .replace("#{query}", seen.uri.query().unwrap_or_default())
    };
    let protocol = quote("Protocol", "#{protocol}").to_ascii_lowercase();
    let query = quote("Query", "#{query}");
    let question = if query.is_empty() { "" } else { "?" };
    let host = quote("Host", "#{host}");
    let location = format!(
        "{protocol}://{host}:{port}{path}{question}{query}",
        port = quote("Port", "#{port}"),
        path = quote("Path", "/#{path}")
    );
    let moved = config.get("StatusCode").and_then(|code| code.as_str()) == Some("HTTP_301");
    let status = if moved { StatusCode::MOVED_PERMANENTLY } else { StatusCode::FOUND };
    match HeaderValue::from_str(&location) {
        Ok(location) => {
            let mut response = own(status, "see Location");
            response.headers_mut().insert(header::LOCATION, location);
            response
        }
        Err(_) => own(StatusCode::BAD_REQUEST, "the request's own words do not make a Location"),
    }
}

fn sticky_cookie(group: &str, lifetime: Duration) -> Option<HeaderValue> {
    let ends = jiff::Timestamp::now().checked_add(lifetime).ok()?;
    let ends = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&ends).ok()?;
    HeaderValue::from_str(&format!("{STICKY_COOKIE}={}; Expires={ends}; Path=/", sticky_token(group))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_keeps_what_the_rule_does_not_name() {
        let (parts, ()) =
            Request::builder().uri("/a/b?c=d").header("host", "www.example.com:8080").body(()).unwrap().into_parts();
        let seen = Seen::of(&parts, [127, 0, 0, 1].into());
        let config = serde_json::json!({"Protocol": "HTTPS", "Port": "443", "Path": "/new/#{path}", "StatusCode": "HTTP_301"});
        let response = redirect(&config, &seen, peer_port(&parts));
        assert_eq!(response.status(), StatusCode::MOVED_PERMANENTLY);
        assert_eq!(response.headers()[header::LOCATION], "https://www.example.com:443/new/a/b?c=d");
        let response = redirect(&serde_json::json!({"StatusCode": "HTTP_302"}), &seen, peer_port(&parts));
        assert_eq!(response.status(), StatusCode::FOUND);
        assert_eq!(response.headers()[header::LOCATION], "http://www.example.com:8080/a/b?c=d");
    }

    #[test]
    fn a_sticky_cookie_says_when_it_ends() {
        let cookie = sticky_cookie("tg", Duration::from_secs(3600)).unwrap();
        let cookie = cookie.to_str().unwrap();
        assert!(cookie.starts_with(&format!("AWSALBTG={}; Expires=", sticky_token("tg"))), "{cookie}");
        assert!(cookie.ends_with(" GMT; Path=/"), "{cookie}");
    }
}
