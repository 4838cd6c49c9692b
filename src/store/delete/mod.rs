//! Deleting rows of a feature: softly, by rows that say so, or for good.
//!
//! DataFusion hands a table the conditions that are left in the optimised plan, and some are not: `IN (SELECT …)`,
//! `EXISTS`, `WHERE false` and LIMIT become other nodes. So a DELETE is planned as a write here: its rows, whatever
//! plan gives them, flow into a sink.

mod hard;
mod hidden;
mod plan;
mod redo;
mod soft;

use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::UInt64Type;
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, col, lit};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;

use super::view::{Others, View};
use super::{FeatureTable, FeatureVersions, Store, WriteScope, watched};
use crate::columns::FEATURE_VERSION;
use crate::error::Result;

pub(crate) use plan::{check_deletable, deletion};
pub(crate) use soft::DeleteKey;

/// How rows are deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeleteMode {
    /// The latest live rows are written again with `metaxy_deleted_at`; writing the sample anew revives it.
    #[default]
    Soft,
    /// Rows are removed from the store's files, a sample's earlier rows included.
    Hard,
}

/// What a caller can say about a delete besides its condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Softly or for good.
    pub mode: DeleteMode,
    /// The feature versions whose rows may go; by default those of the current definition.
    pub feature_versions: FeatureVersions,
    /// The caller's key for a soft delete: a second one with the same key adds nothing.
    pub write_key: Option<String>,
    /// For whom rows are deleted.
    pub scope: WriteScope,
}

impl Store {
    /// Deletes the rows of a feature that meet a condition on its columns, and returns how many.
    ///
    /// A soft delete concerns the latest live row of each sample, a hard one every row. Where a hard delete takes
    /// all rows of a sample at the current feature version, but live ones of older versions stay, a row that says
    /// "deleted" keeps those hidden.
    ///
    /// # Errors
    /// An unknown feature, one without data here (what only a fallback store has can't be deleted), a feature of
    /// another project, a condition that can't be evaluated, a store that can't be written.
    pub async fn delete(
        self: &Arc<Self>,
        context: &SessionContext,
        feature: &str,
        condition: Expr,
        options: &DeleteOptions,
    ) -> Result<u64> {
        self.delete_rows(context, feature, Some(condition), options).await
    }

    /// Removes all rows of a feature for good, those of older feature versions included, and returns how many.
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub async fn drop_rows(
        self: &Arc<Self>,
        context: &SessionContext,
        feature: &str,
        scope: &WriteScope,
    ) -> Result<u64> {
        let options = DeleteOptions {
            mode: DeleteMode::Hard,
            feature_versions: FeatureVersions::All,
            write_key: None,
            scope: scope.clone(),
        };
        self.delete_rows(context, feature, None, &options).await
    }

    async fn delete_rows(
        self: &Arc<Self>,
        context: &SessionContext,
        feature: &str,
        condition: Option<Expr>,
        options: &DeleteOptions,
    ) -> Result<u64> {
        let everything = condition.is_none();
        let definition = self.feature(feature).await?;
        self.check_project(&definition, &options.scope)?;
        let version = match &options.feature_versions {
            FeatureVersions::Current => Some(self.graph().await?.feature_version(definition.key())?),
            FeatureVersions::Exactly(version) => Some(version.clone()),
            FeatureVersions::All => None,
        };
        let (view, version) = match options.mode {
            DeleteMode::Soft => (
                View {
                    feature_version: version,
                    sample_history: false,
                    deleted: false,
                    others: Others::Hidden,
                },
                None,
            ),
            DeleteMode::Hard => (View::HISTORY, version),
        };
        let stored = self.open(definition.key()).await?;
        let table = FeatureTable::new(Arc::clone(self), Arc::clone(&definition), stored, view);
        let name = TableReference::bare(definition.key().table_name());
        let provider: Arc<dyn TableProvider> = Arc::new(table.clone());
        let mut rows = LogicalPlanBuilder::scan(name.clone(), provider_as_source(provider), None)?;
        let version = version.map(|version| col(FEATURE_VERSION).eq(lit(version)));
        for condition in version.into_iter().chain(condition) {
            rows = rows.filter(condition)?;
        }
        let key = DeleteKey::Given(options.write_key.clone());
        let plan = deletion(&table, name, &rows.build()?, &options.scope, key, everything)?;
        let work =
            watched(format!("deleting from {}", definition.key()), DataFrame::new(context.state(), plan))
                .await?;
        let counts: Vec<_> = work.try_collect().await?;
        let count = |values: &datafusion::arrow::array::UInt64Array| values.values().iter().sum::<u64>();
        Ok(counts.iter().map(|batch| count(batch.column(0).as_primitive::<UInt64Type>())).sum())
    }
}
