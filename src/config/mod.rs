//! The configuration: `metaxy.toml`, what the environment puts over it, and the SQL session options.

mod env;
mod expand;
mod extend;
mod features;
mod find;
mod keys;
mod load;
mod model;
pub mod options;
mod read;
mod read_store;
mod secret;
mod suggest;
mod tree;
mod typed;

pub use env::Environment;
pub use keys::known_keys;
pub use model::{Config, DataFusionConfig, Layout, StoreConfig, StoreKind, StoreOverrides, VersioningEngine};
pub use read::project_problem;
pub use secret::{LeftAlone, Secret, is_secret_key, redact};

#[cfg(test)]
mod tests;
