//! The engine: claims deployments, looks, lets `domain` decide, acts or records. It knows no technology.
//!
//! `driver` finds due work, `tick` does one step of it, `lane` is the way back that waits for neither, `app` answers the edge,
//! `sweeper` looks for what ended deployments left behind, `drills` tries the way back where nothing runs. `bundles`, `tokens` and `journal` are what is left of the records while
//! the database is away (`offline` is what the edge is told then), `local` the disk that they are kept on.

pub mod age;
pub mod api;
pub mod app;
pub mod bundles;
mod drilling;
pub mod drills;
pub mod driver;
pub mod journal;
pub mod keeping;
pub mod lane;
mod lease;
pub mod local;
mod offline;
pub mod ports;
mod preflight;
pub mod readiness;
mod redeploy;
pub mod replicas;
pub mod rollback_times;
pub mod sending;
pub mod settings;
pub mod spread;
mod steps;
pub mod sweeper;
pub mod tick;
pub mod tokens;
mod turns;
