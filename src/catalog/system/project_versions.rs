//! `system.project_versions`: one row per version of a project that was pushed to the store.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Int64Array, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::Session;
use datafusion::common::Result;

use super::listing::{Rows, texts};
use crate::boxed::BoxFuture;
use crate::store::Store;

#[derive(Debug)]
pub(super) struct ProjectVersions {
    pub store: Arc<Store>,
}

impl Rows for ProjectVersions {
    fn schema(&self) -> SchemaRef {
        let text = |name| Field::new(name, DataType::Utf8, true);
        Arc::new(Schema::new(vec![
            text("project"),
            text("project_version"),
            Field::new("recorded_at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
            Field::new("features", DataType::Int64, true),
            text("tags"),
            Field::new("is_current", DataType::Boolean, true),
        ]))
    }

    fn rows<'a>(&'a self, _session: &'a dyn Session) -> BoxFuture<'a, Result<Vec<ArrayRef>>> {
        Box::pin(async move {
            let versions = self.store.project_versions().await?;
            let times =
                versions.iter().map(|version| version.recorded_at.map(|time| time.timestamp_micros()));
            let features = versions.iter().map(|version| i64::try_from(version.features).ok());
            let current = versions.iter().map(|version| Some(version.is_current));
            Ok(vec![
                texts(&versions, |version| version.project.clone()),
                texts(&versions, |version| version.version.clone()),
                Arc::new(times.collect::<TimestampMicrosecondArray>()),
                Arc::new(features.collect::<Int64Array>()),
                texts(&versions, |version| version.tags.clone()),
                Arc::new(current.collect::<BooleanArray>()),
            ])
        })
    }
}
