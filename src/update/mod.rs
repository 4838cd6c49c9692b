//! The increment as a logical plan: parents, lineage, provenance, comparison.
//!
//! [`increment`] describes `resolve_update` once, over any table providers; DataFusion optimises and runs it. The
//! parents are read once and compared once with the stored rows, and a query that asks for few columns reads few.

mod comparison;
mod current;
mod expected;
mod filter;
mod increment;
mod lower;
mod parents;
mod provenance;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::hash::HashSettings;
use crate::model::{FeatureKey, FeaturePlan};

pub use increment::increment;
pub use lower::LowerComparison;
pub(crate) use parents::version_of;

/// What an increment is computed from.
#[derive(Debug, Clone)]
pub struct IncrementInputs {
    /// The feature, its parents and its fields.
    pub plan: FeaturePlan,
    /// How versions are hashed.
    pub settings: HashSettings,
    /// For each parent its latest live rows; `None` for an optional parent that has no table.
    pub parents: Vec<Option<Arc<dyn TableProvider>>>,
    /// For each parent the fallback store that its rows come from; `None` where it is the store itself.
    pub fallbacks: Vec<Option<String>>,
    /// The feature's own latest live rows; `None` when it was never written.
    pub current: Option<Arc<dyn TableProvider>>,
}

/// What a caller can ask of an increment.
#[derive(Debug, Clone, Default)]
pub struct IncrementOptions {
    /// The samples of a root feature; for other features they replace the parents.
    pub samples: Option<LogicalPlan>,
    /// Conditions on a parent's own columns (before renames), or on the stored rows under the feature's own key.
    pub filters: HashMap<FeatureKey, Vec<Expr>>,
    /// Conditions on every parent and on the stored rows.
    pub global_filters: Vec<Expr>,
    /// Conditions on the stored rows; a sample without a stored row passes.
    pub target_filters: Vec<Expr>,
    /// A stored row that meets any of these is stale whatever its version.
    pub stale_when: Vec<Expr>,
    /// Whether to call every expected sample new without looking at stored rows.
    pub skip_comparison: bool,
}

/// Columns that exist only inside an increment's plan.
mod internal {
    /// TRUE in expected rows.
    pub const EXPECTED: &str = "__metaxy_expected";
    /// TRUE in stored rows.
    pub const CURRENT: &str = "__metaxy_current";
    /// Whether an expected row passes the filters on its parents.
    pub const PASS: &str = "__metaxy_pass";
    /// Whether a stored row passes the target filters.
    pub const TARGET: &str = "__metaxy_target";
    /// Whether this one of several stored rows of a key passes the target filters.
    pub const OWN_TARGET: &str = "__metaxy_own_target";
    /// Whether a staleness predicate holds on a stored row.
    pub const STALE: &str = "__metaxy_stale";
    /// Smallest and greatest stored provenance of a comparison key, and whether one is NULL.
    pub const SMALLEST: &str = "__metaxy_smallest";
    /// See [`SMALLEST`].
    pub const GREATEST: &str = "__metaxy_greatest";
    /// See [`SMALLEST`].
    pub const UNKNOWN: &str = "__metaxy_unknown";
    /// 1 for the stored row that stands for its comparison key when several share it.
    pub const RANK: &str = "__metaxy_rank";

    /// A parent's data version of one field.
    pub fn parent_version(parent: usize, struct_key: &str) -> String {
        format!("__metaxy_parent{parent}_{struct_key}")
    }

    /// Whether a parent's row passes the filters given for it.
    pub fn parent_pass(parent: usize) -> String {
        format!("__metaxy_pass{parent}")
    }

    /// The provenance of one field.
    pub fn field(struct_key: &str) -> String {
        format!("__metaxy_field_{struct_key}")
    }

    /// A column of the stored row, for orphaned samples.
    pub fn stored(column: &str) -> String {
        format!("__metaxy_stored_{column}")
    }
}
