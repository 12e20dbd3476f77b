//! Can two rules match one request? A rule that lies between a base and its overlay must be *disjoint* from the base.
//!
//! Only what is proved counts: a condition of a kind that is not understood, a pattern too long or of unusual form, is taken
//! to match anything. A wrong "disjoint" would let a neighbour's rule take the traffic that an overlay should steer.

use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv6Net};
use serde::{Deserialize, Serialize};

/// Longer patterns prove nothing (AWS takes at most 128 characters).
const PATTERN_MAX: usize = 256;

/// One condition of a rule: a request must satisfy all conditions of a rule, and of each condition any one value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "on", content = "any_of", rename_all = "snake_case")]
pub enum Condition {
    /// Host patterns, compared without case; `*` and `?` are wildcards.
    Host(Vec<String>),
    /// Path patterns, compared with case; `*` and `?` are wildcards.
    Path(Vec<String>),
    /// Methods, compared with case.
    Method(Vec<String>),
    /// Networks of the client's address, `10.0.0.0/8`.
    Source(Vec<String>),
    /// Headers, queries, expressions: nothing can be proved from them.
    Opaque(String),
}

/// Whether no request can match both: proved, never guessed. `false` means "could not be proved".
///
/// One pair of conditions that no request satisfies together is proof enough.
#[must_use]
pub fn disjoint(a: &[Condition], b: &[Condition]) -> bool {
    a.iter().any(|a| b.iter().any(|b| exclude_each_other(a, b)))
}

fn exclude_each_other(a: &Condition, b: &Condition) -> bool {
    match (a, b) {
        (Condition::Host(a), Condition::Host(b)) => {
            no_pair(a, b, |a, b| globs_meet(&a.to_ascii_lowercase(), &b.to_ascii_lowercase()))
        }
        (Condition::Path(a), Condition::Path(b)) => no_pair(a, b, globs_meet),
        (Condition::Method(a), Condition::Method(b)) => no_pair(a, b, |a, b| a == b),
        (Condition::Source(a), Condition::Source(b)) => no_pair(a, b, networks_meet),
        (Condition::Host(_) | Condition::Path(_) | Condition::Method(_) | Condition::Source(_) | Condition::Opaque(_), _) => {
            false
        }
    }
}

/// Values are alternatives, so every pair has to be told apart. A condition without values is not one we understand.
fn no_pair(a: &[String], b: &[String], meet: impl Fn(&str, &str) -> bool) -> bool {
    !a.is_empty() && !b.is_empty() && !a.iter().any(|a| b.iter().any(|b| meet(a, b)))
}

/// Whether some text matches both patterns. Exact for ASCII patterns up to [`PATTERN_MAX`]; true for all others, and for
/// those with a backslash, which some providers take as an escape.
///
/// `meets[j]` says whether what is left of `a` and `b[j..]` can match one text: the table of all pairs of suffixes, of
/// which only two rows are kept.
fn globs_meet(a: &str, b: &str) -> bool {
    let plain = |pattern: &str| pattern.len() <= PATTERN_MAX && pattern.is_ascii() && !pattern.contains('\\');
    if !plain(a) || !plain(b) {
        return true;
    }
    let (a, b) = (a.as_bytes(), b.as_bytes());
    // Nothing is left of `a`: only stars may be left of `b`.
    let mut meets: Vec<bool> = (0..=b.len()).map(|j| b[j..].iter().all(|c| *c == b'*')).collect();
    for x in a.iter().rev() {
        let below = meets.clone();
        for j in (0..=b.len()).rev() {
            let y = b.get(j);
            meets[j] = if *x == b'*' || y == Some(&b'*') {
                // Either star ends here, or it takes in what stands across.
                below[j] || y.is_some() && meets[j + 1]
            } else {
                y.is_some_and(|y| (x == y || *x == b'?' || *y == b'?') && below[j + 1])
            };
        }
    }
    meets[0]
}

/// Whether some address lies in both networks; true when one cannot be read.
fn networks_meet(a: &str, b: &str) -> bool {
    let (Ok(a), Ok(b)) = (a.parse::<IpNet>(), b.parse::<IpNet>()) else { return true };
    match (a, b) {
        (IpNet::V4(a), IpNet::V4(b)) => a.contains(&b.network()) || b.contains(&a.network()),
        (IpNet::V6(a), IpNet::V6(b)) => v6_meet(&a, &b),
        // The same client may be written `10.0.0.1` or `::ffff:10.0.0.1`.
        (IpNet::V4(v4), IpNet::V6(v6)) | (IpNet::V6(v6), IpNet::V4(v4)) => {
            let mapped: Ipv6Addr = v4.network().to_ipv6_mapped();
            Ipv6Net::new(mapped, 96 + v4.prefix_len()).map_or(true, |mapped| v6_meet(&mapped, &v6))
        }
    }
}

fn v6_meet(a: &Ipv6Net, b: &Ipv6Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

#[cfg(test)]
#[path = "overlap_tests.rs"]
mod tests;
