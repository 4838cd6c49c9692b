//! `CALL lock()`: writes the lock file from a store's definitions, and says what has changed in it.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;

use super::{Invocation, Procedure, Work};
use crate::boxed::BoxFuture;
use crate::error::{MetaxyError, Result};
use crate::model::LockChange;
use crate::session::Extension;
use crate::store::{LockOptions, Store};

pub(super) const LOCK: Procedure = Procedure { name: "lock", parameters: &["output"], prepare };

#[derive(Debug)]
struct Lock {
    extension: Arc<Extension>,
    store: Arc<Store>,
    path: PathBuf,
    options: LockOptions,
}

fn prepare(call: &Invocation<'_>) -> Result<Arc<dyn Work>> {
    let path = match call.arguments.text("output")? {
        Some(path) => PathBuf::from(path),
        None => call.extension.lock_file().ok_or_else(|| {
            MetaxyError::Invalid(
                "lock: this session has no configuration; name the file: lock(output => …)".into(),
            )
        })?,
    };
    Ok(Arc::new(Lock {
        extension: Arc::clone(call.extension),
        store: Arc::clone(&call.store),
        path,
        options: call.extension.lock_options(),
    }))
}

/// What has become of a feature, in a word.
fn word(change: &LockChange) -> &'static str {
    match (&change.old_version, &change.new_version) {
        (None, _) => "added",
        (_, None) => "removed",
        _ if change.unchanged => "unchanged",
        _ => "updated",
    }
}

impl Work for Lock {
    fn schema(&self) -> SchemaRef {
        let text = |name| Field::new(name, DataType::Utf8, true);
        let columns = ["feature", "project", "change", "old_version", "new_version"];
        Arc::new(Schema::new(columns.map(text).to_vec()))
    }

    fn run(&self) -> BoxFuture<'_, Result<RecordBatch>> {
        Box::pin(async move {
            let changes = self.store.lock(&self.path, &self.options).await?;
            self.extension.relock().await?;
            let text = |value: &dyn Fn(&LockChange) -> Option<String>| {
                Arc::new(changes.iter().map(value).collect::<StringArray>()) as ArrayRef
            };
            let columns = vec![
                text(&|change| Some(change.feature.to_string())),
                text(&|change| Some(change.project.clone())),
                text(&|change| Some(word(change).to_owned())),
                text(&|change| change.old_version.clone()),
                text(&|change| change.new_version.clone()),
            ];
            Ok(RecordBatch::try_new(self.schema(), columns).map_err(DataFusionError::from)?)
        })
    }
}
