//! What the parents say about samples that nothing is expected of.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use futures::StreamExt;

use super::lookup::{Lookups, of_types};
use crate::operators::{Keys, null_rows};
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

/// What a parent has of a key.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    passes: bool,
}

/// The keys that could wait, and what each parent has of them.
#[derive(Debug)]
pub(super) struct Known {
    keys: Keys,
    types: Vec<DataType>,
    /// For each parent of the review.
    parents: Vec<HashMap<u128, Marks>>,
    nothing_waits: bool,
    reservation: MemoryReservation,
}

impl Known {
    /// Reads the keys of older rows and, if there are any, what is live of them now. `types` are those of the keys.
    pub(super) async fn look_up(
        review: &Review,
        lookups: &Lookups,
        types: Vec<DataType>,
        context: &Arc<TaskContext>,
    ) -> Result<Self> {
        let reservation = MemoryConsumer::new("ReviewExec").register(context.memory_pool());
        let parents = review.parents.iter().map(|_| HashMap::new()).collect();
        let keys = Keys::new();
        let mut known = Self { keys, types, parents, nothing_waits: true, reservation };
        let candidates = known.candidates(review, lookups, context).await?;
        if candidates.is_empty() {
            return Ok(known);
        }
        known.nothing_waits = false;
        let decisive: Vec<usize> = review.decisive().map(|parent| parent.standing).collect();
        for (number, parent) in review.parents.iter().enumerate() {
            if decisive.contains(&parent.standing) || parent.pass.is_some() {
                known.add(number, parent, &candidates, lookups, context).await?;
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
        &mut self,
        review: &Review,
        lookups: &Lookups,
        context: &Arc<TaskContext>,
    ) -> Result<HashSet<u128>> {
        let mut candidates = HashSet::new();
        for input in review.decisive().filter_map(|parent| parent.older) {
            let mut rows = lookups.rows(input, context).await?;
            while let Some(batch) = rows.next().await.transpose()? {
                let before = candidates.len();
                candidates.extend(self.numbers(&batch)?);
                self.grow(candidates.len() - before)?;
            }
        }
        Ok(candidates)
    }

    async fn add(
        &mut self,
        number: usize,
        parent: &ReviewedParent,
        candidates: &HashSet<u128>,
        lookups: &Lookups,
        context: &Arc<TaskContext>,
    ) -> Result<()> {
        let mut rows = lookups.rows(parent.standing, context).await?;
        while let Some(batch) = rows.next().await.transpose()? {
            let pass = match &parent.pass {
                Some(pass) => Some(flags(&batch, pass)?),
                None => None,
            };
            let before = self.parents[number].len();
            for (row, key) in self.numbers(&batch)?.into_iter().enumerate() {
                if candidates.contains(&key) {
                    let marks = self.parents[number].entry(key).or_default();
                    marks.passes |= pass.as_ref().is_none_or(|pass| pass.value(row));
                }
            }
            self.grow(self.parents[number].len() - before)?;
        }
        Ok(())
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

    /// The keys of rows that begin with the key columns.
    fn numbers(&self, batch: &RecordBatch) -> Result<Vec<u128>> {
        self.keys.of(&of_types(&batch.columns()[..self.types.len()], &self.types)?)
    }

    /// What becomes of samples with these keys.
    pub(super) fn verdicts(&self, review: &Review, columns: &[ArrayRef]) -> Result<Vec<Verdict>> {
        let columns = of_types(columns, &self.types)?;
        let nulls = null_rows(&columns);
        let keys = self.keys.of(&columns)?.into_iter().enumerate();
        let has_null = |row| nulls.as_ref().is_some_and(|nulls| nulls.value(row));
        Ok(keys.map(|(row, key)| self.verdict(review, key, has_null(row))).collect())
    }

    fn verdict(&self, review: &Review, key: u128, has_null: bool) -> Verdict {
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
}

fn flags(batch: &RecordBatch, name: &str) -> Result<BooleanArray> {
    let column = batch.column_by_name(name);
    let column = column.ok_or_else(|| internal_datafusion_err!("increment: no column {name}"))?;
    Ok(cast(column, &DataType::Boolean)?.as_boolean().clone())
}
