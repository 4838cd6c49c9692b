//! Inputs that are in order, merged: the keys are cut into ranges, and within one each input's latest row is found by
//! going along all runs at once.

use super::chunk::Chunk;
use super::order::{Key, KeyColumn, Run, Runs, key_of};
use super::rows::{Found, Row, Side};

/// About so many rows of all inputs are in a range: what is known of them stays in the processor's cache.
const ROWS_OF_A_RANGE: usize = 1 << 16;

/// The runs of all inputs, cut into ranges of keys.
#[derive(Debug)]
pub(super) struct Ordered {
    inputs: Vec<Vec<Run>>,
    /// Where ranges after the first one begin: an input and a row of it.
    cuts: Vec<(usize, Row)>,
}

impl Ordered {
    pub(super) fn new(chunks: &[Vec<Chunk>], inputs: Vec<Vec<Runs>>) -> Self {
        let inputs: Vec<Vec<Run>> =
            inputs.into_iter().map(|tasks| tasks.into_iter().flat_map(|task| task.runs).collect()).collect();
        // The first rows of all pieces are a sample of the keys, as even as pieces are equally long.
        let mut sample: Vec<(Key<'_>, usize, Row, usize)> = Vec::new();
        for (input, runs) in inputs.iter().enumerate() {
            for piece in runs.iter().flat_map(|run| &run.pieces) {
                let row = Row::new(piece.chunk, piece.rows.start);
                if let Some(key) = key_of(&chunks[input], row) {
                    sample.push((key, input, row, piece.rows.len()));
                }
            }
        }
        sample.sort_unstable_by_key(|(key, ..)| *key);
        let mut cuts = Vec::new();
        let mut rows = 0;
        let mut last = sample.first().map(|(key, ..)| *key);
        for (key, input, row, len) in sample {
            if rows >= ROWS_OF_A_RANGE && Some(key) > last {
                cuts.push((input, row));
                rows = 0;
                last = Some(key);
            }
            rows += len;
        }
        Self { inputs, cuts }
    }

    /// The number of ranges.
    pub(super) fn ranges(&self) -> usize {
        self.cuts.len() + 1
    }

    /// The latest row that counts of each key of a range, by input; and the number of keys. `hides` says of an input
    /// whether a row that does not count hides an older one.
    pub(super) fn sides(&self, chunks: &[Vec<Chunk>], range: usize, hides: &[bool]) -> (Vec<Side>, usize) {
        let cut = |(input, row): &(usize, Row)| key_of(&chunks[*input], *row);
        let from = range.checked_sub(1).and_then(|i| self.cuts.get(i)).and_then(cut);
        let to = self.cuts.get(range).and_then(cut);
        let mut cursors = Vec::new();
        for (input, runs) in self.inputs.iter().enumerate() {
            cursors
                .extend(runs.iter().filter_map(|run| Cursor::try_new(input, run, &chunks[input], from, to)));
        }
        let mut best: Vec<Option<Found>> = vec![None; self.inputs.len()];
        let mut sides: Vec<Vec<Found>> = vec![Vec::new(); self.inputs.len()];
        let mut keys = 0;
        let mut heads = Heads::new(cursors);
        heads.for_each_key(
            |best: &mut [Option<Found>], cursor: &Cursor<'_>| {
                let (chunk, row) = (cursor.chunk(), cursor.row);
                if hides[cursor.input] || chunk.counts(row) {
                    let found = Found { row: Row::new(cursor.number(), row), version: chunk.version(row) };
                    keep_later(&chunks[cursor.input], &mut best[cursor.input], found);
                }
            },
            |best: &mut [Option<Found>]| {
                for (input, best) in best.iter_mut().enumerate() {
                    let counts = |found: &Found| chunks[input][found.row.chunk()].counts(found.row.row());
                    sides[input].push(best.take().filter(counts).unwrap_or(Found::NONE));
                }
                keys += 1;
            },
            best.as_mut_slice(),
        );
        (sides.into_iter().map(Side::One).collect(), keys)
    }
}

/// Of two rows of one id the later one; of two of one age the one that is read later.
#[inline]
fn keep_later(chunks: &[Chunk], best: &mut Option<Found>, offered: Found) {
    let age = |found: Found| (chunks[found.row.chunk()].age(found.row.row()), found.row);
    match best {
        Some(known) if age(*known) > age(offered) => {}
        _ => *best = Some(offered),
    }
}

/// A place in a run, with the key that is there.
struct Cursor<'a> {
    input: usize,
    run: &'a Run,
    chunks: &'a [Chunk],
    column: &'a KeyColumn,
    piece: usize,
    row: usize,
    /// Where the rows of the current piece end, within the range.
    piece_end: usize,
    /// The piece in which the range ends, and the row there.
    end: (usize, usize),
    key: Key<'a>,
}

impl<'a> Cursor<'a> {
    /// The run's first row of a range; `None` if it has none.
    fn try_new(
        input: usize,
        run: &'a Run,
        chunks: &'a [Chunk],
        from: Option<Key<'_>>,
        to: Option<Key<'_>>,
    ) -> Option<Self> {
        let first = run.pieces.first()?;
        let (piece, row) = match from {
            Some(from) => run.position(chunks, from),
            None => (0, first.rows.start),
        };
        let end = to.map_or((run.pieces.len(), 0), |to| run.position(chunks, to));
        let chunk = run.pieces.get(piece)?.chunk;
        if (piece, row) >= end {
            return None;
        }
        let column = chunks[chunk].key_column.as_ref()?;
        let piece_end = Self::end_of(run, piece, end);
        Some(Self { input, run, chunks, column, piece, row, piece_end, end, key: column.key(row) })
    }

    fn end_of(run: &Run, piece: usize, end: (usize, usize)) -> usize {
        if piece == end.0 { end.1 } else { run.pieces[piece].rows.end }
    }

    fn number(&self) -> usize {
        self.run.pieces[self.piece].chunk
    }

    fn chunk(&self) -> &'a Chunk {
        &self.chunks[self.number()]
    }

    /// Goes to the next row; `false` at the end.
    #[inline]
    fn advance(&mut self) -> bool {
        self.row += 1;
        if self.row == self.piece_end {
            self.piece += 1;
            let Some(piece) = self.run.pieces.get(self.piece) else { return false };
            if (self.piece, piece.rows.start) >= self.end {
                return false;
            }
            let Some(column) = self.chunks[piece.chunk].key_column.as_ref() else { return false };
            self.row = piece.rows.start;
            self.column = column;
            self.piece_end = Self::end_of(self.run, self.piece, self.end);
        }
        self.key = self.column.key(self.row);
        true
    }
}

/// The cursors that have rows left, the one with the smallest key last.
struct Heads<'a> {
    cursors: Vec<Cursor<'a>>,
    order: Vec<u32>,
}

impl<'a> Heads<'a> {
    fn new(cursors: Vec<Cursor<'a>>) -> Self {
        let mut order: Vec<u32> = (0..cursors.len() as u32).collect();
        order.sort_by(|a, b| cursors[*b as usize].key.cmp(&cursors[*a as usize].key));
        Self { cursors, order }
    }

    /// Calls `row` for all rows of a key, then `key`, in the order of the keys.
    fn for_each_key<S: ?Sized>(
        &mut self,
        mut row: impl FnMut(&mut S, &Cursor<'a>),
        mut key: impl FnMut(&mut S),
        state: &mut S,
    ) {
        let mut moved = Vec::new();
        while let Some(first) = self.order.pop() {
            let current = self.cursors[first as usize].key;
            let mut next = Some(first);
            while let Some(number) = next {
                let cursor = &mut self.cursors[number as usize];
                loop {
                    row(state, cursor);
                    if !cursor.advance() {
                        break;
                    }
                    if cursor.key != current {
                        moved.push(number);
                        break;
                    }
                }
                next = match self.order.last() {
                    Some(last) if self.cursors[*last as usize].key == current => self.order.pop(),
                    _ => None,
                };
            }
            key(state);
            moved.drain(..).for_each(|number| self.insert(number));
        }
    }

    fn insert(&mut self, number: u32) {
        let key = self.cursors[number as usize].key;
        let is_greater = |other: &u32| self.cursors[*other as usize].key > key;
        // The long runs move most, and have their place at the end.
        let mut at = self.order.len();
        for _ in 0..3 {
            if at == 0 || is_greater(&self.order[at - 1]) {
                self.order.insert(at, number);
                return;
            }
            at -= 1;
        }
        let at = self.order[..at].partition_point(is_greater);
        self.order.insert(at, number);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray, StringViewArray};

    use super::*;

    /// The runs of an input's chunks, as one task reads them.
    fn runs(chunks: Vec<Chunk>) -> (Vec<Chunk>, Runs) {
        let mut runs = Runs::default();
        let mut read = Vec::new();
        for chunk in chunks {
            read.push(chunk);
            assert!(runs.add(&read));
        }
        (read, runs)
    }

    /// For each key of all ranges the places of the latest rows, by input.
    fn merged(inputs: Vec<Vec<Chunk>>) -> Vec<Vec<Option<(usize, usize)>>> {
        let hides = vec![true; inputs.len()];
        let (chunks, runs): (Vec<Vec<Chunk>>, Vec<Vec<Runs>>) =
            inputs.into_iter().map(runs).map(|(chunks, runs)| (chunks, vec![runs])).unzip();
        let ordered = Ordered::new(&chunks, runs);
        let mut rows = Vec::new();
        for range in 0..ordered.ranges() {
            let (sides, keys) = ordered.sides(&chunks, range, &hides);
            for key in 0..keys {
                let place = |side: &Side| {
                    let position = side.positions(key).next()?;
                    let row = side.at(position).row;
                    Some((row.chunk(), row.row()))
                };
                rows.push(sides.iter().map(place).collect());
            }
        }
        rows
    }

    fn numbers(ids: &[i64], times: &[i64]) -> Chunk {
        Chunk::of_ids(Arc::new(Int64Array::from(ids.to_vec())), times.to_vec())
    }

    #[test]
    fn the_latest_row_of_each_key_of_each_input() {
        let parent = vec![numbers(&[1, 3, 5], &[1, 1, 1]), numbers(&[7, 3, 4], &[1, 2, 2])];
        let child = vec![numbers(&[3, 6], &[1, 1])];
        assert_eq!(
            merged(vec![parent, child]),
            [
                vec![Some((0, 0)), None],
                vec![Some((1, 1)), Some((0, 0))],
                vec![Some((1, 2)), None],
                vec![Some((0, 2)), None],
                vec![None, Some((0, 1))],
                vec![Some((1, 0)), None],
            ]
        );
    }

    #[test]
    fn of_rows_of_one_time_the_one_that_is_read_later_wins() {
        let rows = vec![numbers(&[1, 1, 2], &[5, 5, 5]), numbers(&[1, 2], &[5, 4])];
        assert_eq!(merged(vec![rows]), [vec![Some((1, 0))], vec![Some((0, 2))]]);
    }

    #[test]
    fn texts_of_any_layout_are_ordered_by_their_bytes() {
        let plain: ArrayRef = Arc::new(StringArray::from(vec!["", "a", "é"]));
        let view: ArrayRef = Arc::new(StringViewArray::from(vec!["Z", "a", "a rather long text", "é"]));
        let rows = merged(vec![
            vec![Chunk::of_ids(plain, vec![1, 1, 1])],
            vec![Chunk::of_ids(view, vec![1, 1, 1, 1])],
        ]);
        let found: Vec<(bool, bool)> = rows.iter().map(|r| (r[0].is_some(), r[1].is_some())).collect();
        assert_eq!(found, [(true, false), (false, true), (true, true), (false, true), (true, true)]);
    }

    #[test]
    fn many_ranges_and_runs_give_what_a_map_gives() {
        let mut state = 7_u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut inputs = Vec::new();
        // Of each id and input, the newest row: time, chunk, row.
        type Newest = Vec<Option<(i64, usize, usize)>>;
        let mut expected: BTreeMap<i64, Newest> = BTreeMap::new();
        for input in 0..2 {
            let mut chunks = Vec::new();
            for chunk in 0..40 {
                // One in four begins a new run.
                let first = if chunk % 4 == 0 { random(1000) as i64 } else { 0 };
                let mut id = first + (chunk as i64 % 4) * 50_000;
                let mut ids = Vec::new();
                let mut times = Vec::new();
                for row in 0..5000 {
                    id += random(20) as i64;
                    let time = random(3) as i64;
                    let best = &mut expected.entry(id).or_insert_with(|| vec![None; 2])[input];
                    *best = (*best).max(Some((time, chunk, row)));
                    ids.push(id);
                    times.push(time);
                }
                chunks.push(numbers(&ids, &times));
            }
            inputs.push(chunks);
        }
        let expected: Vec<Vec<Option<(usize, usize)>>> = expected
            .into_values()
            .map(|rows| rows.into_iter().map(|row| row.map(|(_, chunk, row)| (chunk, row))).collect())
            .collect();
        assert_eq!(merged(inputs), expected);
    }

    #[test]
    fn rows_without_an_order_get_one() {
        let column =
            |ids: Vec<i64>| KeyColumn::of(&[Arc::new(Int64Array::from(ids)) as ArrayRef]).unwrap().unwrap();
        let mixed = column(vec![3, 1, 2, 1]);
        assert!(mixed.is_mixed());
        // The two rows with the smallest key stay in their order.
        assert_eq!(mixed.arranged().values().to_vec(), [1, 3, 2, 0]);
        assert!(!column(vec![]).is_mixed() && !column(vec![1, 1, 2]).is_mixed());
        // A few long runs are merged as they are.
        assert!(!column((0..512).chain(0..512).collect()).is_mixed());
        assert!(column((0..512).chain((0..16).rev()).collect()).is_mixed());
    }

    #[test]
    fn rows_without_an_order_are_not_merged() {
        let ids: Vec<i64> = (0..8192).map(|i| (i * 7919) % 8192).collect();
        let mut runs = Runs::default();
        assert!(!runs.add(&[numbers(&ids, &vec![1; 8192])]));
        let nulls: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        assert!(!Runs::default().add(&[Chunk::of_ids(nulls, vec![1, 1])]));
    }
}
