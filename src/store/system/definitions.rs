//! The definitions that hold in a store: of each feature that was pushed to it the latest one.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;

use super::rows::Row;
use crate::error::Result;
use crate::model::{FeatureDefinition, Origin};
use crate::store::Store;

impl Store {
    /// The current definition of each feature that was pushed to the store.
    ///
    /// A row that can't be understood is skipped, with a warning.
    pub(in crate::store) async fn pushed_definitions(&self) -> Result<Vec<FeatureDefinition>> {
        let rows = self.recorded_definitions().await?;
        let mut definitions = self.latest_definitions(&rows);
        let current: HashMap<&str, &str> =
            rows.iter().map(|row| (row.project.as_str(), row.project_version.as_str())).collect();
        let kept: HashSet<(&str, &str)> = rows
            .iter()
            .filter(|row| current.get(row.project.as_str()) == Some(&row.project_version.as_str()))
            .map(|row| (row.project.as_str(), row.feature.as_str()))
            .collect();
        for definition in &mut definitions {
            // Its rows can still be read, and features of other projects may still depend on it.
            if !kept.contains(&(definition.project.as_str(), definition.key().to_string().as_str())) {
                definition.origin = Origin::Removed(self.name().to_owned());
            }
        }
        Ok(definitions)
    }

    /// The latest definition of each feature among rows that come in the order of time.
    pub(super) fn latest_definitions<'a>(
        &self,
        rows: impl IntoIterator<Item = &'a Row>,
    ) -> Vec<FeatureDefinition> {
        let mut latest: IndexMap<&str, &Row> = IndexMap::new();
        for row in rows {
            latest.insert(&row.feature, row);
        }
        let mut definitions = Vec::new();
        for (feature, row) in latest {
            if row.deleted {
                continue;
            }
            match row.definition(self.name()) {
                Ok(definition) => definitions.push(definition),
                Err(error) => self
                    .warnings()
                    .push(format!("store {}: definition of {feature} skipped: {error}", self.name())),
            }
        }
        definitions
    }
}
