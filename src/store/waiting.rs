//! How many samples would have to be computed again at another version of their feature.

use std::sync::Arc;

use datafusion::logical_expr::{col, lit};
use datafusion::prelude::SessionContext;

use super::view::View;
use super::{FeatureTable, Store, watched};
use crate::columns::WAITING;
use crate::error::{MetaxyError, Result};

impl Store {
    /// How many samples of a feature are live at other versions of it and have no row, not even a deleted one, at this
    /// one; 0 where nothing is stored. Fallback stores are not asked.
    ///
    /// # Errors
    /// An unknown feature, or a table that can't be read.
    pub async fn samples_behind(
        self: &Arc<Self>,
        context: &SessionContext,
        feature: &str,
        version: &str,
    ) -> Result<u64> {
        let definition = self.feature(feature).await?;
        let Some(stored) = self.open(definition.key()).await? else { return Ok(0) };
        let view = View::current(version.to_owned());
        let table = FeatureTable::new(Arc::clone(self), Arc::clone(&definition), Some(stored), view);
        // Rows that don't say of which version they are belong to all.
        let Some(standing) = table.standing() else { return Ok(0) };
        let behind = context.read_table(standing.rows)?.filter(col(WAITING).eq(lit(true)))?;
        let ids = definition.spec.id_columns.iter().map(String::as_str).collect::<Vec<_>>();
        let rows = watched(format!("counting {feature}"), behind.select_columns(&ids)?).await?;
        futures::TryStreamExt::try_fold(
            rows,
            0,
            |count, batch| async move { Ok(count + batch.num_rows() as u64) },
        )
        .await
        .map_err(MetaxyError::from)
    }
}
