//! `system.features`: one row per feature known in the store.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::Result;

use super::listing::{Rows, optional_texts, texts};
use crate::boxed::BoxFuture;
use crate::store::Store;

#[derive(Debug)]
pub(super) struct Features {
    pub store: Arc<Store>,
}

impl Rows for Features {
    fn schema(&self) -> SchemaRef {
        let text = |name| Field::new(name, DataType::Utf8, true);
        Arc::new(Schema::new(
            [
                "feature",
                "table_name",
                "project",
                "feature_version",
                "id_columns",
                "fields",
                "parents",
                "defined_in",
                "description",
            ]
            .map(text)
            .to_vec(),
        ))
    }

    fn rows<'a>(&'a self, _session: &'a dyn Session) -> BoxFuture<'a, Result<Vec<ArrayRef>>> {
        Box::pin(async move {
            let graph = self.store.graph().await?;
            let features: Vec<_> = graph.iter().collect();
            let list = |values: Vec<String>| values.join(", ");
            Ok(vec![
                texts(&features, |f| f.key().to_string()),
                texts(&features, |f| f.key().table_name()),
                texts(&features, |f| f.project.clone()),
                // Unknown while a parent is.
                optional_texts(&features, |f| graph.feature_version(f.key()).ok()),
                texts(&features, |f| f.spec.id_columns.join(", ")),
                texts(&features, |f| list(f.spec.fields.iter().map(|field| field.key.to_string()).collect())),
                texts(&features, |f| list(f.spec.deps.iter().map(|dep| dep.feature.to_string()).collect())),
                texts(&features, |f| f.origin.to_string()),
                optional_texts(&features, |f| f.spec.description.clone()),
            ])
        })
    }
}
