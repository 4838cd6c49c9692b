//! The hash settings in the folder of a feature in a Parquet store.

use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use serde::{Deserialize, Serialize};

use super::RecordedSettings;
use super::parquet_folder::ParquetFolder;
use crate::error::Result;
use crate::hash::HashSettings;

/// The file with the hash settings.
const SETTINGS: &str = "_metaxy.json";

/// What `_metaxy.json` holds.
#[derive(Serialize, Deserialize)]
struct Settings {
    hash_algorithm: String,
    hash_truncation_length: usize,
}

impl ParquetFolder {
    /// The hash settings beside the data.
    pub(crate) async fn recorded(&self) -> Result<Option<RecordedSettings>> {
        let fail = |reason: &str| self.error(SETTINGS, reason);
        let text = match self.objects.store.get(&self.path().clone().join(SETTINGS)).await {
            Ok(found) => found.bytes().await.map_err(|error| self.failed(SETTINGS, &error))?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed(SETTINGS, &error)),
        };
        let settings: Settings = serde_json::from_slice(&text)
            .map_err(|error| fail(&format!("not the hash settings of a table: {error}")))?;
        Ok(Some(RecordedSettings {
            algorithm: settings.hash_algorithm,
            length: settings.hash_truncation_length.to_string(),
        }))
    }

    /// Puts the hash settings down, unless another writer has done so.
    pub(crate) async fn record(&self, settings: HashSettings) -> Result<()> {
        let fail = |reason: &str| self.error(SETTINGS, reason);
        let settings = Settings {
            hash_algorithm: settings.algorithm.to_string(),
            hash_truncation_length: settings.length,
        };
        let text = serde_json::to_string(&settings).map_err(|error| fail(&error.to_string()))?;
        let path = self.path().clone().join(SETTINGS);
        match self.objects.store.put_opts(&path, text.into(), PutMode::Create.into()).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(self.failed(SETTINGS, &error)),
        }
    }
}
