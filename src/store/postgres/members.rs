//! Which fields the versions columns have: JSON doesn't say it of a column as a whole.
//!
//! A table of ours records them. Python's don't, and Python may write rows with other fields into ours, so rows that
//! have any field beyond those recorded are looked for.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use tokio_postgres::GenericClient;

use super::names::{identifier, literal};
use super::relation::{Relation, RelationColumn, is_versions};
use super::types::PostgresType;
use crate::error::Result;

/// Gives the versions columns their struct types.
///
/// # Errors
/// The table can't be read, or holds something else than JSON objects.
pub(crate) async fn complete(relation: &mut Relation, client: &impl GenericClient) -> Result<()> {
    let places: Vec<usize> = (0..relation.columns.len())
        .filter(|&place| {
            let column = &relation.columns[place];
            let holds_json = column.postgres.is_json() || column.postgres == PostgresType::Text;
            is_versions(&column.name) && holds_json && !matches!(column.data_type, DataType::Map(_, _))
        })
        .collect();
    if places.is_empty() {
        return Ok(());
    }
    let table = relation.qualified();
    let queries: Vec<String> =
        places.iter().map(|&place| unknown(&table, &relation.columns[place], place)).collect();
    let failed = |error: tokio_postgres::Error| relation.database.failed(&error);
    // The server can't know that the index of such rows is empty.
    client.batch_execute("SET enable_seqscan = off").await.map_err(failed)?;
    let found = client.query(&queries.join(" UNION ALL "), &[]).await.map_err(failed)?;
    client.batch_execute("RESET enable_seqscan").await.map_err(failed)?;
    for place in places {
        let column = &mut relation.columns[place];
        let mut fields: Vec<FieldRef> = match &column.data_type {
            DataType::Struct(fields) => fields.iter().cloned().collect(),
            _ => Vec::new(),
        };
        let mut more: Vec<String> = found
            .iter()
            .filter(|row| usize::try_from(row.get::<_, i32>(0)).ok() == Some(place))
            .map(|row| row.get(1))
            .collect();
        more.sort_unstable();
        fields.extend(more.iter().map(|name| Arc::new(Field::new(name, DataType::Utf8, true))));
        column.data_type = DataType::Struct(fields.into());
    }
    Ok(())
}

/// A query for the fields of a column that aren't known.
fn unknown(table: &str, column: &RelationColumn, place: usize) -> String {
    let known: Vec<&str> = match &column.data_type {
        DataType::Struct(fields) => fields.iter().map(|field| field.name().as_str()).collect(),
        _ => Vec::new(),
    };
    let others = others(&column.name, &known, column.postgres != PostgresType::Jsonb);
    format!(
        "(SELECT DISTINCT {place}::int4, jsonb_object_keys(o) FROM \
         (SELECT {others} AS o FROM {table}) AS q WHERE o <> '{{}}')"
    )
}

/// What an object of the column has beside the known fields.
fn others(column: &str, known: &[&str], cast: bool) -> String {
    let known: Vec<String> = known.iter().map(|name| literal(name)).collect();
    let value = format!("{}{}", identifier(column), if cast { "::jsonb" } else { "" });
    // Nothing can be taken from what isn't an object.
    format!(
        "CASE jsonb_typeof({value}) WHEN 'object' THEN {value} - ARRAY[{}]::text[] ELSE '{{}}' END",
        known.join(", ")
    )
}

/// The statement that creates an index of the rows which have other fields than those known: as long as only we write,
/// there are none, and to see that takes no look at the rows.
pub(crate) fn index(schema: &str, table: &str, field: &Field) -> Option<String> {
    let name = index_name(table, field)?;
    let DataType::Struct(fields) = field.data_type() else { return None };
    let known: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
    Some(format!(
        "CREATE INDEX IF NOT EXISTS {} ON {schema}{} ((1)) WHERE ({}) <> '{{}}'",
        identifier(&name),
        identifier(table),
        others(field.name(), &known, false)
    ))
}

/// The name of that index, which says for which fields it is; `None` for a column that holds no versions.
pub(crate) fn index_name(table: &str, field: &Field) -> Option<String> {
    if !is_versions(field.name()) {
        return None;
    }
    let what = format!("{table}/{}/{}", field.name(), field.data_type());
    Some(format!("metaxy$fields_{:016x}", xxhash_rust::xxh64::xxh64(what.as_bytes(), 0)))
}
