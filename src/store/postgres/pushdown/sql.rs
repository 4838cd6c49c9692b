//! Pieces of SQL: quoting, types, and expressions that know what type they have.

use datafusion::arrow::datatypes::{DataType, TimeUnit};

/// An expression in SQL with the Arrow type of its values. Text is in the collation `C`, which orders by bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Typed {
    pub sql: String,
    pub data_type: DataType,
}

impl Typed {
    pub(super) fn new(sql: impl Into<String>, data_type: DataType) -> Self {
        Self { sql: sql.into(), data_type }
    }

    pub(super) fn text(sql: impl Into<String>) -> Self {
        Self::new(sql, DataType::Utf8)
    }

    pub(super) fn truth(sql: impl Into<String>) -> Self {
        Self::new(sql, DataType::Boolean)
    }

    pub(super) fn family(&self) -> Family {
        Family::of(&self.data_type)
    }
}

/// Types whose values compare with each other, in DataFusion and in PostgreSQL alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Text,
    Integer,
    Float,
    Truth,
    /// A time with a zone.
    Instant,
    /// A time without one.
    Time,
    Day,
    /// A struct or a map, as JSON.
    Json,
    Null,
    Other,
}

impl Family {
    pub(super) fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32 => Self::Integer,
            DataType::Float32 | DataType::Float64 => Self::Float,
            DataType::Boolean => Self::Truth,
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Self::Instant,
            DataType::Timestamp(TimeUnit::Microsecond, None) => Self::Time,
            DataType::Date32 => Self::Day,
            DataType::Struct(_) | DataType::Map(_, _) => Self::Json,
            DataType::Null => Self::Null,
            _ => Self::Other,
        }
    }

    /// The smallest value, or any other: what stands for NULL where NULLs have to meet each other. Only of types
    /// whose values are the same in both worlds if and only if they are equal.
    pub(super) fn placeholder(self) -> Option<&'static str> {
        Some(match self {
            Self::Text => "''",
            Self::Integer => "0",
            Self::Truth => "false",
            Self::Instant => "'epoch'::timestamptz",
            Self::Time => "'epoch'::timestamp",
            Self::Day => "'epoch'::date",
            Self::Float | Self::Json | Self::Null | Self::Other => return None,
        })
    }
}

/// The PostgreSQL type in which values of an Arrow type are handed around, where there is just one.
pub(super) fn type_name(data_type: &DataType) -> Option<&'static str> {
    Some(match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => "smallint",
        DataType::UInt16 | DataType::Int32 => "integer",
        DataType::UInt32 | DataType::Int64 => "bigint",
        DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => "timestamptz",
        DataType::Timestamp(TimeUnit::Microsecond, None) => "timestamp",
        DataType::Date32 => "date",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytea",
        DataType::Struct(_) | DataType::Map(_, _) => "jsonb",
        _ => return None,
    })
}

/// NULL of an Arrow type.
pub(super) fn null(data_type: &DataType) -> String {
    match type_name(data_type) {
        Some("text") => "NULL::text COLLATE \"C\"".to_owned(),
        Some(name) => format!("NULL::{name}"),
        None => "NULL".to_owned(),
    }
}

/// A text as a literal. There is no way to write the character NUL.
pub(super) fn literal(text: &str) -> Result<String, String> {
    if text.contains('\0') {
        return Err("PostgreSQL has no text with the character NUL".to_owned());
    }
    // Without E'' a backslash is a backslash, unless the server is told otherwise.
    let quoted = text.replace('\'', "''");
    Ok(if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_quoted_whatever_is_in_them() {
        assert_eq!(literal("it's 100 % \"x\" $1").unwrap(), "'it''s 100 % \"x\" $1'");
        assert_eq!(literal("a\\'b").unwrap(), "E'a\\\\''b'");
        assert_eq!(literal("日本").unwrap(), "'日本'");
        assert!(literal("a\0b").is_err());
    }
}
