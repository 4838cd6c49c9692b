//! Writing rows of a feature: what the caller may set, and the sink that plans write through.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::Utc;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result as DataFusionResult;
use datafusion::config::ConfigOptions;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::sink::DataSink;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType};

use futures::StreamExt;
use futures::stream::BoxStream;

use super::in_order::in_order;
use super::prepare::{Preparer, Stamp};
use super::project::WriteScope;
use super::{Append, Basis, Store, WriteTime};
use crate::boxed::BoxFuture;
use crate::config::TakenKey;
use crate::config::options::MetaxyOptions;
use crate::error::{MetaxyError, Result};
use crate::model::FeatureDefinition;

/// What a caller can say about a write besides its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteOptions {
    /// The caller's run id, stored with each row.
    pub materialization_id: Option<String>,
    /// The caller's key for this write: a second write with the same key adds nothing. A write without rows leaves no
    /// mark, so that rows which come later under its key are not lost.
    pub write_key: Option<String>,
    /// Whether versions that are NULL, empty or contain the separator are refused.
    pub strict_versions: bool,
    /// For whom the write is made.
    pub scope: WriteScope,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            materialization_id: None,
            write_key: None,
            strict_versions: true,
            scope: WriteScope::default(),
        }
    }
}

impl WriteOptions {
    /// The options that the session's `metaxy.*` settings ask for. Its write key is not among them: a write takes that
    /// [when it runs](session_key).
    pub(crate) fn from_session(options: &ConfigOptions) -> DataFusionResult<Self> {
        let options = options.extensions.get::<MetaxyOptions>().cloned().unwrap_or_default();
        let set = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(Self {
            materialization_id: set(&options.materialization_id),
            write_key: None,
            strict_versions: options.strict_versions,
            scope: WriteScope { project: None, cross_project: options.allow_cross_project_writes },
        })
    }
}

/// The key that the session has for the write that begins here.
pub(crate) fn session_key(options: &ConfigOptions) -> TakenKey {
    let options = options.extensions.get::<MetaxyOptions>();
    options.map(|options| options.write_key.clone()).unwrap_or_default().take()
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteReport {
    /// Rows that were added; 0 when a write of the same key had happened before.
    pub rows: u64,
}

impl Store {
    /// Writes rows: columns match by name, `metaxy_provenance_by_field` is required, system columns are added.
    ///
    /// # Errors
    /// Rows that break a rule (nothing is written then), or a store that can't be written.
    pub async fn write(
        self: &Arc<Self>,
        feature: &str,
        rows: DataFrame,
        options: &WriteOptions,
    ) -> Result<WriteReport> {
        let own = self.pinned().await?;
        let definition = own.feature(feature).await?;
        own.check_project(&definition, &options.scope)?;
        let stream = rows.execute_stream().await?;
        own.write_rows(&definition, stream, options).await
    }

    /// As [`write`](Self::write), for rows that are a stream already.
    pub(crate) async fn write_rows(
        &self,
        definition: &Arc<FeatureDefinition>,
        rows: SendableRecordBatchStream,
        options: &WriteOptions,
    ) -> Result<WriteReport> {
        self.write_rows_at(definition, rows, options, None).await
    }

    /// As [`write`](Self::write), but only while what the rows were worked out from holds.
    pub(super) async fn write_rows_at(
        &self,
        definition: &Arc<FeatureDefinition>,
        rows: SendableRecordBatchStream,
        options: &WriteOptions,
        only_at: Option<Basis>,
    ) -> Result<WriteReport> {
        self.check_project(definition, &options.scope)?;
        let stamp = self.stamp(definition, options).await?;
        let stored = self.open(definition.key()).await?.map(|table| table.provider.schema());
        let preparer = Preparer::try_new(definition, stamp, &rows.schema(), stored.as_deref())?;
        let (schema, rows) = (preparer.schema(), prepared(preparer, rows));
        let rows = match only_at.as_ref().and_then(|basis| basis.samples.as_ref()) {
            Some(samples) => samples.of(rows),
            None => rows,
        };
        let append = Append {
            schema,
            rows: in_order(rows, definition.spec.id_columns.clone()),
            settings: self.settings(),
            id_columns: definition.spec.id_columns.clone(),
            write_key: options.write_key.clone(),
            time: WriteTime::Updated,
            only_at,
        };
        Ok(WriteReport { rows: self.backend.append(definition.key(), append).await? })
    }

    /// What a write of now puts on every row.
    pub(super) async fn stamp(
        &self,
        definition: &FeatureDefinition,
        options: &WriteOptions,
    ) -> Result<Stamp> {
        let graph = self.graph().await?;
        if graph.get(definition.key()).is_some_and(|current| current.spec != definition.spec) {
            return Err(MetaxyError::Write {
                feature: definition.key().to_string(),
                reason: "it was defined anew since these rows were worked out; work them out again".into(),
            });
        }
        Ok(Stamp {
            feature_version: graph.feature_version(definition.key())?,
            project_version: graph.project_version(&definition.project)?,
            now: Utc::now(),
            settings: self.settings(),
            options: options.clone(),
        })
    }
}

/// The prepared rows; at the end, an error if any of them was refused.
fn prepared(preparer: Preparer, rows: SendableRecordBatchStream) -> BoxStream<'static, Result<RecordBatch>> {
    futures::stream::unfold(Some((preparer, rows)), |state| async move {
        let (mut preparer, mut rows) = state?;
        loop {
            match rows.next().await {
                Some(Ok(batch)) => match preparer.batch(&batch) {
                    Ok(Some(batch)) => return Some((Ok(batch), Some((preparer, rows)))),
                    Ok(None) => {}
                    Err(error) => return Some((Err(error), None)),
                },
                Some(Err(error)) => return Some((Err(error.into()), None)),
                None => return preparer.finish().err().map(|error| (Err(error), None)),
            }
        }
    })
    .boxed()
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

    async fn write_all(
        &self,
        data: SendableRecordBatchStream,
        context: &Arc<TaskContext>,
    ) -> DataFusionResult<u64> {
        self.written(data, context).await
    }
}

impl FeatureSink {
    /// Writes all rows; how many there were.
    fn written<'a>(
        &'a self,
        data: SendableRecordBatchStream,
        context: &'a Arc<TaskContext>,
    ) -> BoxFuture<'a, DataFusionResult<u64>> {
        Box::pin(async move {
            let key = session_key(context.session_config().options());
            let options = WriteOptions { write_key: key.key(), ..self.options.clone() };
            let report = self.store.write_rows(&self.definition, data, &options).await?;
            key.done();
            Ok(report.rows)
        })
    }
}
