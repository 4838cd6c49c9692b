//! Committing staged files to a Delta table, alone or against other writers.
//!
//! delta-rs retries a lost commit by itself, but its retry of a lost *creation* would put the loser's schema and
//! properties on top of the winner's, and it does not look at application transactions. So every commit here is a
//! single attempt; after a lost one the table is loaded again and everything that depends on it is worked out anew.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::datatypes::Schema;
use deltalake::kernel::engine::arrow_conversion::TryIntoArrow;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, MetadataExt, Protocol, StructType, Transaction};
use deltalake::logstore::{LogStoreRef, get_actions};
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::{DeltaTable, DeltaTableError};
use object_store::path::Path;
use serde_json::json;

use super::delta::{ALGORITHM_PROPERTY, DeltaStore, LENGTH_PROPERTY, recorded_settings, table_state};
use super::delta_schema::{has_naive_time, merge, to_delta};
use super::delta_stage::Stage;
use super::stamp::{later_than, read_back};
use super::{Append, Basis, times};
use crate::boxed::BoxFuture;
use crate::error::{MetaxyError, Result};
use crate::hash::HashSettings;
use crate::model::FeatureKey;

/// How often a commit is tried against other writers before giving up.
pub(crate) const ATTEMPTS: u32 = 100;
/// Table property that says after how many commits there is a checkpoint; delta-rs, too, goes by it.
const CHECKPOINT_PROPERTY: &str = "delta.checkpointInterval";
/// Commits behind a checkpoint, each of which is a request to whoever opens the table. Delta's own default; that of delta-rs
/// is 100.
const COMMITS_TO_READ: u32 = 10;
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Appends rows to the feature's table in one commit, creating it or adding columns as needed.
pub(crate) fn append<'a>(
    store: &'a DeltaStore,
    feature: &'a FeatureKey,
    rows: Append,
) -> BoxFuture<'a, Result<u64>> {
    Box::pin(async move {
        let Append { schema, rows, settings, id_columns, write_key, time, only_at } = rows;
        let commit = Commit { store, feature, settings, write_key, only_at };
        let table = store.load(feature).await?;
        if let Some(table) = &table
            && commit.was_done(table).await?
        {
            return Ok(0);
        }
        let log_store = match &table {
            Some(table) => table.log_store(),
            None => store.table(feature)?.log_store(),
        };
        let latest = match &table {
            Some(table) => times::latest_time(table).await?,
            None => None,
        };
        let files = log_store.object_store(None);
        let check = || store.location.check_writable(feature);
        let outcome =
            match Stage::write(files, schema, id_columns, (time, later_than(latest)), rows, &check).await {
                Ok(stage) => commit.run(stage, log_store).await,
                Err(error) => Err(error),
            };
        if outcome.is_err() {
            store.location.tidy(&store.location.table_path(feature));
        }
        outcome
    })
}

struct Commit<'a> {
    store: &'a DeltaStore,
    feature: &'a FeatureKey,
    settings: HashSettings,
    write_key: Option<String>,
    only_at: Option<Basis>,
}

impl Commit<'_> {
    async fn run(&self, mut stage: Stage, log_store: LogStoreRef) -> Result<u64> {
        if stage.rows() == 0 {
            return Ok(0);
        }
        let mut pause = Duration::from_millis(5);
        let mut basis = self.only_at.clone();
        for _ in 0..ATTEMPTS {
            let table = match self.store.load(self.feature).await {
                Ok(table) => table,
                Err(error) => return self.give_up(stage, error).await,
            };
            if let Some(basis) = &mut basis {
                match self.still_holds(basis, table.as_ref()).await {
                    Ok(true) => basis.state = table_state(table.as_ref()),
                    Ok(false) => {
                        let error = MetaxyError::Changed { feature: self.feature.to_string() };
                        return self.give_up(stage, error).await;
                    }
                    Err(error) => return self.give_up(stage, error).await,
                }
            }
            if let Some(table) = &table {
                match self.was_done(table).await {
                    Ok(false) => {}
                    Ok(true) => {
                        stage.discard().await;
                        return Ok(0);
                    }
                    Err(error) => return self.give_up(stage, error).await,
                }
                match times::latest_time(table).await {
                    Ok(Some(latest)) if stage.is_too_early(latest) => {
                        stage = stage.restamp(later_than(Some(latest))).await?;
                    }
                    Ok(_) => {}
                    Err(error) => return self.give_up(stage, error).await,
                }
            }
            let outcome = match &table {
                None => self.create(&stage, &log_store).await,
                Some(table) => self.add(&stage, table).await,
            };
            match outcome {
                Ok(()) => return Ok(stage.rows()),
                Err(Failure::Final(error)) => return self.give_up(stage, error).await,
                Err(Failure::Delta(error)) => {
                    let before = table.as_ref().and_then(DeltaTable::version);
                    match self.lost(&stage, before, &error).await {
                        Ok(Lost::No) => return Ok(stage.rows()),
                        Ok(Lost::Yes) => {}
                        // A commit whose answer was lost may still come: its files have to stay.
                        Err(error) if self.store.location.remote().is_some() => return Err(error),
                        Err(error) => return self.give_up(stage, error).await,
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        let error = self.failure(&format!("other writers won {ATTEMPTS} commits in a row; try again"));
        self.give_up(stage, error).await
    }

    async fn give_up(&self, stage: Stage, error: MetaxyError) -> Result<u64> {
        stage.discard().await;
        Err(error)
    }

    /// Whether no file was removed since, and those that were added hold other samples.
    async fn still_holds(&self, basis: &Basis, table: Option<&DeltaTable>) -> Result<bool> {
        let now = table_state(table);
        if basis.state == now {
            return Ok(true);
        }
        let Some((table, version)) = table.and_then(|table| Some((table, table.version()?))) else {
            return Ok(false);
        };
        let then = basis.state.as_str();
        let first = if then.is_empty() { Ok(0) } else { then.parse::<u64>().map(|version| version + 1) };
        let Ok(first) = first else { return Ok(false) };
        let log = table.log_store();
        let files = log.object_store(None);
        for version in first..=version {
            let commit = log.read_commit_entry(version).await.map_err(|e| self.delta(&e))?;
            let Some(commit) = commit.filter(|_| basis.samples.is_some()) else { return Ok(false) };
            for action in get_actions(version, &commit).map_err(|e| self.delta(&e))? {
                let added = match action {
                    Action::Add(added) => Path::from_url_path(&added.path),
                    Action::Remove(_) => return Ok(false),
                    _ => continue,
                };
                let Ok(path) = added else { return Ok(false) };
                if !basis.survives(read_back(Arc::clone(&files), path).await?).await? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Whether a write with this key is in the table already.
    async fn was_done(&self, table: &DeltaTable) -> Result<bool> {
        let Some(transaction) = self.transaction() else {
            return Ok(false);
        };
        let state = table.snapshot().map_err(|e| self.delta(&e))?;
        let version = state
            .transaction_version(table.log_store().as_ref(), transaction.app_id)
            .await
            .map_err(|e| self.delta(&e))?;
        Ok(version.is_some())
    }

    fn transaction(&self) -> Option<Transaction> {
        self.write_key.as_ref().map(|key| Transaction::new(format!("metaxy/{key}"), 1))
    }

    async fn create(&self, stage: &Stage, log_store: &LogStoreRef) -> Result<(), Failure> {
        let schema = to_delta(stage.schema()).map_err(|reason| Failure::Final(self.refused(reason)))?;
        let settings = [
            (ALGORITHM_PROPERTY, Some(self.settings.algorithm.to_string())),
            (LENGTH_PROPERTY, Some(self.settings.length.to_string())),
        ];
        // System tables have no versions of samples.
        let settings = settings.into_iter().filter(|_| !self.feature.is_system());
        let upkeep = [(CHECKPOINT_PROPERTY, Some(COMMITS_TO_READ.to_string()))];
        CreateBuilder::new()
            .with_log_store(log_store.clone())
            .with_columns(schema.fields().cloned())
            .with_raise_if_key_not_exists(false)
            .with_configuration(settings.chain(upkeep))
            .with_actions(stage.files().iter().cloned().map(Action::Add))
            .with_commit_properties(self.properties())
            .await
            .map(drop)
            .map_err(Failure::Delta)
    }

    async fn add(&self, stage: &Stage, table: &DeltaTable) -> Result<(), Failure> {
        let state = table.snapshot().map_err(Failure::Delta)?;
        if let Some(recorded) = recorded_settings(state.metadata()) {
            recorded.check(self.settings).map_err(|reason| Failure::Final(self.refused(reason)))?;
        }
        let mut actions = Vec::new();
        let stored: Schema = state
            .schema()
            .as_ref()
            .try_into_arrow()
            .map_err(|error| Failure::Final(self.failure(&error.to_string())))?;
        let merged = merge(&stored, stage.schema()).map_err(|reason| Failure::Final(self.refused(reason)))?;
        if let Some(merged) = merged {
            let schema = to_delta(&merged).map_err(|reason| Failure::Final(self.refused(reason)))?;
            actions.extend(self.evolve(table, &merged, &schema).map_err(Failure::Delta)?);
        }
        actions.extend(stage.files().iter().cloned().map(Action::Add));
        let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
        CommitBuilder::from(self.properties())
            .with_actions(actions)
            .build(Some(state), table.log_store(), operation)
            .await
            .map(drop)
            .map_err(Failure::Delta)
    }

    /// The actions that give a table a wider schema, and the reader version that it needs.
    fn evolve(
        &self,
        table: &DeltaTable,
        merged: &Schema,
        schema: &StructType,
    ) -> Result<Vec<Action>, DeltaTableError> {
        let state = table.snapshot()?;
        let mut actions = Vec::new();
        let known = state.protocol().writer_features().unwrap_or_default();
        let has_feature = known.iter().any(|feature| feature.to_string() == "timestampNtz");
        if has_naive_time(merged.fields()) && !has_feature {
            actions.push(Action::Protocol(with_naive_time(state.protocol())?));
        }
        actions.push(Action::Metadata(state.metadata().clone().with_schema(schema)?));
        Ok(actions)
    }

    fn properties(&self) -> CommitProperties {
        let properties = CommitProperties::default().with_max_retries(0);
        match self.transaction() {
            Some(transaction) => properties.with_application_transaction(transaction),
            None => properties,
        }
    }

    /// After a failed commit: did it get through all the same, did another writer win, or is it broken?
    async fn lost(&self, stage: &Stage, before: Option<u64>, error: &DeltaTableError) -> Result<Lost> {
        let Some(table) = self.store.load(self.feature).await? else {
            return Err(self.delta(error));
        };
        let state = table.snapshot().map_err(|e| self.delta(&e))?;
        if let Some(file) = stage.files().first()
            && state.log_data().iter().any(|f| f.path() == file.path.as_str())
        {
            return Ok(Lost::No);
        }
        if table.version() > before { Ok(Lost::Yes) } else { Err(self.delta(error)) }
    }

    fn delta(&self, error: &DeltaTableError) -> MetaxyError {
        self.store.error(self.feature, error)
    }

    fn failure(&self, reason: &str) -> MetaxyError {
        let location = &self.store.location;
        let path = location.table_path(self.feature);
        MetaxyError::Store { store: location.store().to_owned(), reason: format!("{path}: {reason}") }
    }

    fn refused(&self, reason: String) -> MetaxyError {
        MetaxyError::Write { feature: self.feature.to_string(), reason }
    }
}

/// Why a commit did not happen.
enum Failure {
    /// Trying again can't help.
    Final(MetaxyError),
    /// Delta said no; perhaps another writer was faster.
    Delta(DeltaTableError),
}

enum Lost {
    Yes,
    No,
}

/// Reader version 3 and writer version 7 with the feature for times without a time zone, next to what is there.
fn with_naive_time(protocol: &Protocol) -> Result<Protocol, DeltaTableError> {
    let names = |features: Option<&[_]>| -> Vec<String> {
        features
            .unwrap_or_default()
            .iter()
            .map(|f: &delta_kernel::table_features::TableFeature| f.to_string())
            .collect()
    };
    let mut readers = names(protocol.reader_features());
    let mut writers = names(protocol.writer_features());
    readers.push("timestampNtz".into());
    writers.push("timestampNtz".into());
    // Features that older writer versions imply have to be named once the version is 7.
    let implied: &[(i32, &str)] = &[
        (2, "appendOnly"),
        (2, "invariants"),
        (3, "checkConstraints"),
        (4, "changeDataFeed"),
        (4, "generatedColumns"),
        (6, "identityColumns"),
    ];
    if protocol.min_writer_version() < 7 {
        writers.extend(
            implied
                .iter()
                .filter(|(version, _)| *version <= protocol.min_writer_version())
                .map(|(_, name)| (*name).to_owned()),
        );
    }
    let value = json!({
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": readers,
        "writerFeatures": writers,
    });
    Ok(serde_json::from_value(value)?)
}
