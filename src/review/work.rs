//! What is done to a batch of an answer.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, StringArray, UInt32Array,
};
use datafusion::arrow::compute::{cast, filter_record_batch, take};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::execution::TaskContext;
use tokio::sync::OnceCell;

use super::known::{Known, Verdict};
use super::lookup::{KeyNumbers, Lookups};
use super::reason;
use super::stored::{EarlierRows, StoredRows, expected};
use crate::columns::{INCREMENT, REASON};
use crate::operators::null_rows;
use crate::update::{Description, Reasons, Review, orphan_key};

/// The class of samples that nothing is expected of.
const ORPHANED: &str = "orphaned";
/// The class of those whose parents are not recomputed yet.
const PENDING: &str = "pending";
/// The class of samples whose stored rows differ from what is expected.
const STALE: &str = "stale";

/// How the batches of an answer are reviewed.
pub(super) struct Work {
    pub description: Arc<Description>,
    pub schema: SchemaRef,
    lookups: Lookups,
    /// The place of the class in the input, and those of the keys.
    class: usize,
    keys: Vec<usize>,
    numbers: KeyNumbers,
    /// The input's columns that are given out; `None` is the reason.
    output: Vec<Option<usize>>,
}

/// What was looked up, for all partitions of an answer.
#[derive(Default)]
pub(super) struct Found {
    parents: OnceCell<Known>,
    stored: OnceCell<StoredRows>,
    earlier: OnceCell<EarlierRows>,
}

/// What becomes of a batch.
struct Judged<'a> {
    classes: Vec<Option<&'a str>>,
    keep: Vec<bool>,
    reasons: Vec<Option<String>>,
}

impl Work {
    /// From batches of `given`, the columns of `schema`.
    pub(super) fn try_new(
        given: &Schema,
        description: Arc<Description>,
        lookups: Lookups,
        schema: SchemaRef,
    ) -> Result<Self> {
        let key = |key: &String| Ok(given.index_of(key).or_else(|_| given.index_of(&orphan_key(key)))?);
        let keys = description.keys.iter().map(key).collect::<Result<Vec<usize>>>()?;
        let output = schema.fields().iter().map(|field| match field.name().as_str() {
            REASON => Ok(None),
            name => Ok(Some(given.index_of(name)?)),
        });
        Ok(Self {
            class: given.index_of(INCREMENT)?,
            numbers: KeyNumbers::new(keys.iter().map(|&key| given.field(key).data_type().clone()).collect()),
            keys,
            output: output.collect::<Result<_>>()?,
            description,
            lookups,
            schema,
        })
    }

    /// What reasons are made of, if the query wants them.
    fn reasons(&self) -> Option<&Reasons> {
        let review = self.description.review.as_ref().filter(|_| self.output.contains(&None));
        review.and_then(|review| review.reasons.as_ref())
    }

    /// A batch as it is given out.
    pub(super) async fn review(
        &self,
        batch: &RecordBatch,
        found: &Found,
        context: &Arc<TaskContext>,
    ) -> Result<RecordBatch> {
        let Some(review) = &self.description.review else { return self.shown(batch, None) };
        let classes = cast(batch.column(self.class), &DataType::Utf8)?;
        let classes = classes.as_string::<i32>();
        let is_orphaned = |row: &u32| classes.value(*row as usize) == ORPHANED;
        let orphaned: Vec<u32> = (0..batch.num_rows() as u32).filter(is_orphaned).collect();
        if orphaned.is_empty() && self.reasons().is_none() {
            return self.shown(batch, None);
        }
        let rows = batch.num_rows();
        let mut judged =
            Judged { classes: classes.iter().collect(), keep: vec![true; rows], reasons: vec![None; rows] };
        if let Some(reasons) = self.reasons() {
            self.explain(batch, reasons, found, context, &mut judged).await?;
        }
        if !orphaned.is_empty() && !self.judge(batch, review, orphaned, found, context, &mut judged).await? {
            return self.shown(batch, None);
        }
        let keep = BooleanArray::from(std::mem::take(&mut judged.keep));
        Ok(filter_record_batch(&self.shown(batch, Some(judged))?, &keep)?)
    }

    /// Decides about rows that nothing is expected of. Says whether anything can be other than it seemed.
    async fn judge(
        &self,
        batch: &RecordBatch,
        review: &Review,
        orphaned: Vec<u32>,
        found: &Found,
        context: &Arc<TaskContext>,
        judged: &mut Judged<'_>,
    ) -> Result<bool> {
        let reasons = self.reasons();
        if review.parents.is_empty() {
            let given = reasons.is_some_and(|reasons| reasons.given);
            for row in orphaned {
                judged.reasons[row as usize] = Some(reason::orphaned(review, given, &[]));
            }
            return Ok(reasons.is_some());
        }
        let explains = reasons.is_some();
        let known = found
            .parents
            .get_or_try_init(|| Known::look_up(review, &self.lookups, &self.numbers, explains, context))
            .await?;
        if known.nothing_waits() {
            return Ok(false);
        }
        let rows = UInt32Array::from(orphaned);
        let keys = self.keys.iter().map(|&key| Ok(take(batch.column(key), &rows, None)?));
        let keys = keys.collect::<Result<Vec<ArrayRef>>>()?;
        let nulls = null_rows(&keys);
        for (i, key) in self.numbers.of(&keys)?.into_iter().enumerate() {
            let row = rows.value(i) as usize;
            let verdict = known.verdict(review, key, nulls.as_ref().is_some_and(|nulls| nulls.value(i)));
            match verdict {
                Verdict::Orphaned => {}
                Verdict::Waits { passes: true } if review.include_pending => {
                    judged.classes[row] = Some(PENDING);
                }
                Verdict::Waits { .. } => judged.keep[row] = false,
            }
            if explains {
                let presence = known.presence(key);
                judged.reasons[row] = Some(match verdict {
                    Verdict::Orphaned => reason::orphaned(review, false, &presence),
                    Verdict::Waits { .. } => reason::pending(review, &presence),
                });
            }
        }
        Ok(true)
    }

    /// Says why rows are new or stale.
    async fn explain(
        &self,
        batch: &RecordBatch,
        reasons: &Reasons,
        found: &Found,
        context: &Arc<TaskContext>,
        judged: &mut Judged<'_>,
    ) -> Result<()> {
        let columns: Vec<ArrayRef> = self.keys.iter().map(|&key| Arc::clone(batch.column(key))).collect();
        let keys = self.numbers.of(&columns)?;
        let (fields, samples) = expected(batch, reasons, &self.numbers)?;
        for (row, key) in keys.into_iter().enumerate() {
            let versions: Vec<u64> = fields.iter().map(|field| field[row]).collect();
            judged.reasons[row] = match judged.classes[row] {
                Some(ORPHANED) => None,
                Some(STALE) => {
                    let look_up = || StoredRows::look_up(reasons, &self.lookups, &self.numbers, context);
                    let stored = found.stored.get_or_try_init(look_up).await?;
                    Some(reason::stale(reasons, &versions, samples[row], stored.of(key)))
                }
                _ => {
                    let look_up = || EarlierRows::look_up(reasons, &self.lookups, &self.numbers, context);
                    let earlier = found.earlier.get_or_try_init(look_up).await?;
                    Some(match earlier.of(key) {
                        Some((version, was, past)) => {
                            reason::redefined(reasons, &versions, version, was, past)
                        }
                        None => reason::new(reasons, &versions),
                    })
                }
            };
        }
        Ok(())
    }

    /// The columns that are given out, perhaps with other classes, and with reasons.
    fn shown(&self, batch: &RecordBatch, judged: Option<Judged<'_>>) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let (classes, reasons): (Option<ArrayRef>, ArrayRef) = match judged {
            Some(Judged { classes, reasons, .. }) => {
                (Some(Arc::new(StringArray::from(classes))), Arc::new(StringArray::from(reasons)))
            }
            None => (None, Arc::new(StringArray::new_null(rows))),
        };
        let column = |index: &Option<usize>| match (index, &classes) {
            (None, _) => Arc::clone(&reasons),
            (Some(index), Some(classes)) if *index == self.class => Arc::clone(classes),
            (Some(index), _) => Arc::clone(batch.column(*index)),
        };
        let columns = self.output.iter().map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}
