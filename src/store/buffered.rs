//! Collecting rows as they come, and writing them in batches.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result as DataFusionResult;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::prepare::Preparer;
use super::{Store, WriteOptions};
use crate::error::{MetaxyError, Result};
use crate::model::{FeatureDefinition, FeatureGraph, FeatureKey};
use crate::operators::Keys;

/// When collected rows are written.
#[derive(Debug, Clone)]
pub struct BufferOptions {
    /// As soon as a feature has so many rows.
    pub rows: usize,
    /// As soon as the oldest row has waited so long.
    pub age: Duration,
    /// How they are written. A write key is made for each write; one that is given here starts it.
    pub write: WriteOptions,
}

impl Default for BufferOptions {
    fn default() -> Self {
        Self { rows: 10_000, age: Duration::from_secs(10), write: WriteOptions::default() }
    }
}

/// Takes rows one by one or in batches, and writes them by number or age.
///
/// No row is dropped: rows that break a rule are refused by [`put`](Self::put), and those that a store could not take
/// stay, are written with the next ones, or can be had back from [`close`](Self::close). A write that failed has the
/// same key when it is tried again, so that one which got through after all is not made twice.
///
/// Rows are written when [`put`](Self::put), [`flush`](Self::flush) or [`close`](Self::close) say so, or in the
/// background when they get old; an error of the background comes back from the next call.
#[derive(Debug)]
pub struct BufferedWriter {
    shared: Arc<Shared>,
    background: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    store: Arc<Store>,
    options: BufferOptions,
    /// Makes keys of this writer's writes its own.
    name: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    features: Vec<Waiting>,
    writes: u64,
    /// What went wrong in the background since the last call.
    error: Option<MetaxyError>,
}

/// The rows of a feature that wait.
#[derive(Debug)]
struct Waiting {
    definition: Arc<FeatureDefinition>,
    keys: Keys,
    /// The columns of its table when its first rows came.
    stored: Option<SchemaRef>,
    /// In the order in which they came; each is one write, in which no sample is twice.
    writes: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    key: String,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    seen: HashSet<u128>,
    since: Instant,
    /// Whether it was tried: then its rows stay as they are, since its key stands for just them.
    tried: bool,
}

/// Rows that a closed writer could not write.
#[derive(Debug)]
pub struct Unwritten {
    /// Why not.
    pub error: MetaxyError,
    /// The rows, by feature and in the order in which they came. Written again with the same keys, they are not there
    /// twice even if the write got through that seemed to fail.
    pub rows: Vec<UnwrittenRows>,
}

/// One write that did not happen.
#[derive(Debug)]
pub struct UnwrittenRows {
    /// The feature.
    pub feature: FeatureKey,
    /// The key of the write, for [`WriteOptions::write_key`].
    pub write_key: String,
    /// Its rows.
    pub batches: Vec<RecordBatch>,
}

impl Store {
    /// A writer that collects rows for this store. It has to be [closed](BufferedWriter::close) at the end.
    ///
    /// Needs a Tokio runtime, in which rows that get old are written.
    pub fn buffered(self: &Arc<Self>, options: BufferOptions) -> BufferedWriter {
        let name = match &options.write.write_key {
            Some(key) => key.clone(),
            None => uuid::Uuid::new_v4().to_string(),
        };
        let pause = (options.age / 4).max(Duration::from_millis(1));
        let shared = Arc::new(Shared { store: Arc::clone(self), options, name, state: Mutex::default() });
        let weak = Arc::downgrade(&shared);
        let background = tokio::spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                let Some(shared) = weak.upgrade() else { return };
                let mut state = shared.state.lock().await;
                if let Err(error) =
                    shared.write_due(&mut state, |waiting| waiting.is_old(shared.options.age)).await
                {
                    log::warn!("buffered rows could not be written, and wait for the next try: {error}");
                    state.error = Some(error);
                }
            }
        });
        BufferedWriter { shared, background }
    }
}

impl BufferedWriter {
    /// Takes rows of a feature, and writes those of it that wait if they are enough.
    ///
    /// # Errors
    /// Rows that [`Store::write`] would refuse, or a store that can't be asked: none of the batch is taken then. Or
    /// [`MetaxyError::Waiting`] when rows could not be written, now or in the background before: then the batch *was*
    /// taken, and is written with the next try; giving it once more would write it twice.
    pub async fn put(&self, feature: &str, rows: RecordBatch) -> Result<()> {
        let shared = &self.shared;
        let definition = shared.store.feature(feature).await?;
        shared.store.check_project(&definition, &shared.options.write.scope)?;
        let mut state = shared.state.lock().await;
        let index = match state.features.iter().position(|w| w.definition.key() == definition.key()) {
            Some(index) => index,
            None => {
                let stored = shared.store.open(definition.key()).await?.map(|table| table.provider.schema());
                let waiting = Waiting { definition, keys: Keys::new(), stored, writes: Vec::new() };
                state.features.push(waiting);
                state.features.len() - 1
            }
        };
        shared.store.check_rows(&state.features[index], &rows, &shared.options.write).await?;
        state.take(index, rows, &shared.name)?;
        let failed = state.error.take();
        let enough = |waiting: &Waiting| waiting.rows() >= shared.options.rows;
        let outcome = shared.write_due(&mut state, enough).await;
        // What failed before has been tried again by now if it was about this feature; else it is about another.
        let failed = outcome.err().or_else(|| failed.filter(|_| state.rows() > 0));
        failed.map_or(Ok(()), |error| Err(state.waiting(error)))
    }

    /// Writes all rows that wait.
    ///
    /// # Errors
    /// [`MetaxyError::Waiting`]: rows that were not written wait on.
    pub async fn flush(&self) -> Result<()> {
        let mut state = self.shared.state.lock().await;
        state.error = None;
        let outcome = self.shared.write_due(&mut state, |_| true).await;
        outcome.map_err(|error| state.waiting(error))
    }

    /// How many rows wait.
    pub async fn waiting(&self) -> usize {
        self.shared.state.lock().await.rows()
    }

    /// Writes what waits, and ends the writer.
    ///
    /// # Errors
    /// The rows that could not be written, and why.
    pub async fn close(self) -> std::result::Result<(), Box<Unwritten>> {
        self.background.abort();
        let mut state = self.shared.state.lock().await;
        let Err(error) = self.shared.write_due(&mut state, |_| true).await else { return Ok(()) };
        let rows = std::mem::take(&mut state.features)
            .into_iter()
            .flat_map(|waiting| {
                let feature = waiting.definition.key().clone();
                waiting.writes.into_iter().map(move |write| UnwrittenRows {
                    feature: feature.clone(),
                    write_key: write.key,
                    batches: write.batches,
                })
            })
            .collect();
        Err(Box::new(Unwritten { error, rows }))
    }
}

impl Drop for BufferedWriter {
    fn drop(&mut self) {
        self.background.abort();
        let waiting = self.shared.state.try_lock().map_or(0, |state| state.rows());
        if waiting > 0 {
            log::error!(
                "a buffered writer ended with {waiting} rows that were never written; close() writes them"
            );
        }
    }
}

impl Store {
    /// Whether [`write`](Self::write) would take these rows; nothing is written.
    async fn check_rows(&self, waiting: &Waiting, rows: &RecordBatch, options: &WriteOptions) -> Result<()> {
        let stamp = self.stamp(&waiting.definition, options).await?;
        let stored = waiting.stored.as_deref();
        let mut preparer = Preparer::try_new(&waiting.definition, stamp, &rows.schema(), stored)?;
        preparer.batch(rows)?;
        preparer.finish()
    }
}

impl Shared {
    /// Writes the rows of those features, each in the order in which they came, dependents before their parents.
    async fn write_due(&self, state: &mut State, is_due: impl Fn(&Waiting) -> bool) -> Result<()> {
        let graph = self.store.graph().await?;
        let place = |key: &FeatureKey| graph.iter().position(|definition| definition.key() == key);
        state.features.sort_by_key(|waiting| std::cmp::Reverse(place(waiting.definition.key())));
        let due = due(&graph, &state.features, is_due);
        let mut failed = None;
        for waiting in state.features.iter_mut().filter(|waiting| due.contains(waiting.definition.key())) {
            while let Some(write) = waiting.writes.first_mut() {
                write.tried = true;
                let options =
                    WriteOptions { write_key: Some(write.key.clone()), ..self.options.write.clone() };
                let batches: Vec<DataFusionResult<RecordBatch>> =
                    write.batches.iter().cloned().map(Ok).collect();
                let rows = futures::stream::iter(batches);
                let rows = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&write.schema), rows));
                if let Err(error) = self.store.write_rows(&waiting.definition, rows, &options).await {
                    // Other features don't have to wait for this one.
                    failed.get_or_insert(error);
                    break;
                }
                waiting.writes.remove(0);
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// The features that are due, and those that depend on them: a parent's rows are never there before those of its
/// children that came earlier.
fn due(graph: &FeatureGraph, features: &[Waiting], is_due: impl Fn(&Waiting) -> bool) -> HashSet<FeatureKey> {
    let mut due: HashSet<FeatureKey> = features
        .iter()
        .filter(|waiting| is_due(waiting))
        .map(|waiting| waiting.definition.key().clone())
        .collect();
    if !due.is_empty() {
        // Parents come before children.
        for definition in graph.iter() {
            if definition.spec.deps.iter().any(|dep| due.contains(&dep.feature)) {
                due.insert(definition.key().clone());
            }
        }
    }
    due
}

impl State {
    fn rows(&self) -> usize {
        self.features.iter().map(Waiting::rows).sum()
    }

    /// That rows wait, and why.
    fn waiting(&self, error: MetaxyError) -> MetaxyError {
        MetaxyError::Waiting { rows: self.rows(), error: Box::new(error) }
    }

    /// Adds rows to the last write of the feature, or begins a new one where they don't fit in.
    fn take(&mut self, index: usize, rows: RecordBatch, name: &str) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let waiting = &mut self.features[index];
        let ids: Vec<ArrayRef> = waiting
            .definition
            .spec
            .id_columns
            .iter()
            .filter_map(|id| rows.column_by_name(id).cloned())
            .collect();
        let ids = waiting.keys.of(&ids)?;
        if let Some(write) = waiting.writes.last_mut()
            && !write.tried
            && write.schema == rows.schema()
            && ids.iter().all(|id| !write.seen.contains(id))
        {
            write.seen.extend(ids);
            write.batches.push(rows);
            return Ok(());
        }
        self.writes += 1;
        waiting.writes.push(Pending {
            key: format!("{name}/{}", self.writes),
            schema: rows.schema(),
            batches: vec![rows],
            seen: ids.into_iter().collect(),
            since: Instant::now(),
            tried: false,
        });
        Ok(())
    }
}

impl Waiting {
    fn rows(&self) -> usize {
        self.writes.iter().flat_map(|write| &write.batches).map(RecordBatch::num_rows).sum()
    }

    fn is_old(&self, age: Duration) -> bool {
        self.writes.first().is_some_and(|write| write.since.elapsed() >= age)
    }
}
