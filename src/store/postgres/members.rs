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
    let found = client.query(&queries.join(" UNION ALL "), &[]).await;
    let found = found.map_err(|error| relation.database.failed(&error))?;
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
    let known = match &column.data_type {
        DataType::Struct(fields) => fields.iter().map(|field| literal(field.name())).collect(),
        _ => Vec::new(),
    };
    let value = format!("{}::jsonb", identifier(&column.name));
    let others = format!("({value} - ARRAY[{}]::text[])", known.join(", "));
    // No other order of evaluation: nothing can be taken from what isn't an object.
    let others = format!("CASE jsonb_typeof({value}) WHEN 'object' THEN {others} ELSE '{{}}' END");
    format!(
        "(SELECT DISTINCT {place}::int4, jsonb_object_keys(o) FROM \
         (SELECT {others} AS o FROM {table}) AS q WHERE o <> '{{}}')"
    )
}
