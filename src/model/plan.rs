//! All that an increment of one feature needs to know about definitions.

use std::sync::Arc;

use super::definition::FeatureDefinition;
use super::key::FieldKey;
use super::lineage::Lineage;
use super::spec::FeatureDep;

/// A feature, its parents and which field is computed from what.
#[derive(Debug, Clone, PartialEq)]
pub struct FeaturePlan {
    /// The feature.
    pub feature: Arc<FeatureDefinition>,
    /// Its version; stored rows of other versions don't count.
    pub feature_version: String,
    /// The parents, in the order of the spec.
    pub parents: Vec<ParentPlan>,
    /// The fields, in the order of the spec.
    pub fields: Vec<FieldPlan>,
    /// The columns on which parents are joined and expected and stored rows are compared.
    pub comparison_columns: Vec<String>,
}

/// A parent of a feature.
#[derive(Debug, Clone, PartialEq)]
pub struct ParentPlan {
    /// What the feature's spec says about this parent.
    pub dep: FeatureDep,
    /// The parent's own definition.
    pub definition: Arc<FeatureDefinition>,
    /// The parent's current version.
    pub feature_version: String,
}

/// A field and what it is computed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPlan {
    /// The field's key.
    pub key: FieldKey,
    /// The version of the code that computes it.
    pub code_version: String,
    /// The parent fields, sorted by their names; none for a root feature.
    pub parents: Vec<ParentField>,
}

/// A field of a parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentField {
    /// Index into [`FeaturePlan::parents`].
    pub parent: usize,
    /// The field's key.
    pub field: FieldKey,
    /// The full name that goes into hashes: `feature/key.field/key`.
    pub name: String,
}

impl FeaturePlan {
    /// Does the feature have no parents, so that its samples come from the caller?
    pub fn is_root(&self) -> bool {
        self.parents.is_empty()
    }

    /// The struct keys of those fields of a parent that some field of the feature depends on, sorted.
    pub fn parent_struct_keys(&self, parent: usize) -> Vec<String> {
        let fields = self.fields.iter().flat_map(|field| &field.parents).filter(|p| p.parent == parent);
        let mut keys: Vec<String> = fields.map(|p| p.field.struct_key()).collect();
        keys.sort();
        keys.dedup();
        keys
    }
}

impl ParentPlan {
    /// The parent's id columns under the names they have after this dependency's renames.
    pub fn renamed_id_columns(&self) -> Vec<String> {
        let columns = self.definition.spec.id_columns.iter();
        columns.map(|column| self.dep.renamed(column).to_owned()).collect()
    }

    /// The columns that identify a unit of this parent's input, once its lineage is applied.
    pub fn input_id_columns(&self, feature_id_columns: &[String]) -> Vec<String> {
        match &self.dep.lineage {
            Lineage::Identity => self.renamed_id_columns(),
            Lineage::Aggregation { on: Some(on) } | Lineage::Expansion { on, .. } => on.clone(),
            Lineage::Aggregation { on: None } => feature_id_columns.to_vec(),
        }
    }
}

/// The columns that identify an input in every parent: the feature's id columns first, in their order, then others
/// in the first parent's. Where parents share none, and for a root, the feature's id columns.
pub(super) fn comparison_columns(id_columns: &[String], parents: &[ParentPlan]) -> Vec<String> {
    let inputs: Vec<_> = parents.iter().map(|parent| parent.input_id_columns(id_columns)).collect();
    let Some(first) = inputs.first() else { return id_columns.to_vec() };
    let own = id_columns.iter().filter(|column| first.contains(column));
    let others = first.iter().filter(|column| !id_columns.contains(column));
    let shared: Vec<String> = own
        .chain(others)
        .filter(|column| inputs.iter().all(|input| input.contains(column)))
        .cloned()
        .collect();
    if shared.is_empty() { id_columns.to_vec() } else { shared }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FeatureSpec, Origin};

    fn parent(id_columns: &[&str], dep: super::super::FeatureDepBuilder) -> ParentPlan {
        let dep = dep.build().unwrap();
        let spec = FeatureSpec::builder(dep.feature.to_string()).id_columns(id_columns.to_vec()).build();
        let definition = Arc::new(FeatureDefinition::declared(spec.unwrap(), "demo", Origin::Session));
        ParentPlan { dep, definition, feature_version: String::new() }
    }

    fn columns(id_columns: &[&str], parents: &[ParentPlan]) -> String {
        let id_columns: Vec<String> = id_columns.iter().map(ToString::to_string).collect();
        comparison_columns(&id_columns, parents).join(",")
    }

    #[test]
    fn comparison() {
        let p = |id_columns: &[&str]| parent(id_columns, FeatureDep::new("p"));
        assert_eq!(columns(&["a", "b"], &[]), "a,b");
        assert_eq!(columns(&["a", "b"], &[p(&["z", "b", "y", "a"])]), "a,b,z,y");
        assert_eq!(columns(&["a"], &[p(&["c", "a"]), p(&["a", "d", "c"])]), "a,c");
        assert_eq!(columns(&["a"], &[p(&["c"]), p(&["d"])]), "a");
    }

    #[test]
    fn lineage_decides_the_input() {
        let own = ["x".to_owned()];
        let renamed = parent(&["id", "k"], FeatureDep::new("p").rename("id", "x"));
        assert_eq!(renamed.renamed_id_columns(), ["x", "k"]);
        assert_eq!(renamed.input_id_columns(&own), ["x", "k"]);
        let lineage = |lineage| parent(&["id"], FeatureDep::new("p").lineage(lineage)).input_id_columns(&own);
        assert_eq!(lineage(Lineage::aggregation(["s"])), ["s"]);
        assert_eq!(lineage(Lineage::Aggregation { on: None }), own);
        assert_eq!(lineage(Lineage::expansion(["v"])), ["v"]);
    }
}
