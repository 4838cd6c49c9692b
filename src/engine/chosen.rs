//! The rows of chosen keys.

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::functions_aggregate::min_max::{MaxAccumulator, MinAccumulator};
use datafusion::logical_expr::{Accumulator, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, lit};

use crate::operators::among;
use crate::types::cast_never_fails;
use crate::update::plain;

/// The rows of `plan` with one of these keys. The range of each column lets the scans pass over files and parts of them.
pub(super) fn of_keys(plan: LogicalPlan, columns: &[String], keys: &[ArrayRef]) -> Result<LogicalPlan> {
    let mut condition = among(columns.iter().map(plain).collect(), keys)?;
    for (name, keys) in columns.iter().zip(keys) {
        let to = plan.schema().field_with_unqualified_name(name)?.data_type();
        // Between says no to NULL.
        if keys.null_count() > 0 || keys.is_empty() || !(to.is_integer() || to.is_string()) {
            continue;
        }
        if let Some((low, high)) = range(keys)? {
            condition = within(plain(name), low.cast_to(to)?, high.cast_to(to)?).and(condition);
        }
    }
    LogicalPlanBuilder::from(plan).filter(condition)?.build()
}

/// Whether rows can be chosen by these columns before it is known which of them count: no cast of a column fails for any
/// row.
pub(super) fn can_be_chosen(plan: &LogicalPlan, columns: &[String]) -> bool {
    columns.iter().all(|column| is_had_by_every_row(plan, column))
}

fn is_had_by_every_row(plan: &LogicalPlan, name: &str) -> bool {
    let is_named = |schema: &DFSchema| schema.fields().iter().position(|field| field.name() == name);
    match plan {
        LogicalPlan::Projection(projection) => {
            let Some(expr) = is_named(&projection.schema).and_then(|index| projection.expr.get(index)) else {
                return false;
            };
            never_fails(expr, projection.input.schema())
                && expr
                    .column_refs()
                    .iter()
                    .all(|column| is_had_by_every_row(&projection.input, &column.name))
        }
        _ => {
            let mut inputs = plan.inputs().into_iter().filter(|input| is_named(input.schema()).is_some());
            inputs.all(|input| is_had_by_every_row(input, name))
        }
    }
}

fn never_fails(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::Alias(alias) => never_fails(&alias.expr, schema),
        Expr::Cast(cast) => {
            let from = cast.expr.get_type(schema);
            never_fails(&cast.expr, schema)
                && from.is_ok_and(|from| cast_never_fails(&from, cast.field.data_type()))
        }
        _ => true,
    }
}

fn within(column: Expr, low: ScalarValue, high: ScalarValue) -> Expr {
    column.clone().gt_eq(lit(low)).and(column.lt_eq(lit(high)))
}

/// The least and the greatest of the values.
fn range(values: &ArrayRef) -> Result<Option<(ScalarValue, ScalarValue)>> {
    let batch = std::slice::from_ref(values);
    let (mut least, mut greatest) =
        (MinAccumulator::try_new(values.data_type())?, MaxAccumulator::try_new(values.data_type())?);
    least.update_batch(batch)?;
    greatest.update_batch(batch)?;
    let (least, greatest) = (least.evaluate()?, greatest.evaluate()?);
    Ok((!least.is_null() && !greatest.is_null()).then_some((least, greatest)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Int64Array, StringArray};
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::datasource::{empty::EmptyTable, provider_as_source};

    use super::*;

    fn condition(data_type: DataType, keys: ArrayRef) -> String {
        let schema = Schema::new(vec![Field::new("Id", data_type, true)]);
        let table = provider_as_source(Arc::new(EmptyTable::new(Arc::new(schema))));
        let plan = LogicalPlanBuilder::scan("t", table, None).unwrap().build().unwrap();
        let plan = of_keys(plan, &["Id".to_owned()], &[keys]).unwrap();
        plan.display().to_string()
    }

    #[test]
    fn keys_have_a_range() {
        let texts = condition(DataType::Utf8View, Arc::new(StringArray::from(vec!["b", "a", "c"])));
        assert!(texts.contains(r#">= Utf8View("a")"#) && texts.contains(r#"<= Utf8View("c")"#), "{texts}");
        let numbers = condition(DataType::Int64, Arc::new(Int64Array::from(vec![7, -2])));
        assert!(numbers.contains(">= Int64(-2)") && numbers.contains("<= Int64(7)"), "{numbers}");
    }

    #[test]
    fn null_is_in_no_range() {
        let texts = condition(DataType::Utf8, Arc::new(StringArray::from(vec![Some("b"), None])));
        assert!(!texts.contains("<="), "{texts}");
    }
}
