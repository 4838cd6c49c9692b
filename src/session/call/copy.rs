//! `CALL copy('video/crop', from_store => 'dev')`: copies rows of features from another store.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;

use super::{Invocation, Procedure, Work};
use crate::boxed::BoxFuture;
use crate::error::{MetaxyError, Result};
use crate::store::{CopyOptions, FeatureVersions, Store};

pub(super) const COPY: Procedure = Procedure {
    name: "copy",
    parameters: &["features", "from_store", "feature_history", "sample_history", "dry_run"],
    prepare,
};

struct Copy {
    context: SessionContext,
    store: Arc<Store>,
    source: Arc<Store>,
    features: Option<Vec<String>>,
    options: CopyOptions,
}

impl fmt::Debug for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Copy({} to {})", self.source.name(), self.store.name())
    }
}

fn prepare(call: &Invocation<'_>) -> Result<Arc<dyn Work>> {
    let Some(source) = call.arguments.text("from_store")? else {
        return Err(MetaxyError::Invalid(
            "copy: which store are the rows from? Name it: copy(from_store => 'dev')".into(),
        ));
    };
    let source = call.extension.store(&source)?;
    if source.name() == call.store.name() {
        return Err(MetaxyError::Invalid(format!(
            "copy: store {0} is both source and target; call another store's procedure, \
             CALL other.system.copy(from_store => '{0}')",
            source.name()
        )));
    }
    let all_versions = call.arguments.truth("feature_history")?.unwrap_or(true);
    let options = CopyOptions {
        feature_versions: if all_versions { FeatureVersions::All } else { FeatureVersions::Current },
        sample_history: call.arguments.truth("sample_history")?.unwrap_or(true),
        scope: call.scope.clone(),
        dry_run: call.arguments.truth("dry_run")?.unwrap_or(false),
        ..CopyOptions::default()
    };
    Ok(Arc::new(Copy {
        context: call.context.clone(),
        store: Arc::clone(&call.store),
        source,
        features: call.arguments.names("features")?,
        options,
    }))
}

impl Work for Copy {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("feature", DataType::Utf8, true),
            Field::new("rows", DataType::UInt64, true),
        ]))
    }

    fn run(&self) -> BoxFuture<'_, Result<RecordBatch>> {
        Box::pin(async move {
            let features: Option<Vec<&str>> =
                self.features.as_ref().map(|names| names.iter().map(String::as_str).collect());
            let copied =
                self.store.copy_from(&self.source, &self.context, features.as_deref(), &self.options).await?;
            let columns: Vec<ArrayRef> = vec![
                Arc::new(
                    copied.iter().map(|copied| Some(copied.feature.to_string())).collect::<StringArray>(),
                ),
                Arc::new(copied.iter().map(|copied| copied.rows).collect::<UInt64Array>()),
            ];
            Ok(RecordBatch::try_new(self.schema(), columns).map_err(DataFusionError::from)?)
        })
    }
}
