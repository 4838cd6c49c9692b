//! A picture of one graph.

use std::collections::HashMap;

use super::{Change, Feature, Field, Link, Picture, Standing};
use crate::model::{
    DEFAULT_CODE_VERSION, FeatureDefinition, FeatureDep, FeatureGraph, FeatureKey, FieldSpec,
};

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
                if let (Some(parent), Some(child)) = (places.get(&dep.feature), places.get(definition.key()))
                {
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

#[cfg(test)]
mod tests {
    use super::super::{Form, Style, samples};
    use super::*;
    use crate::model::{FeatureSpec, Lineage, Origin};

    #[test]
    fn everything_is_taken_over() {
        let picture = Picture::of_graph(&samples::small());
        let keys: Vec<&str> = picture.features.iter().map(|feature| feature.key.as_str()).collect();
        assert_eq!(keys, ["video", "video/chunk", "chunk/speech", "video/thumb", "video/report"]);
        let chunk = &picture.features[1];
        assert_eq!(chunk.description.as_deref(), Some("Ten seconds each"));
        assert_eq!(chunk.id_columns, ["video_id", "chunk"]);
        assert_eq!(chunk.fields[0].parents, ["video.audio"]);
        assert_eq!((chunk.fields[0].code_version.as_deref(), chunk.project.as_str()), (Some("1"), "demo"));
        assert_eq!(picture.features[2].fields[0].code_version, None);
        assert!(picture.features.iter().all(|feature| feature.version.is_some()));
        let thumb = picture.links.iter().find(|link| link.child == 3).unwrap();
        assert_eq!((thumb.parent, thumb.filters.len()), (0, 1));
        assert_eq!(thumb.renames, [("title".to_owned(), "name".to_owned())]);
        let report: Vec<&Link> = picture.links.iter().filter(|link| link.child == 4).collect();
        assert_eq!(report[0].lineage, Lineage::aggregation(["video_id"]));
        assert!(report[0].optional && !report[1].optional);
    }

    #[test]
    fn a_parent_that_is_not_defined_is_drawn_and_versions_below_it_are_unknown() {
        let spec = |key: &str, parent: &str| {
            FeatureSpec::builder(key).id_columns(["id"]).dep(parent).build().unwrap()
        };
        let specs = [spec("a", "gone"), spec("b", "a"), spec("c", "gone")];
        let graph = FeatureGraph::new(
            specs.map(|spec| FeatureDefinition::declared(spec, "demo", Origin::Session)),
            8,
        );
        let picture = Picture::of_graph(&graph.unwrap());
        assert_eq!(picture.features.len(), 4);
        assert_eq!(
            (picture.features[0].key.as_str(), picture.features[0].standing),
            ("gone", Standing::Undefined)
        );
        assert!(picture.features.iter().all(|feature| feature.version.is_none()));
        assert_eq!(picture.links.len(), 3);
        for form in [Form::Text, Form::Mermaid, Form::Dot, Form::Svg] {
            assert!(picture.draw(form, &Style::default()).contains("not defined"), "{form:?}");
        }
    }
}
