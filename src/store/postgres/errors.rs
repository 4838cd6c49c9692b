//! Errors of the database in one line, without secrets.

use std::error::Error as _;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::error::one_line;

/// What went wrong, in the words of the server or of the driver.
pub(crate) fn describe(error: &Error) -> String {
    if let Some(db) = error.as_db_error() {
        let mut text = format!("{} (SQLSTATE {})", db.message(), db.code().code());
        for more in [db.detail(), db.hint()].into_iter().flatten() {
            text.push_str("; ");
            text.push_str(more);
        }
        if *db.code() == SqlState::INSUFFICIENT_PRIVILEGE {
            text.push_str(
                "; to read takes SELECT on a table, to write INSERT too, to take rows out of its history DELETE too",
            );
        }
        return one_line(&text);
    }
    if error.is_closed() {
        return "the connection was lost".to_owned();
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    one_line(&text)
}
