//! The ordered aggregate `metaxy_hash_agg`: one hash of a group's values, joined by the separator.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::arrow::row::SortField;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, DocSection, Documentation, Expr, Signature, Volatility,
};
use datafusion::physical_expr::expressions::Literal;

use super::accumulator::{ArrivalAccumulator, NO_ORDER, OrderedAccumulator};
use super::strings::{check_part, settings_from_literals};

const NAME: &str = "metaxy_hash_agg";

/// The versioning hash of a group's values in order, joined with `|` and truncated, as a SQL aggregate.
///
/// ```sql
/// > SELECT video, metaxy_hash_agg('md5', 8, version ORDER BY frame NULLS FIRST) AS versions
///   FROM (VALUES ('v', 2, 'b'), ('v', 1, 'a'), ('w', 1, NULL)) AS t(video, frame, version)
///   GROUP BY video ORDER BY video;
/// +-------+----------+
/// | video | versions |
/// +-------+----------+
/// | v     | d0726241 |
/// | w     | d41d8cd9 |
/// +-------+----------+
/// ```
///
/// NULL values are skipped; a group without any other value has the hash of the empty string. Values with
/// equal order keys come in their own order. As a window function the order is the window's, over all its
/// rows:
///
/// ```sql
/// metaxy_hash_agg('md5', 8, version) OVER (
///   PARTITION BY video ORDER BY frame NULLS FIRST
///   ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
/// ```
pub fn metaxy_hash_agg() -> Arc<AggregateUDF> {
    static FUNCTION: LazyLock<Arc<AggregateUDF>> = LazyLock::new(|| {
        Arc::new(AggregateUDF::new_from_impl(MetaxyHashAgg {
            signature: Signature::any(3, Volatility::Immutable),
        }))
    });
    Arc::clone(&FUNCTION)
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct MetaxyHashAgg {
    signature: Signature,
}

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    let section = DocSection { include: true, label: "Hashing Functions", description: None };
    Documentation::builder(
        section,
        "The hash that versions a group of samples: of the group's values in the given order, joined with \
         `|`, as text, truncated. NULL values are skipped; without any other value it is the hash of the \
         empty string.",
        "metaxy_hash_agg(algorithm, length, value ORDER BY expression)",
    )
    .with_sql_example(
        r#"```sql
> SELECT video, metaxy_hash_agg('md5', 8, version ORDER BY frame NULLS FIRST) AS versions
  FROM (VALUES ('v', 2, 'b'), ('v', 1, 'a'), ('w', 1, NULL)) AS t(video, frame, version)
  GROUP BY video ORDER BY video;
+-------+----------+
| video | versions |
+-------+----------+
| v     | d0726241 |
| w     | d41d8cd9 |
+-------+----------+
```"#,
    )
    .with_argument("algorithm", "xxhash32, xxhash64, xxh3_64, wyhash, md5 or sha256, as a literal.")
    .with_argument("length", "How many characters to keep, as an integer literal.")
    .with_argument("value", "A string expression; CAST anything else.")
    .with_related_udf("metaxy_hash")
    .build()
});

impl AggregateUDFImpl for MetaxyHashAgg {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let [_, _, value] = arg_types else {
            return plan_err!("{NAME} takes an algorithm, a length and a value");
        };
        check_part(NAME, 3, value)?;
        Ok(DataType::Utf8)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return plan_err!("{NAME} doesn't support DISTINCT; aggregate over a SELECT DISTINCT");
        }
        let literal = |index: usize| {
            let expr = args.exprs.get(index)?;
            Some(expr.downcast_ref::<Literal>()?.value())
        };
        let settings = settings_from_literals(NAME, literal(0), literal(1))?;
        if args.order_bys.is_empty() {
            return Ok(Box::new(ArrivalAccumulator::new(settings)));
        }
        let order = args.order_bys.iter().map(|sort| {
            let data_type = sort.expr.data_type(args.schema)?;
            Ok(SortField::new_with_options(data_type, sort.options))
        });
        Ok(Box::new(OrderedAccumulator::try_new(settings, order.collect::<Result<_>>()?)?))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let [values, keys] = OrderedAccumulator::state_types();
        let list = |suffix, item| {
            let name = format_state_name(args.name, suffix);
            Arc::new(Field::new_list(name, Field::new_list_field(item, true), true))
        };
        Ok(vec![list("values", values), list("keys", keys)])
    }

    /// The accumulator sorts by itself, so no more than a benefit from sorted input.
    ///
    /// With a hard requirement, two calls with different orders would not be possible in one query, and the
    /// whole input would be sorted before groups are formed that are small.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Beneficial
    }

    fn with_beneficial_ordering(
        self: Arc<Self>,
        _beneficial_ordering: bool,
    ) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self))
    }

    /// Changes nothing; it is the first place that sees the literals and the order, before anything runs.
    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        Some(Box::new(|call, _| {
            check_call(&call)?;
            Ok(Expr::AggregateFunction(call))
        }))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

/// Refuses an aggregate call (not a window, whose order stands elsewhere) that could not give one sure
/// result.
fn check_call(call: &AggregateFunction) -> Result<()> {
    let literal = |index: usize| -> Option<&ScalarValue> {
        match call.params.args.get(index)? {
            Expr::Literal(value, _) => Some(value),
            _ => None,
        }
    };
    settings_from_literals(NAME, literal(0), literal(1))?;
    if call.params.distinct {
        return plan_err!("{NAME} doesn't support DISTINCT; aggregate over a SELECT DISTINCT");
    }
    if call.params.order_by.is_empty() {
        return plan_err!("{NO_ORDER}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{
        ArrayRef, AsArray, DictionaryArray, Int64Array, RecordBatch, StringArray, StringViewArray,
    };
    use datafusion::arrow::datatypes::Int32Type;
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::datasource::MemTable;
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::super::algorithm::HashAlgorithm;
    use super::super::hasher::PartsHasher;
    use super::*;

    fn md5(text: &str) -> Option<String> {
        let mut hasher = PartsHasher::new(HashAlgorithm::Md5);
        hasher.write(text.as_bytes());
        let mut out = String::new();
        hasher.finish(8, &mut out);
        Some(out)
    }

    type Row = (Option<&'static str>, Option<i64>, Option<&'static str>);

    /// Table `t` with a group `g`, an order key `k` and values `v` (also as `view` and `dict`), in these
    /// partitions.
    fn context(partitions: &[&[Row]], target_partitions: usize) -> SessionContext {
        let batches: Vec<Vec<RecordBatch>> = partitions
            .iter()
            .map(|rows| {
                let g: StringArray = rows.iter().map(|row| row.0).collect();
                let k: Int64Array = rows.iter().map(|row| row.1).collect();
                let v: StringArray = rows.iter().map(|row| row.2).collect();
                let view: StringViewArray = rows.iter().map(|row| row.2).collect();
                let dict: DictionaryArray<Int32Type> = rows.iter().map(|row| row.2).collect();
                let columns: [(&str, ArrayRef, bool); 5] = [
                    ("g", Arc::new(g), true),
                    ("k", Arc::new(k), true),
                    ("v", Arc::new(v), true),
                    ("view", Arc::new(view), true),
                    ("dict", Arc::new(dict), true),
                ];
                vec![RecordBatch::try_from_iter_with_nullable(columns).unwrap()]
            })
            .collect();
        let config = SessionConfig::new().with_target_partitions(target_partitions).with_batch_size(3);
        let context = SessionContext::new_with_config(config);
        context.register_udaf(metaxy_hash_agg().as_ref().clone());
        let table = MemTable::try_new(batches[0][0].schema(), batches).unwrap();
        context.register_table("t", Arc::new(table)).unwrap();
        context
    }

    const PARTITIONS: [&[Row]; 3] = [
        &[(Some("a"), Some(3), Some("a3")), (Some("b"), Some(1), None), (Some("a"), Some(1), Some("a1"))],
        &[(Some("a"), None, Some("an")), (None, Some(2), Some("n2")), (Some("a"), Some(2), None)],
        &[(Some("a"), Some(4), Some("a4")), (None, Some(1), Some("n1")), (Some("b"), Some(2), None)],
    ];

    async fn text(context: &SessionContext, query: &str) -> Result<Vec<Option<String>>> {
        let batches = context.sql(query).await?.collect().await?;
        Ok(batches
            .iter()
            .flat_map(|batch| {
                let column = batch.column(0).as_string::<i32>();
                column.iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
            })
            .collect())
    }

    #[tokio::test]
    async fn groups_in_order_whatever_the_partitions() {
        for target_partitions in [1, 4] {
            let context = context(&PARTITIONS, target_partitions);
            for column in ["v", "view", "dict"] {
                let query = format!(
                    "SELECT metaxy_hash_agg('md5', 8, {column} ORDER BY k NULLS FIRST)
                     FROM t GROUP BY g ORDER BY g"
                );
                let got = text(&context, &query).await.unwrap();
                assert_eq!(got, [md5("an|a1|a3|a4"), md5(""), md5("n1|n2")], "{column}, {target_partitions}");
            }
            let orders = [
                ("k NULLS LAST", "a1|a3|a4|an"),
                ("k DESC NULLS FIRST", "an|a4|a3|a1"),
                ("k DESC NULLS LAST", "a4|a3|a1|an"),
                ("v", "a1|a3|a4|an"),
                ("g, dict DESC", "an|a4|a3|a1"),
                ("g", "a1|a3|a4|an"),
            ];
            for (order, expected) in orders {
                let query =
                    format!("SELECT metaxy_hash_agg('md5', 8, v ORDER BY {order}) FROM t WHERE g = 'a'");
                assert_eq!(
                    text(&context, &query).await.unwrap(),
                    [md5(expected)],
                    "{order}, {target_partitions}"
                );
            }
        }
    }

    #[tokio::test]
    async fn two_orders_and_a_filter_in_one_query() {
        let context = context(&PARTITIONS, 4);
        let query =
            "SELECT concat(metaxy_hash_agg('md5', 8, v ORDER BY k NULLS FIRST) FILTER (WHERE k > 1), ' ',
                metaxy_hash_agg('MD5', 8, v ORDER BY k DESC NULLS LAST))
            FROM t WHERE g = 'a' GROUP BY g";
        let expected = format!("{} {}", md5("a3|a4").unwrap(), md5("a4|a3|a1|an").unwrap());
        assert_eq!(text(&context, query).await.unwrap(), [Some(expected)]);
    }

    #[tokio::test]
    async fn an_empty_input_hashes_as_the_empty_string() {
        let context = context(&PARTITIONS, 4);
        for query in [
            "SELECT metaxy_hash_agg('md5', 8, v ORDER BY k) FROM t WHERE g = 'none'",
            "SELECT metaxy_hash_agg('md5', 8, NULL ORDER BY k) FROM t",
        ] {
            assert_eq!(text(&context, query).await.unwrap(), [md5("")], "{query}");
        }
    }

    #[tokio::test]
    async fn a_window_gives_every_row_the_hash_of_its_group() {
        for target_partitions in [1, 4] {
            let context = context(&PARTITIONS, target_partitions);
            for (order, a) in [("k NULLS FIRST", "an|a1|a3|a4"), ("k DESC NULLS LAST", "a4|a3|a1|an")] {
                for column in ["v", "view", "dict"] {
                    let query = format!(
                        "SELECT h FROM (SELECT g, metaxy_hash_agg('md5', 8, {column}) OVER (
                            PARTITION BY g ORDER BY {order}
                            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS h
                         FROM t WHERE g IS NOT NULL) ORDER BY g"
                    );
                    let mut expected = vec![md5(a); 5];
                    expected.extend([md5(""), md5("")]);
                    let got = text(&context, &query).await.unwrap();
                    assert_eq!(got, expected, "{order}, {column}, {target_partitions}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_running_window_grows_row_by_row() {
        let context = context(&PARTITIONS, 1);
        let query = "SELECT metaxy_hash_agg('md5', 8, v) OVER (PARTITION BY g ORDER BY k NULLS FIRST
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS h
            FROM t WHERE g = 'a' ORDER BY k NULLS FIRST";
        let expected = ["an", "an|a1", "an|a1", "an|a1|a3", "an|a1|a3|a4"].map(md5);
        assert_eq!(text(&context, query).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn many_groups_over_many_batches() {
        let rows: Vec<Row> =
            (0..500).map(|i| (Some(["x", "y", "z"][i % 3]), Some((i as i64 * 7) % 500), Some("v"))).collect();
        let parts: Vec<&[Row]> = rows.chunks(61).collect();
        let counts = [167, 167, 166].map(|n| md5(&vec!["v"; n].join("|")));
        let query = "SELECT metaxy_hash_agg('md5', 8, v ORDER BY k) FROM t GROUP BY g ORDER BY g";
        assert_eq!(text(&context(&parts, 4), query).await.unwrap(), counts);
    }

    #[tokio::test]
    async fn wrong_calls_fail_before_they_run() {
        let context = context(&PARTITIONS, 4);
        let cases = [
            ("metaxy_hash_agg('md5', 8, v)", NO_ORDER),
            ("metaxy_hash_agg('crc32', 8, v ORDER BY k)", "argument 1: unknown hash algorithm \"crc32\""),
            ("metaxy_hash_agg(v, 8, v ORDER BY k)", "argument 1 must be the name of a hash algorithm"),
            ("metaxy_hash_agg('md5', k, v ORDER BY k)", "argument 2 must be the length"),
            ("metaxy_hash_agg('md5', 0, v ORDER BY k)", "at least 1"),
            (
                "metaxy_hash_agg('md5', 8, k ORDER BY k)",
                "argument 3 is Int64, not a string; CAST it to VARCHAR",
            ),
            ("metaxy_hash_agg(DISTINCT 'md5', 8, v ORDER BY v)", "DISTINCT"),
            ("metaxy_hash_agg('md5', 8)", "expected 3 arguments"),
        ];
        for (call, message) in cases {
            let planned = match context.sql(&format!("SELECT {call} FROM t GROUP BY g")).await {
                Ok(frame) => frame.create_physical_plan().await.map(|_| ()),
                Err(error) => Err(error),
            };
            let error = planned.expect_err(call).to_string();
            assert!(error.contains(message), "{call}: {error}");
        }
    }

    #[tokio::test]
    async fn the_documented_example() {
        let context = SessionContext::new();
        context.register_udaf(metaxy_hash_agg().as_ref().clone());
        let example = DOCUMENTATION.sql_example.as_ref().unwrap();
        let (query, table) =
            example.trim_matches('`').trim_start_matches("sql\n> ").split_once(";\n").unwrap();
        let batches = context.sql(query).await.unwrap().collect().await.unwrap();
        assert_eq!(pretty_format_batches(&batches).unwrap().to_string(), table.trim());
    }
}
