//! The servers of the region: one HTTP server an instance, a child process or a responder inside this process.
//!
//! Both answer on a loopback port of their own, both can die at any moment, and both are stopped politely: a server that
//! is told to stop finishes what it has begun. That is what makes "no request lost" a statement about the load balancer
//! and its user, not about the servers.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::model::ServerKind;

pub mod child;
pub mod responder;

/// How long a stopping server may take to finish its requests before it is killed.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts and stops servers by instance id.
#[derive(Debug, Clone, Default)]
pub struct Servers {
    running: Arc<Mutex<BTreeMap<String, Server>>>,
}

#[derive(Debug)]
enum Server {
    Child(child::Child),
    BuiltIn(responder::Responder),
}

impl Servers {
    /// Starts the server of `instance` and returns where it listens, or will once it has booted.
    ///
    /// # Errors
    /// What AWS would put into the scaling activity's `StatusMessage`.
    pub async fn start(&self, instance: &str, kind: &ServerKind) -> Result<SocketAddr, String> {
        let (server, address) = match kind {
            ServerKind::Command(command) => {
                let (child, address) = child::Child::spawn(instance, command)
                    .map_err(|error| format!("Launching a new EC2 instance failed: the server did not start: {error}"))?;
                (Server::Child(child), address)
            }
            ServerKind::BuiltIn { version, boot, healthy } => {
                let identity = responder::Identity { version: version.clone(), instance: instance.to_owned() };
                let (responder, address) = responder::Responder::start(identity, *boot, *healthy)
                    .map_err(|error| format!("Launching a new EC2 instance failed: no port for its server: {error}"))?;
                (Server::BuiltIn(responder), address)
            }
            ServerKind::FailsToLaunch(message) => return Err(message.clone()),
        };
        self.lock().insert(instance.to_owned(), server);
        Ok(address)
    }

    /// Stops it once its requests are finished, or after [`STOP_TIMEOUT`]; unknown ids are fine.
    pub async fn stop(&self, instance: &str) {
        let server = self.lock().remove(instance);
        match server {
            Some(Server::Child(child)) => child.stop(STOP_TIMEOUT).await,
            Some(Server::BuiltIn(responder)) => responder.stop(STOP_TIMEOUT).await,
            None => {}
        }
    }

    /// Kills it as a crash does: connections break, requests in flight are lost. False for an unknown id.
    #[must_use]
    pub fn kill(&self, instance: &str) -> bool {
        // Dropping is killing, for both kinds.
        self.lock().remove(instance).is_some()
    }

    /// Makes the health endpoint of a built-in server answer 500, or 200 again. A child process cannot be told: the health
    /// checker counts its checks as failed while `Instance::sick` is set. False for an unknown id.
    #[must_use]
    pub fn set_sick(&self, instance: &str, sick: bool) -> bool {
        match self.lock().get(instance) {
            Some(Server::BuiltIn(responder)) => {
                responder.set_healthy(!sick);
                true
            }
            Some(Server::Child(_)) => true,
            None => false,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Server>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_launch_that_fails_says_so_in_the_words_it_was_given() {
        let message = "The image id '[ami-0bad]' does not exist. Launching EC2 instance failed.";
        let refused = Servers::default().start("i-1", &ServerKind::FailsToLaunch(message.to_owned())).await;
        assert_eq!(refused, Err(message.to_owned()));
    }

    #[tokio::test]
    async fn a_command_that_is_not_there_is_a_failed_launch() {
        let refused = Servers::default().start("i-1", &ServerKind::Command(vec!["/nonexistent/server".to_owned()])).await;
        let message = refused.expect_err("there is no such program");
        assert!(message.contains("/nonexistent/server"), "{message}");
    }

    #[tokio::test]
    async fn stopping_what_was_never_started_is_fine() {
        let servers = Servers::default();
        servers.stop("i-unknown").await;
        assert!(!servers.kill("i-unknown"));
        assert!(!servers.set_sick("i-unknown", true));
    }
}
