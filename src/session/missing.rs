//! What to say of a table that isn't there.

use datafusion::common::ResolvedTableReference;
use datafusion::sql::parser::Statement;

use super::MetaxySession;
use super::metaxy_session::is_store_schema;
use crate::catalog::FEATURES_SCHEMA;
use crate::error::MetaxyError;
use crate::functions::is_our_function;
use crate::store::FeatureTable;

impl MetaxySession {
    /// Says what is wrong with a table that a failed statement names, where that is the cause.
    pub(super) async fn explained(&self, error: MetaxyError, statement: &Statement) -> MetaxyError {
        let state = self.context().state();
        let Ok(references) = state.resolve_table_references(statement) else {
            return error;
        };
        let text = error.to_string();
        let catalog = &state.config_options().catalog;
        for reference in references {
            // Function calls are among the references, too.
            if is_our_function(reference.table()) && reference.schema().is_none() {
                continue;
            }
            let resolved = reference.clone().resolve(&catalog.default_catalog, &catalog.default_schema);
            let not_found = text.contains(&format!("table '{resolved}' not found"));
            let Some(provider) = self.context().catalog(&resolved.catalog) else {
                return match self.extension().store(&resolved.catalog) {
                    Err(cause) => cause,
                    Ok(_) => error,
                };
            };
            let Some(schema) = provider.schema(&resolved.schema) else { continue };
            match schema.table(&resolved.table).await {
                Err(cause) if not_found => return cause.into(),
                Ok(Some(table)) => {
                    if let Some(table) = table.downcast_ref::<FeatureTable>()
                        && !table.exists()
                    {
                        return table.not_found();
                    }
                }
                Ok(None) if not_found && is_store_schema(&resolved.schema) => {
                    if let Some(hint) = self.suggestion(&resolved).await {
                        return hint;
                    }
                }
                _ => {}
            }
        }
        error
    }

    async fn suggestion(&self, table: &ResolvedTableReference) -> Option<MetaxyError> {
        let name: &str = &table.table;
        let graph = self.extension().store(&table.catalog).ok()?.graph().await.ok()?;
        // What can't be a feature's name, a file's for example, was not meant as one.
        crate::model::FeatureKey::parse(&name.replace("__", "/")).ok()?;
        match graph.lookup(name) {
            Err(MetaxyError::UnknownFeature { feature, reason }) => {
                // Not only features have names here.
                let reason = match reason.is_empty() {
                    true => "there is no table or view of this name either".to_owned(),
                    false => reason,
                };
                let unknown = MetaxyError::UnknownFeature { feature, reason };
                Some(self.elsewhere(&table.catalog, name).unwrap_or(unknown))
            }
            _ => None,
        }
    }

    /// The same feature in another store, if one of those in use has it.
    fn elsewhere(&self, store: &str, table: &str) -> Option<MetaxyError> {
        let other = self.extension().store_names().filter(|name| *name != store).find(|name| {
            let graph = self.extension().store(name).ok().and_then(|store| store.known_graph());
            graph.is_some_and(|graph| graph.lookup(table).is_ok())
        })?;
        Some(MetaxyError::UnknownFeature {
            feature: table.to_owned(),
            reason: format!(
                "store {other} has it: use {other}.{FEATURES_SCHEMA}.{table} or USE STORE {other}"
            ),
        })
    }
}
