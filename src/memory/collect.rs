//! Reading all inputs at once, each partition in a task of its own, and dividing their rows over partitions.

use std::sync::Arc;

use datafusion::common::runtime::JoinSet;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::ExecutionPlanProperties;
use futures::StreamExt;

use super::chunk::{Buffers, Chunk};
use super::input::Input;
use super::latest::latest_rows;
use super::partition::Partitioner;
use super::plan::Plan;
use super::provenance::Provenance;
use super::rows::Row;
use crate::operators::Keys;

/// Bytes that finding and comparing a row takes besides its columns: its place, its number, its rank.
const ROW_SIZE: usize = 64;

/// Everything that was read.
#[derive(Debug)]
pub(super) struct Collected {
    /// The chunks of each input.
    pub chunks: Vec<Vec<Chunk>>,
    /// What made their keys.
    pub keys: Keys,
    /// Memory that is taken for as long as the chunks live.
    reservations: Vec<MemoryReservation>,
}

/// The rows of each input that may count, by partition of their key.
pub(super) type Divided = Vec<Vec<Vec<Row>>>;

struct Read {
    input: usize,
    partition: usize,
    chunks: Vec<Chunk>,
    reservation: MemoryReservation,
}

/// Runs the scans to their end.
pub(super) async fn collect(
    plan: &Arc<Plan>,
    inputs: &[Input],
    context: &Arc<TaskContext>,
) -> Result<Collected> {
    let keys = Keys::new();
    let mut tasks: JoinSet<Result<Read>> = JoinSet::new();
    for (i, input) in inputs.iter().enumerate() {
        for partition in 0..input.plan.output_partitioning().partition_count() {
            let rows = input.plan.execute(partition, Arc::clone(context))?;
            let name = format!("IncrementExec[{i}]");
            let reservation = MemoryConsumer::new(name).register(context.memory_pool());
            let (input, plan) = (input.clone(), Arc::clone(plan));
            tasks.spawn(async move {
                let chunks = read(rows, &input, &plan, i, keys, &reservation).await?;
                Ok(Read { input: i, partition, chunks, reservation })
            });
        }
    }
    let mut read = Vec::new();
    while let Some(done) = tasks.join_next().await {
        read.push(finished(done)?);
    }
    // Chunks are numbered in the order of the scans, so that equal inputs give equal answers.
    read.sort_by_key(|read| (read.input, read.partition));
    let mut collected =
        Collected { chunks: inputs.iter().map(|_| Vec::new()).collect(), keys, reservations: Vec::new() };
    for read in read {
        collected.chunks[read.input].extend(read.chunks);
        collected.reservations.push(read.reservation);
    }
    Ok(collected)
}

async fn read(
    mut rows: datafusion::execution::SendableRecordBatchStream,
    input: &Input,
    plan: &Plan,
    number: usize,
    keys: Keys,
    reservation: &MemoryReservation,
) -> Result<Vec<Chunk>> {
    let mut chunks = Vec::new();
    let mut buffers = Buffers::default();
    let mut provenance = Provenance::new(plan);
    while let Some(batch) = rows.next().await.transpose()? {
        if batch.num_rows() == 0 {
            continue;
        }
        let chunk = Chunk::try_new(&batch, input, plan, number, &keys, &mut provenance)?;
        reservation.try_grow(buffers.count(&chunk) + chunk.own_size() + chunk.rows * ROW_SIZE)?;
        chunks.push(chunk);
    }
    Ok(chunks)
}

/// A task's result; a task that panicked is an error of the statement.
pub(super) fn finished<T>(done: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    done.map_err(|error| exec_datafusion_err!("increment: a task ended early: {error}"))?
}

impl Collected {
    /// The number of rows of all inputs.
    pub(super) fn rows(&self) -> usize {
        self.chunks.iter().flatten().map(|chunk| chunk.rows).sum()
    }
}

/// Divides the rows of all inputs over partitions of their keys; where ids are not the keys, only the latest ones.
pub(super) async fn divide(
    collected: &Arc<Collected>,
    inputs: &[Input],
    partitioner: Partitioner,
    cores: usize,
) -> Result<Vec<Divided>> {
    let mut divided = Vec::new();
    for (i, input) in inputs.iter().enumerate() {
        let by_id = input.latest.is_some() && collected.chunks[i].iter().any(|chunk| chunk.ids.is_some());
        let hides = input.latest.is_some();
        let mut parts = by_key(collected, i, partitioner, cores, by_id, hides).await?;
        if by_id {
            parts = latest_by_key(collected, i, parts, partitioner).await?;
        }
        divided.push(parts);
    }
    Ok(divided)
}

/// The rows of an input by partition of their id or key; the outer list is of tasks, in the order of the chunks.
async fn by_key(
    collected: &Arc<Collected>,
    input: usize,
    partitioner: Partitioner,
    cores: usize,
    by_id: bool,
    hides: bool,
) -> Result<Divided> {
    let count = collected.chunks[input].len();
    let share = if partitioner.partitions() == 1 { count } else { count.div_ceil(cores) }.max(1);
    let mut tasks = JoinSet::new();
    for (task, first) in (0..count).step_by(share).enumerate() {
        let collected = Arc::clone(collected);
        tasks.spawn(async move {
            let chunks = &collected.chunks[input][first..(first + share).min(count)];
            let divided = if by_id {
                partitioner.divide(
                    chunks,
                    first,
                    |chunk| chunk.ids.as_deref().unwrap_or(&chunk.keys),
                    |_, _| true,
                )
            } else {
                // A row that does not count may still hide an older one.
                let takes = |chunk: &Chunk, row| hides || chunk.counts(row);
                partitioner.divide(chunks, first, |chunk| &chunk.keys, takes)
            };
            Ok((task, divided))
        });
    }
    in_order(tasks).await
}

/// The latest rows, which were divided by id, by partition of their key.
async fn latest_by_key(
    collected: &Arc<Collected>,
    input: usize,
    by_id: Divided,
    partitioner: Partitioner,
) -> Result<Divided> {
    let by_id = Arc::new(by_id);
    let mut tasks = JoinSet::new();
    for partition in 0..partitioner.partitions() {
        let (collected, by_id) = (Arc::clone(collected), Arc::clone(&by_id));
        tasks.spawn(async move {
            let chunks = &collected.chunks[input];
            let rows: Vec<Row> = by_id.iter().flat_map(|task| &task[partition]).copied().collect();
            let mut latest = latest_rows(chunks, &rows);
            // The order of reading, whatever the hash table made of it.
            latest.sort_unstable_by_key(|row| (row.chunk(), row.row()));
            let key = |row: Row| chunks[row.chunk()].keys[row.row()];
            Ok((partition, partitioner.divide_rows(&latest, key)))
        });
    }
    in_order(tasks).await
}

async fn in_order<T: Send + 'static>(mut tasks: JoinSet<Result<(usize, T)>>) -> Result<Vec<T>> {
    let mut done = Vec::new();
    while let Some(task) = tasks.join_next().await {
        done.push(finished(task)?);
    }
    done.sort_by_key(|(task, _)| *task);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}
