//! N:1 lineage: every row of a group gets the hash of the group's versions.

use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition, lit,
};

use crate::hash::{HashSettings, metaxy_hash_agg};
use crate::update::description::{Aggregation, ExpectedInput};
use crate::update::parents::plain;

/// The input with group versions in place of its own.
pub(super) fn aggregated(
    plan: LogicalPlan,
    input: &ExpectedInput,
    aggregation: &Aggregation,
    settings: HashSettings,
) -> Result<LogicalPlan> {
    let frame = WindowFrame::new_bounds(
        WindowFrameUnits::Rows,
        WindowFrameBound::Preceding(ScalarValue::UInt64(None)),
        WindowFrameBound::Following(ScalarValue::UInt64(None)),
    );
    let length = i64::try_from(settings.length).unwrap_or(i64::MAX);
    let grouped = |version: &String| format!("{version}_group");
    let windows = input
        .versions
        .iter()
        .map(|version| {
            let function = WindowFunctionDefinition::AggregateUDF(metaxy_hash_agg());
            let arguments = vec![lit(settings.algorithm.name()), lit(length), plain(version)];
            Ok(Expr::from(WindowFunction::new(function, arguments))
                .partition_by(aggregation.groups.iter().map(plain).collect())
                .order_by(aggregation.order.iter().map(|id| plain(id).sort(true, true)).collect())
                .window_frame(frame.clone())
                .build()?
                .alias(grouped(version)))
        })
        .collect::<Result<Vec<_>>>()?;
    let before: Vec<String> = plan.schema().fields().iter().map(|f| f.name().clone()).collect();
    let exprs: Vec<Expr> = before
        .iter()
        .filter(|name| !aggregation.order.contains(name))
        .map(
            |name| if input.versions.contains(name) { plain(grouped(name)).alias(name) } else { plain(name) },
        )
        .collect();
    LogicalPlanBuilder::from(plan).window(windows)?.project(exprs)?.build()
}
