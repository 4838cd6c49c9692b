//! Merging the schema of new rows into the schema of a Delta table.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use deltalake::kernel::StructType;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;

use crate::types::{fit, type_name};

/// Adds the columns, and struct members, of `given` that `table` lacks; `None` when there are none.
///
/// # Errors
/// What contradicts what, when a column has another type in the table.
pub(crate) fn merge(table: &Schema, given: &Schema) -> Result<Option<Schema>, String> {
    let fields = merge_fields(table.fields(), given.fields(), "")?;
    Ok((fields != *table.fields()).then(|| Schema::new(fields)))
}

fn merge_fields(table: &Fields, given: &Fields, path: &str) -> Result<Fields, String> {
    let mut merged: Vec<FieldRef> = table.iter().cloned().collect();
    for field in given {
        let name = format!("{path}{}", field.name());
        match merged.iter_mut().find(|f| f.name() == field.name()) {
            None => merged.push(Arc::new(field.as_ref().clone().with_nullable(true))),
            Some(stored) => {
                if let (DataType::Struct(a), DataType::Struct(b)) = (stored.data_type(), field.data_type()) {
                    let members = merge_fields(a, b, &format!("{name}."))?;
                    if members != *a {
                        *stored = Arc::new(stored.as_ref().clone().with_data_type(DataType::Struct(members)));
                    }
                } else if fit(field.data_type(), stored.data_type()).is_none() {
                    return Err(format!(
                        "column {name:?} is {}, but {} in the table",
                        type_name(field.data_type()),
                        type_name(stored.data_type())
                    ));
                }
            }
        }
    }
    Ok(merged.into())
}

/// The Delta form of an Arrow schema.
///
/// # Errors
/// The column whose type Delta does not know.
pub(crate) fn to_delta(schema: &Schema) -> Result<StructType, String> {
    for field in schema.fields() {
        let alone = Schema::new(vec![Field::clone(field)]);
        let converted: Result<StructType, _> = (&alone).try_into_kernel();
        converted.map_err(|_| {
            format!(
                "column {:?} has the type {}, which Delta Lake can't store",
                field.name(),
                field.data_type()
            )
        })?;
    }
    schema.try_into_kernel().map_err(|error| error.to_string())
}

/// Whether a schema has times without a time zone, for which a table needs reader version 3.
pub(crate) fn has_naive_time(fields: &Fields) -> bool {
    fields.iter().any(|f| match f.data_type() {
        DataType::Timestamp(_, None) => true,
        DataType::Struct(members) => has_naive_time(members),
        DataType::List(item) => has_naive_time(&Fields::from(vec![Arc::clone(item)])),
        DataType::Map(entries, _) => has_naive_time(&Fields::from(vec![Arc::clone(entries)])),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::versions_struct;

    fn schema(fields: &[(&str, DataType)]) -> Schema {
        Schema::new(fields.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect::<Vec<_>>())
    }

    #[test]
    fn columns_and_struct_members_are_added_and_order_does_not_matter() {
        let table = schema(&[("id", DataType::Utf8), ("v", versions_struct(["a"]))]);
        let given = schema(&[("v", versions_struct(["b"])), ("n", DataType::Int64), ("id", DataType::Utf8)]);
        let merged = merge(&table, &given).unwrap().unwrap();
        let expected =
            schema(&[("id", DataType::Utf8), ("v", versions_struct(["a", "b"])), ("n", DataType::Int64)]);
        assert_eq!(merged, expected);
        assert_eq!(merge(&merged, &given).unwrap(), None);
    }

    #[test]
    fn a_contradiction_names_the_column_and_both_types() {
        let error = merge(&schema(&[("n", DataType::Int64)]), &schema(&[("n", DataType::Utf8)])).unwrap_err();
        assert_eq!(error, "column \"n\" is string, but bigint in the table");
    }
}
