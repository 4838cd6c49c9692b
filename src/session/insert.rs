//! `INSERT INTO feature …`: a write whose columns match by name.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::{Column, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{DmlStatement, Expr, LogicalPlan, LogicalPlanBuilder, WriteOp};
use datafusion::sql::sqlparser::ast::{Ident, Insert, ObjectName, TableObject};

use crate::catalog::{FEATURES_SCHEMA, HISTORY_SCHEMA, SYSTEM_SCHEMA};
use crate::error::{MetaxyError, Result};
use crate::model::FeatureDefinition;
use crate::store::Store;

use super::Extension;
use super::views::reference;

/// A feature that a statement writes to.
pub(super) struct Target {
    pub store: Arc<Store>,
    pub definition: Arc<FeatureDefinition>,
    pub name: TableReference,
}

/// The feature that an INSERT names, or `None` when it is another table's business.
pub(super) async fn target(
    extension: &Extension,
    insert: &Insert,
    default_catalog: &str,
    default_schema: &str,
) -> Result<Option<Target>> {
    let TableObject::TableName(name) = &insert.table else { return Ok(None) };
    let Some(name) = reference(name) else { return Ok(None) };
    let resolved = name.clone().resolve(default_catalog, default_schema);
    if !extension.store_names().any(|store| store == resolved.catalog.as_ref()) {
        return Ok(None);
    }
    let store = extension.store(&resolved.catalog)?;
    let schema = resolved.schema.as_ref();
    if schema == SYSTEM_SCHEMA {
        return Err(MetaxyError::Invalid(format!("{name}: system tables can't be written")));
    }
    if schema != FEATURES_SCHEMA && schema != HISTORY_SCHEMA {
        return Ok(None);
    }
    let graph = store.graph().await?;
    match graph.lookup(&resolved.table) {
        Err(_) => Ok(None),
        Ok(definition) if schema == HISTORY_SCHEMA => Err(MetaxyError::Invalid(format!(
            "{name}: history is read-only; write to {}",
            definition.key().table_name()
        ))),
        Ok(definition) => {
            let definition = Arc::clone(definition);
            Ok(Some(Target { store, definition, name }))
        }
    }
}

/// What an INSERT may not say about a feature.
pub(super) fn check(insert: &Insert) -> Result<()> {
    let refused = [
        (insert.overwrite, "OVERWRITE"),
        (insert.replace_into, "REPLACE"),
        (insert.or.is_some(), "OR"),
        (insert.ignore, "IGNORE"),
        (insert.on.is_some(), "ON"),
        (insert.returning.is_some(), "RETURNING"),
        (insert.partitioned.is_some(), "PARTITION"),
        (!insert.assignments.is_empty(), "SET"),
    ];
    match refused.iter().find(|(given, _)| *given) {
        Some((_, word)) => Err(MetaxyError::Invalid(format!(
            "INSERT {word} is not supported for features; rows are appended"
        ))),
        None if insert.source.is_none() => Err(MetaxyError::Invalid("INSERT needs a query or VALUES".into())),
        None => Ok(()),
    }
}

/// The plan that writes the rows of `source` to the target.
pub(super) async fn plan(target: Target, columns: &[ObjectName], source: LogicalPlan) -> Result<LogicalPlan> {
    let source = if columns.is_empty() { source } else { named(columns, source)? };
    let table = target.store.own_table(&target.definition).await?.by_name();
    let provider: Arc<dyn TableProvider> = Arc::new(table);
    Ok(LogicalPlan::Dml(DmlStatement::new(
        target.name,
        provider_as_source(provider),
        WriteOp::Insert(InsertOp::Append),
        Arc::new(source),
    )))
}

/// Gives the columns of `source` the names in an INSERT's column list.
fn named(columns: &[ObjectName], source: LogicalPlan) -> Result<LogicalPlan> {
    let fields = source.schema().fields().len();
    if fields != columns.len() {
        return Err(MetaxyError::Invalid(format!(
            "INSERT names {} columns, but the query gives {fields}",
            columns.len()
        )));
    }
    let exprs: Vec<Expr> = columns
        .iter()
        .zip(source.schema().iter())
        .map(|(name, field)| Expr::Column(Column::from(field)).alias(column_name(name)))
        .collect();
    Ok(LogicalPlanBuilder::from(source).project(exprs)?.build()?)
}

fn column_name(name: &ObjectName) -> String {
    name.0.last().and_then(|part| part.as_ident()).map(normalized).unwrap_or_default()
}

/// Names without quotes are lower case, as everywhere in DataFusion.
fn normalized(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_ascii_lowercase() }
}
