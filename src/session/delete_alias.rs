//! `DELETE FROM feature AS f WHERE f.…`: DataFusion plans a DELETE without the alias, so its rows are planned as a query.

use std::sync::Arc;

use datafusion::logical_expr::{DmlStatement, LogicalPlan};
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast::{
    Delete, Expr, FromTable, SetExpr, Statement as SqlStatement, TableFactor, TableWithJoins,
};

use super::MetaxySession;
use crate::error::{MetaxyError, Result};

/// Whether the statement gives its table another name.
pub(super) fn has_alias(delete: &Delete) -> bool {
    matches!(
        table(&delete.from),
        Some(TableWithJoins { relation: TableFactor::Table { alias: Some(_), .. }, .. })
    )
}

fn table(from: &FromTable) -> Option<&TableWithJoins> {
    let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = from;
    match &tables[..] {
        [table] => Some(table),
        _ => None,
    }
}

/// The plan of such a DELETE: the one without alias and condition, over the rows that a query with both finds.
///
/// # Errors
/// A statement that DataFusion can't plan, or names for the table's columns.
pub(super) async fn plan(session: &MetaxySession, mut delete: Delete) -> Result<LogicalPlan> {
    let Some(aliased) = table(&delete.from).cloned() else {
        return Err(MetaxyError::Invalid("a DELETE is about one table".into()));
    };
    let query = query(aliased, delete.selection.take())?;
    let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &mut delete.from;
    for table in tables {
        if let TableFactor::Table { alias, .. } = &mut table.relation
            && alias.take().is_some_and(|alias| !alias.columns.is_empty())
        {
            return Err(MetaxyError::Invalid(
                "DELETE can't give other names to the columns of its table".into(),
            ));
        }
    }
    let delete = session.plan_plain(Statement::Statement(Box::new(SqlStatement::Delete(delete)))).await?;
    let LogicalPlan::Dml(delete) = delete else {
        return Err(MetaxyError::Invalid("this DELETE can't be planned".into()));
    };
    let rows = session.plan_plain(query).await?;
    // All columns of the one table: what stands below is the table, its alias and the condition.
    let LogicalPlan::Projection(projection) = rows else {
        return Err(MetaxyError::Invalid("the condition of this DELETE can't be planned".into()));
    };
    let rows = match delete.input.as_ref() {
        limit @ LogicalPlan::Limit(_) => {
            limit.with_new_exprs(limit.expressions(), vec![projection.input.as_ref().clone()])?
        }
        _ => projection.input.as_ref().clone(),
    };
    let DmlStatement { table_name, target, op, .. } = delete;
    Ok(LogicalPlan::Dml(DmlStatement::new(table_name, target, op, Arc::new(rows))))
}

/// All columns of the rows of this table for which the condition holds.
fn query(table: TableWithJoins, condition: Option<Expr>) -> Result<Statement> {
    // A SELECT has more parts than anyone wants to fill in by hand.
    let mut query = DFParser::parse_sql("SELECT * FROM t")?.pop_front();
    if let Some(Statement::Statement(statement)) = &mut query
        && let SqlStatement::Query(query) = statement.as_mut()
        && let SetExpr::Select(select) = query.body.as_mut()
    {
        select.from = vec![table];
        select.selection = condition;
    }
    query.ok_or_else(|| MetaxyError::Invalid("this DELETE can't be planned".into()))
}
