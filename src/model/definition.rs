//! A feature as it is known: its spec, who owns it and where it was found.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::external::External;
use super::key::FeatureKey;
use super::spec::FeatureSpec;

/// A spec together with everything else that is recorded about a feature.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureDefinition {
    /// What the feature is.
    pub spec: FeatureSpec,
    /// JSON schema of the feature's columns; part of the definition version.
    pub schema: Value,
    /// The project that owns the feature.
    pub project: String,
    /// Where the Python class is, or a path that says that there is none.
    pub class_path: String,
    /// Where the definition was found, for messages.
    pub origin: Origin,
    /// Set for a feature of another project of which this is only what is expected.
    pub external: Option<External>,
}

/// Where a definition was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A feature file.
    File(PathBuf),
    /// The system tables of the store of this name.
    Store(String),
    /// The system tables of the store of this name; but the current version of its project has the feature no more.
    Removed(String),
    /// Declared by the running program, together with all of its project.
    Session,
    /// Defined one by one while the program runs, as `CREATE FEATURE` does.
    Statement,
}

impl Origin {
    /// Whether only a store knows of the definition.
    pub fn is_recorded(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Removed(_))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path) => write!(f, "file {}", path.display()),
            Origin::Store(name) => write!(f, "store {name}"),
            Origin::Removed(name) => write!(f, "store {name}, removed from its project"),
            Origin::Session | Origin::Statement => f.write_str("this session"),
        }
    }
}

impl FeatureDefinition {
    /// A definition without a Python class: the schema has the id columns, the class path says who made it.
    pub fn declared(spec: FeatureSpec, project: impl Into<String>, origin: Origin) -> Self {
        // Types aren't declared anywhere, so that a column may be anything.
        let properties: Map<String, Value> =
            spec.id_columns.iter().map(|column| (column.clone(), json!({"title": column}))).collect();
        let schema = json!({
            "title": spec.table_name(),
            "type": "object",
            "properties": properties,
            "required": spec.id_columns,
        });
        let class_path = format!("datafusion_metaxy.{}", spec.table_name());
        FeatureDefinition { spec, schema, project: project.into(), class_path, origin, external: None }
    }

    /// What is expected of a feature of another project: a stand-in for the definition that the store has.
    pub fn external(
        spec: FeatureSpec,
        project: impl Into<String>,
        external: External,
        origin: Origin,
    ) -> Self {
        // Neither is known before the store is asked.
        let (schema, class_path) = (json!({}), String::new());
        FeatureDefinition {
            spec,
            schema,
            project: project.into(),
            class_path,
            origin,
            external: Some(external),
        }
    }

    /// The feature's key.
    pub fn key(&self) -> &FeatureKey {
        &self.spec.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_schema() {
        let spec = FeatureSpec::builder("a-x/b").id_columns(["x", "y"]).build().unwrap();
        let definition = FeatureDefinition::declared(spec, "demo", Origin::Session);
        assert_eq!(definition.class_path, "datafusion_metaxy.a_x__b");
        assert_eq!(
            definition.schema.to_string(),
            r#"{"title":"a_x__b","type":"object","properties":{"x":{"title":"x"},"y":{"title":"y"}},"required":["x","y"]}"#
        );
        assert_eq!(definition.key().to_string(), "a-x/b");
    }

    #[test]
    fn origins() {
        assert_eq!(Origin::File("f.toml".into()).to_string(), "file f.toml");
        assert_eq!(Origin::Store("prod".to_owned()).to_string(), "store prod");
        assert_eq!(Origin::Statement.to_string(), "this session");
    }
}
