//! An input's plan taken apart: the stored rows below, and what is done to the latest of them.
//!
//! The step that finds the latest rows, and the projections and filters above it, are carried out by this executor:
//! it needs no rows copied or sent between partitions for that. Where an expression could fail on a row that is not
//! among the latest ones, the plan stays as it is.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;

use crate::hash::SHARD;
use crate::operators::{AMONG, LatestColumns, LatestExec};
use crate::types::cast_never_fails;

/// Functions that give an answer for every row.
const SAFE_FUNCTIONS: [&str; 6] = ["get_field", "named_struct", "coalesce", "metaxy_hash", SHARD, AMONG];

/// One input of the executor.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    /// What is read.
    pub plan: Arc<dyn ExecutionPlan>,
    /// How the latest rows of it are found; `None` when all rows count.
    pub latest: Option<LatestColumns>,
    /// What is done to the rows, from the bottom up.
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Columns(Vec<usize>),
    Project(Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
    Filter(Arc<dyn PhysicalExpr>),
}

impl Input {
    /// Takes a plan apart as far as that is safe.
    pub(crate) fn new(plan: Arc<dyn ExecutionPlan>) -> Self {
        let mut steps = Vec::new();
        let mut node = &plan;
        loop {
            if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
                let exprs: Vec<_> = projection.expr().iter().map(|e| Arc::clone(&e.expr)).collect();
                let schema = projection.input().schema();
                if !exprs.iter().all(|expr| is_safe(expr, &schema)) {
                    break;
                }
                steps.push(Step::Project(exprs, projection.schema()));
                node = projection.input();
            } else if let Some(filter) = node.downcast_ref::<FilterExec>() {
                if !is_safe(filter.predicate(), &filter.input().schema()) {
                    break;
                }
                if let Some(columns) = filter.projection() {
                    steps.push(Step::Columns(columns.to_vec()));
                }
                steps.push(Step::Filter(Arc::clone(filter.predicate())));
                node = filter.input();
            } else if let Some(below) = moves_rows(node) {
                node = below;
            } else if let Some(latest) = node.downcast_ref::<LatestExec>() {
                if latest.keeps_deleted() {
                    break;
                }
                steps.push(Step::Columns(latest.columns().output.clone()));
                steps.reverse();
                let mut plan = latest.input();
                while let Some(below) = moves_rows(plan) {
                    plan = below;
                }
                return Self { plan: Arc::clone(plan), latest: Some(latest.columns().clone()), steps };
            } else {
                break;
            }
        }
        Self { plan, latest: None, steps: Vec::new() }
    }

    /// All rows of a plan.
    pub(crate) fn whole(plan: Arc<dyn ExecutionPlan>) -> Self {
        Self { plan, latest: None, steps: Vec::new() }
    }

    /// This input over another plan of the same columns.
    pub(super) fn over(&self, plan: Arc<dyn ExecutionPlan>) -> Self {
        Self { plan, ..self.clone() }
    }

    /// The columns after all steps, and the rows that passed the filters; `None` when all did.
    pub(super) fn apply(&self, batch: &RecordBatch) -> Result<(RecordBatch, Option<BooleanBuffer>)> {
        let mut batch = batch.clone();
        let mut passing: Option<BooleanBuffer> = None;
        for step in &self.steps {
            match step {
                Step::Columns(columns) => batch = batch.project(columns)?,
                Step::Project(exprs, schema) => {
                    let rows = batch.num_rows();
                    let columns = exprs
                        .iter()
                        .map(|expr| expr.evaluate(&batch)?.into_array(rows))
                        .collect::<Result<Vec<_>>>()?;
                    let options = RecordBatchOptions::new().with_row_count(Some(rows));
                    batch = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?;
                }
                Step::Filter(predicate) => {
                    let values = predicate.evaluate(&batch)?.into_array(batch.num_rows())?;
                    let mask = truth(&values.as_boolean().clone());
                    passing = Some(match passing {
                        Some(passing) => &passing & &mask,
                        None => mask,
                    });
                }
            }
        }
        Ok((batch, passing))
    }
}

/// The input of an operator that only brings rows into other partitions or another order, which don't matter here.
fn moves_rows(plan: &Arc<dyn ExecutionPlan>) -> Option<&Arc<dyn ExecutionPlan>> {
    let moves = plan.is::<RepartitionExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<SortPreservingMergeExec>()
        || plan.is::<SortExec>();
    if moves && plan.fetch().is_none() { plan.children().first().copied() } else { None }
}

/// Where a condition holds; NULL is no.
fn truth(values: &BooleanArray) -> BooleanBuffer {
    match values.nulls() {
        Some(nulls) => values.values() & nulls.inner(),
        None => values.values().clone(),
    }
}

/// Whether an expression gives an answer for every row there is, and the same one each time.
fn is_safe(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    let own = if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        is_comparison(*binary.op())
    } else if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        cast.expr().data_type(schema).is_ok_and(|from| cast_never_fails(&from, cast.cast_type()))
    } else if let Some(function) = expr.downcast_ref::<ScalarFunctionExpr>() {
        SAFE_FUNCTIONS.contains(&function.name())
    } else {
        expr.is::<Column>()
            || expr.is::<Literal>()
            || expr.is::<NotExpr>()
            || expr.is::<IsNullExpr>()
            || expr.is::<IsNotNullExpr>()
            || expr.is::<InListExpr>()
            || expr.is::<LikeExpr>()
            || expr.is::<CaseExpr>()
    };
    own && expr.children().into_iter().all(|child| is_safe(child, schema))
}

fn is_comparison(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::And
            | Operator::Or
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}
