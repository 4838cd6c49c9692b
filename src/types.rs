//! Which Arrow types a store keeps, and when a column fits the column that a table already has.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};

/// The type under which a value is stored: Delta and Parquet know neither views nor dictionaries nor unsigned
/// integers, and times are kept in microseconds, as the Python package does.
pub(crate) fn storable(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Dictionary(_, value) => storable(value),
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(_, Some(_)) => crate::columns::timestamp(),
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) => {
            DataType::List(storable_field(item))
        }
        DataType::FixedSizeList(item, _) => DataType::List(storable_field(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(storable_field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(storable_field(entries), *sorted),
        other => other.clone(),
    }
}

/// Whether a cast has a value for every value, so that it can be made of rows of which it isn't known yet whether they count.
pub(crate) fn cast_never_fails(from: &DataType, to: &DataType) -> bool {
    let width = |integer: &DataType| integer.primitive_width().unwrap_or_default();
    let widens = from.is_integer()
        && to.is_integer()
        && width(from) < width(to)
        && (from.is_unsigned_integer() || to.is_signed_integer());
    // Bytes need not be text, and times can lie beyond those that have one.
    let has_text = from.is_string()
        || from.is_integer()
        || from.is_floating()
        || matches!(from, DataType::Boolean | DataType::Null);
    from == to || widens || (to.is_string() && has_text)
}

fn storable_field(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), storable(field.data_type()), field.is_nullable()))
}

/// Whether two types hold the same values and differ only in how Arrow lays them out.
pub(crate) fn same_values(left: &DataType, right: &DataType) -> bool {
    match (storable(left), storable(right)) {
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|f| find(&b, f.name()).is_some_and(|g| same_values(f.data_type(), g.data_type())))
        }
        (DataType::List(a), DataType::List(b)) => same_values(a.data_type(), b.data_type()),
        (DataType::Map(a, _), DataType::Map(b, _)) => match (a.data_type(), b.data_type()) {
            (DataType::Struct(a), DataType::Struct(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(f, g)| same_values(f.data_type(), g.data_type()))
            }
            _ => false,
        },
        (a, b) => a == b,
    }
}

/// The type in which values of type `given` are written into a table column of type `stored`.
///
/// `None` when the types contradict each other. Integers and floats may be narrower than the column, a column of
/// NULLs fits everywhere, and a struct may have members that the column lacks: the table gets them.
pub(crate) fn fit(given: &DataType, stored: &DataType) -> Option<DataType> {
    use DataType::{Float32, Float64, Int8, Int16, Int32, Int64, Null};
    let given = storable(given);
    let stored = storable(stored);
    match (&given, &stored) {
        (a, b) if a == b => Some(stored),
        (Null, _) => Some(stored),
        (Int8, Int16 | Int32 | Int64) | (Int16, Int32 | Int64) | (Int32, Int64) => Some(stored),
        (Int8 | Int16, Float32 | Float64) | (Float32 | Int32, Float64) => Some(stored),
        (DataType::Struct(a), DataType::Struct(b)) => {
            let fields = a
                .iter()
                .map(|f| match find(b, f.name()) {
                    Some(g) => fit(f.data_type(), g.data_type())
                        .map(|t| Arc::new(Field::new(f.name(), t, true)) as FieldRef),
                    None => Some(Arc::new(Field::new(f.name(), f.data_type().clone(), true)) as FieldRef),
                })
                .collect::<Option<Fields>>()?;
            Some(DataType::Struct(fields))
        }
        (DataType::List(a), DataType::List(b)) => {
            let item = fit(a.data_type(), b.data_type())?;
            Some(DataType::List(Arc::new(Field::new(b.name(), item, b.is_nullable()))))
        }
        (a, b) if same_values(a, b) => Some(stored.clone()),
        _ => None,
    }
}

fn find<'a>(fields: &'a Fields, name: &str) -> Option<&'a FieldRef> {
    fields.iter().find(|f| f.name() == name)
}

/// A short name of a type for messages: `string`, `bigint`, `struct<a, b>`.
pub(crate) fn type_name(data_type: &DataType) -> String {
    match storable(data_type) {
        DataType::Utf8 => "string".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Int16 => "smallint".into(),
        DataType::Int32 => "int".into(),
        DataType::Int64 => "bigint".into(),
        DataType::Float32 => "float".into(),
        DataType::Float64 => "double".into(),
        DataType::Timestamp(_, None) => "timestamp without time zone".into(),
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone".into(),
        DataType::Struct(fields) => {
            format!("struct<{}>", fields.iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", "))
        }
        DataType::List(item) => format!("list<{}>", type_name(item.data_type())),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrower_numbers_and_nulls_fit_but_strings_do_not() {
        assert_eq!(fit(&DataType::Int32, &DataType::Int64), Some(DataType::Int64));
        assert_eq!(fit(&DataType::UInt32, &DataType::Int64), Some(DataType::Int64));
        assert_eq!(fit(&DataType::Null, &DataType::Utf8), Some(DataType::Utf8));
        assert_eq!(fit(&DataType::Int64, &DataType::Int32), None);
        assert_eq!(fit(&DataType::Utf8View, &DataType::Utf8), Some(DataType::Utf8));
        assert_eq!(fit(&DataType::Utf8, &DataType::Int64), None);
    }

    #[test]
    fn a_struct_may_bring_new_members() {
        let of = |names: &[&str]| crate::columns::versions_struct(names.iter().copied());
        assert_eq!(fit(&of(&["a", "b"]), &of(&["b"])), Some(of(&["a", "b"])));
        assert!(same_values(&of(&["a", "b"]), &of(&["b", "a"])));
        assert!(!same_values(&of(&["a"]), &of(&["a", "b"])));
    }
}
