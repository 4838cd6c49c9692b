//! The configuration: `metaxy.toml`, what the environment puts over it, and the SQL session options.

mod chain;
mod engine;
mod env;
mod expand;
mod extend;
mod external;
mod features;
mod find;
mod keys;
mod load;
mod model;
mod next_key;
pub mod options;
mod read;
mod read_store;
mod secret;
mod shown;
mod suggest;
mod tree;
mod typed;

pub(crate) use chain::{check_fallbacks, hash_mismatch};
pub use engine::{EnginePreference, IncrementalResolve, VersioningEngine};
pub use env::Environment;
pub use external::{ExternalConfig, FeatureSelection};
pub use keys::known_keys;
pub use model::{
    Config, DataFusionConfig, DatabaseConfig, FallbackPolicy, Layout, StoreConfig, StoreKind, StoreOverrides,
};
pub use next_key::{NextKey, TakenKey};
pub use read::project_problem;
pub use secret::{LeftAlone, Secret, is_secret_key, redact};
pub use shown::Setting;
pub(crate) use suggest::nearest;

#[cfg(test)]
mod tests;
