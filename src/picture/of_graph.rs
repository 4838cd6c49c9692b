//! A picture of one graph.

use std::collections::HashMap;

use super::{Change, Feature, Field, Link, Picture, Standing};
use crate::model::{DEFAULT_CODE_VERSION, FeatureDefinition, FeatureDep, FeatureGraph, FeatureKey, FieldSpec};

impl Picture {
    /// A picture of all features of a graph, and of the parents that are named but not defined.
    pub fn of_graph(graph: &FeatureGraph) -> Self {
        let mut picture = Picture { title: "Feature graph".to_owned(), ..Picture::default() };
        let mut places: HashMap<&FeatureKey, usize> = HashMap::new();
        for definition in graph.iter() {
            for dep in &definition.spec.deps {
                if graph.get(&dep.feature).is_none() && !places.contains_key(&dep.feature) {
                    places.insert(&dep.feature, picture.features.len());
                    picture.features.push(undefined(&dep.feature));
                }
            }
            places.insert(definition.key(), picture.features.len());
            picture.features.push(feature(graph, definition));
        }
        for definition in graph.iter() {
            for dep in &definition.spec.deps {
                if let (Some(parent), Some(child)) = (places.get(&dep.feature), places.get(definition.key())) {
                    picture.links.push(link(dep, *parent, *child));
                }
            }
        }
        picture
    }
}

/// A parent of which only the name is known.
pub(super) fn undefined(key: &FeatureKey) -> Feature {
    Feature { key: key.to_string(), standing: Standing::Undefined, ..Feature::default() }
}

pub(super) fn feature(graph: &FeatureGraph, definition: &FeatureDefinition) -> Feature {
    let standing = if definition.external.is_some() { Standing::External } else { Standing::Defined };
    Feature {
        key: definition.key().to_string(),
        project: definition.project.clone(),
        standing,
        version: graph.feature_version(definition.key()).ok(),
        id_columns: definition.spec.id_columns.clone(),
        description: definition.spec.description.clone(),
        fields: definition.spec.fields.iter().map(|spec| field(graph, definition, spec)).collect(),
        ..Feature::default()
    }
}

pub(super) fn field(graph: &FeatureGraph, definition: &FeatureDefinition, spec: &FieldSpec) -> Field {
    let plan = graph.plan(definition.key()).ok();
    let planned = plan.iter().flat_map(|plan| &plan.fields).find(|planned| planned.key == spec.key);
    Field {
        key: spec.key.to_string(),
        code_version: code_version(spec),
        version: graph.field_version(definition.key(), &spec.key).ok(),
        parents: planned.into_iter().flat_map(|field| &field.parents).map(|p| p.name.clone()).collect(),
        ..Field::default()
    }
}

/// The code version, unless it is the one that stands for none.
pub(super) fn code_version(spec: &FieldSpec) -> Option<String> {
    (spec.code_version != DEFAULT_CODE_VERSION).then(|| spec.code_version.clone())
}

pub(super) fn link(dep: &FeatureDep, parent: usize, child: usize) -> Link {
    let renames = dep.rename.iter().flatten().map(|(old, new)| (old.clone(), new.clone()));
    Link {
        parent,
        child,
        lineage: dep.lineage.clone(),
        optional: dep.optional,
        renames: renames.collect(),
        filters: dep.filters.clone().unwrap_or_default(),
        change: Change::Same,
    }
}
