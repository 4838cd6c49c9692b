//! `DELETE FROM feature` before anything was written to it: there is nothing to delete, which is no error.

use std::sync::Arc;

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{EmptyRelation, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::sql::sqlparser::ast::{Delete, FromTable, TableFactor};

use super::MetaxySession;
use super::views::reference;
use crate::catalog::FEATURES_SCHEMA;
use crate::error::Result;

/// The plan of a soft delete from a known feature that has no table: no rows. `None` if there is a table, or if a
/// fallback store has rows.
///
/// Its condition is not looked at: what columns there will be, nobody knows yet.
///
/// # Errors
/// A store that can't be read.
pub(super) async fn plan(session: &MetaxySession, delete: &Delete) -> Result<Option<LogicalPlan>> {
    let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
    let [table] = tables.as_slice() else { return Ok(None) };
    let TableFactor::Table { name, .. } = &table.relation else { return Ok(None) };
    let Some(name) = reference(name) else { return Ok(None) };
    let config = session.context().copied_config();
    let catalog = &config.options().catalog;
    let name = name.resolve(&catalog.default_catalog, &catalog.default_schema);
    let extension = session.extension();
    if *name.schema != *FEATURES_SCHEMA || !extension.store_names().any(|store| *store == *name.catalog) {
        return Ok(None);
    }
    let store = extension.store(&name.catalog)?;
    let Ok(definition) = store.graph().await?.lookup(&name.table).cloned() else { return Ok(None) };
    let table = store.current_table(&definition).await?;
    if table.exists() || table.search().is_some_and(|search| search.fallback().is_some()) {
        return Ok(None);
    }
    let nothing = EmptyRelation { produce_one_row: true, schema: Arc::new(DFSchema::empty()) };
    let count = lit(ScalarValue::UInt64(Some(0))).alias("count");
    Ok(Some(LogicalPlanBuilder::from(LogicalPlan::EmptyRelation(nothing)).project([count])?.build()?))
}
