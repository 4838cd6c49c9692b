//! Rows on their way from one store, or one feature version, to another.

mod copy;
mod missing;
mod rebase;
mod recorded;
mod stored;

pub use copy::{CopiedFeature, CopyOptions, CopyProgress, OnProgress};
pub(in crate::store) use recorded::Recorded;
pub(in crate::store) use stored::stored_rows;

use crate::error::{MetaxyError, Result};

/// How often rows are worked out again because others have written to the table meanwhile.
const ATTEMPTS: usize = 20;

/// Whether work whose rows depend on what the table holds should be done again: that has changed before they could be
/// written, or while they were read.
pub(in crate::store) fn again<T>(outcome: &Result<T>, attempt: usize) -> bool {
    outcome.as_ref().is_err_and(MetaxyError::is_conflict) && attempt < ATTEMPTS
}
