//! The `metaxy.*` session options.

use std::any::Any;

use datafusion::common::{Result, config_err};
use datafusion::config::{ConfigEntry, ConfigExtension, ExtensionOptions};

/// Names of all session options, without their prefix.
pub const SESSION_OPTIONS: &[&str] = &["engine", "materialization_id", "strict_versions", "write_key"];

/// What `SET metaxy.…` sets.
///
/// Defaults come from `[ext.datafusion]` in the configuration. `SHOW` needs DataFusion's information schema, which
/// the prompt turns on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaxyOptions {
    /// Where increments are computed: `auto` or `native`.
    pub engine: String,
    /// The caller's run id, stored with every row that is written; empty for none.
    pub materialization_id: String,
    /// Whether versions that are NULL, empty or contain `|` are refused in writes.
    pub strict_versions: bool,
    /// The caller's key for the next write, which is skipped if a write with this key has happened; empty for none.
    pub write_key: String,
}

impl Default for MetaxyOptions {
    fn default() -> Self {
        Self {
            engine: "auto".into(),
            materialization_id: String::new(),
            strict_versions: true,
            write_key: String::new(),
        }
    }
}

impl ConfigExtension for MetaxyOptions {
    const PREFIX: &'static str = "metaxy";
}

impl ExtensionOptions for MetaxyOptions {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "engine" => match value.to_ascii_lowercase().as_str() {
                engine @ ("auto" | "native") => self.engine = engine.to_owned(),
                _ => return config_err!("metaxy.engine is {value:?}; it must be 'auto' or 'native'"),
            },
            "materialization_id" => self.materialization_id = value.to_owned(),
            "strict_versions" => match value.to_ascii_lowercase().as_str() {
                "true" => self.strict_versions = true,
                "false" => self.strict_versions = false,
                _ => return config_err!("metaxy.strict_versions is {value:?}; it must be true or false"),
            },
            "write_key" => self.write_key = value.to_owned(),
            _ => {
                let known: Vec<String> =
                    SESSION_OPTIONS.iter().map(|name| format!("metaxy.{name}")).collect();
                return config_err!("unknown option metaxy.{key}; there are {}", known.join(", "));
            }
        }
        Ok(())
    }

    /// Written by hand: the usual macro lists keys without their prefix, and then `SHOW metaxy.engine` finds nothing.
    fn entries(&self) -> Vec<ConfigEntry> {
        let entry = |key: &str, value: String, description| ConfigEntry {
            key: format!("{}.{key}", Self::PREFIX),
            value: Some(value),
            description,
        };
        vec![
            entry("engine", self.engine.clone(), "Where increments are computed: auto or native"),
            entry(
                "materialization_id",
                self.materialization_id.clone(),
                "Run id stored with every written row",
            ),
            entry(
                "strict_versions",
                self.strict_versions.to_string(),
                "Refuse versions that are NULL, empty or contain |",
            ),
            entry("write_key", self.write_key.clone(), "Key of the next write, which then happens only once"),
        ]
    }
}
