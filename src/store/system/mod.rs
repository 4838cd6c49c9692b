//! A store's system tables: the definitions that were pushed to it, and what has happened in it.
//!
//! Their rows take the same atomic append as those of features. They have no `metaxy_*` system columns, so a store
//! stamps nothing on them, and no versions, so they record no hash settings.

mod definitions;
mod events;
mod push;
mod rows;
mod sides;
mod snapshots;

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::catalog::TableProvider;
use datafusion::error::DataFusionError;
use futures::StreamExt;

use super::{Append, Store, WriteTime};
use crate::error::Result;
use crate::model::FeatureKey;
use crate::types::storable;

pub use events::{Event, EventType, Payload};
pub use push::{PushOptions, PushReport};
pub use snapshots::ProjectVersion;

/// A table that a store keeps about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SystemTable {
    /// Every definition ever pushed.
    FeatureVersions,
    /// What was done, when, and how it ended.
    Events,
}

impl SystemTable {
    fn key(self) -> Result<FeatureKey> {
        FeatureKey::parse(match self {
            Self::FeatureVersions => "metaxy-system/feature_versions",
            Self::Events => "metaxy-system/events",
        })
    }

    /// The columns, in the order in which the Python package makes them.
    pub(crate) fn schema(self) -> SchemaRef {
        let columns: &[&str] = match self {
            Self::FeatureVersions => &[
                "project",
                "feature_key",
                "metaxy_feature_version",
                "metaxy_definition_version",
                "recorded_at",
                "feature_spec",
                "feature_schema",
                "feature_class_path",
                "metaxy_project_version",
                "tags",
                "deleted_at",
            ],
            Self::Events => &["project", "execution_id", "event_type", "timestamp", "feature_key", "payload"],
        };
        let field = |name: &&str| match *name {
            "recorded_at" | "deleted_at" | "timestamp" => Field::new(*name, time(), true),
            _ => Field::new(*name, DataType::Utf8, true),
        };
        Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
    }
}

/// Times in system tables are in UTC, but do not say so.
fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// The rows in the types that the table has, which others may have made with times that have a zone.
fn fitted(rows: &RecordBatch, stored: &Schema) -> Result<RecordBatch> {
    let schema = rows.schema();
    let columns = schema.fields().iter().zip(rows.columns()).map(|(field, column)| {
        let data_type = match stored.field_with_name(field.name()) {
            Ok(known) => storable(known.data_type()),
            Err(_) => field.data_type().clone(),
        };
        let column = cast(column, &data_type)?;
        Ok((Field::new(field.name(), data_type, true), column))
    });
    let columns: Vec<(Field, ArrayRef)> =
        columns.collect::<std::result::Result<_, ArrowError>>().map_err(DataFusionError::from)?;
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns);
    Ok(rows.map_err(DataFusionError::from)?)
}

impl Store {
    /// A system table as it is stored, if anything was ever written to it. A fallback store's is never looked at.
    ///
    /// # Errors
    /// The table can't be opened.
    pub(crate) async fn system_table(&self, table: SystemTable) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.backend.open(&table.key()?).await?.map(|stored| stored.provider))
    }

    /// The store's record of pushed definitions, if there is one.
    ///
    /// # Errors
    /// The table can't be opened.
    pub async fn feature_versions(&self) -> Result<Option<Arc<dyn TableProvider>>> {
        self.system_table(SystemTable::FeatureVersions).await
    }

    /// Appends rows to a system table; 0 if a write with the same key has happened before.
    async fn append_system(
        &self,
        table: SystemTable,
        rows: RecordBatch,
        write_key: Option<String>,
    ) -> Result<u64> {
        let rows = match self.system_table(table).await? {
            Some(stored) => fitted(&rows, &stored.schema())?,
            None => rows,
        };
        let append = Append {
            time: WriteTime::Kept,
            only_at: None,
            schema: rows.schema(),
            rows: futures::stream::iter([Ok(rows)]).boxed(),
            settings: self.settings(),
            id_columns: Vec::new(),
            write_key,
        };
        self.backend.append(&table.key()?, append).await
    }
}
