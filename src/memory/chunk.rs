//! A batch of an input with what is worked out once per row: its key, its time, whether it counts.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, UInt64Array, new_empty_array,
};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::compute::{cast, take_record_batch};
use datafusion::arrow::datatypes::{DataType, UInt64Type};
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::Result;

use super::input::Input;
use super::order::KeyColumn;
use super::partition::Divided;
use super::plan::{Layout, Plan, STORED_PROVENANCE};
use super::provenance::{Provenance, ROWS};
use super::rows::{Entry, Found, Row};
use crate::operators::{Keys, LatestColumns, latest_times, null_rows};

/// A batch, ready to be compared.
#[derive(Debug)]
pub(super) struct Chunk {
    pub rows: usize,
    /// The columns of the [`Layout`].
    pub columns: Vec<ArrayRef>,
    pub texts: Vec<StringArray>,
    /// The rows' provenance as [`Keys::version`] has it: of stored rows, and of expected ones where it is known by now.
    versions: Vec<u64>,
    pub flags: Vec<BooleanArray>,
    /// The columns that make the key, until rows are divided by it.
    key_columns: Vec<ArrayRef>,
    /// The same if they have an order, and rows are to be merged.
    pub key_column: Option<KeyColumn>,
    /// Whether the rows were put into that order.
    pub arranged: bool,
    /// The type of that column.
    pub key_type: Option<DataType>,
    /// The keys of rows that were divided by another thing.
    keys: Vec<u128>,
    /// Rows in which a key column is NULL; known once rows are divided.
    null_keys: Option<BooleanBuffer>,
    /// What identifies a sample, where that is not the key and the latest rows are yet to be found.
    ids: Option<Vec<u128>>,
    pub times: Times,
    pub order: Order,
    /// Rows that count if they are the latest of their id: neither deleted nor filtered out. `None`: all.
    pub counts: Option<BooleanBuffer>,
    /// What identifies a row's group, where groups are not the keys.
    pub groups: Option<Vec<u128>>,
    /// What rows of a group, or stored rows of a key, are ordered by.
    pub sort_keys: Option<Rows>,
}

impl Chunk {
    /// `number` is the input's; `provenance` is used again for each of its batches. With `arranges`, rows to be merged
    /// that have no order get one.
    pub(super) fn try_new(
        batch: &RecordBatch,
        input: &Input,
        plan: &Plan,
        (number, arranges): (usize, bool),
        keys: &Keys,
        provenance: &mut Provenance,
    ) -> Result<Self> {
        let layout = &plan.layouts[number];
        let (shown, passing) = input.apply(batch)?;
        let columns = layout
            .columns
            .iter()
            .map(|name| Ok(ArrayRef::clone(shown.column(shown.schema_ref().index_of(name)?))))
            .collect::<Result<Vec<_>>>()?;
        let pick = |indices: &[usize]| -> Vec<ArrayRef> {
            indices.iter().map(|&i| ArrayRef::clone(&columns[i])).collect()
        };
        let key_columns = pick(&layout.keys);
        let key_column = if plan.is_merged() { KeyColumn::of(&key_columns)? } else { None };
        if arranges && let Some(mixed) = key_column.as_ref().filter(|column| column.is_mixed()) {
            let batch = take_record_batch(batch, &mixed.arranged())?;
            let chunk = Self::try_new(&batch, input, plan, (number, false), keys, provenance)?;
            return Ok(Self { arranged: true, ..chunk });
        }
        let text = |column: &ArrayRef| -> Result<StringArray> {
            Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone())
        };
        let flag = |column: &ArrayRef| -> Result<BooleanArray> {
            Ok(cast(column, &DataType::Boolean)?.as_boolean().clone())
        };
        let mut chunk = Self {
            rows: batch.num_rows(),
            texts: layout.texts.iter().map(|&i| text(&columns[i])).collect::<Result<_>>()?,
            flags: layout.flags.iter().map(|&i| flag(&columns[i])).collect::<Result<_>>()?,
            versions: Vec::new(),
            key_column,
            arranged: false,
            key_type: key_columns.first().map(|column| column.data_type().clone()),
            key_columns,
            keys: Vec::new(),
            null_keys: None,
            ids: None,
            times: Times::All(i64::MIN),
            order: Order::None,
            counts: passing,
            groups: None,
            sort_keys: None,
            columns: Vec::new(),
        };
        if let Some(latest) = &input.latest {
            chunk.add_latest(batch, latest, layout, keys)?;
        }
        if let Some((groups, order)) = &layout.aggregation {
            if *groups != layout.keys {
                chunk.groups = Some(keys.of(&pick(groups))?);
            }
            chunk.sort_keys = Some(sort_keys(&pick(order))?);
        } else if !layout.order.is_empty() {
            chunk.sort_keys = Some(sort_keys(&pick(&layout.order))?);
        }
        chunk.add_versions(plan, number, keys, provenance);
        let nothing = new_empty_array(&DataType::Null);
        let kept = columns.into_iter().zip(&layout.kept);
        chunk.columns =
            kept.map(|(column, kept)| if *kept { column } else { Arc::clone(&nothing) }).collect();
        Ok(chunk)
    }

    fn add_versions(&mut self, plan: &Plan, number: usize, keys: &Keys, provenance: &mut Provenance) {
        if Some(number) == plan.current() {
            let stored = &self.texts[STORED_PROVENANCE];
            self.versions = stored.iter().map(|version| keys.version(version)).collect();
        } else if plan.hashed_when_read {
            let texts = &self.texts;
            self.versions.reserve_exact(self.rows);
            for start in (0..self.rows).step_by(ROWS) {
                let rows = ROWS.min(self.rows - start);
                provenance.hash(plan, rows, |row, _, text| {
                    let (values, row) = (&texts[text], start + row);
                    (!values.is_null(row)).then(|| values.value(row))
                });
                self.versions.extend((0..rows).map(|row| keys.version(provenance.sample(row))));
            }
        }
        if !plan.keeps_texts(number) {
            self.texts.clear();
        }
    }

    fn add_latest(
        &mut self,
        batch: &RecordBatch,
        latest: &LatestColumns,
        layout: &Layout,
        keys: &Keys,
    ) -> Result<()> {
        if !layout.unique {
            let ids: Vec<ArrayRef> = latest.ids.iter().map(|&i| ArrayRef::clone(batch.column(i))).collect();
            self.ids = Some(keys.of(&ids)?);
        }
        if let Some(times) = latest_times(batch, latest)? {
            self.times = Times::of(times);
        }
        if let Some(order) = latest.row_order.and_then(|i| batch.column(i).as_primitive_opt::<UInt64Type>()) {
            self.order = Order::of(order);
        }
        if let Some(deleted) = latest.deleted_at.map(|i| batch.column(i))
            && deleted.null_count() < deleted.len()
        {
            let live = match deleted.nulls() {
                Some(nulls) => !nulls.inner(),
                None => BooleanBuffer::new_unset(deleted.len()),
            };
            self.counts = Some(match self.counts.take() {
                Some(counts) => &counts & &live,
                None => live,
            });
        }
        Ok(())
    }

    /// Divides the rows: by their ids, if those are not the keys, else by the keys. `number` is the chunk's; `hides`
    /// says whether a row that does not count may still hide an older one.
    pub(super) fn divide(
        &mut self,
        number: usize,
        hides: bool,
        keys: &Keys,
        into: &mut Divided,
    ) -> Result<()> {
        let columns = std::mem::take(&mut self.key_columns);
        self.key_column = None;
        self.null_keys = null_rows(&columns);
        let own = keys.of(&columns)?;
        let by = self.ids.as_ref().unwrap_or(&own);
        for (row, &key) in by.iter().enumerate() {
            if hides || self.counts(row) {
                into.push(Entry { key, row: Row::new(number, row), version: self.version(row) });
            }
        }
        // The entries have them now.
        self.versions = Vec::new();
        if self.ids.take().is_some() {
            self.keys = own;
        }
        Ok(())
    }

    /// A row that was divided by its id, with its key.
    #[inline]
    pub(super) fn keyed(&self, found: Found) -> Entry {
        Entry { key: self.keys[found.row.row()], row: found.row, version: found.version }
    }

    #[inline]
    pub(super) fn version(&self, row: usize) -> u64 {
        self.versions.get(row).copied().unwrap_or_default()
    }

    /// When the row was written, and what decides between rows of one time.
    #[inline]
    pub(super) fn age(&self, row: usize) -> (i64, u64) {
        let time = match &self.times {
            Times::All(time) => *time,
            Times::Each(times) => times[row],
        };
        let order = match &self.order {
            Order::None => 0,
            Order::From(first) => first + row as u64,
            Order::Each(order) => order.value(row),
        };
        (time, order)
    }

    #[inline]
    pub(super) fn counts(&self, row: usize) -> bool {
        self.counts.as_ref().is_none_or(|counts| counts.value(row))
    }

    #[inline]
    pub(super) fn has_null_key(&self, row: usize) -> bool {
        self.null_keys.as_ref().is_some_and(|nulls| nulls.value(row))
    }

    /// Bytes of what was worked out; the columns are counted by [`Buffers`].
    pub(super) fn own_size(&self) -> usize {
        let numbers = |values: &Option<Vec<u128>>| values.as_ref().map_or(0, |v| v.len() * size_of::<u128>());
        self.keys.len() * size_of::<u128>()
            + self.versions.len() * size_of::<u64>()
            + numbers(&self.groups)
            + if let Times::Each(times) = &self.times { times.len() * size_of::<i64>() } else { 0 }
            + self.sort_keys.as_ref().map_or(0, Rows::size)
    }
}

#[cfg(test)]
impl Chunk {
    /// Rows with these ids and times.
    pub(super) fn of_ids(ids: ArrayRef, times: Vec<i64>) -> Self {
        let key_columns = vec![ids];
        Self {
            rows: times.len(),
            columns: Vec::new(),
            texts: Vec::new(),
            versions: (0..times.len() as u64).collect(),
            flags: Vec::new(),
            key_column: KeyColumn::of(&key_columns).unwrap(),
            arranged: false,
            key_type: Some(key_columns[0].data_type().clone()),
            key_columns,
            keys: Vec::new(),
            null_keys: None,
            ids: None,
            times: Times::of(times),
            order: Order::None,
            counts: None,
            groups: None,
            sort_keys: None,
        }
    }
}

/// When rows were written; most often it is one time for all.
#[derive(Debug)]
pub(super) enum Times {
    All(i64),
    Each(Vec<i64>),
}

impl Times {
    fn of(times: Vec<i64>) -> Self {
        match times.first() {
            Some(&first) if times.iter().all(|&time| time == first) => Self::All(first),
            _ => Self::Each(times),
        }
    }
}

/// What decides between rows of one time; most often rows are in that order.
#[derive(Debug)]
pub(super) enum Order {
    None,
    From(u64),
    Each(UInt64Array),
}

impl Order {
    fn of(order: &UInt64Array) -> Self {
        match order.values().first() {
            Some(&first) if order.values().iter().zip(first..).all(|(&order, next)| order == next) => {
                Self::From(first)
            }
            _ => Self::Each(order.clone()),
        }
    }
}

/// Rows in the order in which the native executor sorts: ascending, NULLs first, text by its bytes.
fn sort_keys(columns: &[ArrayRef]) -> Result<Rows> {
    let fields = columns.iter().map(|c| SortField::new(c.data_type().clone())).collect();
    Ok(RowConverter::new(fields)?.convert_columns(columns)?)
}

/// Counts the bytes of buffers once, however many arrays share them.
#[derive(Debug, Default)]
pub(super) struct Buffers(HashSet<usize>);

impl Buffers {
    /// Bytes that these columns hold and that were not counted before.
    pub(super) fn count(&mut self, chunk: &Chunk) -> usize {
        let mut bytes = 0;
        for column in chunk.columns.iter().chain(&chunk.key_columns) {
            bytes += self.array(&column.to_data());
        }
        for text in &chunk.texts {
            bytes += self.array(&text.to_data());
        }
        if let Order::Each(order) = &chunk.order {
            bytes += self.array(&order.to_data());
        }
        bytes
    }

    fn array(&mut self, data: &ArrayData) -> usize {
        let mut bytes = 0;
        for buffer in data.buffers().iter().chain(data.nulls().map(|nulls| nulls.buffer())) {
            if self.0.insert(buffer.data_ptr().as_ptr() as usize) {
                bytes += buffer.capacity();
            }
        }
        for child in data.child_data() {
            bytes += self.array(child);
        }
        bytes
    }
}
