//! `CALL vacuum('video/crop')`: files that nothing refers to any more go.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;

use super::{Invocation, Procedure, Work};
use crate::boxed::BoxFuture;
use crate::error::Result;
use crate::store::{Store, VacuumOptions, VacuumedFile};

pub(super) const VACUUM: Procedure = Procedure {
    name: "vacuum",
    parameters: &["features", "retain", "dry_run", "allow_short_retention"],
    prepare,
};

#[derive(Debug)]
struct Vacuum {
    store: Arc<Store>,
    features: Option<Vec<String>>,
    options: VacuumOptions,
}

fn prepare(call: &Invocation<'_>) -> Result<Arc<dyn Work>> {
    let defaults = VacuumOptions::default();
    let options = VacuumOptions {
        retain: call.arguments.span("retain")?.unwrap_or(defaults.retain),
        allow_short_retention: call.arguments.truth("allow_short_retention")?.unwrap_or_default(),
        dry_run: call.arguments.truth("dry_run")?.unwrap_or_default(),
        scope: call.scope.clone(),
    };
    let features = call.arguments.names("features")?;
    Ok(Arc::new(Vacuum { store: Arc::clone(&call.store), features, options }))
}

impl Work for Vacuum {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("feature", DataType::Utf8, true),
            Field::new("file", DataType::Utf8, true),
            Field::new("bytes", DataType::UInt64, true),
        ]))
    }

    fn run(&self) -> BoxFuture<'_, Result<RecordBatch>> {
        Box::pin(async move {
            let features: Option<Vec<&str>> =
                self.features.as_ref().map(|names| names.iter().map(String::as_str).collect());
            let done = self.store.vacuum(features.as_deref(), &self.options).await?;
            let files: Vec<(String, &VacuumedFile)> = done
                .iter()
                .flat_map(|one| one.files.iter().map(|file| (one.feature.to_string(), file)))
                .collect();
            let columns: Vec<ArrayRef> = vec![
                Arc::new(files.iter().map(|(feature, _)| Some(feature)).collect::<StringArray>()),
                Arc::new(files.iter().map(|(_, file)| Some(&file.path)).collect::<StringArray>()),
                Arc::new(files.iter().map(|(_, file)| file.bytes).collect::<UInt64Array>()),
            ];
            Ok(RecordBatch::try_new(self.schema(), columns).map_err(DataFusionError::from)?)
        })
    }
}
