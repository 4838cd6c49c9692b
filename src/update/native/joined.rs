//! The expected side: the inputs joined, with the provenance of each sample.

use datafusion::common::{Column, JoinType, Result, internal_err};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};

use super::aggregation::aggregated;
use super::internal;
use super::provenance::with_versions;
use crate::update::node::Increment;
use crate::update::parents::plain;

/// Expected rows: keys, user columns, the four version columns, and a pass column if the increment is filtered.
pub(super) fn expected(increment: &Increment) -> Result<LogicalPlan> {
    let description = increment.description.as_ref();
    let all_optional = description.expected.iter().all(|input| input.optional);
    let mut joined: Option<LogicalPlan> = None;
    for (input, plan) in description.expected.iter().zip(&increment.inputs) {
        let plan = match &input.aggregation {
            Some(aggregation) => aggregated(plan.clone(), input, aggregation, description.settings)?,
            None => plan.clone(),
        };
        let kind = match (all_optional, input.optional) {
            (true, _) => JoinType::Full,
            (false, true) => JoinType::Left,
            (false, false) => JoinType::Inner,
        };
        joined = Some(match joined {
            None => plan,
            Some(left) => join(left, plan, &description.keys, kind)?,
        });
    }
    let Some(joined) = joined else {
        return internal_err!("increment of {}: no expected rows", description.feature);
    };
    let mut builder = LogicalPlanBuilder::from(joined);
    let mut keep: Vec<String> = description.keys.clone();
    keep.extend(description.user_columns().map(|(_, column)| column.clone()));
    if description.is_filtered() {
        let mut exprs: Vec<Expr> = builder.schema().fields().iter().map(|f| plain(f.name())).collect();
        // An optional parent that is missing has not failed its filter.
        let passes = description.expected.iter().filter_map(|input| input.pass.as_ref());
        let pass = passes.map(|p| coalesce(vec![plain(p), lit(true)])).reduce(Expr::and);
        exprs.extend(pass.map(|pass| pass.alias(internal::PASSES)));
        builder = builder.project(exprs)?;
        keep.push(internal::PASSES.to_owned());
    }
    with_versions(builder, description, &keep)?.build()
}

/// Joins two inputs on the keys, of which one copy stays.
fn join(left: LogicalPlan, right: LogicalPlan, keys: &[String], kind: JoinType) -> Result<LogicalPlan> {
    let names = |plan: &LogicalPlan| -> Vec<String> {
        plan.schema().fields().iter().map(|f| f.name().clone()).collect()
    };
    let (left_names, right_names) = (names(&left), names(&right));
    let right_key = |key: &String| format!("__metaxy_right_{key}");
    let renamed: Vec<Expr> = right_names
        .iter()
        .map(|name| if keys.contains(name) { plain(name).alias(right_key(name)) } else { plain(name) })
        .collect();
    let right = LogicalPlanBuilder::from(right).project(renamed)?.build()?;
    let left_on: Vec<Column> = keys.iter().map(Column::new_unqualified).collect();
    let right_on: Vec<Column> = keys.iter().map(|k| Column::new_unqualified(right_key(k))).collect();
    let mut exprs = Vec::new();
    for name in &left_names {
        let both = keys.contains(name) && kind == JoinType::Full;
        exprs.push(if both {
            coalesce(vec![plain(name), plain(right_key(name))]).alias(name)
        } else {
            plain(name)
        });
    }
    exprs.extend(right_names.iter().filter(|name| !keys.contains(name)).map(plain));
    LogicalPlanBuilder::from(left).join(right, kind, (left_on, right_on), None)?.project(exprs)?.build()
}
