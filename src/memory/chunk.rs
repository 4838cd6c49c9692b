//! A batch of an input with what is worked out once per row: its key, its time, whether it counts.

use std::collections::HashSet;

use datafusion::arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, UInt64Array,
};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, UInt64Type};
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::Result;

use super::input::Input;
use super::plan::Layout;
use crate::operators::{Keys, LatestColumns, latest_times, null_rows};

/// A batch, ready to be compared.
#[derive(Debug)]
pub(super) struct Chunk {
    pub rows: usize,
    /// The columns of the [`Layout`].
    pub columns: Vec<ArrayRef>,
    pub texts: Vec<StringArray>,
    pub flags: Vec<BooleanArray>,
    pub keys: Vec<u128>,
    /// Rows in which a key column is NULL.
    pub null_keys: Option<BooleanBuffer>,
    /// What identifies a sample, where that is not the key and the latest rows are yet to be found.
    pub ids: Option<Vec<u128>>,
    pub times: Option<Vec<i64>>,
    pub order: Option<UInt64Array>,
    /// Rows that count if they are the latest of their id: neither deleted nor filtered out. `None`: all.
    pub counts: Option<BooleanBuffer>,
    /// What identifies a row's group, where groups are not the keys.
    pub groups: Option<Vec<u128>>,
    /// What rows of a group, or stored rows of a key, are ordered by.
    pub sort_keys: Option<Rows>,
}

impl Chunk {
    pub(super) fn try_new(batch: &RecordBatch, input: &Input, layout: &Layout, keys: &Keys) -> Result<Self> {
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
            keys: keys.of(&key_columns)?,
            null_keys: null_rows(&key_columns),
            ids: None,
            times: None,
            order: None,
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
        chunk.columns = columns;
        Ok(chunk)
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
        self.times = latest_times(batch, latest)?;
        let order = latest.row_order.and_then(|i| batch.column(i).as_primitive_opt::<UInt64Type>());
        self.order = order.cloned();
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

    /// When the row was written, and what decides between rows of one time.
    #[inline]
    pub(super) fn age(&self, row: usize) -> (i64, u64) {
        let time = self.times.as_ref().map_or(i64::MIN, |times| times[row]);
        (time, self.order.as_ref().map_or(0, |order| order.value(row)))
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
        self.rows * size_of::<u128>()
            + numbers(&self.ids)
            + numbers(&self.groups)
            + self.times.as_ref().map_or(0, |times| times.len() * size_of::<i64>())
            + self.sort_keys.as_ref().map_or(0, Rows::size)
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
        for column in &chunk.columns {
            bytes += self.array(&column.to_data());
        }
        for text in &chunk.texts {
            bytes += self.array(&text.to_data());
        }
        if let Some(order) = &chunk.order {
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
