//! Whether a query can see rows of a class at all.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::Expr;

use crate::columns::INCREMENT;

/// Whether rows of a class meet conditions on nothing but the class. A condition that can't be evaluated is met.
pub(crate) fn may_show(session: &dyn Session, conditions: &[Expr], class: &str) -> bool {
    conditions.iter().all(|condition| holds(session, condition, class).unwrap_or(true))
}

fn holds(session: &dyn Session, condition: &Expr, class: &str) -> Result<bool> {
    let schema = Arc::new(Schema::new(vec![Field::new(INCREMENT, DataType::Utf8, true)]));
    let row: ArrayRef = Arc::new(StringArray::from(vec![class]));
    let expr = session.create_physical_expr(condition.clone(), &DFSchema::try_from(Arc::clone(&schema))?)?;
    let value = expr.evaluate(&RecordBatch::try_new(schema, vec![row])?)?.into_array(1)?;
    let value: Option<&BooleanArray> = value.as_boolean_opt();
    Ok(value.is_none_or(|value| value.iter().next().flatten() == Some(true)))
}
