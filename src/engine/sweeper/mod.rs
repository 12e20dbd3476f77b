//! The sweeper: looks for what ended deployments left in the cloud, lists it, and removes it when its terms are over.

pub mod ports;
