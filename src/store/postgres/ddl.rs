//! The statements that create a feature's table or add to it: run where that is allowed, shown where it isn't.

use datafusion::arrow::datatypes::{DataType, Field, Schema};

use super::members;
use super::names::{check_name, identifier, literal};
use super::relation::{Relation, settings_comment, type_comment};
use super::types::sql_type;
use crate::store::RecordedSettings;

/// Creates the table `table` with these columns, in the schema whose name stands in `schema` with a point behind it.
///
/// # Errors
/// A column that PostgreSQL can't have.
pub(crate) fn create(
    schema: &str,
    table: &str,
    columns: &Schema,
    recorded: Option<&RecordedSettings>,
) -> Result<Vec<String>, String> {
    let definitions = columns.fields().iter().map(|field| definition(field));
    let definitions = definitions.collect::<Result<Vec<_>, _>>()?.join(", ");
    let name = table;
    let table = &format!("{schema}{}", identifier(table));
    let mut statements = vec![format!("CREATE TABLE {table} ({definitions})")];
    if let Some(recorded) = recorded {
        statements.push(format!("COMMENT ON TABLE {table} IS {}", literal(&settings_comment(recorded))));
    }
    for field in columns.fields() {
        statements.extend(type_of(table, field)?);
        statements.extend(members::index(schema, name, field));
    }
    Ok(statements)
}

/// Adds the columns, and the members of structs, that the table doesn't have as `merged` has them.
///
/// # Errors
/// A column that PostgreSQL can't have.
pub(crate) fn extend(relation: &Relation, merged: &Schema) -> Result<Vec<String>, String> {
    let table = relation.qualified();
    let mut statements = Vec::new();
    for field in merged.fields() {
        match relation.column(field.name()) {
            None => {
                statements.push(format!("ALTER TABLE {table} ADD COLUMN {}", definition(field)?));
                statements.extend(type_of(&table, field)?);
            }
            Some(column) if column.recorded && column.data_type != *field.data_type() => {
                statements.extend(type_of(&table, field)?);
                let schema = format!("{}.", identifier(&relation.schema));
                let before = Field::new(&column.name, column.data_type.clone(), true);
                if let Some(before) = members::index_name(&relation.table, &before) {
                    statements.push(format!("DROP INDEX IF EXISTS {schema}{}", identifier(&before)));
                }
                statements.extend(members::index(&schema, &relation.table, field));
            }
            Some(_) => {}
        }
    }
    Ok(statements)
}

/// A table for rows on their way, which goes with the transaction.
///
/// # Errors
/// A column that PostgreSQL can't have.
pub(crate) fn stage(table: &str, columns: &Schema) -> Result<String, String> {
    let definitions = columns.fields().iter().map(|field| definition(field));
    let definitions = definitions.collect::<Result<Vec<_>, _>>()?.join(", ");
    Ok(format!("CREATE TEMPORARY TABLE {table} ({definitions}) ON COMMIT DROP"))
}

fn definition(field: &Field) -> Result<String, String> {
    check_name("column", field.name())?;
    match sql_type(field.data_type()) {
        Some(sql_type) => Ok(format!("{} {sql_type}", identifier(field.name()))),
        None => Err(format!(
            "column {:?} has the type {}, which PostgreSQL can't store; CAST it",
            field.name(),
            field.data_type()
        )),
    }
}

/// Records the type of a column whose values are JSON.
fn type_of(table: &str, field: &Field) -> Result<Option<String>, String> {
    if !matches!(field.data_type(), DataType::Struct(_) | DataType::List(_) | DataType::Map(_, _)) {
        return Ok(None);
    }
    match type_comment(field.data_type()) {
        Some(comment) => Ok(Some(format!(
            "COMMENT ON COLUMN {table}.{} IS {}",
            identifier(field.name()),
            literal(&comment)
        ))),
        None => Err(format!(
            "column {:?}: its type {} can't be recorded; use plainer names in it",
            field.name(),
            field.data_type()
        )),
    }
}
