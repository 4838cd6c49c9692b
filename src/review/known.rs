//! What the parents say about samples that nothing is expected of.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use futures::StreamExt;

use super::lookup::{KeyNumbers, Lookups};
use crate::columns::WAITING;
use crate::update::{Review, ReviewedParent};

/// Bytes that a key takes in a table that is half full.
const KEY_SIZE: usize = 2 * (size_of::<u128>() + 2);

/// What becomes of a sample that nothing is expected of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A parent without which there is no sample is gone.
    Orphaned,
    /// All such parents are there, at one version or another.
    Waits {
        /// Whether the caller's filters let it through.
        passes: bool,
    },
}

/// Whether a parent has a live row for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Gone,
    /// At an older version only.
    Waits,
    Current,
}

/// What a parent has of a key.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    /// Whether a row passes the caller's filters.
    passes: bool,
    /// Whether a row is of the current version.
    current: bool,
}

/// The keys that could wait, and what each parent has of them.
pub(super) struct Known {
    /// For each parent of the review.
    parents: Vec<HashMap<u128, Marks>>,
    nothing_waits: bool,
    reservation: MemoryReservation,
}

impl Known {
    /// Reads the keys of older rows and, if there are any, what is live of them now; with `all` what is live of any key.
    pub(super) async fn look_up(
        review: &Review,
        lookups: &Lookups,
        keys: &KeyNumbers,
        all: bool,
        context: &Arc<TaskContext>,
    ) -> Result<Self> {
        let reservation = MemoryConsumer::new("ReviewExec").register(context.memory_pool());
        let parents = review.parents.iter().map(|_| HashMap::new()).collect();
        let mut known = Self { parents, nothing_waits: true, reservation };
        let candidates = match all {
            true => None,
            false => Some(known.candidates(review, lookups, keys, context).await?),
        };
        if candidates.as_ref().is_some_and(HashSet::is_empty) {
            return Ok(known);
        }
        known.nothing_waits = false;
        let decisive: Vec<usize> = review.decisive().map(|parent| parent.standing).collect();
        for (number, parent) in review.parents.iter().enumerate() {
            if decisive.contains(&parent.standing) || parent.pass.is_some() {
                let mut rows = lookups.rows(parent.standing, context).await?;
                while let Some(batch) = rows.next().await.transpose()? {
                    known.add(number, parent, candidates.as_ref(), &batch, keys)?;
                }
            }
        }
        Ok(known)
    }

    /// Whether every sample is what it seemed to be.
    pub(super) fn nothing_waits(&self) -> bool {
        self.nothing_waits
    }

    /// The keys that have rows at older versions of a parent.
    async fn candidates(
        &self,
        review: &Review,
        lookups: &Lookups,
        keys: &KeyNumbers,
        context: &Arc<TaskContext>,
    ) -> Result<HashSet<u128>> {
        let mut candidates = HashSet::new();
        for input in review.decisive().filter_map(|parent| parent.older) {
            let mut rows = lookups.rows(input, context).await?;
            while let Some(batch) = rows.next().await.transpose()? {
                let before = candidates.len();
                candidates.extend(keys.of_first(&batch)?);
                self.grow(candidates.len() - before)?;
            }
        }
        Ok(candidates)
    }

    fn add(
        &mut self,
        number: usize,
        parent: &ReviewedParent,
        candidates: Option<&HashSet<u128>>,
        batch: &RecordBatch,
        keys: &KeyNumbers,
    ) -> Result<()> {
        let waiting = flags(batch, WAITING)?;
        let pass = match &parent.pass {
            Some(pass) => Some(flags(batch, pass)?),
            None => None,
        };
        let before = self.parents[number].len();
        for (row, key) in keys.of_first(batch)?.into_iter().enumerate() {
            if candidates.is_none_or(|candidates| candidates.contains(&key)) {
                let marks = self.parents[number].entry(key).or_default();
                marks.passes |= pass.as_ref().is_none_or(|pass| pass.value(row));
                marks.current |= !waiting.value(row);
            }
        }
        self.grow(self.parents[number].len() - before)
    }

    fn grow(&self, keys: usize) -> Result<()> {
        self.reservation.try_grow(keys * KEY_SIZE).map_err(|error| {
            let reason = error.strip_backtrace();
            DataFusionError::ResourcesExhausted(format!(
                "the samples at older versions of the parents do not fit into memory; ask for new and stale samples \
                 only, with shard for a part of them, or raise the memory limit ({reason})"
            ))
        })
    }

    /// What becomes of a sample with this key.
    pub(super) fn verdict(&self, review: &Review, key: u128, has_null: bool) -> Verdict {
        let found =
            || review.parents.iter().zip(&self.parents).map(|(parent, marks)| (parent, marks.get(&key)));
        let required = || found().filter(|(parent, _)| !parent.optional);
        // What is NULL equals nothing: rows of several parents are never joined on it.
        let alone = has_null && review.parents.len() > 1;
        let there = match required().count() {
            0 => found().any(|(_, marks)| marks.is_some()),
            1 => required().all(|(_, marks)| marks.is_some()),
            _ => !alone && required().all(|(_, marks)| marks.is_some()),
        };
        if !there {
            return Verdict::Orphaned;
        }
        // An optional parent that is missing has not failed its filter.
        let passes = |marks: Option<&Marks>| marks.is_none_or(|marks| marks.passes);
        let passes = match (alone, required().next()) {
            (false, _) => found().all(|(_, marks)| passes(marks)),
            (true, Some((_, marks))) => passes(marks),
            (true, None) => found().any(|(_, marks)| marks.is_some_and(|marks| marks.passes)),
        };
        Verdict::Waits { passes }
    }

    /// What each parent has of a sample that nothing is expected of, in the order of the review.
    pub(super) fn presence(&self, key: u128) -> Vec<Presence> {
        let presence = |marks: &HashMap<u128, Marks>| match marks.get(&key) {
            None => Presence::Gone,
            Some(marks) if marks.current => Presence::Current,
            Some(_) => Presence::Waits,
        };
        self.parents.iter().map(presence).collect()
    }
}

fn flags(batch: &RecordBatch, name: &str) -> Result<BooleanArray> {
    let column = batch.column_by_name(name);
    let column = column.ok_or_else(|| internal_datafusion_err!("increment: no column {name}"))?;
    Ok(cast(column, &DataType::Boolean)?.as_boolean().clone())
}
