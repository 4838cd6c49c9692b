//! Where metadata lives: the trait that every kind of store implements, and the stores.

mod basis;
mod buffered;
mod check;
mod delete;
mod delta;
mod delta_commit;
mod delta_files;
mod delta_groups;
mod delta_layout;
mod delta_pages;
mod delta_paths;
mod delta_remove;
mod delta_replace;
mod delta_schema;
mod delta_since;
mod delta_stage;
mod delta_vacuum;
mod external;
mod fallback;
mod handle;
mod in_order;
mod increasing;
mod kept;
mod known;
mod location;
mod location_files;
mod lock;
mod memory;
mod newest;
pub(crate) mod objects;
mod once;
mod parquet;
mod parquet_commit;
mod parquet_damage;
mod parquet_folder;
mod parquet_footer;
mod parquet_large;
mod parquet_manifest;
mod parquet_remove;
mod parquet_rewrite;
mod parquet_scan;
mod parquet_settings;
mod parquet_stage;
mod parquet_target;
mod parquet_vacuum;
mod past;
#[cfg(feature = "postgres")]
mod postgres;
mod prepare;
mod progress;
mod project;
mod proven;
pub(crate) mod pushed;
mod read;
mod remove;
mod resolution;
mod row_order;
mod runs;
mod search;
mod snapshot;
mod stamp;
mod status;
mod system;
mod table;
mod times;
mod transfer;
mod unfiltered;
mod unfinished;
mod upkeep;
mod versions;
pub(crate) mod view;
mod waiting;
mod warnings;
mod write;
mod write_many;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use futures::stream::BoxStream;

use crate::error::{MetaxyError, Result};
use crate::hash::HashSettings;
use crate::model::FeatureKey;

pub use basis::{Basis, Samples, TableState};
pub use buffered::{BufferOptions, BufferedWriter, Unwritten, UnwrittenRows};
pub(crate) use delete::{DeleteKey, check_deletable, deletion};
pub use delete::{DeleteMode, DeleteOptions};
pub(crate) use delta::DeltaRows;
pub use delta::DeltaStore;
pub(crate) use delta_groups::Group;
pub(crate) use external::Expectations;
pub(crate) use fallback::OpenStores;
pub use handle::Store;
pub(crate) use increasing::Bound;
pub(crate) use known::Change;
pub use lock::LockOptions;
pub use memory::MemoryStore;
pub use parquet::ParquetStore;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
pub(crate) use progress::watched;
pub use progress::{Progress, ProgressNow, Watched};
pub use project::WriteScope;
pub(crate) use pushed::Earlier;
pub use pushed::{Asked, PushDown};
pub use read::{FeatureVersions, ReadOptions};
pub use resolution::ParentResolution;
pub use snapshot::{Replacement, Rewrite, RewriteOutcome, TablePart, TableSnapshot};
pub use status::{FeatureStatus, SampleCounts};
pub(crate) use system::SystemTable;
pub use system::{Event, EventType, Payload, ProjectVersion, PushOptions, PushReport};
pub use table::FeatureTable;
pub use transfer::{CopiedFeature, CopyOptions, CopyProgress, OnProgress};
pub use unfinished::settled;
pub use upkeep::{
    OnOptimizeProgress, OptimizeOptions, OptimizeProgress, OptimizedFeature, Vacuum, VacuumOptions,
    VacuumedFeature, VacuumedFile, parse_bytes, parse_duration,
};
pub use waiting::Behind;
pub use warnings::Warnings;
pub(crate) use write::session_key;
pub use write::{WriteOptions, WriteReport};

/// A place that keeps feature tables. This is what a new kind of store implements.
///
/// A store appends rows and shows all rows ever appended; which of them are current is worked out above it, in
/// [`FeatureTable`]. Checks of the rows happen above it too: what arrives in [`append`](Self::append) is clean.
/// [`open`](Self::open) and `append` are all that reading, writing, increments, soft deletes and the system tables
/// need; [`Store::new`] makes a store that a session can use of it. `examples/own_store.rs` is a whole one.
///
/// What must hold:
///
/// - **Tables.** A feature's table comes into being with the first append to it. System tables, such as
///   `metaxy-system/events`, are features like others here. Nothing is removed but by [`snapshot`](Self::snapshot).
/// - **Atomicity.** Readers see all rows of an append or none, also after a crash, and two appends at the same time
///   are both kept. Whoever opened a table before may see it as it was or as it is, but not in between.
/// - **Columns.** Appends may bring columns, and members of structs, that the table lacks: earlier rows have NULL
///   there, and so have rows that lack what the table has. Columns are matched by name. A column whose type can't
///   be brought together with the table's is refused with [`MetaxyError::Write`].
/// - **Time.** The rows of an append have one time, in the column that [`Append::time`] names, and it is later than
///   all times in [`UPDATED_AT`](crate::columns::UPDATED_AT) and [`DELETED_AT`](crate::columns::DELETED_AT) that the
///   table holds at that moment, in microseconds, whatever the clock says. The latest row of a sample is found by it.
/// - **Row order.** The last column of what is opened is [`ROW_ORDER`](crate::columns::ROW_ORDER), a `UInt64` that is
///   not stored with the rows. Among rows of one time, as in a copy, a greater one is later.
/// - **Write keys.** An append whose [`Append::write_key`] was used in this table before adds nothing and returns 0,
///   also when two with the same key run at the same time, and after the rows were removed.
/// - **Basis.** An append with [`Append::only_at`] adds rows only if the table is in the state that it names, or if
///   what was added since leaves the basis as it is ([`Basis::survives`]) and nothing was removed. Otherwise the
///   error is [`MetaxyError::Changed`] and nothing has happened. The check and the append are one step.
/// - **Errors.** They name the store or the feature, fit on a line, and hold no credentials.
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

    /// The plan that computes an increment where the data is, or why there is none. Only a store that names a
    /// [`compute_engine`](Self::compute_engine) is asked.
    ///
    /// The plan gives out the columns of [`Asked::schema`] with the same rows as the executors of this crate. Nothing is
    /// read yet: what is asked for may only be explained.
    fn push_down(&self, _asked: &Asked<'_>) -> PushDown {
        PushDown::Unable(format!("{} computes no increments", self.format()))
    }

    /// Where the store is, for messages; no secrets.
    fn location(&self) -> String;

    /// Opens the table of a feature at its latest state, or `None` when nothing was ever written to it.
    ///
    /// It is called often, and at least once per statement and table; what can be kept between calls is the store's to
    /// keep. The provider may read the table as it is when it is scanned: rows that came since may be in it.
    ///
    /// # Errors
    /// When the table can't be read: a corrupt log, no permission, a lost connection.
    async fn open(&self, feature: &FeatureKey) -> Result<Option<StoredTable>>;

    /// Appends rows in one atomic step and returns how many; creates the table or adds columns as needed.
    ///
    /// The store sets the column that [`Append::time`] names (the rows carry a placeholder) to one value that is
    /// later than any time it holds for this table.
    ///
    /// # Errors
    /// An error in the stream of rows, or of the store; then nothing has become visible.
    async fn append(&self, feature: &FeatureKey, rows: Append) -> Result<u64>;

    /// The state that the table is in, for [`Append::only_at`]: a text that every append and removal changes, and the
    /// empty one for a table that isn't there. A store that gives none, as by default, can't tell a delete or a copy that
    /// somebody has written meanwhile.
    ///
    /// # Errors
    /// When the table can't be read.
    async fn state(&self, _feature: &FeatureKey) -> Result<TableState> {
        Ok(TableState::default())
    }

    /// The table as it is now, to take rows out of it; `None` when nothing was ever written to it.
    ///
    /// # Errors
    /// When the table can't be read, or the store can't remove rows, which is what it says by default.
    async fn snapshot(&self, feature: &FeatureKey) -> Result<Option<Arc<dyn TableSnapshot>>> {
        Err(MetaxyError::Invalid(format!(
            "feature {feature}: {} can't remove rows; delete them softly, without history",
            self.format()
        )))
    }

    /// Removes files of a feature's table that nothing refers to any more, and says which; none, as by default, where there
    /// are no files.
    ///
    /// # Errors
    /// When the table can't be read or written, or asks to keep its files for longer.
    async fn vacuum(&self, _feature: &FeatureKey, _vacuum: &Vacuum) -> Result<Vec<VacuumedFile>> {
        Ok(Vec::new())
    }
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
        self.check_same(&Self::of(settings))
    }

    /// Whether the table was written under the settings that a store has.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub(crate) fn check_same(&self, store: &Self) -> std::result::Result<(), String> {
        if self == store {
            return Ok(());
        }
        Err(format!(
            "the table was written with hash_algorithm = {:?} and hash_truncation_length = {}, but the store is \
             configured with {:?} and {}; set them to the table's values",
            self.algorithm, self.length, store.algorithm, store.length
        ))
    }

    /// These settings as a table records them.
    pub(crate) fn of(settings: HashSettings) -> Self {
        Self { algorithm: settings.algorithm.name().to_owned(), length: settings.length.to_string() }
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
    /// The column that gets the time of the write.
    pub time: WriteTime,
    /// What the rows were worked out from: unless it still holds, nothing is appended.
    pub only_at: Option<Basis>,
}

/// Which column of appended rows gets the time of the write: one value, later than any time that the table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteTime {
    /// [`UPDATED_AT`](crate::columns::UPDATED_AT): rows are written.
    Updated,
    /// [`DELETED_AT`](crate::columns::DELETED_AT): rows are written again as deleted ones.
    Deleted,
    /// None: rows keep the times that they have in another store.
    Kept,
}

impl WriteTime {
    /// The name of the column.
    pub fn column(self) -> Option<&'static str> {
        match self {
            Self::Updated => Some(crate::columns::UPDATED_AT),
            Self::Deleted => Some(crate::columns::DELETED_AT),
            Self::Kept => None,
        }
    }
}
