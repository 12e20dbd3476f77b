//! One suite per port, run on everything that stands behind it.

mod cloud;
mod embedded;
