//! A table at one moment, as a store shows it to whoever removes rows or writes its files anew.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use futures::stream::BoxStream;

use super::Append;
use crate::error::{MetaxyError, Result};

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

    /// Whether old rows that nobody needs are taken out by [`remove`](Self::remove), as in a database that has no parts to
    /// write anew. Then it must also fail if others have removed any row since that moment.
    fn drops_rows_in_place(&self) -> bool {
        false
    }

    /// The parts that [`rewrite`](Self::rewrite) can take together, in the order of their rows; none, as by default, if
    /// there is nothing that would be better for being written anew.
    ///
    /// # Errors
    /// The table can't be read, or not be written anew by this program.
    fn parts(&self) -> Result<Vec<TablePart>> {
        Ok(Vec::new())
    }

    /// The rows of neighbouring parts, in the columns of [`rows`](Self::rows) and with numbers that begin with the first
    /// of the files.
    ///
    /// # Errors
    /// The table can't be read.
    async fn rows_of(&self, _parts: Range<usize>) -> Result<Arc<dyn TableProvider>> {
        Err(MetaxyError::Invalid("this store has no parts that could be read".into()))
    }

    /// Writes parts anew, in one step. Rows of them and of others that have the same time stay in their order: a part
    /// keeps its place among the others.
    ///
    /// # Errors
    /// An error of the store or of the rows, or [`MetaxyError::Changed`] if another writer has come in between; then
    /// nothing has happened.
    async fn rewrite(&self, _rewrite: Rewrite) -> Result<RewriteOutcome> {
        Err(MetaxyError::Invalid("this store has no parts that could be written anew".into()))
    }
}

/// Files of a table that are written anew together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePart {
    /// The files, counted in the order of their rows.
    pub files: Range<usize>,
    /// Their size.
    pub bytes: u64,
}

/// What takes the place of neighbouring parts of a table.
pub struct Replacement {
    /// The parts, as [`TableSnapshot::parts`] gives them.
    pub parts: Range<usize>,
    /// The columns of the rows.
    pub schema: SchemaRef,
    /// The rows in the order in which they are to be written. Of rows of one sample and time, later ones come later.
    pub rows: BoxStream<'static, Result<RecordBatch>>,
}

/// Parts of a table to be written anew.
pub struct Rewrite {
    /// What takes the place of what, in the order of the parts.
    pub replacements: Vec<Replacement>,
    /// A file is closed when it has about so many bytes.
    pub file_size: u64,
    /// The id columns, for statistics.
    pub id_columns: Vec<String>,
    /// Whether some rows are left out, which is only right as long as all others are there from which that was worked out.
    pub drops_rows: bool,
}

/// What was written in the place of parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RewriteOutcome {
    /// How many files.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
}
