//! Writing rows of a feature: what the caller may set, and the sink that plans write through.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::config::ConfigOptions;
use datafusion::datasource::sink::DataSink;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType};

use super::Store;
use crate::config::options::MetaxyOptions;
use crate::model::FeatureDefinition;

/// What a caller can say about a write besides its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteOptions {
    /// The caller's run id, stored with each row.
    pub materialization_id: Option<String>,
    /// The caller's key for this write: a second write with the same key adds nothing.
    pub write_key: Option<String>,
    /// Whether versions that are NULL, empty or contain the separator are refused.
    pub strict_versions: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { materialization_id: None, write_key: None, strict_versions: true }
    }
}

impl WriteOptions {
    /// The options that the session's `metaxy.*` settings ask for.
    pub(crate) fn from_session(options: &ConfigOptions) -> Result<Self> {
        let options = options.extensions.get::<MetaxyOptions>().cloned().unwrap_or_default();
        let set = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(Self {
            materialization_id: set(&options.materialization_id),
            write_key: set(&options.write_key),
            strict_versions: options.strict_versions,
        })
    }
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteReport {
    /// Rows that were added; 0 when a write of the same key had happened before.
    pub rows: u64,
}

/// The end of a plan whose rows are written to a feature.
pub(crate) struct FeatureSink {
    store: Arc<Store>,
    definition: Arc<FeatureDefinition>,
    schema: SchemaRef,
    options: WriteOptions,
}

impl FeatureSink {
    pub(crate) fn new(
        store: Arc<Store>,
        definition: Arc<FeatureDefinition>,
        schema: SchemaRef,
        options: WriteOptions,
    ) -> Self {
        Self { store, definition, schema, options }
    }
}

impl fmt::Debug for FeatureSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FeatureSink({})", self.definition.spec.key)
    }
}

impl DisplayAs for FeatureSink {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match t {
            DisplayFormatType::TreeRender => write!(f, "feature={}", self.definition.spec.key),
            _ => write!(f, "FeatureSink: feature={}, store={}", self.definition.spec.key, self.store.name()),
        }
    }
}

#[async_trait]
impl DataSink for FeatureSink {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    async fn write_all(&self, data: SendableRecordBatchStream, _context: &Arc<TaskContext>) -> Result<u64> {
        let report = self.store.write_rows(&self.definition, data, &self.options).await?;
        Ok(report.rows)
    }
}
