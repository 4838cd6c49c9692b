//! How SQL sees a store: a catalog with the schemas `features`, `history` and `system`.

mod features;
mod history;
mod read_only;
mod store_catalog;
mod system;

pub use store_catalog::{FEATURES_SCHEMA, HISTORY_SCHEMA, SYSTEM_SCHEMA, StoreCatalog};

use std::sync::Arc;

use crate::model::FeatureGraph;

/// The table names of all features.
fn table_names(graph: Option<&Arc<FeatureGraph>>) -> Vec<String> {
    let mut names: Vec<String> =
        graph.into_iter().flat_map(|graph| graph.iter()).map(|feature| feature.key().table_name()).collect();
    names.sort();
    names
}
