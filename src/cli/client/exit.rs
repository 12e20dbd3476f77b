//! Exit codes: what a CI job branches on. They are part of the interface and never change their meaning.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The wanted state is reached, or there was nothing to do.
    Done,
    /// Network, a 5xx, a bug.
    Error,
    /// The command line is wrong.
    Usage,
    /// A deployment that was waited for went back (or was cancelled without a refusal): users are safe on the old version.
    RolledBack,
    /// Not authenticated, or not allowed.
    Denied,
    /// Failed, or a person is needed.
    NeedsPerson,
    /// Another deployment runs, or the deployment is not where this command is legal.
    Conflict,
    /// Refused by validation, plan or preflight; or there is no such thing.
    Rejected,
    /// The time given by `--timeout` is over; the deployment goes on.
    Timeout,
    /// Ctrl-C; the deployment goes on.
    Interrupted,
}

impl Exit {
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::RolledBack => 3,
            Self::Denied => 4,
            Self::NeedsPerson => 5,
            Self::Conflict => 6,
            Self::Rejected => 8,
            Self::Timeout => 124,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A command that did not do what was wanted: its exit and the sentence for stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}
