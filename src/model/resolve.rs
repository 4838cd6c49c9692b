//! Finds the parent fields of every field of a feature.

use super::key::{FeatureKey, FieldKey};
use super::plan::{FieldPlan, ParentField, ParentPlan};
use super::spec::{FeatureSpec, FieldDeps, FieldSelection, FieldSpec};
use crate::error::{MetaxyError, Result};

/// The name of a field that is unique among all features: `feature/key.field/key`.
pub(super) fn full_name(feature: &FeatureKey, field: &FieldKey) -> String {
    format!("{feature}.{field}")
}

/// Checks the field dependencies that a feature spells out, as far as its parents are known.
pub(super) fn check_field_deps<'a>(
    spec: &FeatureSpec,
    find: impl Fn(&FeatureKey) -> Option<&'a FeatureSpec>,
) -> Result<()> {
    for field in &spec.fields {
        let FieldDeps::List(deps) = &field.deps else { continue };
        for dep in deps {
            if spec.dep(&dep.feature).is_none() {
                let reason = format!("depends on feature {}, which is not among its deps", dep.feature);
                return Err(wrong(spec, field, &reason));
            }
            let (Some(parent), FieldSelection::Keys(keys)) = (find(&dep.feature), &dep.fields) else {
                continue;
            };
            if let Some(missing) = keys.iter().find(|key| parent.field(key).is_none()) {
                let known: Vec<String> = parent.fields.iter().map(|field| field.key.to_string()).collect();
                let known = known.join(", ");
                let reason = format!("depends on field {missing} of {}, which has only {known}", dep.feature);
                return Err(wrong(spec, field, &reason));
            }
        }
    }
    Ok(())
}

/// The plans of all fields. An error if a field of a feature with parents has nothing to be computed from.
pub(super) fn resolve_fields(spec: &FeatureSpec, parents: &[ParentPlan]) -> Result<Vec<FieldPlan>> {
    spec.fields
        .iter()
        .map(|field| {
            let parent_fields = parent_fields(field, parents);
            if parent_fields.is_empty() && !parents.is_empty() {
                let reason = "has no parent field; name its deps or choose another fields_mapping";
                return Err(wrong(spec, field, reason));
            }
            Ok(FieldPlan {
                key: field.key.clone(),
                code_version: field.code_version.clone(),
                parents: parent_fields,
            })
        })
        .collect()
}

fn parent_fields(field: &FieldSpec, parents: &[ParentPlan]) -> Vec<ParentField> {
    let mut found = Vec::new();
    for (index, parent) in parents.iter().enumerate() {
        let spec = &parent.definition.spec;
        let all = || spec.fields.iter().map(|field| field.key.clone()).collect::<Vec<_>>();
        let keys = match &field.deps {
            FieldDeps::All => all(),
            FieldDeps::List(deps) if deps.is_empty() => parent.dep.fields_mapping.resolve(&field.key, spec),
            FieldDeps::List(deps) => deps
                .iter()
                .filter(|dep| dep.feature == spec.key)
                .flat_map(|dep| match &dep.fields {
                    FieldSelection::All => all(),
                    FieldSelection::Keys(keys) => keys.clone(),
                })
                .collect(),
        };
        found.extend(keys.into_iter().map(|key| ParentField {
            parent: index,
            name: full_name(&spec.key, &key),
            field: key,
        }));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.dedup();
    found
}

fn wrong(spec: &FeatureSpec, field: &FieldSpec, reason: &str) -> MetaxyError {
    MetaxyError::Graph(format!("field {} of feature {} {reason}", field.key, spec.key))
}
