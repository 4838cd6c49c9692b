//! The plans that read a feature's table: the latest row of each id, or all rows.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::MemoryLimit;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, col, lit};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;

use super::FeatureTable;
use crate::boxed::BoxFuture;
use crate::columns::{DATA_VERSION_BY_FIELD, DELETED_AT, FEATURE_VERSION, ROW_ORDER, UPDATED_AT, WAITING};
use crate::error::MetaxyError;
use crate::hash::asks_for_shard;
use crate::operators::{CompactExec, LatestColumns, LatestExec, few_keys, is_among};
use crate::store::StoredTable;
use crate::store::kept::{Kept, Output, filtered};
use crate::store::proven::{are_latest, for_latest, without_proven};
use crate::store::view::Others;

/// Whether a condition is one on a row's key that no statistics can answer.
pub(super) fn is_decided_by_row(filter: &Expr) -> bool {
    asks_for_shard(filter) || is_among(filter)
}

impl FeatureTable {
    /// The plan of a scan.
    pub(super) fn planned<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let Some(stored) = self.stored.as_ref().filter(|_| self.exists()) else {
                return Err(self.not_found().into());
            };
            if let Some(search) = self.search() {
                search.tell(&self.store, &self.definition.spec.key, state);
            }
            let all: Vec<usize> = (0..self.schema.fields().len()).collect();
            let projection = projection.unwrap_or(&all);
            if self.view.sample_history {
                self.scan_history(stored, state, projection, filters, limit).await
            } else {
                self.scan_latest(stored, state, projection, filters).await
            }
        })
    }

    async fn scan_latest(
        &self,
        stored: &StoredTable,
        state: &dyn Session,
        projection: &[usize],
        filters: &[Expr],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let inner = stored.provider.schema();
        let mut read: Vec<usize> = Vec::new();
        let mut take = |name: &str| -> Option<usize> {
            let index = inner.index_of(name).ok()?;
            Some(read.iter().position(|&i| i == index).unwrap_or_else(|| {
                read.push(index);
                read.len() - 1
            }))
        };
        let behind = self.view.others == Others::Behind;
        let wanted = self.view.condition().filter(|_| inner.index_of(FEATURE_VERSION).is_ok());
        let (rows, wanted) = without_proven(&stored.provider, wanted).await?;
        // Where each id is there once, its row is the latest, and nothing has to be looked up.
        let spec = &self.definition.spec;
        let (once, live) = are_latest(&rows, &spec.id_columns)?;
        let rows = if once { rows } else { for_latest(&rows, &spec.id_columns, &self.view) };
        let mut ids = Vec::new();
        for id in &spec.id_columns {
            if inner.index_of(id).is_err() {
                return Err(MetaxyError::Store {
                    store: self.store.name().to_owned(),
                    reason: format!("table of feature {} has no id column {id:?}", spec.key),
                }
                .into());
            }
            if !once {
                ids.extend(take(id));
            }
        }
        let is_read = self.view.feature_version.is_none() || wanted.is_some() || behind;
        let version = if is_read { take(FEATURE_VERSION) } else { None };
        if self.view.feature_version.is_none() && !once {
            // With several feature versions a sample has a latest row in each.
            ids.extend(version);
        }
        let mut unless = |known: bool, name: &str| if known { None } else { take(name) };
        let updated_at = unless(once, UPDATED_AT);
        let deleted_at = unless(once && (live || self.view.deleted), DELETED_AT);
        let row_order = unless(once, ROW_ORDER);
        let stored_columns = self.schema.fields().len() - self.versions.len() - usize::from(behind);
        let mut output = Vec::new();
        let mut versions = None;
        for &i in projection {
            let name = self.schema.field(i).name();
            if name == WAITING {
                output.push(Output::Waiting);
            } else if i >= stored_columns {
                versions = take(DATA_VERSION_BY_FIELD);
                output.push(Output::Version(&self.versions[i - stored_columns]));
            } else {
                output.push(Output::Column(take(name).ok_or_else(|| self.gone(name))?));
            }
        }
        // What the statistics of files say nothing about is decided before anything is kept of a row.
        let (decided, filters): (Vec<Expr>, Vec<Expr>) = filters.iter().cloned().partition(is_decided_by_row);
        for column in decided.iter().flat_map(Expr::column_refs) {
            take(&column.name);
        }
        let among = decided.iter().filter(|filter| is_among(filter)).cloned();
        let hints: Vec<Expr> = filters.into_iter().chain(wanted.clone()).chain(among).collect();
        let plan = rows.scan(state, Some(&read), &hints, None).await?;
        let live = deleted_at.filter(|_| once).map(|_| col(DELETED_AT).is_null());
        let plan = filtered(plan, conjunction(wanted.into_iter().chain(decided).chain(live)), state)?;
        // Only what is needed from here on: these rows are kept until the last one is read.
        let mut kept = Kept::new(&plan);
        let waiting = match &self.view.feature_version {
            Some(own) if behind => {
                let waiting = col(FEATURE_VERSION).eq(lit(own.as_str())).is_not_true();
                Some(kept.add(waiting, WAITING, state)?)
            }
            _ => None,
        };
        let output: Vec<usize> = output
            .into_iter()
            .map(|column| match column {
                Output::Column(index) => Ok(kept.column(index)),
                Output::Version(key) => kept.version(versions, key, state),
                Output::Waiting => waiting.ok_or_else(|| self.gone(WAITING)),
            })
            .collect::<Result<_>>()?;
        let columns = LatestColumns {
            ids: ids.into_iter().map(|i| kept.column(i)).collect(),
            updated_at: updated_at.map(|i| kept.column(i)),
            deleted_at: deleted_at.map(|i| kept.column(i)),
            row_order: row_order.map(|i| kept.column(i)),
            behind: waiting,
            output: output.clone(),
        };
        let plan = if once { kept.plan_of(&output)? } else { kept.plan()? };
        let limited = !matches!(state.runtime_env().memory_pool.memory_limit(), MemoryLimit::Infinite);
        // Each of a few rows would keep the page alive that it comes from.
        let few = hints.iter().any(|hint| few_keys(hint).is_some());
        let plan = if few || limited && !once { Arc::new(CompactExec::new(plan)) } else { plan };
        if once {
            return Ok(plan);
        }
        // Sorting can spill and tables of ids can't.
        let latest = if limited { LatestExec::try_new_sorted } else { LatestExec::try_new };
        Ok(Arc::new(latest(plan, columns, self.view.deleted)?))
    }

    fn gone(&self, column: &str) -> DataFusionError {
        MetaxyError::Invalid(format!("column {column} is gone from feature {}", self.definition.spec.key))
            .into()
    }

    /// All rows of the wanted feature version, deleted ones only if they are wanted.
    async fn scan_history(
        &self,
        stored: &StoredTable,
        state: &dyn Session,
        projection: &[usize],
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let inner = stored.provider.schema();
        let version = self.view.condition();
        let live = (!self.view.deleted).then(|| col(DELETED_AT).is_null());
        let wanted = conjunction(
            [(version, FEATURE_VERSION), (live, DELETED_AT)]
                .into_iter()
                .filter(|(_, column)| inner.field_with_name(column).is_ok())
                .filter_map(|(condition, _)| condition),
        );
        let mut read = projection
            .iter()
            .map(|&i| Ok(inner.index_of(self.schema.field(i).name())?))
            .collect::<Result<Vec<_>>>()?;
        let shown = read.len();
        for column in wanted.iter().flat_map(Expr::column_refs) {
            let index = inner.index_of(&column.name)?;
            if !read.contains(&index) {
                read.push(index);
            }
        }
        let limit = if wanted.is_none() { limit } else { None };
        let hints: Vec<Expr> = filters.iter().cloned().chain(wanted.clone()).collect();
        let plan = stored.provider.scan(state, Some(&read), &hints, limit).await?;
        let plan = filtered(plan, wanted, state)?;
        if plan.schema().fields().len() == shown {
            return Ok(plan);
        }
        let schema = plan.schema();
        let columns = (0..shown).map(|i| {
            let name = schema.field(i).name();
            (Arc::new(Column::new(name, i)) as Arc<dyn PhysicalExpr>, name.clone())
        });
        Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Vec<_>>(), Arc::clone(&plan))?))
    }
}
