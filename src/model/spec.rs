//! The declaration of a feature: id columns, parents and fields.

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::builder::{FeatureDepBuilder, FeatureSpecBuilder, FieldSpecBuilder};
use super::key::{FeatureKey, FieldKey};
use super::lineage::Lineage;
use super::mapping::FieldsMapping;
use super::read::{Node, Wrong};
use crate::error::{MetaxyError, Result};

/// The code version of a field that doesn't give one.
pub const DEFAULT_CODE_VERSION: &str = "__metaxy_initial__";

/// Stands in serialized specs for "all fields".
pub const ALL_FIELDS: &str = "__METAXY_ALL_DEP__";

/// What a feature is: the same model that the Python package stores as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureSpec {
    /// The feature's key.
    pub key: FeatureKey,
    /// The columns that identify a sample; at least one.
    pub id_columns: Vec<String>,
    /// The parents; none for a root feature.
    pub deps: Vec<FeatureDep>,
    /// The fields, in the order they were declared; at least one.
    pub fields: Vec<FieldSpec>,
    /// Free data about the feature; part of its definition version only.
    pub metadata: Map<String, Value>,
    /// What the feature is, for people.
    pub description: Option<String>,
}

/// One parent of a feature and what is done to its rows: filters and selection use names after the renames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureDep {
    /// The parent's key.
    pub feature: FeatureKey,
    /// The parent's columns to keep: all when not given, the system columns only when empty.
    pub select: Option<Vec<String>>,
    /// Old name to new name; done first.
    pub rename: Option<IndexMap<String, String>>,
    /// Finds the parent fields of fields that don't name theirs.
    pub fields_mapping: FieldsMapping,
    /// SQL conditions that the parent's rows must meet; stored under `sql_filters`.
    pub filters: Option<Vec<String>>,
    /// How many of the parent's rows stand behind one row.
    pub lineage: Lineage,
    /// Samples that this parent doesn't have are computed all the same.
    pub optional: bool,
}

/// One field of a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldSpec {
    /// The field's key.
    pub key: FieldKey,
    /// Changed by the author whenever the code that computes the field changes.
    pub code_version: String,
    /// What the field is computed from.
    pub deps: FieldDeps,
}

/// What a field is computed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldDeps {
    /// These fields of these parents; an empty list leaves it to each parent's fields mapping.
    List(Vec<FieldDep>),
    /// Every field of every parent.
    All,
}

/// A field's dependency on fields of one parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDep {
    /// The parent's key; it must be among the feature's parents.
    pub feature: FeatureKey,
    /// Which of its fields.
    pub fields: FieldSelection,
}

/// Some or all fields of a parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldSelection {
    /// All fields.
    All,
    /// These fields.
    Keys(Vec<FieldKey>),
}

impl FeatureSpec {
    /// Starts a spec; everything that is wrong with it is reported by the builder's `build`.
    pub fn builder(key: impl Into<String>) -> FeatureSpecBuilder {
        FeatureSpecBuilder::new(key.into())
    }

    /// Reads the JSON that the Python package stores, or the same with our shorthands.
    ///
    /// The error names the feature and the key that is wrong.
    pub fn from_json(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).map_err(|error| MetaxyError::Spec {
            feature: "without a key".to_owned(),
            reason: format!("not JSON: {error}"),
        })?;
        Self::from_value(&value)
    }

    /// Reads a spec that is already parsed; otherwise like [`FeatureSpec::from_json`].
    pub fn from_value(value: &Value) -> Result<Self> {
        Self::from_node(&Node::root(value)).map_err(|wrong| MetaxyError::Spec {
            feature: stated_key(value).unwrap_or_else(|| "without a key".to_owned()),
            reason: wrong.to_string(),
        })
    }

    /// Reads and checks.
    pub(super) fn from_node(node: &Node<'_>) -> Result<Self, Wrong> {
        let spec = Self::read(node)?;
        spec.check().map_err(|wrong| wrong.within(node.path()))?;
        Ok(spec)
    }

    /// The table name of the feature, see [`FeatureKey::table_name`].
    pub fn table_name(&self) -> String {
        self.key.table_name()
    }

    /// The field of this key, if the feature has it.
    pub fn field(&self, key: &FieldKey) -> Option<&FieldSpec> {
        self.fields.iter().find(|field| field.key == *key)
    }

    /// The dependency on this parent, if it is one.
    pub fn dep(&self, feature: &FeatureKey) -> Option<&FeatureDep> {
        self.deps.iter().find(|dep| dep.feature == *feature)
    }

    /// Checks all that can be checked without knowing the parents. Specs that were read or built have passed.
    pub fn validate(&self) -> Result<()> {
        self.check()
            .map_err(|wrong| MetaxyError::Spec { feature: self.key.to_string(), reason: wrong.to_string() })
    }
}

impl FeatureDep {
    /// Starts a dependency for [`FeatureSpecBuilder::dep`].
    #[allow(clippy::new_ret_no_self, reason = "reads better than a separate name, and a key may be wrong")]
    pub fn new(feature: impl AsRef<str>) -> FeatureDepBuilder {
        FeatureDepBuilder::new(feature.as_ref())
    }

    /// What a parent column is called after this dependency's renames.
    pub fn renamed<'a>(&'a self, column: &'a str) -> &'a str {
        self.rename.as_ref().and_then(|rename| rename.get(column)).map_or(column, String::as_str)
    }
}

impl From<FeatureKey> for FeatureDep {
    fn from(feature: FeatureKey) -> Self {
        FeatureDep {
            feature,
            select: None,
            rename: None,
            fields_mapping: FieldsMapping::default(),
            filters: None,
            lineage: Lineage::default(),
            optional: false,
        }
    }
}

impl FieldSpec {
    /// Starts a field for [`FeatureSpecBuilder::field`].
    #[allow(clippy::new_ret_no_self, reason = "reads better than a separate name, and a key may be wrong")]
    pub fn new(key: impl AsRef<str>) -> FieldSpecBuilder {
        FieldSpecBuilder::new(key.as_ref())
    }
}

impl From<FieldKey> for FieldSpec {
    fn from(key: FieldKey) -> Self {
        FieldSpec { key, code_version: DEFAULT_CODE_VERSION.to_owned(), deps: FieldDeps::List(Vec::new()) }
    }
}

impl Serialize for FeatureSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FeatureSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(&Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The key as the author wrote it, for errors about specs that can't be read.
pub(super) fn stated_key(spec: &Value) -> Option<String> {
    match spec.get("key")? {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => Some(parts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("/")),
        _ => None,
    }
}
