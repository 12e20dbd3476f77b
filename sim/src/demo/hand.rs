//! The hand that types: every act of the demo is a line for a shell, printed, then run exactly as it stands.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::{process::Command, sync::watch, time::timeout};

use super::screen::Screen;

/// Longer than any long poll.
const LINE_TIMEOUT: Duration = Duration::from_secs(90);
/// Long polls before a deployment is given up.
const POLLS_MAX: u32 = 3;
/// Changes that are looked at while one of them is waited for.
const CHANGES_MAX: u32 = 20;
const SERVICE: &str = "/v1/services/web/environments/prod";

/// A user with a shell: `$CUTOVER_URL` and `$CUTOVER_TOKEN` are set, `$ID` is the deployment spoken of.
#[derive(Debug)]
pub struct Hand {
    screen: Screen,
    variables: BTreeMap<String, String>,
    /// The deployment spoken of; empty before the first.
    id: watch::Sender<String>,
}

impl Hand {
    /// Prints and sets the two variables.
    #[must_use]
    pub fn new(screen: Screen, url: &str, token: &str) -> Self {
        let mut hand = Self { screen, variables: BTreeMap::new(), id: watch::Sender::default() };
        hand.export(&[("CUTOVER_URL", url), ("CUTOVER_TOKEN", token)]);
        hand
    }

    /// Sets variables for every line to come.
    pub fn export(&mut self, variables: &[(&str, &str)]) {
        let shown = variables.iter().map(|(name, value)| format!(" {name}={value}")).collect::<String>();
        self.screen.command(&format!("export{shown}"));
        self.variables.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    }

    /// Puts the folders of programs before all others.
    ///
    /// # Errors
    /// A program is not there.
    pub fn put_on_path(&mut self, programs: &[&Path]) -> Result<(), String> {
        let mut path = String::new();
        for program in programs {
            let missing = || format!("{} is not there: scripts/setup installs what is needed", program.display());
            let folder = program.parent().filter(|_| program.exists()).ok_or_else(missing)?;
            let folder = folder.canonicalize().map_err(|error| format!("looking for {}: {error}", folder.display()))?;
            let _ = write!(path, "{}:", folder.display());
        }
        self.screen.command(&format!("export PATH={path}$PATH"));
        path.push_str(&std::env::var("PATH").unwrap_or_default());
        self.variables.insert("PATH".to_owned(), path);
        Ok(())
    }

    /// Keeps what an answer said under a name.
    pub fn set(&mut self, name: &str, value: &str) {
        self.screen.command(&format!("{name}={value}"));
        self.variables.insert(name.to_owned(), value.to_owned());
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
        self.answer(&with_body("-X PUT ", SERVICE, declaration)).await
    }

    /// Creates a deployment; from now on it is the one spoken of.
    ///
    /// # Errors
    /// Curl's words, with the answer's body.
    pub async fn deploy(&mut self, image: &str, version: &str) -> Result<Value, String> {
        let body = format!(r#"{{"image": "{image}", "version": "{version}", "reason": "release {version}"}}"#);
        let answer = self.answer(&with_body("", &format!("{SERVICE}/deployments"), &body)).await?;
        let id = text(&answer, "/id")?;
        self.set("ID", id);
        self.id.send_replace(id.to_owned());
        Ok(answer)
    }

    /// Sets green's weight by hand.
    ///
    /// # Errors
    /// Curl's words, with the answer's body.
    pub async fn weight(&self, percent: f64, reason: &str) -> Result<Value, String> {
        let body = format!(r#"{{"green": {percent}, "reason": "{reason}"}}"#);
        Ok(self.seen(self.answer(&with_body("-X PUT ", "/v1/deployments/$ID/weight", &body)).await?))
    }

    /// Lets the deployment go on.
    ///
    /// # Errors
    /// Curl's words, with the answer's body.
    pub async fn resume(&self) -> Result<Value, String> {
        Ok(self.seen(self.answer(&with_body("", "/v1/deployments/$ID/resume", "{}")).await?))
    }

    /// Sends everything back.
    ///
    /// # Errors
    /// Curl's words, with the answer's body.
    pub async fn rollback(&self, reason: &str) -> Result<Value, String> {
        Ok(self
            .seen(self.answer(&with_body("", &format!("{SERVICE}/rollback"), &format!(r#"{{"reason": "{reason}"}}"#))).await?))
    }

    /// Reads the deployment.
    ///
    /// # Errors
    /// Curl's words, with the answer's body.
    pub async fn read(&self) -> Result<Value, String> {
        self.answer(&get("/v1/deployments/$ID")).await
    }

    /// Reads the deployment's history, oldest first.
    ///
    /// # Errors
    /// Curl's words, with the answer's body; or a history longer than a page, which no demo has.
    pub async fn history(&self) -> Result<Vec<Value>, String> {
        let page = self.answer(&get("/v1/deployments/$ID/events?limit=100")).await?;
        match (page["items"].as_array(), &page["next_cursor"]) {
            (Some(items), Value::Null) => Ok(items.clone()),
            _ => Err(format!("the history is no single page: {page}")),
        }
    }

    /// Waits until the deployment is at `until`, for at most a minute.
    ///
    /// # Errors
    /// Curl's words, with the answer's body.
    pub async fn wait(&self, until: &str) -> Result<Value, String> {
        Ok(self.seen(self.answer(&get(&format!("/v1/deployments/$ID?wait=55s&until={until}"))).await?))
    }

    /// Reads the deployment, and again whenever it changes, until it is as `wanted`.
    ///
    /// # Errors
    /// Curl's words; or it does not become so.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value, String> {
        let mut last = self.read().await?;
        for _ in 0..CHANGES_MAX {
            if wanted(&last) {
                return Ok(last);
            }
            last = self.answer(&get("/v1/deployments/$ID?wait=3s")).await?;
        }
        Err(format!("{what} did not come; the deployment is {last}"))
    }

    /// Waits until the deployment has ended.
    ///
    /// # Errors
    /// Curl's words; or it does not end.
    pub async fn ended(&self) -> Result<Value, String> {
        let mut last = Value::Null;
        for _ in 0..POLLS_MAX {
            last = self.wait("terminal").await?;
            if !matches!(text(&last, "/status")?, "pending" | "in_progress" | "paused") {
                return Ok(last);
            }
        }
        Err(format!("the deployment is still {}", last["status"]))
    }

    /// Runs a line that is for a person, shows what it prints, and holds it to the exit code `exit`.
    ///
    /// # Errors
    /// It ends otherwise.
    pub async fn show(&self, line: &str, exit: i32) -> Result<(), String> {
        let output = self.run(line).await?;
        for stream in [&output.stderr, &output.stdout] {
            String::from_utf8_lossy(stream).lines().for_each(|line| self.screen.line(line));
        }
        if exit != 0 {
            self.screen.line(&format!("({})", output.status));
        }
        if output.status.code() == Some(exit) { Ok(()) } else { Err(format!("{line}: {}, not {exit}", output.status)) }
    }

    /// The JSON that a line prints; null if it prints nothing.
    ///
    /// # Errors
    /// The line fails: its words, and what it printed.
    pub async fn answer(&self, line: &str) -> Result<Value, String> {
        let output = self.run(line).await?;
        let body = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            let line = line.lines().next().unwrap_or_default();
            return Err(format!("{}\n{body}\nis what came of: {line} …", complaint.trim()));
        }
        if body.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&body).map_err(|error| format!("the answer is no JSON ({error}): {body}"))
    }

    async fn run(&self, line: &str) -> Result<Output, String> {
        self.screen.command(line);
        let mut shell = Command::new("sh");
        shell
            .args(["-c", line])
            .envs(&self.variables)
            // Whatever this machine's user has set up is none of the demo's business.
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_SESSION_TOKEN")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output =
            timeout(LINE_TIMEOUT, shell.output()).await.map_err(|_| format!("no answer within {LINE_TIMEOUT:?}: {line}"))?;
        output.map_err(|error| format!("running sh: {error}"))
    }

    /// Shows of an answer what a person would read first.
    fn seen(&self, answer: Value) -> Value {
        let word = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or("?");
        let (status, phase) = (word("status"), word("phase"));
        let phase = if phase == status { String::new() } else { format!(", {phase}") };
        let weight = answer.pointer("/weight/observed").and_then(Value::as_f64);
        let weight = weight.map_or_else(|| "green's weight unknown".to_owned(), |weight| format!("green at {weight} %"));
        let attention =
            answer.get("attention").and_then(Value::as_str).map(|text| format!("; attention: {text}")).unwrap_or_default();
        self.screen.say(&format!("-> #{} {status}{phase}, {weight}{attention}", answer["number"]));
        answer
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
        let mut hand = Hand::new(Screen::new(), "http://127.0.0.1:1", "t");
        hand.set("ID", "7");
        hand
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
        let answer = hand().answer(r#"printf '{"id": "%s", "token": "%s"}' "$ID" "$CUTOVER_TOKEN""#).await.unwrap();
        assert_eq!((text(&answer, "/id"), text(&answer, "/token")), (Ok("7"), Ok("t")));
        assert!(text(&answer, "/rollback/accepted_at").unwrap_err().contains("/rollback/accepted_at"));
    }

    #[tokio::test]
    async fn what_is_shown_to_a_person_is_held_to_its_exit_code() {
        assert_eq!(hand().show("echo needed; exit 5", 5).await, Ok(()));
        assert_eq!(hand().show("exit 5", 0).await, Err("exit 5: exit status: 5, not 0".to_owned()));
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let missing = hand().put_on_path(&[Path::new("/bin/sh"), Path::new("/nowhere/aws")]);
        assert_eq!(missing, Err("/nowhere/aws is not there: scripts/setup installs what is needed".to_owned()));
    }
}
