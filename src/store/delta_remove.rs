//! Removing rows of a Delta table for good: each file that holds some is replaced by one without them.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use deltalake::DeltaTable;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Remove};
use deltalake::protocol::DeltaOperation;
use serde_json::Value;

use super::delta::{DeltaRows, DeltaStore, ranked_files};
use super::delta_commit::ATTEMPTS;
use super::delta_stage::Stage;
use super::remove::{by_file, remaining, removed_meanwhile};
use super::row_order::MOST_FILES;
use super::stamp::{later_than, read_back};
use super::{Append, TableSnapshot, WriteTime, times};
use crate::error::{MetaxyError, Result};
use crate::model::FeatureKey;

/// A Delta table at one version.
#[derive(Debug)]
pub(crate) struct DeltaSnapshot {
    store: DeltaStore,
    feature: FeatureKey,
    table: DeltaTable,
    rows: Arc<DeltaRows>,
}

impl DeltaSnapshot {
    pub(crate) async fn open(store: &DeltaStore, feature: &FeatureKey) -> Result<Option<Self>> {
        let Some(table) = store.load(feature).await? else {
            return Ok(None);
        };
        let rows = Arc::new(DeltaRows::try_new(table.clone()).await?.pinned());
        Ok(Some(Self { store: store.clone(), feature: feature.clone(), table, rows }))
    }

    /// Writes the files without those rows; an error leaves nothing behind.
    async fn stage(&self, rows: &[u64], replaced: &mut Replaced) -> Result<()> {
        let files = ranked_files(&self.table)?;
        if files.len() as u64 > MOST_FILES {
            return Err(self.refused("it has too many files to delete from; compact it first"));
        }
        let files_of_table = self.table.log_store().object_store(None);
        for (rank, gone) in by_file(rows) {
            let Some(file) = files.get(rank) else {
                return Err(self.refused("a row to delete is in no file of it"));
            };
            if file.deletion_vector_descriptor().is_some() {
                return Err(
                    self.refused("it has deletion vectors, which can't be rewritten; compact it first")
                );
            }
            let removed = file.remove_action(true);
            let (modified, partition) = (file.modification_time(), file.partition_values_map());
            replaced.removes.push(removed);
            let rows = read_back(Arc::clone(&files_of_table), file.object_store_path()).await?;
            let Some((schema, rows)) = remaining(rows, gone).await? else { continue };
            let time = (WriteTime::Kept, DateTime::<Utc>::MIN_UTC);
            let columns = columns_with_statistics(file.stats().as_deref());
            let before = || self.store.location.check_writable(&self.feature);
            let stage =
                Stage::write(Arc::clone(&files_of_table), schema, columns, time, rows, &before).await?;
            replaced.adds.extend(stage.files().iter().cloned().map(|mut new| {
                // Rows of the same time are told apart by it.
                new.modification_time = modified;
                new.partition_values.clone_from(&partition);
                new
            }));
            replaced.stages.push(stage);
        }
        Ok(())
    }

    async fn commit(&self, replaced: &mut Replaced) -> Result<()> {
        let fail = |error: &_| self.store.error(&self.feature, error);
        let removed: HashSet<&str> = replaced.removes.iter().map(|file| file.path.as_str()).collect();
        for _ in 0..ATTEMPTS {
            let Some(table) = self.store.load(&self.feature).await? else {
                return Err(removed_meanwhile(&self.feature));
            };
            let state = table.snapshot().map_err(|e| fail(&e))?;
            let present = state.log_data().iter().filter(|f| removed.contains(f.path().as_ref())).count();
            if present < removed.len() {
                return Err(removed_meanwhile(&self.feature));
            }
            if replaced.appended.is_some() && table.version() != self.table.version() {
                // What is appended was worked out from all rows there were.
                return Err(removed_meanwhile(&self.feature));
            }
            let actions: Vec<Action> = replaced
                .removes
                .iter()
                .cloned()
                .map(Action::Remove)
                .chain(replaced.adds.iter().cloned().map(Action::Add))
                .chain(replaced.appended.iter().flat_map(|s| s.files().iter().cloned().map(Action::Add)))
                .collect();
            // By this file the commit is recognised.
            let added = actions.iter().find_map(|action| match action {
                Action::Add(add) => Some(add.path.clone()),
                _ => None,
            });
            let outcome = CommitBuilder::from(CommitProperties::default().with_max_retries(0))
                .with_actions(actions)
                .build(Some(state), table.log_store(), DeltaOperation::Delete { predicate: None })
                .await;
            let Err(error) = outcome else { return Ok(()) };
            // Did it get through all the same, did another writer win, or is it broken?
            let Some(now) = self.store.load(&self.feature).await? else { return Err(fail(&error)) };
            let files = now.snapshot().map_err(|e| fail(&e))?.log_data();
            if added.is_some_and(|path| files.iter().any(|file| file.path() == path.as_str())) {
                return Ok(());
            }
            if now.version() <= table.version() {
                return Err(fail(&error));
            }
        }
        Err(self.refused(&format!("other writers won {ATTEMPTS} commits in a row; try again")))
    }

    fn refused(&self, reason: &str) -> MetaxyError {
        MetaxyError::Store {
            store: self.store.location.store().to_owned(),
            reason: format!("{}: {reason}", self.store.location.table_path(&self.feature)),
        }
    }
}

/// What a delete puts in the place of files.
#[derive(Default)]
struct Replaced {
    removes: Vec<Remove>,
    adds: Vec<deltalake::kernel::Add>,
    stages: Vec<Stage>,
    appended: Option<Stage>,
}

#[async_trait]
impl TableSnapshot for DeltaSnapshot {
    fn rows(&self) -> Arc<dyn TableProvider> {
        Arc::clone(&self.rows) as _
    }

    async fn remove(&self, rows: &[u64], append: Option<Append>) -> Result<u64> {
        let mut replaced = Replaced::default();
        let mut outcome = self.stage(rows, &mut replaced).await;
        if let (Ok(()), Some(append)) = (&outcome, append) {
            let latest = times::latest_time(&self.table).await?;
            let files = self.table.log_store().object_store(None);
            let time = (append.time, later_than(latest));
            match Stage::write(files, append.schema, append.id_columns, time, append.rows, &|| Ok(())).await {
                Ok(stage) => replaced.appended = Some(stage),
                Err(error) => outcome = Err(error),
            }
        }
        if outcome.is_ok() {
            outcome = self.commit(&mut replaced).await;
        }
        if let Err(error) = outcome {
            for stage in replaced.stages.into_iter().chain(replaced.appended) {
                stage.discard().await;
            }
            return Err(error);
        }
        Ok(rows.len() as u64)
    }
}

/// The columns that a file's statistics bound: its successor gets statistics of the same.
fn columns_with_statistics(stats: Option<&str>) -> Vec<String> {
    let stats: Value = stats.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
    let plain = |(name, value): (&String, &Value)| (!value.is_object()).then(|| name.clone());
    stats["minValues"].as_object().into_iter().flatten().filter_map(plain).collect()
}
