//! Rows on their way from one store, or one feature version, to another.

mod copy;
mod rebase;
mod recorded;
mod stored;

pub use copy::{CopiedFeature, CopyOptions, CopyProgress};
pub(in crate::store) use recorded::Recorded;
pub(in crate::store) use stored::stored_rows;
