//! Refuses INSERTs into features that DataFusion has planned by position.

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{DmlStatement, Expr, LogicalPlan, WriteOp};
use datafusion::optimizer::AnalyzerRule;

use crate::error::MetaxyError;
use crate::store::FeatureTable;

/// In a session that does not use our statement layer, DataFusion matches an INSERT's columns by position and casts
/// them: strings would end up in the wrong columns. Such an INSERT needs a column list, or the names of the table's
/// columns in their order.
#[derive(Debug, Default)]
pub(super) struct InsertByName;

impl AnalyzerRule for InsertByName {
    fn name(&self) -> &str {
        "metaxy_insert_by_name"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up(|node| {
            if let LogicalPlan::Dml(DmlStatement { op: WriteOp::Insert(_), target, input, .. }) = &node
                && let Ok(provider) = source_as_provider(target)
                && let Some(table) = provider.downcast_ref::<FeatureTable>()
                && !table.is_by_name()
            {
                check(table, input)?;
            }
            Ok(Transformed::no(node))
        })
        .map(|transformed| transformed.data)
    }
}

fn check(table: &FeatureTable, input: &LogicalPlan) -> Result<()> {
    let LogicalPlan::Projection(projection) = input else {
        return Ok(());
    };
    // A column that the list leaves out is filled with a constant; then there was a list.
    if projection.expr.iter().any(|expr| source_name(expr).is_none()) {
        return Ok(());
    }
    for expr in &projection.expr {
        let (_, target) = expr.qualified_name();
        if source_name(expr).is_some_and(|source| source != target) {
            return Err(MetaxyError::Invalid(format!(
                "INSERT INTO feature {}: column {target:?} would get the values of {:?}; give a column list, or \
                 name the query's columns like the table's",
                table.definition().key(),
                source_name(expr).unwrap_or_default()
            ))
            .into());
        }
    }
    Ok(())
}

fn source_name(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Alias(alias) => source_name(&alias.expr),
        Expr::Cast(cast) => source_name(&cast.expr),
        Expr::TryCast(cast) => source_name(&cast.expr),
        Expr::Column(column) => Some(&column.name),
        _ => None,
    }
}
