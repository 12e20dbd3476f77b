//! One suite per port, run on everything that stands behind it.

mod cloud;
mod embedded;
mod store;
mod store_postgres;
