//! The engine: claims deployments, looks, lets `domain` decide, acts or records. It knows no technology.
//!
//! `driver` finds due work, `tick` does one step of it, `lane` is the way back that waits for neither, `app` answers the edge,
//! `sweeper` looks for what ended deployments left behind.

pub mod api;
pub mod app;
pub mod bundles;
pub mod driver;
pub mod lane;
pub mod local;
pub mod ports;
mod preflight;
pub mod replicas;
pub mod settings;
mod steps;
pub mod sweeper;
pub mod tick;
mod turns;
