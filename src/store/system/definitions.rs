//! The definitions that hold in a store: of each feature that was pushed to it the latest one.

use indexmap::IndexMap;

use super::rows::Row;
use crate::error::Result;
use crate::model::FeatureDefinition;
use crate::store::Store;

impl Store {
    /// The current definition of each feature that was pushed to the store.
    ///
    /// A row that can't be understood is skipped, with a warning.
    pub(in crate::store) async fn pushed_definitions(&self) -> Result<Vec<FeatureDefinition>> {
        let rows = self.recorded_definitions().await?;
        Ok(self.latest_definitions(&rows))
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
