//! Delta Lake as a store: one Delta table per feature below a root folder.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DataFusionResult;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use deltalake::kernel::{LogicalFileView, Metadata};
use deltalake::logstore::{StorageConfig, default_logstore};
use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError};
use object_store::prefix::PrefixStore;
use serde_json::Value;

use super::delta_groups::FOOTER_GUESS;
use super::delta_pages::{only_pages_of, wanted_by};
use super::delta_paths::url_of_file;
use super::delta_remove::DeltaSnapshot;
use super::increasing::have_each_once;
use super::location::Location;
use super::newest::Latest;
use super::proven::each_file;
use super::row_order::{FILE_COLUMN, FileRanks, RowOrderExec, in_order};
use super::{
    Append, MetadataStore, RecordedSettings, StoredTable, TableSnapshot, TableState, Vacuum, VacuumedFile,
};
use crate::boxed::{self, BoxFuture};
use crate::columns::{PROVENANCE, ROW_ORDER};
use crate::config::StoreConfig;
use crate::error::{MetaxyError, Result};
use crate::model::FeatureKey;
use crate::operators::is_among;

/// Table property under which a table of ours records the hash algorithm.
pub(crate) const ALGORITHM_PROPERTY: &str = "metaxy.hash_algorithm";
/// Table property under which a table of ours records how many characters of a hash are kept.
pub(crate) const LENGTH_PROPERTY: &str = "metaxy.hash_truncation_length";

/// Feature tables as Delta tables in a folder.
#[derive(Debug, Clone)]
pub struct DeltaStore {
    pub(crate) location: Location,
}

impl DeltaStore {
    /// A store below `config.root_path`; the folder need not exist yet.
    ///
    /// # Errors
    /// When `root_path` is missing or not a path or URL that this build can reach.
    pub fn try_new(config: &StoreConfig) -> Result<Self> {
        Ok(Self { location: Location::try_new(config, ".delta")? })
    }

    /// A handle to the table, whether it exists or not.
    pub(crate) fn table(&self, feature: &FeatureKey) -> Result<DeltaTable> {
        let url = self.location.table_url(feature)?;
        let Some(remote) = self.location.remote() else {
            return DeltaTableBuilder::from_url(url)
                .and_then(DeltaTableBuilder::build)
                .map_err(|error| self.error(feature, &error));
        };
        // A log of its own over the store's client: delta-rs would look the scheme up among those that were registered
        // for the whole process, and would get to know the credentials. This one commits with conditional puts.
        let path = self.location.object_path(&self.location.table_path(feature))?;
        let prefixed = Arc::new(PrefixStore::new(Arc::clone(&remote.store), path));
        let log = default_logstore(prefixed, Arc::clone(&remote.store), &url, &StorageConfig::default());
        Ok(DeltaTable::new(log))
    }

    /// An error of the Delta library about a feature's table.
    pub(crate) fn error(&self, feature: &FeatureKey, error: &DeltaTableError) -> MetaxyError {
        MetaxyError::delta(self.location.store(), &self.location.table_path(feature), error)
    }

    /// The table at its latest version, or `None` if it has no log.
    pub(crate) async fn load(&self, feature: &FeatureKey) -> Result<Option<DeltaTable>> {
        let fail = |error: &_| self.error(feature, error);
        let mut table = self.table(feature)?;
        if !table.verify_deltatable_existence().await.map_err(|e| fail(&e))? {
            return Ok(None);
        }
        table.load().await.map_err(|e| fail(&e))?;
        Ok(Some(table))
    }
}

/// The hash settings that a table of ours carries as properties.
pub(crate) fn recorded_settings(metadata: &Metadata) -> Option<RecordedSettings> {
    let configuration = metadata.configuration();
    Some(RecordedSettings {
        algorithm: configuration.get(ALGORITHM_PROPERTY)?.clone(),
        length: configuration.get(LENGTH_PROPERTY)?.clone(),
    })
}

#[async_trait]
impl MetadataStore for DeltaStore {
    fn kind(&self) -> &'static str {
        "delta"
    }

    fn format(&self) -> &'static str {
        "Delta Lake"
    }

    fn location(&self) -> String {
        self.location.shown_root().to_owned()
    }

    async fn open(&self, feature: &FeatureKey) -> Result<Option<StoredTable>> {
        let Some(table) = self.load(feature).await? else {
            return Ok(None);
        };
        let fail = |error: &_| self.error(feature, error);
        let state = table.snapshot().map_err(|e| fail(&e))?;
        let recorded = recorded_settings(state.metadata());
        let sample_version =
            state.log_data().iter().find_map(|file| super::times::smallest_text(&file.stats()?, PROVENANCE));
        let provider = DeltaRows::try_new(table).await?;
        Ok(Some(StoredTable { provider: Arc::new(provider), recorded, sample_version }))
    }

    async fn state(&self, feature: &FeatureKey) -> Result<TableState> {
        Ok(table_state(self.load(feature).await?.as_ref()))
    }

    async fn snapshot(&self, feature: &FeatureKey) -> Result<Option<Arc<dyn TableSnapshot>>> {
        Ok(DeltaSnapshot::open(self, feature).await?.map(|snapshot| Arc::new(snapshot) as _))
    }

    async fn vacuum(&self, feature: &FeatureKey, vacuum: &Vacuum) -> Result<Vec<VacuumedFile>> {
        super::delta_vacuum::vacuum(self, feature, vacuum).await
    }

    async fn append(&self, feature: &FeatureKey, rows: Append) -> Result<u64> {
        super::delta_commit::append(self, feature, rows).await
    }
}

/// The state of a table, `None` for one that isn't there.
pub(crate) fn table_state(table: Option<&DeltaTable>) -> TableState {
    let version = table.and_then(DeltaTable::version);
    version.map(|version| TableState::new(version.to_string())).unwrap_or_default()
}

/// All rows of a Delta table, with their row order as a last column.
#[derive(Debug, Clone)]
pub(crate) struct DeltaRows {
    pub(super) table: DeltaTable,
    schema: SchemaRef,
    /// Whether scans read the version that was opened instead of the latest one.
    pinned: bool,
    /// The paths of the files to read, in their order, instead of all.
    files: Option<Vec<String>>,
    /// Whether conditions may leave rows in that lie together with others.
    rough: bool,
    /// What is asked for, if not every row counts.
    latest: Option<Latest>,
}

impl DeltaRows {
    pub(crate) async fn try_new(table: DeltaTable) -> DataFusionResult<Self> {
        let rows = table.table_provider().await?;
        let mut fields: Vec<_> = rows.schema().fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(ROW_ORDER, DataType::UInt64, false)));
        Ok(Self {
            table,
            schema: Arc::new(Schema::new(fields)),
            pinned: false,
            files: None,
            rough: false,
            latest: None,
        })
    }

    /// These rows as they were when the table was opened.
    pub(crate) fn pinned(self) -> Self {
        Self { pinned: true, ..self }
    }

    /// The rows as they are now, whatever is written from here on.
    pub(crate) async fn now(&self) -> DataFusionResult<Self> {
        let mut table = self.table.clone();
        if !self.pinned {
            table.update_state().await?;
        }
        Ok(Self { table, pinned: true, ..self.clone() })
    }

    /// These rows where conditions are to leave out parts of files, and nothing is to be looked at row by row: somebody
    /// else does that.
    pub(crate) fn rough(self) -> Self {
        Self { rough: true, ..self }
    }

    /// These rows where only the latest one of each sample counts, so that a scan may leave out others of samples that
    /// few conditions ask for.
    pub(super) fn for_latest(self, latest: Latest) -> Self {
        Self { latest: Some(latest), ..self }
    }

    /// The address of the table.
    pub(crate) fn address(&self) -> &str {
        self.table.table_url().as_str()
    }

    /// Whether what `holds` says of a file's statistics is true of each file.
    pub(crate) fn each_file(&self, holds: impl Fn(&Value) -> bool) -> DataFusionResult<bool> {
        each_file(&self.table, self.files.as_deref(), holds)
    }

    /// Whether the log proves that each id is in these rows once; they have to be those of one moment.
    pub(crate) fn have_each_once(&self, ids: &[String]) -> DataFusionResult<bool> {
        if !self.pinned || self.has_other_names()? {
            return Ok(false);
        }
        #[expect(deprecated, reason = "nothing else shows the tags of a file")]
        let files = self.logged()?.into_iter().map(|file| file.add_action());
        Ok(have_each_once(files, ids))
    }

    /// Whether columns may have other names in the files; what a name stands for may change without a file being written.
    pub(super) fn has_other_names(&self) -> DataFusionResult<bool> {
        let mapping = self.table.snapshot()?.metadata().configuration().get("delta.columnMapping.mode");
        Ok(mapping.is_some_and(|mode| mode != "none"))
    }

    /// The files, as the log has them.
    pub(super) fn logged(&self) -> DataFusionResult<Vec<LogicalFileView>> {
        let is_read =
            |path: &str| self.files.as_ref().is_none_or(|files| files.iter().any(|own| own == path));
        let log = self.table.snapshot()?.log_data();
        Ok(log.iter().filter(|file| is_read(&file.path())).collect())
    }

    /// The rows of these files only; the first one gets the lowest numbers.
    pub(crate) fn of_files(self, paths: Vec<String>) -> Self {
        Self { files: Some(paths), ..self }
    }
}

#[async_trait]
impl TableProvider for DeltaRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    boxed::scan!(planned);
}

impl DeltaRows {
    /// Reads the table as it is now, not as it was when it was opened: a view that was made earlier must not
    /// answer from an old version.
    fn planned<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, DataFusionResult<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let mut table = self.table.clone();
            if !self.pinned {
                table.update_state().await?;
            }
            let all: Vec<usize> = (0..self.schema.fields().len()).collect();
            let projection = projection.unwrap_or(&all);
            let order = self.schema.fields().len() - 1;
            let wants_order = projection.contains(&order);
            let mut builder = table.table_provider();
            if wants_order {
                builder = builder.with_file_column(FILE_COLUMN);
            }
            if let Some(files) = &self.files {
                let root = table.table_url();
                builder = builder.with_file_paths(files.iter().map(|name| url_of_file(root, name)));
            }
            let rows = builder.await?;
            let current = rows.schema();
            let mut indices = projection
                .iter()
                .filter(|&&i| i != order)
                .map(|&i| Ok(current.index_of(self.schema.field(i).name())?))
                .collect::<DataFusionResult<Vec<_>>>()?;
            let filters = supported(rows.as_ref(), filters)?;
            // Of few rows, other columns are not read where the row is not one of them.
            let rough = self.rough && !filters.iter().any(is_among);
            if wants_order {
                indices.push(current.index_of(FILE_COLUMN)?);
            }
            let limit = limit.filter(|_| !wants_order);
            let scan = rows.scan(state, Some(&indices), &filters, limit).await?;
            let scan = read_well(scan, rough)?;
            let now = Self { table, pinned: true, latest: None, ..self.clone() };
            let scan = match wanted_by(&filters) {
                Some(wanted) if !now.has_other_names()? => {
                    let newest = match &self.latest {
                        Some(latest) if latest.id == wanted.column => {
                            now.newest(latest, &mut wanted.clone(), &filters, state).await?
                        }
                        _ => Vec::new(),
                    };
                    only_pages_of(scan, wanted, &newest, now.table.table_url(), state).await?
                }
                _ => scan,
            };
            let table = now.table;
            if !wants_order {
                return Ok(scan);
            }
            let paths = match &self.files {
                Some(paths) => paths.clone(),
                None => ranked_files(&table)?.iter().map(|file| file.path().into_owned()).collect(),
            };
            let ranks = file_ranks(&table, &paths);
            let numbered = RowOrderExec::try_new(scan, ranks, state.config_options())?;
            in_order(Arc::new(numbered), projection, order)
        })
    }
}

/// The scan with each footer read at once; delta-rs asks for its length first, which is a request more for each file.
/// `rough`: conditions are left to statistics; delta-rs has them looked at for each row, too.
fn read_well(scan: Arc<dyn ExecutionPlan>, rough: bool) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
    let changed = scan.transform_up(|node| {
        let Some(exec) = node.downcast_ref::<DataSourceExec>() else { return Ok(Transformed::no(node)) };
        let Some((config, source)) = exec.downcast_to_file_source::<ParquetSource>() else {
            return Ok(Transformed::no(node));
        };
        let mut source = source.clone().with_metadata_size_hint(FOOTER_GUESS);
        if rough {
            source = source.with_pushdown_filters(false);
        }
        let config = FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(source)).build();
        Ok(Transformed::yes(DataSourceExec::from_data_source(config) as _))
    });
    Ok(changed?.data)
}

/// The filters that the table's own provider can use; the others are applied above.
fn supported(rows: &dyn TableProvider, filters: &[Expr]) -> DataFusionResult<Vec<Expr>> {
    let support = rows.supports_filters_pushdown(&filters.iter().collect::<Vec<_>>())?;
    Ok(filters
        .iter()
        .zip(support)
        .filter(|(_, support)| *support != TableProviderFilterPushDown::Unsupported)
        .map(|(filter, _)| filter.clone())
        .collect())
}

/// The files in the order of their rank: by modification time, then path.
pub(crate) fn ranked_files(table: &DeltaTable) -> DataFusionResult<Vec<LogicalFileView>> {
    let mut files: Vec<LogicalFileView> = table.snapshot()?.log_data().iter().collect();
    files.sort_by_cached_key(|file| (file.modification_time(), file.path().into_owned()));
    Ok(files)
}

/// Ranks of the files at these paths, under the names that the scan reports.
fn file_ranks(table: &DeltaTable, paths: &[String]) -> FileRanks {
    paths.iter().zip(0..).map(|(path, rank)| (url_of_file(table.table_url(), path).into(), rank)).collect()
}
