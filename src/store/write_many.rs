//! Writing several features in one call.

use std::sync::Arc;

use datafusion::dataframe::DataFrame;

use super::{Store, WriteOptions, WriteReport};
use crate::error::{MetaxyError, Result};
use crate::model::FeatureKey;

impl Store {
    /// Writes several features, dependents before their parents: whoever looks in between sees a parent that has not
    /// changed yet, never a child that seems to be missing.
    ///
    /// Each feature is written in one atomic step of its own. With a write key, which then holds for each of them, a
    /// call that failed on the way can be repeated: what was written before is not written again.
    ///
    /// # Errors
    /// As [`write`](Self::write), and a feature that is given twice. A feature of another project, or an unknown one,
    /// is an error before anything is written; any other error names the features that were written before.
    pub async fn write_all(
        self: &Arc<Self>,
        rows: Vec<(&str, DataFrame)>,
        options: &WriteOptions,
    ) -> Result<Vec<(FeatureKey, WriteReport)>> {
        let own = self.pinned().await?;
        let graph = own.graph().await?;
        let mut writes = Vec::new();
        for (name, rows) in rows {
            let definition = Arc::clone(graph.lookup(name)?);
            own.check_project(&definition, &options.scope)?;
            writes.push((definition, rows));
        }
        let place = |key: &FeatureKey| graph.iter().position(|definition| definition.key() == key);
        writes.sort_by_key(|(definition, _)| std::cmp::Reverse(place(definition.key())));
        if let Some([(twice, _), _]) = writes.array_windows().find(|[(a, _), (b, _)]| a.key() == b.key()) {
            return Err(MetaxyError::Write {
                feature: twice.key().to_string(),
                reason: "it is given twice in one call; put its rows together".into(),
            });
        }
        let mut written: Vec<(FeatureKey, WriteReport)> = Vec::new();
        for (definition, rows) in writes {
            let outcome = match rows.execute_stream().await {
                Ok(rows) => own.write_rows(&definition, rows, options).await,
                Err(error) => Err(error.into()),
            };
            match outcome {
                Ok(report) => written.push((definition.key().clone(), report)),
                Err(error) if written.is_empty() => return Err(error),
                Err(error) => {
                    let done: Vec<String> = written.iter().map(|(key, _)| key.to_string()).collect();
                    return Err(MetaxyError::Write {
                        feature: definition.key().to_string(),
                        reason: format!("{error} (written before: {})", done.join(", ")),
                    });
                }
            }
        }
        Ok(written)
    }
}
