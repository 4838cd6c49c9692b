//! Which PostgreSQL type keeps which Arrow type.

use datafusion::arrow::datatypes::{DataType, TimeUnit};

/// What a column is in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PostgresType {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// With so many digits, so many of them after the point.
    Numeric(u8, i8),
    Text,
    Bytea,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Jsonb,
    Json,
    /// An array of a type that has an Arrow type; SQL's name for the array, and the Arrow type of its elements.
    Array(String, DataType),
    /// Any other type, by SQL's name for it: values are read and written as text.
    Other(String),
}

impl PostgresType {
    /// The type of the catalog's name `name`; `shown` is what SQL calls it, with its parameters, `element` the name of
    /// an array's element type, and `modifier` holds the digits of a decimal number.
    pub(crate) fn of(name: &str, shown: &str, element: Option<&str>, modifier: i32) -> Self {
        match name {
            "bool" => Self::Bool,
            "int2" => Self::Int2,
            "int4" => Self::Int4,
            "int8" => Self::Int8,
            "float4" => Self::Float4,
            "float8" => Self::Float8,
            "text" | "varchar" => Self::Text,
            "bytea" => Self::Bytea,
            "date" => Self::Date,
            "time" => Self::Time,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::TimestampTz,
            "jsonb" => Self::Jsonb,
            "json" => Self::Json,
            "numeric" => match digits(modifier) {
                Some((precision, scale)) => Self::Numeric(precision, scale),
                None => Self::Other(shown.to_owned()),
            },
            _ => match element.map(|element| Self::of(element, element, None, -1)) {
                Some(Self::Other(_) | Self::Json | Self::Jsonb | Self::Bytea) | None => {
                    Self::Other(shown.to_owned())
                }
                Some(element) => Self::Array(shown.to_owned(), element.arrow()),
            },
        }
    }

    /// The Arrow type in which its values are shown, if nothing else is recorded.
    pub(crate) fn arrow(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int2 => DataType::Int16,
            Self::Int4 => DataType::Int32,
            Self::Int8 => DataType::Int64,
            Self::Float4 => DataType::Float32,
            Self::Float8 => DataType::Float64,
            Self::Numeric(precision, scale) => DataType::Decimal128(*precision, *scale),
            Self::Bytea => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TimestampTz => crate::columns::timestamp(),
            Self::Array(_, element) => DataType::new_list(element.clone(), true),
            Self::Text | Self::Jsonb | Self::Json | Self::Other(_) => DataType::Utf8,
        }
    }

    /// Whether values are JSON.
    pub(crate) fn is_json(&self) -> bool {
        matches!(self, Self::Json | Self::Jsonb)
    }
}

/// Digits, and those of them after the point, of a decimal type with this modifier.
fn digits(modifier: i32) -> Option<(u8, i8)> {
    /// What the server adds to tell no modifier from an empty one.
    const HEADER: i32 = 4;
    let digits = modifier.checked_sub(HEADER).filter(|digits| *digits >= 0)?;
    let precision = u8::try_from((digits >> 16) & 0xffff).ok().filter(|precision| *precision <= 38)?;
    // Eleven bits, of which the first is the sign.
    let scale = i8::try_from(((digits & 0x7ff) ^ 1024) - 1024).ok()?;
    Some((precision, scale))
}

/// What SQL calls the type in which a new column keeps values of an Arrow type; `None` if there is none.
///
/// The names are those that Python's store gives to the columns of its tables.
pub(crate) fn sql_type(data_type: &DataType) -> Option<String> {
    Some(match data_type {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 | DataType::Int16 => "smallint".to_owned(),
        DataType::Int32 => "integer".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
        DataType::Decimal128(precision, scale) => format!("numeric({precision}, {scale})"),
        DataType::Utf8 => "text".to_owned(),
        DataType::Binary => "bytea".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Time64(TimeUnit::Microsecond) => "time".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, None) => "timestamp".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => "timestamptz".to_owned(),
        DataType::Struct(_) | DataType::List(_) | DataType::Map(_, _) => "jsonb".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_digits_are_in_the_modifier() {
        assert_eq!(digits((10 << 16 | 2) + 4), Some((10, 2)));
        assert_eq!(digits(-1), None);
        assert_eq!(PostgresType::of("numeric", "numeric", None, -1), PostgresType::Other("numeric".into()));
    }

    #[test]
    fn arrays_are_lists_if_their_elements_are_known() {
        let texts = PostgresType::of("_text", "text[]", Some("text"), -1);
        assert_eq!(texts.arrow(), DataType::new_list(DataType::Utf8, true));
        assert_eq!(PostgresType::of("_uuid", "uuid[]", Some("uuid"), -1).arrow(), DataType::Utf8);
        assert_eq!(PostgresType::of("uuid", "uuid", None, -1).arrow(), DataType::Utf8);
    }
}
