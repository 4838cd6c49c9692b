//! A table at one moment, as a store shows it to whoever removes rows.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::TableProvider;

use super::Append;
use crate::error::Result;

/// A table as it was at one moment, from which rows can be removed for good.
#[async_trait]
pub trait TableSnapshot: Debug + Send + Sync {
    /// All rows of that moment. Its last column, [`ROW_ORDER`](crate::columns::ROW_ORDER), names a row for
    /// [`remove`](Self::remove) when the table is scanned in one partition and without filters.
    fn rows(&self) -> Arc<dyn TableProvider>;

    /// Removes the rows of these numbers, given in ascending order, and appends others. Returns how many are gone.
    ///
    /// # Errors
    /// An error of the store, or another writer has removed or rewritten some of the rows since that moment.
    async fn remove(&self, rows: &[u64], append: Option<Append>) -> Result<u64>;
}
