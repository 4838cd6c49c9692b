//! Increments that a store computes itself, where its data is.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::physical_plan::ExecutionPlan;

use crate::model::FeatureKey;
use crate::records::Records;
use crate::update::Increment;

/// An increment that a store with an engine of its own is asked for: see
/// [`MetadataStore::push_down`](super::MetadataStore::push_down).
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The increment with the plans of its inputs.
    pub(crate) increment: &'a Increment,
    /// The columns that are wanted of it.
    pub(crate) schema: &'a SchemaRef,
    /// The classes whose rows are wanted: others may be left out.
    pub(crate) classes: &'a [&'static str],
    /// How many rows are enough.
    pub(crate) limit: Option<usize>,
    /// What earlier comparisons have left, if the increment may go on from one.
    pub(crate) earlier: Option<Earlier<'a>>,
}

/// Earlier comparisons to go on from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Earlier<'a> {
    pub records: &'a Arc<Records>,
    /// Only where that saves time.
    pub gain: bool,
}

impl Asked<'_> {
    /// The feature whose increment it is.
    pub fn feature(&self) -> &FeatureKey {
        &self.increment.description.feature
    }

    /// The columns that the plan has to have.
    pub fn schema(&self) -> &SchemaRef {
        self.schema
    }

    /// The classes whose rows are wanted, such as `new`; a plan may give out others, too.
    pub fn classes(&self) -> &[&'static str] {
        self.classes
    }

    /// How many rows are enough; a plan may give out more.
    pub fn limit(&self) -> Option<usize> {
        self.limit
    }
}

/// What becomes of an increment that a store was asked for.
#[derive(Debug, Clone)]
pub enum PushDown {
    /// The plan that has it computed where the data is.
    Plan(Arc<dyn ExecutionPlan>),
    /// Why the store can't compute it, in words that EXPLAIN shows; then it is computed in memory.
    Unable(String),
}
