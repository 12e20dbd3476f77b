//! What the stories stand on.

pub mod disk;
pub mod fake_cloud;
pub mod false_clock;
pub mod figures;
pub mod house;
pub mod memory;
pub mod oracle;
pub mod own_postgres;
pub mod postgres;
pub mod process;
pub mod region;
pub mod relay;
pub mod replica;
pub mod small_disk;
