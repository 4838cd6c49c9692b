//! String columns of any Arrow layout behind one accessor, and the two literal arguments of the SQL
//! functions.

use datafusion::arrow::array::{Array, AsArray, LargeStringArray, StringArray, StringViewArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err, plan_datafusion_err, plan_err};

use super::algorithm::{HashAlgorithm, HashSettings};

/// A column of strings, read by row.
pub(super) enum StringColumn<'a> {
    Utf8(&'a StringArray),
    LargeUtf8(&'a LargeStringArray),
    Utf8View(&'a StringViewArray),
    Dictionary { keys: Vec<usize>, values: Box<StringColumn<'a>> },
}

impl<'a> StringColumn<'a> {
    /// Looks through the layout once, so that reading a row is one match.
    pub(super) fn try_new(array: &'a dyn Array) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Utf8 => Self::Utf8(array.as_string()),
            DataType::LargeUtf8 => Self::LargeUtf8(array.as_string()),
            DataType::Utf8View => Self::Utf8View(array.as_string_view()),
            DataType::Dictionary(_, _) => {
                let dictionary = array.as_any_dictionary();
                let values = dictionary.values();
                // Arrow can't normalise the keys of a dictionary without values; such a column is all NULL.
                let keys = if values.is_empty() { Vec::new() } else { dictionary.normalized_keys() };
                Self::Dictionary { keys, values: Box::new(Self::try_new(values.as_ref())?) }
            }
            other => return exec_err!("a hash needs strings, not {other}; CAST it to VARCHAR"),
        })
    }

    /// The string in a row that is not NULL.
    #[inline]
    pub(super) fn value(&self, row: usize) -> &'a str {
        match self {
            Self::Utf8(array) => array.value(row),
            Self::LargeUtf8(array) => array.value(row),
            Self::Utf8View(array) => array.value(row),
            Self::Dictionary { keys, values } => values.value(keys[row]),
        }
    }
}

/// Refuses an argument that can't be hashed as it is: numbers and times have more than one text.
pub(super) fn check_part(function: &str, position: usize, data_type: &DataType) -> Result<()> {
    let ok = match data_type {
        DataType::Null => true,
        DataType::Dictionary(_, values) => values.is_string(),
        other => other.is_string(),
    };
    if ok {
        return Ok(());
    }
    plan_err!("{function}: argument {position} is {data_type}, not a string; CAST it to VARCHAR")
}

/// The settings from the first two arguments; `None` stands for an argument that isn't a literal.
pub(super) fn settings_from_literals(
    function: &str,
    algorithm: Option<&ScalarValue>,
    length: Option<&ScalarValue>,
) -> Result<HashSettings> {
    let Some(name) = algorithm.and_then(ScalarValue::try_as_str).flatten() else {
        return plan_err!("{function}: argument 1 must be the name of a hash algorithm as a string literal");
    };
    let algorithm: HashAlgorithm =
        name.parse().map_err(|error| plan_datafusion_err!("{function}: argument 1: {error}"))?;
    let number = match length {
        Some(scalar) if scalar.data_type().is_integer() => match scalar.cast_to(&DataType::Int64)? {
            ScalarValue::Int64(number) => number,
            _ => None,
        },
        _ => None,
    };
    let Some(number) = number else {
        return plan_err!("{function}: argument 2 must be the length of the hash as an integer literal");
    };
    let Ok(length) = usize::try_from(number) else {
        return plan_err!("{function}: argument 2: the length of a hash must be at least 1, not {number}");
    };
    HashSettings::new(algorithm, length)
        .map_err(|error| plan_datafusion_err!("{function}: argument 2: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, DictionaryArray, Int32Array};
    use datafusion::arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn reads_every_layout() {
        let keys = Int32Array::from(vec![1, 0]);
        let dictionary = DictionaryArray::new(keys, Arc::new(LargeStringArray::from(vec!["b", "a"])));
        let columns: [ArrayRef; 4] = [
            Arc::new(StringArray::from(vec!["a", "b"])),
            Arc::new(LargeStringArray::from(vec!["a", "b"])),
            Arc::new(StringViewArray::from(vec!["a", "b"])),
            Arc::new(dictionary),
        ];
        for column in &columns {
            let strings = StringColumn::try_new(column.as_ref()).unwrap();
            assert_eq!((strings.value(0), strings.value(1)), ("a", "b"), "{}", column.data_type());
        }
        let all_null: DictionaryArray<Int32Type> = vec![None::<&str>, None].into_iter().collect();
        StringColumn::try_new(&all_null).unwrap();
        assert!(StringColumn::try_new(&Int32Array::from(vec![1])).is_err());
    }

    #[test]
    fn settings_need_literals() {
        let settings = |algorithm: Option<&str>, length: Option<i64>| {
            let algorithm = algorithm.map(ScalarValue::from);
            let length = length.map(|length| ScalarValue::Int64(Some(length)));
            settings_from_literals("f", algorithm.as_ref(), length.as_ref())
        };
        assert_eq!(settings(Some("MD5"), Some(8)).unwrap().algorithm, HashAlgorithm::Md5);
        for (algorithm, length) in [
            (None, Some(8)),
            (Some("crc"), Some(8)),
            (Some("md5"), None),
            (Some("md5"), Some(0)),
            (Some("md5"), Some(-1)),
        ] {
            settings(algorithm, length).unwrap_err();
        }
    }
}
