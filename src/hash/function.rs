//! The scalar function `metaxy_hash`: one hash of many parts, joined by the separator.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef, StringArray, StringBuilder, new_null_array};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, internal_err, plan_err};
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_HASHING;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, lit,
};

use super::algorithm::HashSettings;
use super::hasher::SEPARATOR;
use super::strings::{StringColumn, check_part, settings_from_literals};
use super::texts::TextsHasher;

const NAME: &str = "metaxy_hash";
/// Rows whose hashes are kept before they are given out.
const AT_ONCE: usize = 64;

/// The versioning hash of the parts, joined with `|` and truncated, as a SQL function.
///
/// ```sql
/// > SELECT metaxy_hash('md5', 8, 'audio', '1', 'example/video.audio', 'h1') AS version;
/// +----------+
/// | version  |
/// +----------+
/// | d2f2e3ef |
/// +----------+
/// ```
///
/// The algorithm (in any letter case) and the length are literals. A part that is NULL makes the hash NULL;
/// parts that aren't strings are refused, since a number has more than one text.
pub fn metaxy_hash() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        Arc::new(ScalarUDF::new_from_impl(MetaxyHash {
            signature: Signature::variadic_any(Volatility::Immutable),
        }))
    });
    Arc::clone(&FUNCTION)
}

/// [`metaxy_hash`] of these parts as an expression.
pub fn hash_expr(settings: HashSettings, parts: impl IntoIterator<Item = Expr>) -> Expr {
    let length = i64::try_from(settings.length).unwrap_or(i64::MAX);
    let mut arguments = vec![lit(settings.algorithm.name()), lit(length)];
    arguments.extend(parts);
    metaxy_hash().call(arguments)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MetaxyHash {
    signature: Signature,
}

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DOC_SECTION_HASHING,
        "The hash that versions samples: of the parts joined with `|`, as text, truncated. Decimal digits \
         for xxhash32, xxhash64, xxh3_64 and wyhash, lower-case hexadecimal ones for md5 and sha256. NULL if \
         any part is NULL.",
        "metaxy_hash(algorithm, length, part[, ..., part_n])",
    )
    .with_sql_example(
        r#"```sql
> SELECT metaxy_hash('md5', 8, 'audio', '1', 'example/video.audio', 'h1') AS version;
+----------+
| version  |
+----------+
| d2f2e3ef |
+----------+
```"#,
    )
    .with_argument("algorithm", "xxhash32, xxhash64, xxh3_64, wyhash, md5 or sha256, as a literal.")
    .with_argument("length", "How many characters to keep, as an integer literal.")
    .with_argument("part", "A string expression; CAST anything else.")
    .build()
});

impl ScalarUDFImpl for MetaxyHash {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        internal_err!("{NAME} has no return type without its literals")
    }

    /// Checks everything that can be checked, so that a wrong call fails when it is planned.
    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let [algorithm, length, _, ..] = args.scalar_arguments else {
            return plan_err!("{NAME} takes an algorithm, a length and at least one part to hash");
        };
        settings_from_literals(NAME, *algorithm, *length)?;
        for (index, field) in args.arg_fields.iter().enumerate().skip(2) {
            check_part(NAME, index + 1, field.data_type())?;
        }
        Ok(Arc::new(Field::new(NAME, DataType::Utf8, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [algorithm, length, parts @ ..] = args.args.as_slice() else {
            return plan_err!("{NAME} takes an algorithm, a length and at least one part to hash");
        };
        let settings = settings_from_literals(NAME, as_scalar(algorithm), as_scalar(length))?;
        let all_scalar = parts.iter().all(|part| as_scalar(part).is_some());
        if parts.iter().filter_map(as_scalar).any(ScalarValue::is_null) {
            return Ok(if all_scalar {
                ColumnarValue::Scalar(ScalarValue::Utf8(None))
            } else {
                ColumnarValue::Array(new_null_array(&DataType::Utf8, args.number_rows))
            });
        }
        if all_scalar {
            let hashes = hash_rows(settings, parts, 1)?;
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&hashes, 0)?));
        }
        Ok(ColumnarValue::Array(hash_rows(settings, parts, args.number_rows)?))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

fn as_scalar(value: &ColumnarValue) -> Option<&ScalarValue> {
    match value {
        ColumnarValue::Scalar(scalar) => Some(scalar),
        ColumnarValue::Array(_) => None,
    }
}

/// What is hashed for each row, in order.
enum Piece<'a> {
    /// Neighbouring constant parts with their separators, joined once for the whole batch.
    Constant(String),
    Column(StringColumn<'a>),
}

fn hash_rows(settings: HashSettings, parts: &[ColumnarValue], rows: usize) -> Result<ArrayRef> {
    let mut nulls = None;
    for part in parts {
        if let ColumnarValue::Array(array) = part {
            // Logical: a dictionary's NULLs may be in its values.
            nulls = NullBuffer::union(nulls.as_ref(), array.logical_nulls().as_ref());
        }
    }
    if rows == 0 || nulls.as_ref().is_some_and(|nulls| nulls.null_count() == rows) {
        return Ok(new_null_array(&DataType::Utf8, rows));
    }
    let pieces = pieces(parts)?;
    let mut texts = TextsHasher::new(settings);
    let is_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
    let length = settings.length.min(settings.algorithm.max_length());
    let mut hashes = StringBuilder::with_capacity(rows, rows * length);
    for start in (0..rows).step_by(AT_ONCE) {
        let rows = start..rows.min(start + AT_ONCE);
        texts.clear();
        for row in rows.clone().filter(|row| !is_null(*row)) {
            texts.begin(0);
            for piece in &pieces {
                match piece {
                    Piece::Constant(text) => texts.write(text.as_bytes()),
                    Piece::Column(strings) => texts.write(strings.value(row).as_bytes()),
                }
            }
            texts.end_after(b"");
        }
        texts.finish();
        let mut next = 0..;
        for row in rows {
            let number = if is_null(row) { None } else { next.next() };
            hashes.append_option(number.and_then(|number| texts.get(number)));
        }
    }
    let hashes: StringArray = hashes.finish();
    Ok(Arc::new(hashes))
}

/// The parts with separators between them; none of the constants may be NULL.
fn pieces(parts: &[ColumnarValue]) -> Result<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut constant = String::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            constant.push_str(SEPARATOR);
        }
        match part {
            ColumnarValue::Scalar(scalar) => match scalar.try_as_str().flatten() {
                Some(text) => constant.push_str(text),
                None => {
                    return plan_err!("{NAME}: argument {} is not a string; CAST it to VARCHAR", index + 3);
                }
            },
            ColumnarValue::Array(array) => {
                if !constant.is_empty() {
                    pieces.push(Piece::Constant(std::mem::take(&mut constant)));
                }
                pieces.push(Piece::Column(StringColumn::try_new(array.as_ref())?));
            }
        }
    }
    if !constant.is_empty() {
        pieces.push(Piece::Constant(constant));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{
        AsArray, DictionaryArray, Int32Array, LargeStringArray, RecordBatch, StringViewArray,
    };
    use datafusion::arrow::datatypes::Int32Type;
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::prelude::SessionContext;

    use super::super::algorithm::HashAlgorithm;
    use super::super::hasher::PartsHasher;
    use super::*;

    fn invoke(parts: Vec<ColumnarValue>, rows: usize) -> ColumnarValue {
        let mut args = vec![
            ColumnarValue::Scalar(ScalarValue::from("md5")),
            ColumnarValue::Scalar(ScalarValue::Int64(Some(8))),
        ];
        args.extend(parts);
        metaxy_hash()
            .invoke_with_args(ScalarFunctionArgs {
                arg_fields: args.iter().map(|a| Arc::new(Field::new("a", a.data_type(), true))).collect(),
                args,
                number_rows: rows,
                return_field: Arc::new(Field::new("r", DataType::Utf8, true)),
                config_options: Arc::default(),
            })
            .unwrap()
    }

    fn hashes(parts: Vec<ColumnarValue>, rows: usize) -> Vec<Option<String>> {
        let result = invoke(parts, rows).into_array(rows).unwrap();
        assert_eq!(result.len(), rows);
        result.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
    }

    /// What the function must give for a row, by the hasher alone.
    fn expected(text: &str) -> Option<String> {
        let mut hasher = PartsHasher::new(HashAlgorithm::Md5);
        hasher.write(text.as_bytes());
        let mut out = String::new();
        hasher.finish(8, &mut out);
        Some(out)
    }

    fn column(array: impl Array + 'static) -> ColumnarValue {
        ColumnarValue::Array(Arc::new(array))
    }

    fn constant(text: &str) -> ColumnarValue {
        ColumnarValue::Scalar(ScalarValue::from(text))
    }

    async fn sql(query: &str) -> Result<String> {
        let context = SessionContext::new();
        context.register_udf(metaxy_hash().as_ref().clone());
        let batches = context.sql(query).await?.collect().await?;
        Ok(pretty_format_batches(&batches)?.to_string())
    }

    #[test]
    fn every_layout_gives_the_same_hashes() {
        let values = vec![Some("a"), None, Some("")];
        let keys = Int32Array::from(vec![Some(2), Some(1), Some(0)]);
        // The NULL is in the values of this dictionary, in the keys of the other.
        let in_values =
            DictionaryArray::new(keys, Arc::new(StringViewArray::from(vec![Some(""), None, Some("a")])));
        let in_keys: DictionaryArray<Int32Type> = values.clone().into_iter().collect();
        let columns = [
            column(StringArray::from(values.clone())),
            column(LargeStringArray::from(values.clone())),
            column(StringViewArray::from(values)),
            column(in_values),
            column(in_keys),
        ];
        for part in columns {
            let data_type = part.data_type();
            let got = hashes(vec![constant("x"), constant("1"), part.clone(), part, constant("y")], 3);
            assert_eq!(got, [expected("x|1|a|a|y"), None, expected("x|1|||y")], "{data_type}");
        }
    }

    #[test]
    fn slices_are_read_from_their_offset() {
        let strings = StringArray::from(vec![Some("a"), Some("b"), None, Some("d")]).slice(1, 3);
        let keyed: DictionaryArray<Int32Type> = vec!["w", "x", "y", "z"].into_iter().collect();
        let got = hashes(vec![column(strings), column(keyed.slice(1, 3))], 3);
        assert_eq!(got, [expected("b|x"), None, expected("d|z")]);
    }

    #[test]
    fn empty_batches_and_all_null_columns() {
        assert!(hashes(vec![column(StringArray::from(Vec::<&str>::new()))], 0).is_empty());
        assert!(
            hashes(
                vec![
                    ColumnarValue::Scalar(ScalarValue::Utf8(None)),
                    column(StringArray::from(vec!["a"]).slice(0, 0))
                ],
                0
            )
            .is_empty()
        );
        let none: DictionaryArray<Int32Type> = vec![None::<&str>; 2].into_iter().collect();
        assert_eq!(hashes(vec![column(none), constant("a")], 2), [None, None]);
        let null = ColumnarValue::Scalar(ScalarValue::Null);
        assert_eq!(hashes(vec![null, column(StringArray::from(vec!["a", "b"]))], 2), [None, None]);
    }

    #[test]
    fn constants_give_a_constant() {
        assert!(matches!(
            invoke(vec![constant("a"), constant("b")], 5),
            ColumnarValue::Scalar(ScalarValue::Utf8(Some(text))) if Some(&text) == expected("a|b").as_ref()
        ));
        let null = ColumnarValue::Scalar(ScalarValue::Utf8View(None));
        assert!(matches!(
            invoke(vec![constant("a"), null], 5),
            ColumnarValue::Scalar(ScalarValue::Utf8(None))
        ));
    }

    #[tokio::test]
    async fn the_documented_example() {
        let table = sql("SELECT metaxy_hash('MD5', 8, 'audio', '1', 'example/video.audio', 'h1') AS version")
            .await
            .unwrap();
        assert_eq!(table, "+----------+\n| version  |\n+----------+\n| d2f2e3ef |\n+----------+");
        assert!(DOCUMENTATION.sql_example.as_ref().unwrap().contains(&table));
    }

    #[tokio::test]
    async fn wrong_calls_fail_when_planned() {
        let cases = [
            ("metaxy_hash('md5', 8)", "takes an algorithm, a length and at least one part"),
            (
                "metaxy_hash('crc32', 8, 'a')",
                "metaxy_hash: argument 1: unknown hash algorithm \"crc32\"; use one of xxhash32",
            ),
            ("metaxy_hash('farmhash', 8, 'a')", "BigQuery only"),
            ("metaxy_hash(a, 8, 'a')", "argument 1 must be the name of a hash algorithm as a string literal"),
            ("metaxy_hash(NULL, 8, 'a')", "argument 1 must be the name"),
            ("metaxy_hash('md5', n, 'a')", "argument 2 must be the length of the hash as an integer literal"),
            ("metaxy_hash('md5', '8', 'a')", "argument 2 must be the length"),
            ("metaxy_hash('md5', 0, 'a')", "at least 1, not 0"),
            (
                "metaxy_hash('md5', 8, a, n)",
                "metaxy_hash: argument 4 is Int64, not a string; CAST it to VARCHAR",
            ),
            ("metaxy_hash('md5', 8, [a])", "argument 3 is List"),
        ];
        let context = SessionContext::new();
        context.register_udf(metaxy_hash().as_ref().clone());
        for (call, message) in cases {
            let query = format!("SELECT {call} FROM (VALUES ('x', 1)) AS t(a, n)");
            let error = context.sql(&query).await.expect_err(call).to_string();
            assert!(error.contains(message), "{call}: {error}");
            assert!(!error.contains('\n'), "{call}: {error}");
        }
    }

    #[tokio::test]
    async fn expressions_over_batches() {
        let context = SessionContext::new();
        let strings: ArrayRef = Arc::new(StringArray::from(vec![Some("h1"), None]));
        let batch = RecordBatch::try_from_iter_with_nullable([("v", strings, true)]).unwrap();
        let settings = HashSettings::new(HashAlgorithm::XxHash64, 64).unwrap();
        let parts = [lit("audio"), lit("1"), lit("example/video.audio"), datafusion::prelude::col("v")];
        let frame = context.read_batch(batch).unwrap();
        let batches = frame.select(vec![hash_expr(settings, parts)]).unwrap().collect().await.unwrap();
        let column = batches[0].column(0).as_string::<i32>();
        assert_eq!(column.value(0), "1174745320986125738");
        assert!(column.is_null(1));
        let nothing = sql("SELECT metaxy_hash('md5', 8, 'a', NULL) IS NULL AS n").await.unwrap();
        assert!(nothing.contains("true"), "{nothing}");
    }
}
