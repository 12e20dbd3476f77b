//! All integration tests in one binary: each further one would cost a link.

mod scenarios;
mod support;
