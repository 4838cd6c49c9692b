//! A DELETE as a plan: the rows that its query gives, and the sink that they go to.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::{Column, TableReference, internal_err};
use datafusion::datasource::{TableType, provider_as_source};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{DmlStatement, Expr, LogicalPlan, LogicalPlanBuilder, TableSource, WriteOp};

use super::hard::HardDelete;
use super::soft::{DeleteKey, SoftDelete};
use crate::columns::ROW_ORDER;
use crate::error::{MetaxyError, Result};
use crate::store::view::View;
use crate::store::{FeatureTable, WriteScope};

/// The plan of `DELETE FROM table` whose rows are those of `input`, a query over nothing but the table and what its
/// conditions ask for: soft for a feature's current rows, hard for its history. `everything` says that all rows are
/// dropped, which leaves no trace of the feature.
///
/// # Errors
/// A feature of another project, or one that has no data in this store.
pub(crate) fn deletion(
    table: &FeatureTable,
    name: TableReference,
    input: &LogicalPlan,
    scope: &WriteScope,
    write_key: DeleteKey,
    everything: bool,
) -> Result<LogicalPlan> {
    check_deletable(table, scope)?;
    if *table.view() == View::HISTORY {
        let table = HardDelete::new(table, everything);
        let source = provider_as_source(Arc::new(table.clone()));
        let rows = LogicalPlanBuilder::from(over(input, &source)?)
            .project([Expr::Column(Column::new_unqualified(ROW_ORDER))])?
            .build()?;
        return Ok(into(Arc::new(table.of_rows(rows.clone())), name, rows));
    }
    let table = SoftDelete::new(table, write_key);
    let rows = over(input, &provider_as_source(Arc::new(table.clone())))?;
    Ok(into(Arc::new(table.of_rows(rows.clone())), name, rows))
}

/// Whether rows that the table shows may be deleted at all.
///
/// # Errors
/// A feature of another project, or one that has no data in this store.
pub(crate) fn check_deletable(table: &FeatureTable, scope: &WriteScope) -> Result<()> {
    let (store, definition) = (table.store(), table.definition());
    store.check_project(definition, scope)?;
    if let Some(fallback) = table.search().and_then(|search| search.fallback()) {
        return Err(MetaxyError::Invalid(format!(
            "feature {}: store {} has no rows of it; those that it shows are from fallback store {fallback}, \
             which is only read: delete them there",
            definition.key(),
            store.name()
        )));
    }
    if table.exists() { Ok(()) } else { Err(table.not_found()) }
}

fn into(target: Arc<dyn TableProvider>, name: TableReference, rows: LogicalPlan) -> LogicalPlan {
    let op = WriteOp::Insert(InsertOp::Append);
    LogicalPlan::Dml(DmlStatement::new(name, provider_as_source(target), op, Arc::new(rows)))
}

/// The same query over another table in the place of the one that is deleted from.
fn over(plan: &LogicalPlan, source: &Arc<dyn TableSource>) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::TableScan(scan) if source.table_type() == TableType::Base => {
            Ok(LogicalPlanBuilder::scan(scan.table_name.clone(), Arc::clone(source), None)?.build()?)
        }
        LogicalPlan::Filter(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::SubqueryAlias(_) => {
            let inputs = plan.inputs().into_iter().map(|input| over(input, source)).collect::<Result<_>>()?;
            Ok(plan.with_new_exprs(plan.expressions(), inputs)?)
        }
        other => Ok(internal_err!("a DELETE can't be made of {}", other.display())?),
    }
}
