//! Reading all inputs at once, each partition in a task of its own, and dividing their rows over partitions.

use std::ops::Range;
use std::sync::Arc;

use datafusion::common::runtime::JoinSet;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlanProperties;
use futures::StreamExt;

use super::chunk::{Buffers, Chunk};
use super::input::Input;
use super::latest::latest_rows;
use super::merge::Ordered;
use super::order::{Runs, have_one_order};
use super::partition::{Divided, PARTITIONS};
use super::plan::Plan;
use super::provenance::Provenance;
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
    _reservations: Vec<MemoryReservation>,
}

impl Collected {
    /// What there is when nothing had to be read.
    pub(super) fn nothing(inputs: usize) -> Self {
        let chunks = (0..inputs).map(|_| Vec::new()).collect();
        Self { chunks, keys: Keys::new(), _reservations: Vec::new() }
    }
}

/// What one task has read.
struct Read {
    input: usize,
    partition: usize,
    chunks: Vec<Chunk>,
    rows: Rows,
    reservation: MemoryReservation,
}

/// How the rows of a task are held.
enum Rows {
    InOrder(Runs),
    Divided(Divided),
}

/// The rows of all inputs, task by task.
pub(super) enum Gathered {
    /// Each input in runs; `hides` says whether its rows hide older ones even if they do not count.
    Ordered {
        ordered: Ordered,
        hides: Vec<bool>,
    },
    Divided(Vec<Vec<Divided>>),
}

impl Gathered {
    /// In how many parts they can be compared.
    pub(super) fn parts(&self) -> usize {
        match self {
            Self::Ordered { ordered, .. } => ordered.ranges(),
            Self::Divided(_) => PARTITIONS,
        }
    }
}

/// Runs the scans to their end. The second result has the rows of each input, the keys of which are ids where those
/// are another thing: see [`latest_by_key`].
pub(super) async fn collect(
    plan: &Arc<Plan>,
    inputs: &[Input],
    context: &Arc<TaskContext>,
) -> Result<(Collected, Gathered)> {
    let keys = Keys::new();
    let mut tasks: JoinSet<Result<Read>> = JoinSet::new();
    for (i, input) in inputs.iter().enumerate() {
        for partition in 0..input.plan.output_partitioning().partition_count() {
            let rows = input.plan.execute(partition, Arc::clone(context))?;
            let name = format!("IncrementExec[{i}]");
            let reservation = MemoryConsumer::new(name).register(context.memory_pool());
            let (input, plan) = (input.clone(), Arc::clone(plan));
            tasks.spawn(async move {
                let (chunks, rows) = read(rows, &input, &plan, i, keys, &reservation).await?;
                Ok(Read { input: i, partition, chunks, rows, reservation })
            });
        }
    }
    let mut read = Vec::new();
    while let Some(done) = tasks.join_next().await {
        match finished(done) {
            Ok(done) => read.push(done),
            Err(error) => {
                // Whatever runs instead needs the memory of the others, too.
                tasks.shutdown().await;
                return Err(error);
            }
        }
    }
    // Chunks are numbered in the order of the scans, so that equal inputs give equal answers.
    read.sort_by_key(|read| (read.input, read.partition));
    let mut chunks: Vec<Vec<Chunk>> = inputs.iter().map(|_| Vec::new()).collect();
    let mut rows: Vec<Vec<(Rows, Range<usize>)>> = inputs.iter().map(|_| Vec::new()).collect();
    let mut reservations = Vec::new();
    for read in read {
        let first = chunks[read.input].len();
        chunks[read.input].extend(read.chunks);
        rows[read.input].push((read.rows, first..chunks[read.input].len()));
        reservations.push(read.reservation);
    }
    let hides: Vec<bool> = inputs.iter().map(|input| input.latest.is_some()).collect();
    let all_in_order = rows.iter().flatten().all(|(rows, _)| matches!(rows, Rows::InOrder(_)));
    let gathered = if all_in_order && have_one_order(&chunks) {
        let runs = rows.into_iter().map(|tasks| tasks.into_iter().filter_map(in_order).collect()).collect();
        Gathered::Ordered { ordered: Ordered::new(&chunks, runs), hides }
    } else {
        let mut divided = Vec::new();
        for ((tasks, chunks), hides) in rows.into_iter().zip(&mut chunks).zip(hides) {
            let tasks = tasks.into_iter().map(|(rows, range)| {
                let first = range.start;
                let mut rows = match rows {
                    Rows::Divided(rows) => rows,
                    Rows::InOrder(_) => divide(&mut chunks[range], hides, &keys)?,
                };
                rows.first = first;
                Ok(rows)
            });
            divided.push(tasks.collect::<Result<_>>()?);
        }
        Gathered::Divided(divided)
    };
    Ok((Collected { chunks, keys, _reservations: reservations }, gathered))
}

fn in_order((rows, range): (Rows, Range<usize>)) -> Option<Runs> {
    let Rows::InOrder(mut runs) = rows else { return None };
    runs.shift(range.start);
    Some(runs)
}

/// Divides the rows of chunks that were read in order.
fn divide(chunks: &mut [Chunk], hides: bool, keys: &Keys) -> Result<Divided> {
    let mut divided = Divided::new();
    for (number, chunk) in chunks.iter_mut().enumerate() {
        chunk.divide(number, hides, keys, &mut divided)?;
    }
    Ok(divided)
}

async fn read(
    mut rows: SendableRecordBatchStream,
    input: &Input,
    plan: &Plan,
    number: usize,
    keys: Keys,
    reservation: &MemoryReservation,
) -> Result<(Vec<Chunk>, Rows)> {
    let mut chunks = Vec::new();
    let mut held =
        if plan.is_merged() { Rows::InOrder(Runs::default()) } else { Rows::Divided(Divided::new()) };
    // A row that does not count may still hide an older one.
    let hides = input.latest.is_some();
    let mut buffers = Buffers::default();
    let mut provenance = Provenance::new(plan);
    while let Some(batch) = rows.next().await.transpose()? {
        if batch.num_rows() == 0 {
            continue;
        }
        let arranges = matches!(&held, Rows::InOrder(runs) if runs.arranges());
        let mut chunk = Chunk::try_new(&batch, input, plan, (number, arranges), &keys, &mut provenance)?;
        if let Rows::Divided(divided) = &mut held {
            chunk.divide(chunks.len(), hides, &keys, divided)?;
        }
        reservation.try_grow(buffers.count(&chunk) + chunk.own_size() + chunk.rows * ROW_SIZE)?;
        chunks.push(chunk);
        if let Rows::InOrder(runs) = &mut held
            && !runs.add(&chunks)
        {
            held = Rows::Divided(divide(&mut chunks, hides, &keys)?);
        }
    }
    Ok((chunks, held))
}

/// A task's result; a task that panicked is an error of the statement.
pub(super) fn finished<T>(done: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    done.map_err(|error| exec_datafusion_err!("increment: a task ended early: {error}"))?
}

/// Divides the latest rows of inputs whose ids are not the keys by their keys.
pub(super) async fn latest_by_key(
    collected: &Arc<Collected>,
    inputs: &[Input],
    plan: &Plan,
    gathered: Gathered,
) -> Result<Gathered> {
    let Gathered::Divided(mut divided) = gathered else { return Ok(gathered) };
    for (i, input) in inputs.iter().enumerate() {
        if input.latest.is_none() || plan.layouts[i].unique {
            continue;
        }
        let by_id = Arc::new(std::mem::take(&mut divided[i]));
        let mut tasks = JoinSet::new();
        for partition in 0..PARTITIONS {
            let (collected, by_id) = (Arc::clone(collected), Arc::clone(&by_id));
            tasks.spawn(async move {
                let chunks = &collected.chunks[i];
                let mut latest = latest_rows(chunks, by_id.iter().flat_map(|task| task.entries(partition)));
                // The order of reading, whatever the hash table made of it.
                latest.sort_unstable_by_key(|found| (found.row.chunk(), found.row.row()));
                let mut by_key = Divided::new();
                for found in latest {
                    by_key.push(chunks[found.row.chunk()].keyed(found));
                }
                Ok((partition, by_key))
            });
        }
        let mut done = Vec::new();
        while let Some(task) = tasks.join_next().await {
            done.push(finished(task)?);
        }
        done.sort_by_key(|(partition, _)| *partition);
        divided[i] = done.into_iter().map(|(_, by_key)| by_key).collect();
    }
    Ok(Gathered::Divided(divided))
}
