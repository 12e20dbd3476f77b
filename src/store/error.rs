//! Which failures of the database mean "ask again" and which mean a bug; constraints by their names.

use sqlx::error::DatabaseError;

use crate::engine::ports::StoreError;

/// Says what was being done when the database failed.
pub(super) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError> {
        self.map_err(|error| told(error, doing))
    }
}

impl<T> Doing<T> for Result<T, serde_json::Error> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError> {
        self.map_err(|error| StoreError::Broken { doing, source: Box::new(error) })
    }
}

/// A stored number that does not fit its type.
impl<T> Doing<T> for Result<T, std::num::TryFromIntError> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError> {
        self.map_err(|error| StoreError::Broken { doing, source: Box::new(error) })
    }
}

pub(super) fn told(error: sqlx::Error, doing: &'static str) -> StoreError {
    if is_unreachable(&error) {
        StoreError::Unreachable { doing, source: Box::new(error) }
    } else {
        StoreError::Broken { doing, source: Box::new(error) }
    }
}

/// The name of the constraint that refused it.
pub(super) fn refused_by(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error().and_then(DatabaseError::constraint)
}

/// Whether the connection itself was at fault, so that another one may do at once.
pub(super) fn is_lost_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => true,
        // The server is going or has gone: `admin_shutdown`, `crash_shutdown`.
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("57P01" | "57P02")),
        _ => false,
    }
}

fn is_unreachable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| is_passing(&code)),
        _ => false,
    }
}

/// SQLSTATEs that a second try, or a second server, may not meet: connection (08), resources of the moment (53),
/// an operator or a timeout (57), a deadlock (40), a lock not had in time, a standby that was the primary.
fn is_passing(code: &str) -> bool {
    ["08", "53", "57", "40"].iter().any(|class| code.starts_with(class)) || matches!(code, "55P03" | "25006")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_gives_no_connection_means_unreachable() {
        assert!(matches!(told(sqlx::Error::PoolTimedOut, "x"), StoreError::Unreachable { .. }));
        assert!(matches!(told(sqlx::Error::RowNotFound, "x"), StoreError::Broken { .. }));
    }

    #[test]
    fn timeouts_and_shutdowns_pass_and_a_wrong_statement_does_not() {
        assert!(["57014", "57P01", "57P03", "08006", "53300", "40P01", "25006"].into_iter().all(is_passing));
        assert!(!["42601", "23505", "22P02"].into_iter().any(is_passing));
    }
}
