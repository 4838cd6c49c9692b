//! `CALL optimize('video/crop')`: small files become large ones, and old rows go.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;

use super::{Invocation, Procedure, Work};
use crate::boxed::BoxFuture;
use crate::error::Result;
use crate::store::{OptimizeOptions, OptimizedFeature, Store};

pub(super) const OPTIMIZE: Procedure = Procedure {
    name: "optimize",
    parameters: &["features", "fold_older_than", "file_size", "full", "dry_run"],
    prepare,
};

struct Optimize {
    context: SessionContext,
    store: Arc<Store>,
    features: Option<Vec<String>>,
    options: OptimizeOptions,
}

impl fmt::Debug for Optimize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Optimize({})", self.store.name())
    }
}

fn prepare(call: &Invocation<'_>) -> Result<Arc<dyn Work>> {
    let defaults = OptimizeOptions::default();
    let options = OptimizeOptions {
        file_size: call.arguments.bytes("file_size")?.unwrap_or(defaults.file_size),
        full: call.arguments.truth("full")?.unwrap_or(defaults.full),
        fold_older_than: call.arguments.span("fold_older_than")?,
        dry_run: call.arguments.truth("dry_run")?.unwrap_or(defaults.dry_run),
        scope: call.scope.clone(),
        progress: None,
    };
    Ok(Arc::new(Optimize {
        context: call.context.clone(),
        store: Arc::clone(&call.store),
        features: call.arguments.names("features")?,
        options,
    }))
}

impl Work for Optimize {
    fn schema(&self) -> SchemaRef {
        let number = |name| Field::new(name, DataType::UInt64, true);
        Arc::new(Schema::new(vec![
            Field::new("feature", DataType::Utf8, true),
            number("files_before"),
            number("files_after"),
            number("bytes_before"),
            number("bytes_after"),
            number("rows_folded"),
        ]))
    }

    fn run(&self) -> BoxFuture<'_, Result<RecordBatch>> {
        Box::pin(async move {
            let features: Option<Vec<&str>> =
                self.features.as_ref().map(|names| names.iter().map(String::as_str).collect());
            let done = self.store.optimize(&self.context, features.as_deref(), &self.options).await?;
            let number = |value: &dyn Fn(&OptimizedFeature) -> Option<u64>| {
                Arc::new(done.iter().map(value).collect::<UInt64Array>()) as ArrayRef
            };
            let columns: Vec<ArrayRef> = vec![
                Arc::new(done.iter().map(|one| Some(one.feature.to_string())).collect::<StringArray>()),
                number(&|one| Some(one.files_before)),
                number(&|one| one.files_after),
                number(&|one| Some(one.bytes_before)),
                number(&|one| one.bytes_after),
                number(&|one| Some(one.rows_folded)),
            ];
            Ok(RecordBatch::try_new(self.schema(), columns).map_err(DataFusionError::from)?)
        })
    }
}
