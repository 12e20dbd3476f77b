//! The hand that types: every act of the demo is a `curl` line, printed, then run by a shell exactly as it stands.

use std::{process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{process::Command, sync::watch, time::timeout};

use super::screen::Screen;

/// Longer than any long poll.
const CURL_TIMEOUT: Duration = Duration::from_secs(90);
const SERVICE: &str = "/v1/services/web/environments/prod";

/// A user with a shell: `$CUTOVER_URL` and `$CUTOVER_TOKEN` are set, `$ID` is the deployment spoken of.
#[derive(Debug, Clone)]
pub struct Hand {
    screen: Screen,
    url: String,
    token: String,
    /// The deployment spoken of; empty before the first.
    id: watch::Sender<String>,
}

impl Hand {
    /// Prints and sets the two variables.
    #[must_use]
    pub fn new(screen: Screen, url: &str, token: &str) -> Self {
        screen.command(&format!("export CUTOVER_URL={url} CUTOVER_TOKEN={token}"));
        Self { screen, url: url.to_owned(), token: token.to_owned(), id: watch::Sender::default() }
    }

    /// The id of the deployment spoken of, as it changes.
    #[must_use]
    pub fn spoken_of(&self) -> watch::Receiver<String> {
        self.id.subscribe()
    }

    /// Declares the service.
    ///
    /// # Errors
    /// As for every line here: curl's words, with the answer's body.
    pub async fn declare(&self, declaration: &str) -> Result<Value, String> {
        self.curl(&with_body("-X PUT ", SERVICE, declaration)).await
    }

    /// Creates a deployment; from now on it is the one spoken of.
    ///
    /// # Errors
    /// Curl's words, with the answer's body.
    pub async fn deploy(&self, image: &str, version: &str) -> Result<Value, String> {
        let body = format!(r#"{{"image": "{image}", "version": "{version}", "reason": "release {version}"}}"#);
        let answer = self.curl(&with_body("", &format!("{SERVICE}/deployments"), &body)).await?;
        let id = text(&answer, "/id")?;
        self.screen.command(&format!("ID={id}"));
        self.id.send_replace(id.to_owned());
        Ok(answer)
    }

    /// Sets green's weight by hand.
    ///
    /// # Errors
    /// Curl's words, with the answer's body.
    pub async fn weight(&self, percent: f64, reason: &str) -> Result<Value, String> {
        let body = format!(r#"{{"green": {percent}, "reason": "{reason}"}}"#);
        self.curl(&with_body("-X PUT ", "/v1/deployments/$ID/weight", &body)).await
    }

    /// Lets the deployment go on.
    ///
    /// # Errors
    /// Curl's words, with the answer's body.
    pub async fn resume(&self) -> Result<Value, String> {
        self.curl(&with_body("", "/v1/deployments/$ID/resume", "{}")).await
    }

    /// Sends everything back.
    ///
    /// # Errors
    /// Curl's words, with the answer's body.
    pub async fn rollback(&self, reason: &str) -> Result<Value, String> {
        self.curl(&with_body("", &format!("{SERVICE}/rollback"), &format!(r#"{{"reason": "{reason}"}}"#))).await
    }

    /// Waits until the deployment is at `until`, for at most a minute.
    ///
    /// # Errors
    /// Curl's words, with the answer's body.
    pub async fn wait(&self, until: &str) -> Result<Value, String> {
        self.curl(&get(&format!("/v1/deployments/$ID?wait=55s&until={until}"))).await
    }

    async fn curl(&self, line: &str) -> Result<Value, String> {
        self.screen.command(line);
        let mut shell = Command::new("sh");
        shell
            .args(["-c", line])
            .env("CUTOVER_URL", &self.url)
            .env("CUTOVER_TOKEN", &self.token)
            .env("ID", self.id.borrow().as_str())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output =
            timeout(CURL_TIMEOUT, shell.output()).await.map_err(|_| format!("no answer within {CURL_TIMEOUT:?}: {line}"))?;
        let output = output.map_err(|error| format!("running sh: {error}"))?;
        let body = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            let line = line.lines().next().unwrap_or_default();
            return Err(format!("{}\n{body}\nis what came of: {line} …", complaint.trim()));
        }
        serde_json::from_str(&body).map_err(|error| format!("the answer is no JSON ({error}): {body}"))
    }
}

fn get(path: &str) -> String {
    format!("curl -sS --fail-with-body \"$CUTOVER_URL{path}\" -H \"Authorization: Bearer $CUTOVER_TOKEN\"")
}

/// `--json` would be shorter; the curl of Ubuntu 22.04 does not know it.
fn with_body(method: &str, path: &str, body: &str) -> String {
    format!(
        "curl -sS --fail-with-body {method}\"$CUTOVER_URL{path}\" -H \"Authorization: Bearer $CUTOVER_TOKEN\" \\\n  -H 'Content-Type: application/json' -d '{body}'"
    )
}

/// The text at a JSON pointer of an answer.
///
/// # Errors
/// The answer has none there.
pub fn text<'a>(answer: &'a Value, pointer: &str) -> Result<&'a str, String> {
    answer.pointer(pointer).and_then(Value::as_str).ok_or_else(|| format!("the answer has no text at {pointer}: {answer}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hand() -> Hand {
        Hand {
            screen: Screen::new(),
            url: "http://127.0.0.1:1".to_owned(),
            token: "t".to_owned(),
            id: watch::Sender::new("7".to_owned()),
        }
    }

    #[test]
    fn the_lines_are_what_a_user_would_type() {
        assert_eq!(
            with_body("-X PUT ", "/v1/deployments/$ID/weight", r#"{"green": 12.5}"#),
            "curl -sS --fail-with-body -X PUT \"$CUTOVER_URL/v1/deployments/$ID/weight\" -H \"Authorization: Bearer $CUTOVER_TOKEN\" \\\n  \
             -H 'Content-Type: application/json' -d '{\"green\": 12.5}'"
        );
    }

    #[tokio::test]
    async fn a_line_that_fails_says_what_curl_said_and_which_line_it_was() {
        let error = hand().wait("terminal").await.expect_err("nobody listens there");
        assert!(error.contains("curl: (7)") && error.contains("?wait=55s&until=terminal"), "{error}");
    }

    #[tokio::test]
    async fn a_line_runs_as_it_is_printed_with_the_variables_set() {
        let answer = hand().curl(r#"printf '{"id": "%s", "token": "%s"}' "$ID" "$CUTOVER_TOKEN""#).await.unwrap();
        assert_eq!((text(&answer, "/id"), text(&answer, "/token")), (Ok("7"), Ok("t")));
        assert!(text(&answer, "/rollback/accepted_at").unwrap_err().contains("/rollback/accepted_at"));
    }
}
