//! The cloud behind the engine's `Cloud` port. AWS is the only provider; its types stay in `aws`.

pub mod aws;
