//! A record as JSON, for places where others can write, too: whatever they write, it is a record or none.

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use serde::{Deserialize, Serialize};

use super::{Moment, Record};

#[derive(Serialize, Deserialize)]
struct Text {
    question: String,
    moments: Vec<Moment>,
    /// The values of each of the key's columns.
    keys: Vec<Vec<Option<String>>>,
}

/// The text of a record, if its keys can be read back from it.
pub(crate) fn to_text(record: &Record) -> Option<String> {
    let keys = record.keys.columns().iter().map(|column| {
        let texts = cast(column, &DataType::Utf8).ok()?;
        let texts: Vec<Option<String>> =
            texts.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect();
        (read(texts.clone(), column.data_type())?.as_ref() == column.as_ref()).then_some(texts)
    });
    let text = Text {
        question: record.question.clone(),
        moments: record.moments.clone(),
        keys: keys.collect::<Option<_>>()?,
    };
    serde_json::to_string(&text).ok()
}

/// The record of this question with keys of these columns, if the text is one.
pub(crate) fn from_text(text: &str, question: &str, keys: &SchemaRef) -> Option<Record> {
    let text: Text = serde_json::from_str(text).ok()?;
    if text.question != question || text.keys.len() != keys.fields().len() {
        return None;
    }
    let columns =
        text.keys.into_iter().zip(keys.fields()).map(|(texts, field)| read(texts, field.data_type()));
    let keys = RecordBatch::try_new(SchemaRef::clone(keys), columns.collect::<Option<_>>()?).ok()?;
    Some(Record { question: text.question, moments: text.moments, keys })
}

/// Values of a type, if all the texts are some.
fn read(texts: Vec<Option<String>>, data_type: &DataType) -> Option<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&StringArray::from(texts), data_type, &options).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{BooleanArray, Int64Array, StringViewArray};
    use datafusion::arrow::datatypes::{Field, Schema};

    use super::*;

    fn record(rows: usize) -> Record {
        let ids: ArrayRef = Arc::new(StringViewArray::from_iter(
            [Some("a"), None, Some("it's \"\\ ä🎬"), Some("")].into_iter().take(rows),
        ));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter(
            [Some(i64::MIN), Some(7), None, Some(i64::MAX)].into_iter().take(rows),
        ));
        let flags: ArrayRef =
            Arc::new(BooleanArray::from_iter([Some(true), None, Some(false), None].into_iter().take(rows)));
        let columns = [("id", ids, true), ("n", numbers, true), ("f", flags, true)];
        Record {
            question: "which?".into(),
            moments: vec![Moment { table: "t".into(), version: 7, commit: "c".into() }],
            keys: RecordBatch::try_from_iter_with_nullable(columns).unwrap(),
        }
    }

    #[test]
    fn a_record_is_read_back() {
        for rows in [0, 1, 4] {
            let record = record(rows);
            let text = to_text(&record).unwrap();
            assert_eq!(from_text(&text, "which?", &record.keys.schema()), Some(record.clone()));
            assert_eq!(from_text(&text, "which", &record.keys.schema()), None);
        }
    }

    #[test]
    fn any_other_text_is_none() {
        let record = record(4);
        let (text, schema) = (to_text(&record).unwrap(), record.keys.schema());
        for at in (0..text.len()).filter(|at| text.is_char_boundary(*at)) {
            assert_eq!(from_text(&text[..at], "which?", &schema), None, "{at}");
        }
        for (from, to) in [
            ("\"a\",null", "null"),
            ("\"7\"", "\"7.5\""),
            ("\"7\"", "\"9223372036854775808\""),
            ("\"7\"", "7"),
            ("\"true\"", "\"maybe\""),
            ("\"moments\":[", "\"moments\":[3,"),
            ("\"version\":7", "\"version\":-7"),
            ("\"keys\":[", "\"keys\":[[],"),
            ("{", "["),
        ] {
            assert!(text.contains(from), "{from}: {text}");
            assert_eq!(from_text(&text.replacen(from, to, 1), "which?", &schema), None, "{from} {to}");
        }
        let other: SchemaRef = Arc::new(Schema::new(vec![Field::new("id", DataType::Utf8View, true)]));
        assert_eq!(from_text(&text, "which?", &other), None);
        assert_eq!(from_text(&"[".repeat(100_000), "which?", &schema), None);
    }
}
