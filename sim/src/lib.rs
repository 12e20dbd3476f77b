//! The pocket region: the parts of AWS that Cutover talks to, on one machine, with real servers and real traffic.

pub mod model;
pub mod options;
pub mod servers;
