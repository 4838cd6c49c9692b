//! Which fields of which parents a field is computed from.

use datafusion_metaxy::model::{FeatureSpec, FieldDeps, FieldSelection, FieldSpec, FieldsMapping};

/// A field and what its provenance is made of.
#[derive(Debug, Clone)]
pub struct FieldInputs {
    pub key: String,
    pub member: String,
    pub code_version: String,
    /// Full name, parent and struct key of each parent field, sorted by the full name.
    pub parents: Vec<(String, usize, String)>,
}

/// The inputs of every field; `parents` are the specs of the parents in the order of the deps.
pub fn field_inputs(spec: &FeatureSpec, parents: &[&FeatureSpec]) -> Vec<FieldInputs> {
    spec.fields
        .iter()
        .map(|field| {
            let mut inputs = Vec::new();
            for (index, parent) in parents.iter().enumerate() {
                for chosen in parent.fields.iter().filter(|f| depends(spec, field, index, parent, f)) {
                    let name = format!("{}.{}", parent.key, chosen.key);
                    inputs.push((name, index, chosen.key.struct_key()));
                }
            }
            inputs.sort();
            FieldInputs {
                key: field.key.to_string(),
                member: field.key.struct_key(),
                code_version: field.code_version.clone(),
                parents: inputs,
            }
        })
        .collect()
}

fn depends(
    spec: &FeatureSpec,
    field: &FieldSpec,
    parent_index: usize,
    parent: &FeatureSpec,
    candidate: &FieldSpec,
) -> bool {
    match &field.deps {
        FieldDeps::All => true,
        FieldDeps::List(deps) if deps.is_empty() => {
            mapped(&spec.deps[parent_index].fields_mapping, field, parent, candidate)
        }
        FieldDeps::List(deps) => {
            deps.iter().filter(|dep| dep.feature == parent.key).any(|dep| match &dep.fields {
                FieldSelection::All => true,
                FieldSelection::Keys(keys) => keys.contains(&candidate.key),
            })
        }
    }
}

fn mapped(mapping: &FieldsMapping, field: &FieldSpec, parent: &FeatureSpec, candidate: &FieldSpec) -> bool {
    match mapping {
        FieldsMapping::All => true,
        FieldsMapping::None => false,
        FieldsMapping::Specific(mapping) => {
            mapping.get(&field.key).is_some_and(|listed| listed.contains(&candidate.key))
        }
        FieldsMapping::Default { match_suffix, exclude_fields } => {
            let usable = |f: &&FieldSpec| !exclude_fields.contains(&f.key);
            let matches = |f: &FieldSpec| {
                let (longer, end) = (f.key.parts(), field.key.parts());
                longer == end || (*match_suffix && longer.ends_with(end))
            };
            let any = parent.fields.iter().filter(usable).any(matches);
            usable(&candidate) && (!any || matches(candidate))
        }
    }
}
