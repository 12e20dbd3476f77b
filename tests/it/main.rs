//! All integration tests in one binary: each further one would cost a link.

#![expect(clippy::unwrap_used, reason = "a story that cannot go on fails where it stands")]

mod api;
mod cli;
mod contract;
mod openapi;
mod policies;
mod scenarios;
mod support;
mod tidy;
