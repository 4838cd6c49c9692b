//! Turns `DELETE FROM feature` into a plan of our own, before anything of its condition is optimised away.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{DmlStatement, LogicalPlan, LogicalPlanBuilder, WriteOp};
use datafusion::optimizer::AnalyzerRule;

use crate::error::MetaxyError;
use crate::store::{DeleteKey, FeatureTable, WriteOptions, deletion};

/// DELETE and TRUNCATE of features: softly what the feature shows, for good what its history shows.
#[derive(Debug, Default)]
pub(super) struct DeleteRows;

impl AnalyzerRule for DeleteRows {
    fn name(&self) -> &str {
        "metaxy_delete_rows"
    }

    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        let rewritten = plan.transform_up(|node| {
            if let LogicalPlan::Dml(DmlStatement { op, target, table_name, input, .. }) = &node
                && matches!(op, WriteOp::Delete | WriteOp::Truncate)
                && let Ok(provider) = source_as_provider(target)
                && let Some(table) = provider.downcast_ref::<FeatureTable>()
            {
                if matches!(op, WriteOp::Truncate) && table.is_appended_to() {
                    let name = table.definition().key();
                    let reason = format!(
                        "TRUNCATE of feature {name} would remove rows for good: write TRUNCATE TABLE history.{} if \
                         that is meant, DELETE FROM {} for a soft delete",
                        name.table_name(),
                        name.table_name()
                    );
                    return Err(MetaxyError::Invalid(reason).into());
                }
                let options = WriteOptions::from_session(config)?;
                // TRUNCATE comes without rows.
                let all = match op {
                    WriteOp::Truncate => {
                        LogicalPlanBuilder::scan(table_name.clone(), Arc::clone(target), None)?.build()?
                    }
                    _ => input.as_ref().clone(),
                };
                let (key, everything) = (DeleteKey::OfSession, matches!(op, WriteOp::Truncate));
                let plan = deletion(table, table_name.clone(), &all, &options.scope, key, everything)?;
                return Ok(Transformed::yes(plan));
            }
            Ok(Transformed::no(node))
        })?;
        Ok(rewritten.data)
    }
}
