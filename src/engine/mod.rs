//! The engine: claims deployments, looks, lets `domain` decide, acts or records. It knows no technology.

pub mod api;
pub mod ports;
