//! The comparison of expected and stored rows as one node of a logical plan.
//!
//! A full join would do, but no filter passes a full join, and a query for one video would read all videos. This
//! node says what is true of its comparison columns: a condition on them holds on both sides. Once filters have
//! gone through it, [`LowerComparison`](super::LowerComparison) turns it into the join.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DFSchema, DFSchemaRef, Result, internal_datafusion_err};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNodeCore};

use crate::columns::{INCREMENT, VERSION_COLUMNS};

/// Classifies expected and stored rows as `new`, `stale` or `orphaned`; rows that are up to date drop out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Comparison {
    pub expected: LogicalPlan,
    pub current: LogicalPlan,
    /// The comparison columns, which both sides have under the same names.
    pub keys: Vec<String>,
    /// The columns of the result after the increment and the keys.
    pub columns: Vec<String>,
    /// Those of `columns` that orphaned rows take from the stored row.
    pub stored: Vec<String>,
    /// Whether expected rows say if they pass the caller's filters.
    pub filtered: bool,
    /// Whether several stored rows may share a key.
    pub ranked: bool,
    /// Conditions on the result that may not be evaluated once per side, such as `random() < 0.5`.
    pub volatile: Vec<Expr>,
    schema: DFSchemaRef,
}

impl Comparison {
    pub(crate) fn try_new(
        expected: LogicalPlan,
        current: LogicalPlan,
        keys: Vec<String>,
        user_columns: &[String],
        stored: Vec<String>,
        filtered: bool,
        ranked: bool,
    ) -> Result<Self> {
        let columns: Vec<String> =
            user_columns.iter().cloned().chain(VERSION_COLUMNS.iter().map(|c| (*c).to_owned())).collect();
        let mut fields: Vec<FieldRef> = vec![Arc::new(Field::new(INCREMENT, DataType::Utf8, true))];
        for name in keys.iter().chain(&columns) {
            let field = expected.schema().field_with_unqualified_name(name)?;
            fields.push(Arc::new(Field::new(name, field.data_type().clone(), true)));
        }
        let schema = DFSchema::from_unqualified_fields(fields.into(), Default::default())?;
        Ok(Self {
            expected,
            current,
            keys,
            columns,
            stored,
            filtered,
            ranked,
            volatile: Vec::new(),
            schema: Arc::new(schema),
        })
    }
}

impl UserDefinedLogicalNodeCore for Comparison {
    fn name(&self) -> &str {
        "Comparison"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.expected, &self.current]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    /// Conditions on anything but the keys have to wait until rows are classified.
    fn prevent_predicate_push_down_columns(&self) -> std::collections::HashSet<String> {
        self.schema.fields().iter().map(|f| f.name()).filter(|n| !self.keys.contains(n)).cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Comparison: on=[{}]", self.keys.join(", "))
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let [expected, current] = <[LogicalPlan; 2]>::try_from(inputs)
            .map_err(|inputs| internal_datafusion_err!("Comparison: {} inputs", inputs.len()))?;
        // The optimizer puts a condition without columns, or one on the keys, on top of both inputs. A volatile one
        // would come out differently there, so it is taken back and waits for the result.
        let (expected, volatile) = without_volatile(expected)?;
        let (current, _) = without_volatile(current)?;
        let volatile = self.volatile.iter().cloned().chain(volatile).collect();
        Ok(Self { expected, current, volatile, ..self.clone() })
    }
}

/// Takes volatile conditions off the top of a plan.
fn without_volatile(plan: LogicalPlan) -> Result<(LogicalPlan, Vec<Expr>)> {
    let LogicalPlan::Filter(filter) = &plan else {
        return Ok((plan, Vec::new()));
    };
    let (volatile, stable): (Vec<Expr>, Vec<Expr>) =
        split_conjunction_owned(filter.predicate.clone()).into_iter().partition(Expr::is_volatile);
    if volatile.is_empty() {
        return Ok((plan, volatile));
    }
    let input = LogicalPlanBuilder::from(filter.input.as_ref().clone());
    let plan = match conjunction(stable) {
        Some(stable) => input.filter(stable)?.build()?,
        None => input.build()?,
    };
    Ok((plan, volatile))
}

impl Hash for Comparison {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expected.hash(state);
        self.current.hash(state);
        self.keys.hash(state);
        self.columns.hash(state);
    }
}

impl PartialOrd for Comparison {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.expected.partial_cmp(&other.expected).filter(|_| self == other)
    }
}
