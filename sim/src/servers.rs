//! The servers of the region: one HTTP server an instance, a child process or a responder inside this process.

use std::net::SocketAddr;

use crate::model::ServerKind;

/// Starts and stops servers by instance id.
#[derive(Debug, Clone, Default)]
pub struct Servers {}

impl Servers {
    /// Starts the server of `instance` and returns where it listens.
    ///
    /// # Errors
    /// What AWS would put into the scaling activity's `StatusMessage`.
    pub async fn start(&self, _instance: &str, _kind: &ServerKind) -> Result<SocketAddr, String> {
        Err("not built yet".to_owned())
    }

    /// Stops it; unknown ids are fine.
    pub async fn stop(&self, _instance: &str) {}
}
