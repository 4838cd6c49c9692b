//! The increment as one node of a logical plan.
//!
//! Filters of a query go through the node to its inputs: it says what is true of its comparison columns, and a
//! condition on them holds on every side. Then an executor takes the node's place.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{DFSchema, DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNodeCore};

use super::description::Description;
use crate::columns::{
    DATA_VERSION, DATA_VERSION_BY_FIELD, INCREMENT, PROVENANCE, PROVENANCE_BY_FIELD, REASON, VERSION_COLUMNS,
};

/// Classifies expected and stored rows as `new`, `stale` or `orphaned`; rows that are up to date drop out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Increment {
    /// The rows of [`Description::expected`], those of [`Description::current`] if there is one, then what
    /// [`Description::review`] looks up.
    pub inputs: Vec<LogicalPlan>,
    pub description: Arc<Description>,
    /// Conditions on the result that may not be evaluated once per input, such as `random() < 0.5`.
    pub volatile: Vec<Expr>,
    schema: DFSchemaRef,
}

impl Increment {
    pub(crate) fn try_new(inputs: Vec<LogicalPlan>, description: Description) -> Result<Self> {
        let schema = schema(&inputs, &description)?;
        Ok(Self {
            inputs,
            description: Arc::new(description),
            volatile: Vec::new(),
            schema: Arc::new(schema),
        })
    }

    /// The stored side.
    pub(crate) fn current(&self) -> Option<&LogicalPlan> {
        self.inputs.get(self.description.expected.len())
    }
}

/// The increment, the keys, the user columns, the versions, the reason if it is asked for.
fn schema(inputs: &[LogicalPlan], description: &Description) -> Result<DFSchema> {
    let mut fields: Vec<FieldRef> = vec![Arc::new(Field::new(INCREMENT, DataType::Utf8, true))];
    let mut push = |input: usize, name: &String| -> Result<()> {
        let Some(plan) = inputs.get(input) else {
            return internal_err!("increment: no input {input}");
        };
        let data_type = plan.schema().field_with_unqualified_name(name)?.data_type().clone();
        fields.push(Arc::new(Field::new(name, data_type, true)));
        Ok(())
    };
    for key in &description.keys {
        push(0, key)?;
    }
    for (input, name) in description.user_columns() {
        push(input, name)?;
    }
    for name in VERSION_COLUMNS {
        fields.push(Arc::new(Field::new(name, version_type(name, description), true)));
    }
    if description.review.as_ref().is_some_and(|review| review.reasons.is_some()) {
        fields.push(Arc::new(Field::new(REASON, DataType::Utf8, true)));
    }
    DFSchema::from_unqualified_fields(fields.into(), Default::default())
}

/// The type of a version column.
pub(crate) fn version_type(name: &str, description: &Description) -> DataType {
    match name {
        PROVENANCE | DATA_VERSION => DataType::Utf8,
        _ => {
            debug_assert!([PROVENANCE_BY_FIELD, DATA_VERSION_BY_FIELD].contains(&name));
            let members = description.field_keys();
            DataType::Struct(Fields::from_iter(members.iter().map(|m| Field::new(*m, DataType::Utf8, true))))
        }
    }
}

impl UserDefinedLogicalNodeCore for Increment {
    fn name(&self) -> &str {
        "Increment"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        self.inputs.iter().collect()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    /// Conditions on anything but the keys have to wait until rows are classified.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let names = self.schema.fields().iter().map(|f| f.name());
        names.filter(|name| !self.description.keys.contains(name)).cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Description { feature, keys, executor, .. } = self.description.as_ref();
        write!(f, "Increment: feature={feature}, on=[{}], engine={}", keys.join(", "), executor.engine)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        if inputs.len() != self.inputs.len() {
            return internal_err!("increment: {} inputs instead of {}", inputs.len(), self.inputs.len());
        }
        // The optimizer puts a condition without columns, or one on the keys, on top of every input. A volatile one
        // would come out differently on each, so it is taken back and waits for the result.
        let mut volatile = self.volatile.clone();
        let mut stable = Vec::new();
        for (i, input) in inputs.into_iter().enumerate() {
            let (input, taken) = without_volatile(input)?;
            if i == 0 {
                volatile.extend(taken);
            }
            stable.push(input);
        }
        Ok(Self { inputs: stable, volatile, ..self.clone() })
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

impl Hash for Increment {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inputs.hash(state);
        self.description.feature.hash(state);
        self.volatile.hash(state);
    }
}

impl PartialOrd for Increment {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.inputs.partial_cmp(&other.inputs).filter(|_| self == other)
    }
}
