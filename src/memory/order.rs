//! Key columns whose rows can be told smaller and greater, and the runs of rows that are in order.

use std::ops::Range;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, LargeStringArray, StringArray, StringViewArray, UInt32Array,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type, UInt64Type};
use datafusion::common::Result;

use super::chunk::Chunk;
use super::rows::Row;

/// Rows may come in this many runs however few they are.
const FEW_RUNS: usize = 16;
/// So many batches of a task are put in order if they are not: what was deleted or corrected in between.
const MOST_ARRANGED: usize = 16;
/// A run is worth its place in a merge if it has this many rows.
const ROWS_OF_A_RUN: usize = 256;

/// What orders rows; keys of one kind can be compared with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key<'a> {
    Number(i64),
    Text(&'a [u8]),
}

/// A key column.
#[derive(Debug)]
pub(super) enum KeyColumn {
    Numbers(Int64Array),
    Text(StringArray),
    LargeText(LargeStringArray),
    TextView(StringViewArray),
}

impl KeyColumn {
    /// `None` if keys are more than one column, if one is NULL, or of a type that is not compared here.
    pub(super) fn of(columns: &[ArrayRef]) -> Result<Option<Self>> {
        let [column] = columns else { return Ok(None) };
        if column.null_count() > 0 {
            return Ok(None);
        }
        Ok(match column.data_type() {
            DataType::Utf8 => Some(Self::Text(column.as_string().clone())),
            DataType::LargeUtf8 => Some(Self::LargeText(column.as_string().clone())),
            DataType::Utf8View => Some(Self::TextView(column.as_string_view().clone())),
            signed if signed.is_signed_integer() => {
                Some(Self::Numbers(cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone()))
            }
            unsigned if unsigned.is_unsigned_integer() => {
                let wide = cast(column, &DataType::UInt64)?;
                // In the same order, with 0 as the smallest number there is.
                let shifted = wide.as_primitive::<UInt64Type>().unary(|n| (n ^ (1 << 63)) as i64);
                Some(Self::Numbers(shifted))
            }
            _ => None,
        })
    }

    #[inline]
    pub(super) fn key(&self, row: usize) -> Key<'_> {
        match self {
            Self::Numbers(numbers) => Key::Number(numbers.values()[row]),
            Self::Text(texts) => Key::Text(texts.value(row).as_bytes()),
            Self::LargeText(texts) => Key::Text(texts.value(row).as_bytes()),
            Self::TextView(texts) => Key::Text(texts.value(row).as_bytes()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Text(texts) => texts.len(),
            Self::LargeText(texts) => texts.len(),
            Self::TextView(texts) => texts.len(),
        }
    }

    /// Whether rows come in more runs than a merge should go along.
    pub(super) fn is_mixed(&self) -> bool {
        let mut left = 1 + self.len() / ROWS_OF_A_RUN;
        let mut start = 0;
        while start < self.len() {
            if left == 0 {
                return true;
            }
            left -= 1;
            start = self.run_from(start);
        }
        false
    }

    /// The rows in the order of their keys; those of one key stay in theirs.
    pub(super) fn arranged(&self) -> UInt32Array {
        let mut rows: Vec<u32> = (0..self.len() as u32).collect();
        rows.sort_by_key(|&row| self.key(row as usize));
        rows.into()
    }

    /// The first row after `start` that is smaller than the one before it, or the number of rows.
    fn run_from(&self, start: usize) -> usize {
        fn end<T: PartialOrd>(rows: Range<usize>, value: impl Fn(usize) -> T) -> usize {
            let all = rows.end;
            let mut previous = value(rows.start);
            for row in rows.start + 1..all {
                let next = value(row);
                if next < previous {
                    return row;
                }
                previous = next;
            }
            all
        }
        let rows = start..self.len();
        match self {
            Self::Numbers(numbers) => end(rows, |row| numbers.values()[row]),
            Self::Text(texts) => end(rows, |row| texts.value(row)),
            Self::LargeText(texts) => end(rows, |row| texts.value(row)),
            Self::TextView(texts) => end(rows, |row| texts.value(row)),
        }
    }
}

/// Rows of one chunk that are in order.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub chunk: usize,
    pub rows: Range<usize>,
}

/// Rows in the order of their keys, one key may be there several times.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub pieces: Vec<Piece>,
}

impl Run {
    /// Where the first row is that is not smaller than `key`: the number of its piece, and the row.
    pub(super) fn position(&self, chunks: &[Chunk], key: Key<'_>) -> (usize, usize) {
        let smaller = |chunk: usize, row: usize| key_of(chunks, Row::new(chunk, row)) < Some(key);
        let piece = self.pieces.partition_point(|piece| smaller(piece.chunk, piece.rows.end - 1));
        let Some(Piece { chunk, rows }) = self.pieces.get(piece) else { return (piece, 0) };
        let (mut low, mut high) = (rows.start, rows.end);
        while low < high {
            let middle = low.midpoint(high);
            if smaller(*chunk, middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (piece, low)
    }
}

/// The key of a row, if its chunk is one of an ordered input.
#[inline]
pub(super) fn key_of(chunks: &[Chunk], row: Row) -> Option<Key<'_>> {
    chunks[row.chunk()].key_column.as_ref().map(|column| column.key(row.row()))
}

/// The rows that one task has read, as long as they come in few runs.
#[derive(Debug, Default)]
pub(super) struct Runs {
    pub runs: Vec<Run>,
    rows: usize,
    arranged: usize,
}

impl Runs {
    /// Whether a batch without an order may get one.
    pub(super) fn arranges(&self) -> bool {
        self.arranged < MOST_ARRANGED
    }

    /// Adds the rows of the last chunk. `false`: it has no order, or there are so many runs that hashing is faster.
    pub(super) fn add(&mut self, chunks: &[Chunk]) -> bool {
        let Some((number, chunk)) = chunks.iter().enumerate().next_back() else { return true };
        let Some(column) = &chunk.key_column else { return false };
        self.rows += chunk.rows;
        self.arranged += usize::from(chunk.arranged);
        let mut start = 0;
        while start < chunk.rows {
            let end = column.run_from(start);
            let piece = Piece { chunk: number, rows: start..end };
            match self.runs.last_mut() {
                Some(run) if start == 0 && ends_before(run, chunks, column.key(0)) => run.pieces.push(piece),
                _ => self.runs.push(Run { pieces: vec![piece] }),
            }
            if self.runs.len() > FEW_RUNS + self.rows / ROWS_OF_A_RUN {
                return false;
            }
            start = end;
        }
        true
    }

    /// Counts chunks from another number on.
    pub(super) fn shift(&mut self, first: usize) {
        self.runs.iter_mut().flat_map(|run| &mut run.pieces).for_each(|piece| piece.chunk += first);
    }
}

fn ends_before(run: &Run, chunks: &[Chunk], key: Key<'_>) -> bool {
    run.pieces.last().is_some_and(|piece| {
        key_of(chunks, Row::new(piece.chunk, piece.rows.end - 1)).is_some_and(|last| last <= key)
    })
}

/// Whether the keys of all inputs are of one kind, so that they have one order.
pub(super) fn have_one_order(inputs: &[Vec<Chunk>]) -> bool {
    let mut kinds = inputs.iter().flatten().map(|chunk| chunk.key_type.as_ref());
    let Some(first) = kinds.next() else { return true };
    let is_text = |kind: Option<&DataType>| kind.is_some_and(DataType::is_string);
    first.is_some() && kinds.all(|kind| kind == first || (is_text(kind) && is_text(first)))
}
