//! Specs written in Rust; the first mistake is kept and comes out of `build`.

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::key::{FeatureKey, FieldKey};
use super::lineage::Lineage;
use super::mapping::FieldsMapping;
use super::spec::{FeatureDep, FeatureSpec, FieldDep, FieldDeps, FieldSelection, FieldSpec};
use super::spec_json::default_fields;
use crate::error::{MetaxyError, Result};

/// Builds a [`FeatureSpec`].
///
/// ```
/// use datafusion_metaxy::model::{FeatureDep, FeatureSpec, FieldSpec};
///
/// let spec = FeatureSpec::builder("video/face")
///     .id_columns(["video_id"])
///     .dep(FeatureDep::new("video/crop").filter("width > 64"))
///     .field(FieldSpec::new("faces").code_version("2").depends_on("video/crop", ["frames"]))
///     .build()?;
/// assert_eq!(spec.table_name(), "video__face");
/// # Ok::<(), datafusion_metaxy::error::MetaxyError>(())
/// ```
#[derive(Debug)]
pub struct FeatureSpecBuilder {
    key: String,
    id_columns: Vec<String>,
    deps: Vec<FeatureDepBuilder>,
    fields: Vec<FieldSpecBuilder>,
    metadata: Map<String, Value>,
    description: Option<String>,
}

impl FeatureSpecBuilder {
    pub(super) fn new(key: String) -> Self {
        FeatureSpecBuilder {
            key,
            id_columns: Vec::new(),
            deps: Vec::new(),
            fields: Vec::new(),
            metadata: Map::new(),
            description: None,
        }
    }

    /// Adds columns that identify a sample.
    pub fn id_columns<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.id_columns.extend(columns.into_iter().map(Into::into));
        self
    }

    /// Adds a parent: [`FeatureDep::new`], a finished [`FeatureDep`] or just a key.
    pub fn dep(mut self, dep: impl Into<FeatureDepBuilder>) -> Self {
        self.deps.push(dep.into());
        self
    }

    /// Adds a field: [`FieldSpec::new`], a finished [`FieldSpec`] or just a key. Without any: one `default`.
    pub fn field(mut self, field: impl Into<FieldSpecBuilder>) -> Self {
        self.fields.push(field.into());
        self
    }

    /// Adds an entry to the feature's free metadata.
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// Says what the feature is, for people.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// The spec, or the first thing that is wrong with it.
    pub fn build(self) -> Result<FeatureSpec> {
        let feature = self.key;
        let wrong = |reason: String| MetaxyError::Spec { feature: feature.clone(), reason };
        let key = FeatureKey::parse(&feature)?;
        let mut deps = Vec::new();
        for dep in self.deps {
            deps.push(dep.build().map_err(|error| wrong(error.to_string()))?);
        }
        let mut fields = Vec::new();
        for field in self.fields {
            fields.push(field.build().map_err(|error| wrong(error.to_string()))?);
        }
        if fields.is_empty() {
            fields = default_fields().map_err(|error| wrong(error.to_string()))?;
        }
        let spec = FeatureSpec {
            key,
            id_columns: self.id_columns,
            deps,
            fields,
            metadata: self.metadata,
            description: self.description,
        };
        spec.validate()?;
        Ok(spec)
    }
}

/// Builds a [`FeatureDep`]; start with [`FeatureDep::new`].
#[derive(Debug)]
pub struct FeatureDepBuilder(Result<FeatureDep>);

impl FeatureDepBuilder {
    pub(super) fn new(feature: &str) -> Self {
        FeatureDepBuilder(FeatureKey::parse(feature).map(FeatureDep::from))
    }

    fn with(mut self, change: impl FnOnce(&mut FeatureDep)) -> Self {
        if let Ok(dep) = &mut self.0 {
            change(dep);
        }
        self
    }

    /// Renames a column of the parent, before anything else.
    pub fn rename(self, old: impl Into<String>, new: impl Into<String>) -> Self {
        let (old, new) = (old.into(), new.into());
        let known =
            self.0.as_ref().ok().and_then(|dep| Some((&dep.feature, dep.rename.as_ref()?.get(&old)?)));
        if let Some((feature, other)) = known {
            return FeatureDepBuilder(Err(MetaxyError::Invalid(format!(
                "column {old} of parent {feature} is renamed twice, to {other} and to {new}"
            ))));
        }
        self.with(|dep| {
            dep.rename.get_or_insert_with(IndexMap::new).insert(old, new);
        })
    }

    /// Keeps these columns only, by their names after the renames; none keeps the system columns only.
    pub fn select<S: Into<String>>(self, columns: impl IntoIterator<Item = S>) -> Self {
        self.with(|dep| dep.select = Some(columns.into_iter().map(Into::into).collect()))
    }

    /// Keeps the rows that meet this SQL condition too; it uses names after the renames.
    pub fn filter(self, sql: impl Into<String>) -> Self {
        self.with(|dep| dep.filters.get_or_insert_with(Vec::new).push(sql.into()))
    }

    /// Says how fields that don't name their parent fields find them.
    pub fn fields_mapping(self, mapping: FieldsMapping) -> Self {
        self.with(|dep| dep.fields_mapping = mapping)
    }

    /// Says how many of the parent's rows stand behind one row.
    pub fn lineage(self, lineage: Lineage) -> Self {
        self.with(|dep| dep.lineage = lineage)
    }

    /// Samples that the parent doesn't have are computed all the same.
    pub fn optional(self) -> Self {
        self.with(|dep| dep.optional = true)
    }

    /// The dependency, or the first thing that is wrong with it. [`FeatureSpecBuilder::dep`] does this itself.
    pub fn build(self) -> Result<FeatureDep> {
        self.0
    }
}

/// Builds a [`FieldSpec`]; start with [`FieldSpec::new`].
#[derive(Debug)]
pub struct FieldSpecBuilder(Result<FieldSpec>);

impl FieldSpecBuilder {
    pub(super) fn new(key: &str) -> Self {
        FieldSpecBuilder(FieldKey::parse(key).map(FieldSpec::from))
    }

    fn with(self, change: impl FnOnce(&mut FieldSpec) -> Result<()>) -> Self {
        FieldSpecBuilder(self.0.and_then(|mut field| change(&mut field).map(|()| field)))
    }

    /// Sets the version of the code that computes the field.
    pub fn code_version(self, version: impl Into<String>) -> Self {
        self.with(|field| {
            field.code_version = version.into();
            Ok(())
        })
    }

    /// The field is computed from these fields of this parent (and from what other calls add).
    pub fn depends_on<S: AsRef<str>>(self, feature: &str, fields: impl IntoIterator<Item = S>) -> Self {
        self.with(|field| {
            let keys = fields.into_iter().map(|key| FieldKey::parse(key.as_ref())).collect::<Result<_>>()?;
            add(field, feature, FieldSelection::Keys(keys))
        })
    }

    /// The field is computed from all fields of this parent (and from what other calls add).
    pub fn depends_on_feature(self, feature: &str) -> Self {
        self.with(|field| add(field, feature, FieldSelection::All))
    }

    /// The field is computed from all fields of all parents.
    pub fn depends_on_all(self) -> Self {
        self.with(|field| {
            field.deps = FieldDeps::All;
            Ok(())
        })
    }

    /// The field, or the first thing that is wrong with it. [`FeatureSpecBuilder::field`] does this itself.
    pub fn build(self) -> Result<FieldSpec> {
        self.0
    }
}

fn add(field: &mut FieldSpec, feature: &str, fields: FieldSelection) -> Result<()> {
    let dep = FieldDep { feature: FeatureKey::parse(feature)?, fields };
    // Depending on everything includes this one.
    if let FieldDeps::List(deps) = &mut field.deps {
        deps.push(dep);
    }
    Ok(())
}

impl From<FeatureDep> for FeatureDepBuilder {
    fn from(dep: FeatureDep) -> Self {
        FeatureDepBuilder(Ok(dep))
    }
}

impl From<&str> for FeatureDepBuilder {
    fn from(feature: &str) -> Self {
        FeatureDepBuilder::new(feature)
    }
}

impl From<FieldSpec> for FieldSpecBuilder {
    fn from(field: FieldSpec) -> Self {
        FieldSpecBuilder(Ok(field))
    }
}

impl From<&str> for FieldSpecBuilder {
    fn from(key: &str) -> Self {
        FieldSpecBuilder::new(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_what_json_says() {
        let built = FeatureSpec::builder("a/b")
            .id_columns(["x"])
            .dep(
                FeatureDep::new("p")
                    .rename("old", "new")
                    .select(["new"])
                    .filter("new > 1")
                    .lineage(Lineage::aggregation(["x"]))
                    .fields_mapping(FieldsMapping::All)
                    .optional(),
            )
            .dep("q")
            .field(
                FieldSpec::new("audio").code_version("1").depends_on("p", ["audio"]).depends_on_feature("q"),
            )
            .field(FieldSpec::new("rest").depends_on_all())
            .field("plain")
            .metadata("owner", "me")
            .description("text")
            .build()
            .unwrap();
        let read = FeatureSpec::from_json(
            r#"{"key": "a/b", "id_columns": ["x"], "deps": [{"feature": "p", "rename": {"old": "new"},
            "select": ["new"], "filters": ["new > 1"], "lineage": {"type": "N:1", "on": ["x"]},
            "fields_mapping": "all", "optional": true}, "q"], "fields": [{"key": "audio", "code_version": "1",
            "deps": [{"feature": "p", "fields": ["audio"]}, {"feature": "q"}]},
            {"key": "rest", "deps": "__METAXY_ALL_DEP__"}, "plain"],
            "metadata": {"owner": "me"}, "description": "text"}"#,
        );
        assert_eq!(built, read.unwrap());
        let plain = FeatureSpec::builder("a").id_columns(["x"]).build().unwrap();
        assert_eq!(plain.fields.len(), 1);
    }

    #[test]
    fn the_first_mistake_comes_out() {
        let spec = || FeatureSpec::builder("a").id_columns(["x"]);
        for (builder, message) in [
            (FeatureSpec::builder("A"), "invalid key \"A\""),
            (FeatureSpec::builder("a"), "feature a: id_columns: name at least one column"),
            (spec().dep("P").dep("Q"), "feature a: invalid key \"P\""),
            (spec().field("F"), "feature a: invalid key \"F\""),
            (spec().field(FieldSpec::new("f").depends_on("p", ["G"])), "invalid key \"G\""),
            (spec().field(FieldSpec::new("f").depends_on_feature("P")), "invalid key \"P\""),
            (spec().dep(FeatureDep::new("p").filter("")), "deps[0].filters[0]: an empty filter"),
            (
                spec().dep(FeatureDep::new("p").rename("a", "b").rename("a", "c")),
                "renamed twice, to b and to c",
            ),
        ] {
            let error = builder.build().unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
