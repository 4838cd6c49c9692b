//! `CALL rebase('video/crop', from_version => 'abc')`: takes rows over from another version of a feature's definition.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;

use super::{Invocation, Procedure, Work};
use crate::boxed::BoxFuture;
use crate::error::{MetaxyError, Result};
use crate::store::{Store, WriteOptions, session_key};

pub(super) const REBASE: Procedure = Procedure {
    name: "rebase",
    parameters: &["feature", "from_version", "to_version", "from_store", "dry_run"],
    prepare,
};

struct Rebase {
    context: SessionContext,
    store: Arc<Store>,
    source: Arc<Store>,
    feature: String,
    from: String,
    to: Option<String>,
    dry_run: bool,
    options: WriteOptions,
}

impl fmt::Debug for Rebase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rebase({} to {})", self.source.name(), self.store.name())
    }
}

fn prepare(call: &Invocation<'_>) -> Result<Arc<dyn Work>> {
    let needed = |name: &str| {
        call.arguments.text(name)?.ok_or_else(|| {
            MetaxyError::Invalid(format!(
                "rebase: {name} is missing: rebase('a/b', from_version => '…'); \
                 the versions that rows have are in metaxy_feature_version of history.a__b"
            ))
        })
    };
    let source = match call.arguments.text("from_store")? {
        Some(name) => call.extension.store(&name)?,
        None => Arc::clone(&call.store),
    };
    Ok(Arc::new(Rebase {
        context: call.context.clone(),
        store: Arc::clone(&call.store),
        source,
        feature: needed("feature")?,
        from: needed("from_version")?,
        to: call.arguments.text("to_version")?,
        dry_run: call.arguments.truth("dry_run")?.unwrap_or(false),
        options: WriteOptions::from_session(call.context.state().config_options())?,
    }))
}

impl Work for Rebase {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("feature", DataType::Utf8, true),
            Field::new("rows", DataType::UInt64, true),
        ]))
    }

    fn run(&self) -> BoxFuture<'_, Result<RecordBatch>> {
        Box::pin(async move {
            let (feature, to) = (self.feature.as_str(), self.to.as_deref());
            let definition = self.store.feature(feature).await?;
            self.store.check_project(&definition, &self.options.scope)?;
            let rows = self.source.rows_at_version(&self.context, feature, &self.from).await?;
            if rows.clone().limit(0, Some(1))?.count().await? == 0 {
                return Err(MetaxyError::Invalid(format!(
                    "rebase: store {} has no live rows of feature {} at version {}; the versions that there are are in \
                 metaxy_feature_version of history.{}",
                    self.source.name(),
                    definition.key(),
                    self.from,
                    definition.key().table_name()
                )));
            }
            let rows = if self.dry_run {
                self.store.rebased(&self.context, feature, rows, to).await?.count().await? as u64
            } else {
                let key = session_key(self.context.state().config_options());
                let options = WriteOptions { write_key: key.key(), ..self.options.clone() };
                let report = self.store.rebase(&self.context, feature, rows, to, &options).await?;
                key.done();
                report.rows
            };
            let columns: Vec<ArrayRef> = vec![
                Arc::new(StringArray::from(vec![definition.key().to_string()])),
                Arc::new(UInt64Array::from(vec![rows])),
            ];
            Ok(RecordBatch::try_new(self.schema(), columns).map_err(DataFusionError::from)?)
        })
    }
}
