//! The door: JSON in, checked values or *every* fault at once out, each with its JSON pointer.
//!
//! Nothing is accepted and ignored: an unknown field is a fault, and so is one that only later work gives a meaning.

mod declaration;
mod drill;
mod reader;
mod request;
#[cfg(test)]
mod tests;

pub use declaration::declaration;
pub use reader::FAULTS_MAX;
pub use request::{REASON_CHARS_MAX, Release, VERSION_CHARS_MAX, promote, reason, release, weight};

use super::ids::{EnvironmentName, ServiceName};

/// Reads a service's name.
///
/// # Errors
/// A sentence that says what a name looks like.
pub fn service_name(text: &str) -> Result<ServiceName, String> {
    let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if is_name(text, 32, rest) {
        Ok(ServiceName::new(text))
    } else {
        Err("a service is named by 1 to 32 of a-z, 0-9 and -, the first one a letter".to_owned())
    }
}

/// Reads an environment's name.
///
/// # Errors
/// A sentence that says what a name looks like.
pub fn environment_name(text: &str) -> Result<EnvironmentName, String> {
    let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if is_name(text, 16, rest) {
        Ok(EnvironmentName::new(text))
    } else {
        Err("an environment is named by 1 to 16 of a-z and 0-9, the first one a letter and without hyphens".to_owned())
    }
}

fn is_name(text: &str, bytes_max: usize, rest: impl Fn(u8) -> bool) -> bool {
    text.len() <= bytes_max && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase()) && text.bytes().all(rest)
}
