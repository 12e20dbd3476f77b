//! The engine's stories: first on a store and a cloud in memory, then on the real ones.

mod accounts;
mod anywhere;
mod balancers;
mod committing;
mod crash;
mod crashes;
mod direct;
mod drift;
mod drills;
mod driver;
mod edited;
mod engine;
mod faults;
mod lane;
mod offline;
mod outage;
mod preview;
mod readiness;
mod redeploying;
mod refused;
mod region;
mod region_drills;
mod region_sweeping;
mod sweeping;
mod unreachable;
mod waiting;
