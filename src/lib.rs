//! Cutover: immutable releases over REST.
//!
//! Arrows run one way: `domain` <- `engine` <- `store`, `cloud`; `http` -> `engine`; `cli::serve` builds everything.

pub mod cli;
pub mod cloud;
pub mod config;
pub mod domain;
pub mod engine;
pub mod http;
pub mod store;
pub mod telemetry;
