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
