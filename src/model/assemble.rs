//! Puts definitions together into a graph, and refuses those that don't fit.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::definition::{FeatureDefinition, Origin};
use super::graph::{Entry, FeatureGraph, Project, Resolved, Unusable};
use super::key::FeatureKey;
use super::order::topological;
use super::plan::{FeaturePlan, ParentPlan, comparison_columns};
use super::resolve::{check_field_deps, full_name, resolve_fields};
use super::versions;
use crate::error::{MetaxyError, Result};

impl FeatureGraph {
    /// Puts definitions together; `hash_length` is how many characters of each version are kept.
    ///
    /// Refused, with an error that names both sides: two definitions of one key, two features with one table name,
    /// features that depend on each other in a circle, fields that depend on something that isn't there. A parent
    /// that isn't defined is allowed; only plans and versions of what is below it are errors.
    pub fn new(definitions: impl IntoIterator<Item = FeatureDefinition>, hash_length: usize) -> Result<Self> {
        let definitions = unique(definitions)?;
        if let Some(reserved) = definitions.keys().find(|key| key.is_reserved()) {
            return Err(MetaxyError::Spec {
                feature: reserved.to_string(),
                reason: "keys that begin with metaxy-system are those of system tables; give it another one"
                    .into(),
            });
        }
        let specs: BTreeMap<_, _> = definitions.iter().map(|(key, found)| (key, &found.spec)).collect();
        let order = topological(&specs)?;
        for spec in specs.values() {
            check_field_deps(spec, |key| specs.get(key).copied())?;
        }
        let mut graph = FeatureGraph {
            hash_length,
            store: None,
            entries: Vec::with_capacity(order.len()),
            by_key: HashMap::new(),
            by_table: HashMap::new(),
            projects: BTreeMap::new(),
        };
        for key in order {
            if let Some(definition) = definitions.get(&key) {
                graph.add(definition)?;
            }
        }
        graph.hash_projects();
        Ok(graph)
    }

    /// Adds a feature whose parents have been added.
    fn add(&mut self, definition: &Arc<FeatureDefinition>) -> Result<()> {
        let spec_version = versions::spec_version(&definition.spec, self.hash_length);
        let definition_version =
            versions::definition_version(&spec_version, &definition.schema, self.hash_length);
        let resolved = match self.parents(definition) {
            Ok(parents) => Ok(self.resolve(definition, parents)?),
            Err(unusable) => Err(unusable),
        };
        let index = self.entries.len();
        self.by_key.insert(definition.key().clone(), index);
        self.by_table.insert(definition.spec.table_name(), index);
        self.entries.push(Entry {
            definition: definition.clone(),
            spec_version,
            definition_version,
            resolved,
        });
        Ok(())
    }

    fn parents(&self, definition: &FeatureDefinition) -> Result<Vec<ParentPlan>, Unusable> {
        let deps = definition.spec.deps.iter();
        deps.map(|dep| {
            let parent =
                self.by_key.get(&dep.feature).and_then(|index| self.entries.get(*index)).ok_or_else(
                    || Unusable::Undefined { child: definition.key().clone(), parent: dep.feature.clone() },
                )?;
            let resolved = parent.resolved.as_ref().map_err(Clone::clone)?;
            Ok(ParentPlan {
                dep: dep.clone(),
                definition: parent.definition.clone(),
                feature_version: resolved.plan.feature_version.clone(),
            })
        })
        .collect()
    }

    fn resolve(&self, definition: &Arc<FeatureDefinition>, parents: Vec<ParentPlan>) -> Result<Resolved> {
        let fields = resolve_fields(&definition.spec, &parents)?;
        let mut field_versions = Vec::with_capacity(fields.len());
        for field in &fields {
            let mut above = Vec::with_capacity(field.parents.len());
            for parent in &field.parents {
                if let Some(plan) = parents.get(parent.parent) {
                    above.push(self.field_version(plan.definition.key(), &parent.field)?);
                }
            }
            let name = full_name(definition.key(), &field.key);
            let above = above.iter().map(String::as_str);
            let told = definition.external.as_ref().and_then(|e| e.provenance_by_field.get(&field.key));
            let version = match told {
                Some(version) => version.clone(),
                None => versions::field_version(&name, &field.code_version, above, self.hash_length),
            };
            field_versions.push((field.key.clone(), version));
        }
        let plan = FeaturePlan {
            feature: definition.clone(),
            feature_version: versions::feature_version(&field_versions, self.hash_length),
            comparison_columns: comparison_columns(&definition.spec.id_columns, &parents),
            parents,
            fields,
        };
        Ok(Resolved { plan, field_versions })
    }

    /// A project that is declared here is these features; what a store remembers beside them has been removed. One of
    /// which only single features are defined here also has those that the store knows.
    /// Features of other projects that are only expected count for none.
    fn hash_projects(&mut self) {
        let is_expected = |entry: &&Entry| entry.definition.external.is_some();
        let is_declared = |entry: &&Entry| {
            !is_expected(entry) && matches!(entry.definition.origin, Origin::File(_) | Origin::Session)
        };
        let declared: HashSet<&str> =
            self.entries.iter().filter(is_declared).map(|entry| entry.definition.project.as_str()).collect();
        let mut projects: BTreeMap<&str, BTreeMap<&FeatureKey, &str>> = BTreeMap::new();
        for entry in &self.entries {
            let removed = match &entry.definition.origin {
                Origin::Removed(_) => true,
                Origin::Store(_) => declared.contains(entry.definition.project.as_str()),
                _ => false,
            };
            if removed || is_expected(&entry) {
                continue;
            }
            let features = projects.entry(&entry.definition.project).or_default();
            features.insert(entry.definition.key(), &entry.definition_version);
        }
        let hash = |features: BTreeMap<&FeatureKey, &str>| {
            let keys = features.keys().copied().cloned().collect();
            let features: Vec<_> =
                features.into_iter().map(|(key, version)| (key.to_string(), version.to_owned())).collect();
            Project { version: versions::project_version(&features, self.hash_length), features: keys }
        };
        self.projects =
            projects.into_iter().map(|(name, features)| (name.to_owned(), hash(features))).collect();
    }
}

/// Checks each definition and refuses two of the same key or table name.
fn unique(
    definitions: impl IntoIterator<Item = FeatureDefinition>,
) -> Result<BTreeMap<FeatureKey, Arc<FeatureDefinition>>> {
    let mut by_key: BTreeMap<FeatureKey, Arc<FeatureDefinition>> = BTreeMap::new();
    let mut by_table: HashMap<String, FeatureKey> = HashMap::new();
    for definition in definitions {
        definition.spec.validate()?;
        let key = definition.key().clone();
        if let Some(other) = by_key.get(&key) {
            let (first, second) = (&other.origin, &definition.origin);
            return Err(MetaxyError::Graph(format!(
                "feature {key} is defined twice, in {first} and in {second}; remove one"
            )));
        }
        let table = key.table_name();
        if let Some(other) = by_table.get(&table) {
            return Err(MetaxyError::Graph(format!(
                "features {other} and {key} have the same table name {table}; rename one"
            )));
        }
        by_table.insert(table, key.clone());
        by_key.insert(key, Arc::new(definition));
    }
    Ok(by_key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FeatureDep, FeatureSpec, FeatureSpecBuilder, FieldKey, FieldSpec, FieldsMapping};

    fn key(text: &str) -> FeatureKey {
        FeatureKey::parse(text).unwrap()
    }

    fn spec(key: &str) -> FeatureSpecBuilder {
        FeatureSpec::builder(key).id_columns(["video_id"])
    }

    fn graph(specs: impl IntoIterator<Item = FeatureSpecBuilder>) -> Result<FeatureGraph> {
        let declare = |spec: FeatureSpecBuilder| {
            FeatureDefinition::declared(spec.build().unwrap(), "demo", Origin::Session)
        };
        FeatureGraph::new(specs.into_iter().map(declare), 64)
    }

    fn refusal(specs: impl IntoIterator<Item = FeatureSpecBuilder>) -> String {
        graph(specs).unwrap_err().to_string()
    }

    fn example() -> FeatureGraph {
        let field = |key: &str| FieldSpec::new(key).code_version("1");
        graph([
            spec("example/face")
                .dep("example/crop")
                .field(field("faces").depends_on("example/crop", ["frames"])),
            spec("example/crop").dep("example/video").field(field("audio")).field(field("frames")),
            spec("example/video").field(field("audio")).field(field("frames")),
        ])
        .unwrap()
    }

    #[test]
    fn same_key_or_table_name() {
        let twice = refusal([spec("a"), spec("a")]);
        assert!(twice.contains("feature a is defined twice, in this session and in this session"), "{twice}");
        let table = refusal([spec("a-x/b"), spec("a_x/b")]);
        assert!(table.contains("a-x/b and a_x/b have the same table name a_x__b"), "{table}");
    }

    #[test]
    fn cycles() {
        let cycle = refusal([spec("a").dep("c"), spec("b").dep("a"), spec("c").dep("b")]);
        assert!(cycle.ends_with("a -> c -> b -> a"), "{cycle}");
    }

    #[test]
    fn field_dependencies_must_exist() {
        let child = |field| spec("c").dep("p").dep("gone").field(field);
        let other = refusal([spec("p"), child(FieldSpec::new("f").depends_on_feature("q"))]);
        assert!(
            other.contains("field f of feature c depends on feature q, which is not among its deps"),
            "{other}"
        );
        let field = refusal([spec("p"), child(FieldSpec::new("f").depends_on("p", ["x"]))]);
        assert!(field.contains("depends on field x of p, which has only default"), "{field}");
        assert!(graph([child(FieldSpec::new("f").depends_on("p", ["x"]))]).is_ok());
        let root = refusal([spec("r").field(FieldSpec::new("f").depends_on_feature("p"))]);
        assert!(root.contains("field f of feature r"), "{root}");
    }

    #[test]
    fn a_field_needs_something_to_be_computed_from() {
        let dep = || FeatureDep::new("p").fields_mapping(FieldsMapping::None);
        let nothing = refusal([spec("p"), spec("c").dep(dep())]);
        assert!(nothing.contains("field default of feature c has no parent field"), "{nothing}");
        let none = Vec::<String>::new();
        let empty = refusal([spec("p"), spec("c").dep("p").field(FieldSpec::new("f").depends_on("p", none))]);
        assert!(empty.contains("field f of feature c has no parent field"), "{empty}");
    }

    #[test]
    fn parent_fields_are_sorted_by_name_and_listed_once() {
        let graph = graph([
            spec("a/b").field("x").field("w"),
            spec("a-b").field("x"),
            spec("c").dep("a/b").dep("a-b").field(
                FieldSpec::new("f")
                    .depends_on("a/b", ["x"])
                    .depends_on_feature("a/b")
                    .depends_on_feature("a-b"),
            ),
            spec("d").dep("a/b").field(FieldSpec::new("f").depends_on_all()),
        ])
        .unwrap();
        let fields = |feature: &str| {
            let plan = graph.plan(&key(feature)).unwrap();
            let parents = plan.fields[0].parents.clone();
            parents.into_iter().map(|field| (field.parent, field.name)).collect::<Vec<_>>()
        };
        let name = |parent: usize, name: &str| (parent, name.to_owned());
        assert_eq!(fields("c"), [name(1, "a-b.x"), name(0, "a/b.w"), name(0, "a/b.x")]);
        assert_eq!(fields("d"), [name(0, "a/b.w"), name(0, "a/b.x")]);
    }

    #[test]
    fn project_versions() {
        let graph = graph([spec("a/b"), spec("a-b")]).unwrap();
        let version = |feature: &str| graph.definition_version(&key(feature)).unwrap();
        let expected = versions::hash(["a/b", &version("a/b"), "a-b", &version("a-b")], 64);
        assert_eq!(graph.project_version("demo").unwrap(), expected);
        assert_eq!(graph.project_version("other").unwrap(), "empty");
    }

    #[test]
    fn features_that_were_taken_out_of_a_project_count_no_longer() {
        let declare = |feature: &str, project: &str, origin: Origin| {
            FeatureDefinition::declared(spec(feature).build().unwrap(), project, origin)
        };
        let stored = || Origin::Store("dev".to_owned());
        let version = |definitions: Vec<FeatureDefinition>, project: &str| {
            FeatureGraph::new(definitions, 64).unwrap().project_version(project).unwrap()
        };
        let local = || declare("a", "demo", Origin::Session);
        let with_removed = vec![local(), declare("b", "demo", stored()), declare("c", "other", stored())];
        assert_eq!(version(with_removed.clone(), "demo"), version(vec![local()], "demo"));
        assert_eq!(version(with_removed, "other"), version(vec![declare("c", "other", stored())], "other"));
        let expected = FeatureDefinition {
            external: Some(crate::model::External::default()),
            ..declare("d", "demo", Origin::Session)
        };
        assert_eq!(version(vec![local(), expected.clone()], "demo"), version(vec![local()], "demo"));
        assert_eq!(version(vec![expected], "demo"), "empty");
    }

    #[test]
    fn a_single_definition_joins_what_was_pushed_of_its_project() {
        let declare = |feature: &str, origin: Origin| {
            FeatureDefinition::declared(spec(feature).build().unwrap(), "demo", origin)
        };
        let stored = || declare("a", Origin::Store("dev".to_owned()));
        let features = |definitions: Vec<FeatureDefinition>| {
            let graph = FeatureGraph::new(definitions, 64).unwrap();
            (keys(graph.project_features("demo")), graph.project_version("demo").unwrap())
        };
        let keys_of = |definitions: Vec<FeatureDefinition>| features(definitions).0;
        let single = || declare("b", Origin::Statement);
        assert_eq!(keys_of(vec![stored(), single()]), ["a", "b"]);
        let whole = features(vec![declare("a", Origin::Session), declare("b", Origin::Session)]);
        assert_eq!(features(vec![stored(), single()]), whole);
        let removed = declare("z", Origin::Removed("dev".to_owned()));
        assert_eq!(features(vec![stored(), removed, single()]), whole);
        // A project that is declared has what it declares, and what is defined beside it.
        assert_eq!(keys_of(vec![stored(), declare("c", Origin::Session), single()]), ["b", "c"]);
    }

    fn keys<'a>(features: impl Iterator<Item = &'a Arc<FeatureDefinition>>) -> Vec<String> {
        features.map(|feature| feature.key().to_string()).collect()
    }

    #[test]
    fn golden_feature_versions() {
        let graph = example();
        for (feature, version) in [
            ("example/video", "bc9ca8356b1b8d2e2e25455bc8d0d4c51d00dfe826f08df38bbf8df0042fc890"),
            ("example/crop", "3ac04df8f6503f82cbcd06f0e1cc5f4589c9bacb065b7edf22cd9567ad302c63"),
            ("example/face", "8a52be01c8d7404a48b7ec1bea34d4751bfa1856ba0cfa97ef75ef5cdc745852"),
        ] {
            assert_eq!(graph.feature_version(&key(feature)).unwrap(), version);
        }
    }

    #[test]
    fn golden_versions_as_python_computes_them() {
        let page = r#"{"key": "page", "id_columns": ["site", "no"], "fields": ["html", "links"],
            "metadata": {"weight": [0.1, 1e16, 5e-7, 2.0], "é😀": "\u007f"}, "description": "Seiten für später"}"#;
        let text = r#"{"key": "page/text", "id_columns": ["site", "no"], "deps": [{"feature": "page",
            "rename": {"no": "no"}, "filters": ["a = 1"], "optional": true}], "fields": [{"key": "text",
            "code_version": "2", "deps": [{"feature": "page", "fields": ["html"]}]}, "links"]}"#;
        let schema = r#"{"title": "Seite", "type": "object", "properties":
            {"site": {"default": null}, "no": {"maximum": 1e22}}}"#;
        let define = |spec: &str| FeatureDefinition {
            spec: FeatureSpec::from_json(spec).unwrap(),
            schema: serde_json::from_str(schema).unwrap(),
            project: "demo".to_owned(),
            class_path: "features.Page".to_owned(),
            origin: Origin::Store("dev".to_owned()),
            external: None,
        };
        let graph = FeatureGraph::new([text, page].map(define), 16).unwrap();
        let field = |feature: &str, field: &str| {
            graph.field_version(&key(feature), &FieldKey::parse(field).unwrap()).unwrap()
        };
        assert_eq!(graph.spec_version(&key("page")).unwrap(), "b64bab6f79924c9f");
        assert_eq!(graph.spec_version(&key("page/text")).unwrap(), "14aca8330163a519");
        assert_eq!(graph.definition_version(&key("page")).unwrap(), "f20ee10c36b09d68");
        assert_eq!(graph.definition_version(&key("page/text")).unwrap(), "cefb4e63467476d8");
        assert_eq!(graph.feature_version(&key("page")).unwrap(), "910ef63bb672795b");
        assert_eq!(graph.feature_version(&key("page/text")).unwrap(), "beac57282ae2dc2e");
        assert_eq!(field("page", "html"), "a9aed9849665f224");
        assert_eq!(field("page/text", "text"), "9f13901a3d0c2f5e");
        assert_eq!(field("page/text", "links"), "363feec434731317");
        assert_eq!(graph.project_version("demo").unwrap(), "1eaad98808e56f51");
    }
}
