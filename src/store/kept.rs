//! What a scan keeps of the rows that it reads.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::{Expr, cast, col, lit};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;

use crate::columns::field_version;
use crate::update::version_of;

/// A column that a scan gives out: one that was read, or a field's data version.
pub(super) enum Output<'a> {
    Column(usize),
    Version(&'a str),
    /// Whether a row is only shown because its sample has no row of the version that counts.
    Waiting,
}

/// A projection that grows as columns are asked for.
pub(super) struct Kept<'a> {
    input: &'a Arc<dyn ExecutionPlan>,
    exprs: Vec<(Arc<dyn PhysicalExpr>, String)>,
    columns: Vec<Option<usize>>,
}

impl<'a> Kept<'a> {
    pub(super) fn new(input: &'a Arc<dyn ExecutionPlan>) -> Self {
        let columns = vec![None; input.schema().fields().len()];
        Self { input, exprs: Vec::new(), columns }
    }

    /// The place of an input's column in the projection.
    pub(super) fn column(&mut self, index: usize) -> usize {
        if let Some(at) = self.columns[index] {
            return at;
        }
        let name = self.input.schema().field(index).name().clone();
        self.exprs.push((Arc::new(Column::new(&name, index)), name));
        self.columns[index] = Some(self.exprs.len() - 1);
        self.exprs.len() - 1
    }

    /// The place of a field's data version, taken from the versions column at `index`; NULL where there is none.
    pub(super) fn version(&mut self, index: Option<usize>, key: &str, state: &dyn Session) -> Result<usize> {
        let schema = self.input.schema();
        let value = match index {
            Some(index) => {
                let field = schema.field(index);
                version_of(col(field.name()), field.data_type(), key)
            }
            None => lit(ScalarValue::Utf8(None)),
        };
        self.add(cast(value, DataType::Utf8), &field_version(key), state)
    }

    /// The place of an expression.
    pub(super) fn add(&mut self, expr: Expr, name: &str, state: &dyn Session) -> Result<usize> {
        let schema = DFSchema::try_from(self.input.schema().as_ref().clone())?;
        self.exprs.push((state.create_physical_expr(expr, &schema)?, name.to_owned()));
        Ok(self.exprs.len() - 1)
    }

    /// These places of the projection, in this order.
    pub(super) fn plan_of(self, output: &[usize]) -> Result<Arc<dyn ExecutionPlan>> {
        let exprs: Vec<_> = output.iter().filter_map(|&at| self.exprs.get(at).cloned()).collect();
        Ok(Arc::new(ProjectionExec::try_new(exprs, Arc::clone(self.input))?))
    }

    pub(super) fn plan(self) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(ProjectionExec::try_new(self.exprs, Arc::clone(self.input))?))
    }
}

/// The rows that meet a condition, if there is one.
pub(super) fn filtered(
    plan: Arc<dyn ExecutionPlan>,
    condition: Option<Expr>,
    state: &dyn Session,
) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(condition) = condition else { return Ok(plan) };
    let schema = DFSchema::try_from(plan.schema().as_ref().clone())?;
    let condition = state.create_physical_expr(condition, &schema)?;
    Ok(Arc::new(FilterExec::try_new(condition, plan)?))
}
