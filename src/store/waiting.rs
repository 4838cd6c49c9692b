//! What a change of a feature's definition means for its samples: how many would have to be computed again.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, cast as cast_to, col, ident, lit};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;

use super::view::View;
use super::{FeatureTable, Store, watched};
use crate::columns::{INCREMENT, WAITING};
use crate::error::{MetaxyError, Result};
use crate::model::FeatureGraph;
use crate::update::{IncrementOptions, increment};

/// Samples that are live at other versions of their feature, and not there at a new one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Behind {
    /// Those whose parents are there, at whatever version: they are to be computed again.
    pub samples: u64,
    /// Those whose parents are gone: nothing is left to compute them from.
    pub orphaned: u64,
}

/// Samples that another definition of the same version puts into another state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reclassified {
    /// Samples that become new.
    pub new: u64,
    /// Samples that become stale.
    pub stale: u64,
    /// Stored rows that become orphaned.
    pub orphaned: u64,
}

impl Store {
    /// This store with the features as they are, or were, in a graph.
    #[must_use]
    pub(crate) fn over_graph(&self, graph: &FeatureGraph) -> Arc<Self> {
        self.with_graph(Arc::new(graph.clone()))
    }

    /// How many samples of a feature are live at other versions of it and have no row, not even a deleted one, at this
    /// one; none where nothing is stored. Fallback stores are asked for parents only.
    ///
    /// # Errors
    /// An unknown feature, or a table that can't be read.
    pub async fn samples_behind(
        self: &Arc<Self>,
        context: &SessionContext,
        feature: &str,
        version: &str,
    ) -> Result<Behind> {
        let definition = self.feature(feature).await?;
        let Some(stored) = self.open(definition.key()).await? else { return Ok(Behind::default()) };
        let view = View::current(version.to_owned());
        let table = FeatureTable::new(Arc::clone(self), Arc::clone(&definition), Some(stored), view);
        // Rows that don't say of which version they are belong to all.
        let Some(standing) = table.standing() else { return Ok(Behind::default()) };
        let behind = || -> Result<DataFrame> {
            Ok(context.read_table(Arc::clone(&standing.rows))?.filter(col(WAITING).eq(lit(true)))?)
        };
        let ids = definition.spec.id_columns.iter().map(String::as_str).collect::<Vec<_>>();
        let rows = watched(format!("counting {feature}"), behind()?.select_columns(&ids)?).await?;
        let count = rows.try_fold(0, |count, batch| async move { Ok(count + batch.num_rows() as u64) }).await;
        let all = count.map_err(MetaxyError::from)?;
        if all == 0 || definition.spec.deps.is_empty() {
            return Ok(Behind { samples: all, orphaned: 0 });
        }
        let mut inputs = match self.inputs(definition.key(), false).await {
            Ok(inputs) => inputs,
            // A parent that is new itself, and not written yet.
            Err(MetaxyError::FeatureNotFound { .. } | MetaxyError::Graph(_)) => {
                return Ok(Behind { samples: all, orphaned: 0 });
            }
            Err(error) => return Err(error),
        };
        if inputs.parents.iter().all(Option::is_none) {
            return Ok(Behind { samples: all, orphaned: 0 });
        }
        // Compared as if they were of the new version: what is orphaned then has no parents at any version.
        inputs.current = Some(behind()?.drop_columns(&[WAITING])?.into_view());
        let options = IncrementOptions { include_pending: true, ..IncrementOptions::default() };
        let found = self.frame(context, increment(&inputs, &self.with_session(context, &options))?)?;
        let orphaned = found.filter(col(INCREMENT).eq(lit("orphaned")))?.select_columns(&[INCREMENT])?;
        let rows = watched(format!("comparing {feature}"), orphaned).await?;
        let count = rows.try_fold(0, |count, batch| async move { Ok(count + batch.num_rows() as u64) }).await;
        let orphaned: u64 = count.map_err(MetaxyError::from)?;
        Ok(Behind { samples: all.saturating_sub(orphaned), orphaned })
    }

    /// How many samples of a feature are in another state here than in a store with `before`'s definitions, of which the
    /// feature's has the same version; `None` for a root, and for a feature with a parent without data.
    ///
    /// # Errors
    /// An unknown feature, or a table that can't be read.
    pub(crate) async fn reclassified(
        self: &Arc<Self>,
        before: &Arc<Self>,
        context: &SessionContext,
        feature: &str,
    ) -> Result<Option<Reclassified>> {
        let Some((after, keys)) = self.classes(context, feature).await? else { return Ok(None) };
        // A sample that was in this state before has not come into it.
        let changed = match before.classes(context, feature).await {
            Ok(Some((before, earlier))) if earlier == keys => after.except_distinct(before)?,
            _ => after,
        };
        const ROWS: &str = "__metaxy_rows";
        let counts = changed
            .aggregate(vec![ident(INCREMENT)], vec![count(lit(1)).alias(ROWS)])?
            .select(vec![ident(INCREMENT), cast_to(ident(ROWS), DataType::Int64).alias(ROWS)])?;
        let mut found: HashMap<String, u64> = HashMap::new();
        let mut counts = watched(format!("comparing {feature}"), counts).await?;
        while let Some(batch) = counts.try_next().await? {
            let kinds = cast(batch.column(0), &DataType::Utf8).map_err(DataFusionError::from)?;
            let rows = batch.column(1).as_primitive::<Int64Type>().values();
            for (kind, rows) in kinds.as_string::<i32>().iter().zip(rows) {
                found.insert(kind.unwrap_or_default().to_owned(), rows.unsigned_abs());
            }
        }
        let of = |kind: &str| found.get(kind).copied().unwrap_or_default();
        Ok(Some(Reclassified { new: of("new"), stale: of("stale"), orphaned: of("orphaned") }))
    }

    /// The samples of a feature's increment, each once, with their classes, and the columns that tell them apart.
    async fn classes(
        self: &Arc<Self>,
        context: &SessionContext,
        feature: &str,
    ) -> Result<Option<(DataFrame, Vec<String>)>> {
        let definition = self.feature(feature).await?;
        if definition.spec.deps.is_empty() {
            return Ok(None);
        }
        let inputs = match self.inputs(definition.key(), false).await {
            Ok(inputs) => inputs,
            Err(MetaxyError::FeatureNotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if inputs.parents.iter().all(Option::is_none) {
            return Ok(None);
        }
        let options = self.with_session(context, &IncrementOptions::default());
        let found = self.frame(context, increment(&inputs, &options)?)?;
        let keys = inputs.plan.comparison_columns;
        let columns: Vec<Expr> = std::iter::once(ident(INCREMENT)).chain(keys.iter().map(ident)).collect();
        Ok(Some((found.select(columns)?.distinct()?, keys)))
    }
}
