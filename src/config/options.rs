//! The `metaxy.*` session options.

use std::any::Any;

use datafusion::common::{Result, config_err};
use datafusion::config::{ConfigEntry, ConfigExtension, ExtensionOptions};

use super::engine::{EnginePreference, IncrementalResolve, VersioningEngine};
use super::next_key::NextKey;

/// Names of all session options, without their prefix.
pub const SESSION_OPTIONS: &[&str] = &[
    "allow_cross_project_writes",
    "engine",
    "incremental_resolve",
    "materialization_id",
    "prefer_native",
    "rows_at_once",
    "strict_versions",
    "write_key",
];

/// Rows of large tables that are compared at once, unless the session says otherwise: so many that planning each range
/// costs little, and few enough for a few hundred megabytes.
pub(crate) const ROWS_AT_ONCE: u64 = 1 << 21;

/// What `SET metaxy.…` sets.
///
/// Defaults come from `[ext.datafusion]` in the configuration. `SHOW` needs DataFusion's information schema, which
/// the prompt turns on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaxyOptions {
    /// Whether features of other projects may be written.
    pub allow_cross_project_writes: bool,
    /// Where increments are computed.
    pub engine: VersioningEngine,
    /// Whether increments go on from what an earlier one found.
    pub incremental_resolve: IncrementalResolve,
    /// The caller's run id, stored with every row that is written; empty for none.
    pub materialization_id: String,
    /// `false` asks for the in-memory executor; `None` leaves it to the store's configuration.
    pub prefer_native: Option<bool>,
    /// Rows that are compared at once in memory: of larger tables, a range of ids at a time.
    pub rows_at_once: u64,
    /// Whether versions that are NULL, empty or contain `|` are refused in writes.
    pub strict_versions: bool,
    /// The caller's key for the next write, which is skipped if a write with this key has happened.
    pub write_key: NextKey,
}

impl Default for MetaxyOptions {
    fn default() -> Self {
        Self {
            allow_cross_project_writes: false,
            engine: VersioningEngine::Auto,
            incremental_resolve: IncrementalResolve::Auto,
            materialization_id: String::new(),
            prefer_native: None,
            rows_at_once: ROWS_AT_ONCE,
            strict_versions: true,
            write_key: NextKey::default(),
        }
    }
}

impl MetaxyOptions {
    /// The same options for a session of its own, which takes its keys from nobody else.
    pub fn for_session(&self) -> Self {
        Self { write_key: NextKey::new(self.write_key.get()), ..self.clone() }
    }

    /// What the session says about executors.
    pub fn engine_preference(&self) -> EnginePreference {
        EnginePreference { engine: Some(self.engine), prefer_native: self.prefer_native }
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
            "allow_cross_project_writes" => {
                self.allow_cross_project_writes = truth("allow_cross_project_writes", value)?;
            }
            "engine" => match value.parse() {
                Ok(engine) => self.engine = engine,
                Err(_) => {
                    return config_err!(
                        "metaxy.engine is {value:?}; it must be 'auto', 'native' or 'memory'"
                    );
                }
            },
            "incremental_resolve" => match value.parse() {
                Ok(choice) => self.incremental_resolve = choice,
                Err(_) => {
                    return config_err!(
                        "metaxy.incremental_resolve is {value:?}; it must be 'auto', 'true' or 'false'"
                    );
                }
            },
            "prefer_native" => match value.to_ascii_lowercase().as_str() {
                "true" => self.prefer_native = Some(true),
                "false" => self.prefer_native = Some(false),
                "" => self.prefer_native = None,
                _ => return config_err!("metaxy.prefer_native is {value:?}; it must be true or false"),
            },
            "rows_at_once" => match value.parse() {
                Ok(rows) if rows > 0 => self.rows_at_once = rows,
                _ => {
                    return config_err!(
                        "metaxy.rows_at_once is {value:?}; it must be a number of rows, 1 or more"
                    );
                }
            },
            "materialization_id" => self.materialization_id = value.to_owned(),
            "strict_versions" => self.strict_versions = truth("strict_versions", value)?,
            "write_key" => self.write_key = NextKey::new(value),
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
            entry(
                "allow_cross_project_writes",
                self.allow_cross_project_writes.to_string(),
                "Allow writes to features of other projects",
            ),
            entry("engine", self.engine.to_string(), "Where increments are computed: auto, native or memory"),
            entry(
                "incremental_resolve",
                self.incremental_resolve.to_string(),
                "Whether increments compare only what has changed since an earlier one: auto (large tables), true or false",
            ),
            entry(
                "materialization_id",
                self.materialization_id.clone(),
                "Run id stored with every written row",
            ),
            entry(
                "prefer_native",
                self.prefer_native.map_or_else(String::new, |prefer| prefer.to_string()),
                "false computes increments in memory; empty leaves it to the store",
            ),
            entry(
                "rows_at_once",
                self.rows_at_once.to_string(),
                "Rows that are compared at once in memory; of larger tables, a range of ids at a time",
            ),
            entry(
                "strict_versions",
                self.strict_versions.to_string(),
                "Refuse versions that are NULL, empty or contain |",
            ),
            entry("write_key", self.write_key.get(), "Key of the next write, which then happens only once"),
        ]
    }
}

fn truth(key: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => config_err!("metaxy.{key} is {value:?}; it must be true or false"),
    }
}
