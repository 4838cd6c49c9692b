//! Which features a statement writes to, and whether it may: that is asked before anything else about it.

use datafusion::config::ConfigOptions;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Delete, FromTable, ObjectName, Statement as SqlStatement, TableFactor, TableObject,
};

use super::Extension;
use super::views::reference;
use crate::catalog::{FEATURES_SCHEMA, HISTORY_SCHEMA};
use crate::error::Result;
use crate::store::WriteOptions;

/// Refuses a statement that writes to a feature of another project.
pub(super) async fn check_projects(
    extension: &Extension,
    statement: &Statement,
    options: &ConfigOptions,
) -> Result<()> {
    for name in written(statement) {
        let Some(name) = reference(name) else { continue };
        let catalog = &options.catalog;
        let name = name.resolve(&catalog.default_catalog, &catalog.default_schema);
        let is_feature = [FEATURES_SCHEMA, HISTORY_SCHEMA].contains(&name.schema.as_ref());
        if !is_feature || !extension.store_names().any(|store| store == name.catalog.as_ref()) {
            continue;
        }
        let store = extension.store(&name.catalog)?;
        if let Ok(definition) = store.graph().await?.lookup(&name.table) {
            store.check_project(definition, &WriteOptions::from_session(options)?.scope)?;
        }
    }
    Ok(())
}

/// The tables that a statement inserts into or deletes from.
fn written(statement: &Statement) -> Vec<&ObjectName> {
    let statement = match statement {
        Statement::Statement(statement) => statement.as_ref(),
        Statement::Explain(explain) => return written(&explain.statement),
        _ => return Vec::new(),
    };
    match statement {
        SqlStatement::Insert(insert) => match &insert.table {
            TableObject::TableName(name) => vec![name],
            _ => Vec::new(),
        },
        SqlStatement::Delete(Delete { from, .. }) => {
            let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = from;
            let names = tables.iter().filter_map(|table| match &table.relation {
                TableFactor::Table { name, .. } => Some(name),
                _ => None,
            });
            names.collect()
        }
        SqlStatement::Truncate(truncate) => truncate.table_names.iter().map(|table| &table.name).collect(),
        _ => Vec::new(),
    }
}
