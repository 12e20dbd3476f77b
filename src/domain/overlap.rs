//! Can two rules match one request? A rule that lies between a base and its overlay must be *disjoint* from the base.

use serde::{Deserialize, Serialize};

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
#[must_use]
pub fn disjoint(_a: &[Condition], _b: &[Condition]) -> bool {
    false
}
