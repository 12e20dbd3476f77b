//! The pocket region: the parts of AWS that Cutover talks to, on one machine, with real servers and real traffic.

pub mod health;
pub mod load;
pub mod model;
pub mod options;
pub mod scene;
pub mod servers;
pub mod traffic;
