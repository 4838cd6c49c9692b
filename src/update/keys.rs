//! The comparison columns of all inputs in types that can be compared without loss.

use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};

use super::parents::plain;
use crate::error::{MetaxyError, Result};

/// Casts the keys of every input to the type that they have in common, and says which inputs may have lost the
/// difference between two ids by that.
pub(crate) fn same_key_types(
    inputs: Vec<LogicalPlan>,
    keys: &[String],
) -> Result<(Vec<LogicalPlan>, Vec<bool>)> {
    let mut common = Vec::new();
    for key in keys {
        let mut shared: Option<DataType> = None;
        for input in &inputs {
            let own = input.schema().field_with_unqualified_name(key)?.data_type();
            shared = Some(match shared {
                None => own.clone(),
                Some(shared) if shared == *own => shared,
                Some(shared) => comparison_coercion(&shared, own).ok_or_else(|| {
                    let reason = format!("id column {key:?} is {shared} on one side and {own} on the other");
                    MetaxyError::Invalid(reason)
                })?,
            });
        }
        common.extend(shared.map(|shared| (key, shared)));
    }
    let mut lossy = Vec::new();
    let mut cast_inputs = Vec::new();
    for input in inputs {
        let target = |name: &String| common.iter().find(|(key, _)| *key == name).map(|(_, t)| t);
        let fields = input.schema().fields();
        lossy.push(
            fields.iter().any(|f| target(f.name()).is_some_and(|to| !keeps_ids_apart(f.data_type(), to))),
        );
        if fields.iter().all(|f| target(f.name()).is_none_or(|t| t == f.data_type())) {
            cast_inputs.push(input);
            continue;
        }
        let exprs: Vec<Expr> = fields
            .iter()
            .map(|field| match target(field.name()) {
                Some(target) if target != field.data_type() => {
                    cast(plain(field.name()), target.clone()).alias(field.name())
                }
                _ => plain(field.name()),
            })
            .collect();
        cast_inputs.push(LogicalPlanBuilder::from(input).project(exprs)?.build()?);
    }
    Ok((cast_inputs, lossy))
}

/// Whether two different values are different after the cast, too.
fn keeps_ids_apart(from: &DataType, to: &DataType) -> bool {
    let text = |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    from == to || (from.is_integer() && (to.is_integer() || text(to))) || (text(from) && text(to))
}
