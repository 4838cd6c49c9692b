//! `CALL push(tags => MAP {'git': 'abc'})`: records the definitions of a project in a store.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, ListBuilder, RecordBatch, StringArray, StringBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;

use super::{Invocation, Procedure, Work};
use crate::boxed::BoxFuture;
use crate::error::Result;
use crate::store::{PushOptions, Store};

pub(super) const PUSH: Procedure = Procedure { name: "push", parameters: &["tags", "project"], prepare };

#[derive(Debug)]
struct Push {
    store: Arc<Store>,
    project: Option<String>,
    options: PushOptions,
}

fn prepare(call: &Invocation<'_>) -> Result<Arc<dyn Work>> {
    let project = call.arguments.text("project")?;
    Ok(Arc::new(Push {
        store: Arc::clone(&call.store),
        project: project.or_else(|| call.extension.project().map(str::to_owned)),
        options: PushOptions { tags: call.arguments.texts("tags")? },
    }))
}

impl Work for Push {
    fn schema(&self) -> SchemaRef {
        let features = DataType::new_list(DataType::Utf8, true);
        Arc::new(Schema::new(vec![
            Field::new("project", DataType::Utf8, true),
            Field::new("project_version", DataType::Utf8, true),
            Field::new("already_pushed", DataType::Boolean, true),
            Field::new("updated_features", features, true),
        ]))
    }

    fn run(&self) -> BoxFuture<'_, Result<RecordBatch>> {
        Box::pin(async move {
            let report = self.store.push(self.project.as_deref(), &self.options).await?;
            let mut updated = ListBuilder::new(StringBuilder::new());
            updated.append_value(report.updated_features.iter().map(|feature| Some(feature.to_string())));
            let columns: Vec<ArrayRef> = vec![
                Arc::new(StringArray::from(vec![report.project])),
                Arc::new(StringArray::from(vec![report.project_version])),
                Arc::new(BooleanArray::from(vec![report.already_pushed])),
                Arc::new(updated.finish()),
            ];
            Ok(RecordBatch::try_new(self.schema(), columns).map_err(DataFusionError::from)?)
        })
    }
}
