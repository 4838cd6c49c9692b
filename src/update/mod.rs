//! The increment: parents, lineage, provenance, comparison.
//!
//! [`increment`] describes `resolve_update` once, over any table providers, as a node of a logical plan. An executor
//! takes the node's place: `native` turns it into joins and windows that DataFusion optimises and runs, the in-memory
//! executor carries out the description itself. Both read the parents once and compare them once with the stored
//! rows, and a query that asks for few columns reads few.

mod current;
mod description;
mod executor;
mod filter;
mod increment;
mod keys;
mod native;
mod node;
mod parents;
mod reasons;
mod review;
mod samples;
mod shard;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::config::EnginePreference;
use crate::hash::HashSettings;
use crate::model::{FeatureKey, FeaturePlan};

pub(crate) use description::{Aggregation, CurrentInput, Description, FieldSource, Part, StoredRows};
pub use executor::{Engine, Executor, StoreEngine, choose};
pub(crate) use filter::check_filter;
pub use increment::increment;
pub(crate) use native::native_plan;
pub(crate) use node::{Increment, version_type};
pub(crate) use parents::{plain, version_of};
#[cfg(test)]
pub(crate) use reasons::ReasonParentField;
pub(crate) use reasons::{ReasonField, Reasons};
pub(crate) use review::{Review, ReviewedParent};
pub use shard::Shard;

/// What an increment is computed from.
#[derive(Debug, Clone)]
pub struct IncrementInputs {
    /// The feature, its parents and its fields.
    pub plan: FeaturePlan,
    /// How versions are hashed.
    pub settings: HashSettings,
    /// For each parent its latest live rows; `None` for an optional parent that has no table.
    pub parents: Vec<Option<Arc<dyn TableProvider>>>,
    /// For each parent its rows at other feature versions, too; `None` if rows have no versions, or if there is no table.
    pub standing: Vec<Option<Standing>>,
    /// For each parent the fallback store that its rows come from; `None` where it is the store itself.
    pub fallbacks: Vec<Option<String>>,
    /// The feature's own latest live rows; `None` when it was never written.
    pub current: Option<Arc<dyn TableProvider>>,
    /// As `standing`, of the feature itself.
    pub own: Option<Standing>,
    /// Which definitions features had before: text columns `feature_key`, `metaxy_feature_version`, `feature_spec`.
    pub past: Option<Arc<dyn TableProvider>>,
    /// What the store says about executors.
    pub engine: StoreEngine,
}

impl IncrementInputs {
    /// The number of a parent's rows among the inputs of the expected side: required parents first, each kind in the
    /// order of the spec. `None` if the parent has no table.
    pub(crate) fn input_of(&self, parent: usize) -> Option<usize> {
        self.present_parents().iter().position(|&present| present == parent)
    }

    /// The parents that have a table, required ones first.
    pub(crate) fn present_parents(&self) -> Vec<usize> {
        let present = (0..self.plan.parents.len()).filter(|&i| self.parents[i].is_some());
        let (mut required, optional): (Vec<usize>, Vec<usize>) =
            present.partition(|&i| !self.plan.parents[i].dep.optional);
        required.extend(optional);
        required
    }
}

/// What is known of a table's samples over all feature versions: whether one is gone, or merely waits to be computed
/// again.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The latest live rows at the current feature version, and the latest live rows at any other of those samples that
    /// have no row at all, not even a deleted one, at the current version. The latter have TRUE in the last column, a
    /// hidden one.
    pub rows: Arc<dyn TableProvider>,
    /// Every row, deleted ones too, at other feature versions than the current one.
    pub older: Arc<dyn TableProvider>,
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
    /// Whether samples are shown, as `pending`, whose parents are merely not recomputed yet: a required parent is live
    /// at an older version of it and has no row at all, not even a deleted one, at the current one. They are never
    /// `orphaned`; without this they are left out.
    pub include_pending: bool,
    /// Whether to say why each sample is in the answer, in words in a last column `metaxy_reason`: which fields changed,
    /// which fields of parents are behind them, and whether that is data or code. It names what is known and no more:
    /// a stored row keeps one hash per field, so that of several parent fields behind a field one may have changed
    /// without anything saying which. Stored rows and those of parents are read once more for it.
    pub explain: bool,
    /// The part of the samples that this call is about, so that several workers can divide an increment.
    pub shard: Option<Shard>,
    /// What this call says about the executor.
    pub engine: EnginePreference,
    /// What the session says about executors; where a session is at hand, its settings take the place of this.
    pub session: EnginePreference,
}

pub(crate) use internal::orphan_key;

/// Columns that exist only inside an increment's plan.
pub(crate) mod internal {
    use crate::columns::PROVENANCE;

    /// Whether a stored row passes the target filters.
    pub const TARGET: &str = "__metaxy_target";
    /// What the names of columns begin with that orphaned samples show of the stored row.
    const STORED: &str = "__metaxy_stored_";
    /// Whether a staleness predicate holds on a stored row.
    pub const STALE: &str = "__metaxy_stale";
    /// The data versions that samples bring.
    pub const DATA_VERSIONS: &str = "__metaxy_data_versions";
    /// The sample's version made of [`DATA_VERSIONS`].
    pub const DATA_VERSION: &str = "__metaxy_data_version";
    /// Whether a sample passes the filters given for it.
    pub const PASS: &str = "__metaxy_pass";

    /// A parent's data version of one field.
    pub fn parent_version(parent: usize, struct_key: &str) -> String {
        format!("__metaxy_parent{parent}_{struct_key}")
    }

    /// Whether a parent's row passes the filters given for it.
    pub fn parent_pass(parent: usize) -> String {
        format!("{PASS}{parent}")
    }

    /// An id of a parent, by which the rows of a group are ordered.
    pub fn parent_order(parent: usize, id: usize) -> String {
        format!("__metaxy_order{parent}_{id}")
    }

    /// The provenance of one field.
    pub fn field(struct_key: &str) -> String {
        format!("__metaxy_field_{struct_key}")
    }

    /// A comparison column of the stored row, in orphaned samples only.
    pub fn orphan_key(key: &str) -> String {
        format!("__metaxy_orphan_{key}")
    }

    /// A column of the stored row, for orphaned samples.
    pub fn stored(column: &str) -> String {
        format!("{STORED}{column}")
    }

    /// Whether nothing but orphaned rows show this column of the stored rows.
    pub fn is_of_orphans(column: &str) -> bool {
        column.strip_prefix(STORED).is_some_and(|name| name != PROVENANCE)
    }

    /// An id of the stored rows that is no comparison column, by which the rows of a key are ordered.
    pub fn stored_order(id: &str) -> String {
        format!("__metaxy_id_{id}")
    }
}
