//! The client commands. They know `/v1` and nothing else of the service, so what they can do, `curl` can do.
//!
//! Data goes to stdout, everything else to stderr; the exit code tells a CI job what became of it (`exit`).

mod api;
pub mod args;
mod commands;
mod drill;
pub mod exit;
mod follow;
mod planned;
mod readiness;
mod render;
mod resource;

use std::{path::Path, process::ExitCode};

use secrecy::SecretString;

use self::{
    api::Api,
    args::{Command, Connection},
    exit::{Exit, Failure},
    follow::Followed,
};

/// Runs one client command to its exit code.
pub async fn run(command: Command) -> ExitCode {
    let followed = Followed::default();
    let outcome = tokio::select! {
        outcome = commands::run(command, &followed) => outcome,
        Ok(()) = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, format!("interrupted; {}", followed.way_back()))),
    };
    let exit = outcome.unwrap_or_else(|failure| {
        render::say(&format!("cutover: {}", failure.message));
        failure.exit
    });
    exit.into()
}

fn connect(connection: &Connection) -> Result<Api, Failure> {
    Api::new(&connection.url, token(connection.token_file.as_deref(), std::env::var("CUTOVER_TOKEN").ok())?)
}

fn token(file: Option<&Path>, variable: Option<String>) -> Result<Option<SecretString>, Failure> {
    let text = match (variable.filter(|token| !token.is_empty()), file) {
        (Some(token), _) => token,
        (None, None) => return Ok(None),
        (None, Some(path)) => std::fs::read_to_string(path).map_err(|error| {
            Failure::new(Exit::Denied, format!("the token file {} cannot be read: {error}", path.display()))
        })?,
    };
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Failure::new(Exit::Denied, "the token is not one line of visible characters"));
    }
    Ok(Some(SecretString::from(token.to_owned())))
}
