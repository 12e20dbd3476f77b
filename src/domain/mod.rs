//! What Cutover knows about releases. Pure: no clock, no IO, no async, no chance, and no word of any technology.
//!
//! Read `phase`, then `decide`; the rest is what those two need.

#![deny(clippy::disallowed_methods)]

pub mod action;
mod attention;
pub mod command;
pub mod deadline;
pub mod decide;
pub mod declaration;
pub mod deployment;
pub mod drift;
pub mod drill;
pub mod event;
#[cfg(test)]
mod explore;
pub mod forecast;
pub mod health;
pub mod ids;
pub mod inspection;
pub mod invariants;
pub mod lane;
pub mod looks;
pub mod numbers;
pub mod observation;
pub mod orphan;
pub mod overlap;
pub mod phase;
pub mod plan;
pub mod preflight;
pub mod preview;
pub mod readiness;
pub mod redeploy;
pub mod retry;
#[cfg(test)]
pub(crate) mod sample;
pub mod schedule;
pub mod spec;
pub mod survey;
pub mod time;
pub mod timing;
pub mod watch;
pub mod weight;
