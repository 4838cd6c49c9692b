//! Where metadata lives: the trait that every kind of store implements, and the stores.

mod check;
mod delta;
mod delta_commit;
mod delta_schema;
mod delta_stage;
mod fallback;
mod handle;
mod kept;
mod location;
mod memory;
mod parquet;
mod parquet_commit;
mod parquet_damage;
mod parquet_folder;
mod parquet_footer;
mod parquet_scan;
mod parquet_stage;
mod past;
mod prepare;
mod read;
mod resolution;
mod row_order;
mod search;
mod stamp;
mod system;
mod table;
mod times;
mod versions;
mod view;
mod warnings;
mod write;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use futures::stream::BoxStream;

use crate::error::Result;
use crate::hash::HashSettings;
use crate::model::FeatureKey;

pub use delta::DeltaStore;
pub(crate) use fallback::OpenStores;
pub use handle::Store;
pub use memory::MemoryStore;
pub use parquet::ParquetStore;
pub use read::{FeatureVersions, ReadOptions};
pub use resolution::ParentResolution;
pub(crate) use system::feature_versions_schema;
pub use table::FeatureTable;
pub use warnings::Warnings;
pub use write::{WriteOptions, WriteReport};

/// A place that keeps feature tables. This is what a new kind of store implements.
///
/// A store appends rows and shows all rows ever appended; which of them are current is worked out above it, in
/// [`FeatureTable`]. Checks of the rows happen above it too: what arrives in [`append`](Self::append) is clean.
#[async_trait]
pub trait MetadataStore: Debug + Send + Sync {
    /// The kind of the store in one word, as in `type = "delta"`.
    fn kind(&self) -> &'static str;

    /// What keeps the data, in the words of messages: `Delta Lake`.
    fn format(&self) -> &'static str;

    /// The engine that computes increments where the data is; storage formats have none.
    fn compute_engine(&self) -> Option<&'static str> {
        None
    }

    /// Where the store is, for messages; no secrets.
    fn location(&self) -> String;

    /// Opens the table of a feature at its latest state, or `None` when nothing was ever written to it.
    ///
    /// # Errors
    /// When the table can't be read: a corrupt log, no permission, a lost connection.
    async fn open(&self, feature: &FeatureKey) -> Result<Option<StoredTable>>;

    /// Appends rows in one atomic step and returns how many; creates the table or adds columns as needed.
    ///
    /// The store sets [`UPDATED_AT`](crate::columns::UPDATED_AT) (the rows carry a placeholder) to one value
    /// that is later than any time it holds for this table.
    ///
    /// # Errors
    /// An error in the stream of rows, or of the store; then nothing has become visible.
    async fn append(&self, feature: &FeatureKey, rows: Append) -> Result<u64>;
}

/// A table as it was when it was opened.
#[derive(Debug, Clone)]
pub struct StoredTable {
    /// All rows ever written. Its last column is [`ROW_ORDER`](crate::columns::ROW_ORDER).
    pub provider: Arc<dyn TableProvider>,
    /// The hash settings that the table itself records, if it does.
    pub recorded: Option<RecordedSettings>,
    /// One stored provenance, when it can be had without reading data.
    pub sample_version: Option<String>,
}

/// Hash settings as a table records them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedSettings {
    /// Name of the algorithm.
    pub algorithm: String,
    /// Characters that are kept.
    pub length: String,
}

impl RecordedSettings {
    /// Whether the table was written under `settings`.
    ///
    /// # Errors
    /// Both settings, when they differ: every sample would look stale.
    pub(crate) fn check(&self, settings: HashSettings) -> std::result::Result<(), String> {
        if self.algorithm == settings.algorithm.name() && self.length == settings.length.to_string() {
            return Ok(());
        }
        Err(format!(
            "the table was written with hash_algorithm = {:?} and hash_truncation_length = {}, but the store is \
             configured with {:?} and {}; set them to the table's values",
            self.algorithm,
            self.length,
            settings.algorithm.name(),
            settings.length
        ))
    }
}

/// Rows on their way into a store.
pub struct Append {
    /// Columns and types of the rows.
    pub schema: SchemaRef,
    /// The rows; an error in it aborts the append.
    pub rows: BoxStream<'static, Result<RecordBatch>>,
    /// Settings that a new table records.
    pub settings: HashSettings,
    /// The id columns, for statistics.
    pub id_columns: Vec<String>,
    /// The caller's key: a write whose key the table already knows is skipped.
    pub write_key: Option<String>,
}
