//! One partition of the increment: its keys numbered, its rows brought together and compared.

use std::collections::HashSet;

use super::aggregate::{Groups, compare};
use super::answer::Answered;
use super::chunk::Chunk;
use super::collect::{Collected, Gathered};
use super::compare::Stored;
use super::latest::Latest;
use super::merge::Ordered;
use super::partition::Divided;
use super::plan::{PASS_FLAG, Plan};
use super::provenance::{Provenance, ROWS};
use super::rows::{Entry, Found, Row, Side};
use crate::operators::{Keys, Numbers};

/// The rows of a partition, by the numbers of their keys.
struct Partition<'a> {
    plan: &'a Plan,
    chunks: &'a [Vec<Chunk>],
    keys_of: Keys,
    sides: Vec<Side>,
    groups: Vec<Option<Groups>>,
    keys: usize,
    /// Keys that have a NULL in them; a join finds no partner for them.
    null_keys: HashSet<u32>,
}

/// Compares the rows of one partition.
pub(super) fn resolve(plan: &Plan, collected: &Collected, gathered: &Gathered, number: usize) -> Answered {
    let partition = match gathered {
        Gathered::Ordered { ordered, hides } => Partition::merged(plan, collected, ordered, hides, number),
        Gathered::Divided(divided) => Partition::new(plan, collected, divided, number),
    };
    let stored =
        plan.current().map(|input| Stored::new(plan, &collected.chunks[input], &partition.sides[input]));
    let mut classes = Classes::new(&partition, stored);
    let mut expected = vec![None; plan.expected()];
    for key in 0..partition.keys {
        let mut met = false;
        partition.for_each_expected(key, &mut expected, |positions| {
            met = true;
            classes.expected(key, positions);
        });
        if !met {
            classes.unexpected(key);
        }
    }
    classes.finish()
}

impl<'a> Partition<'a> {
    fn new(plan: &'a Plan, collected: &'a Collected, divided: &[Vec<Divided>], partition: usize) -> Self {
        let chunks = collected.chunks.as_slice();
        let entries = |input: usize| divided[input].iter().flat_map(move |task| task.entries(partition));
        let count = |input: &Vec<Divided>| input.iter().map(|task| task.len(partition)).sum::<usize>();
        let mut numbers = Numbers::with_capacity(divided.iter().map(count).max().unwrap_or_default());
        let mut null_keys = HashSet::new();
        let mut number = |chunks: &[Chunk], entry: Entry| {
            let number = numbers.number(entry.key);
            if chunks[entry.row.chunk()].has_null_key(entry.row.row()) {
                null_keys.insert(number);
            }
            number
        };
        let mut sides = Vec::new();
        let mut many = Vec::new();
        for (input, layout) in plan.layouts.iter().enumerate() {
            let chunks = &chunks[input];
            if layout.unique {
                let mut latest = Latest::new(chunks);
                entries(input).for_each(|entry| latest.offer(number(chunks, entry), entry));
                sides.push(Side::One(latest.rows()));
            } else {
                let found = |entry: Entry| Found { row: entry.row, version: entry.version };
                let numbered: Vec<(u32, Found)> =
                    entries(input).map(|entry| (number(chunks, entry), found(entry))).collect();
                many.push((input, numbered));
                sides.push(Side::One(Vec::new()));
            }
        }
        let keys = numbers.len();
        let mut groups: Vec<Option<Groups>> = plan.layouts.iter().map(|_| None).collect();
        for (input, numbered) in many {
            let mut side = Side::many(&numbered, keys);
            let layout = &plan.layouts[input];
            if layout.aggregation.is_some() {
                let (chunks, texts) = (&chunks[input], layout.texts.len());
                groups[input] = Some(Groups::new(chunks, &mut side, keys, texts, plan.settings));
            } else if !layout.order.is_empty() {
                sort_by_key(&chunks[input], &mut side, keys);
            }
            sides[input] = side;
        }
        Self { plan, chunks, keys_of: collected.keys, sides, groups, keys, null_keys }
    }

    /// A range of keys of inputs that are in order.
    fn merged(
        plan: &'a Plan,
        collected: &'a Collected,
        ordered: &Ordered,
        hides: &[bool],
        range: usize,
    ) -> Self {
        let chunks = collected.chunks.as_slice();
        let (sides, keys) = ordered.sides(chunks, range, hides);
        let groups = plan.layouts.iter().map(|_| None).collect();
        Self { plan, chunks, keys_of: collected.keys, sides, groups, keys, null_keys: HashSet::new() }
    }

    /// Calls `each` with the positions of every expected row of a key: required inputs joined, optional ones where
    /// they have a row.
    fn for_each_expected(
        &self,
        key: usize,
        positions: &mut [Option<usize>],
        mut each: impl FnMut(&[Option<usize>]),
    ) {
        let inputs = &self.plan.description.expected;
        let required = inputs.iter().filter(|input| !input.optional).count();
        if inputs.len() > 1 && self.null_keys.contains(&(key as u32)) {
            // What is NULL equals nothing: optional inputs find no partner, and two required ones neither.
            let alone = if required == 0 { 0..inputs.len() } else { 0..usize::from(required == 1) };
            for input in alone {
                positions.fill(None);
                for position in self.sides[input].positions(key) {
                    positions[input] = Some(position);
                    each(positions);
                }
            }
            return;
        }
        let mut any = false;
        for (input, side) in inputs.iter().zip(&self.sides) {
            let is_empty = side.positions(key).is_empty();
            if is_empty && !input.optional {
                return;
            }
            any |= !is_empty;
        }
        if any {
            self.product(key, 0, positions, &mut each);
        }
    }

    /// Every combination of a key's rows, from input number `input` on.
    fn product(
        &self,
        key: usize,
        input: usize,
        positions: &mut [Option<usize>],
        each: &mut impl FnMut(&[Option<usize>]),
    ) {
        if input == positions.len() {
            each(positions);
            return;
        }
        let range = self.sides[input].positions(key);
        if range.is_empty() {
            positions[input] = None;
            self.product(key, input + 1, positions, each);
        }
        for position in range {
            positions[input] = Some(position);
            self.product(key, input + 1, positions, each);
        }
    }

    /// Whether no input's row fails the caller's filters; an optional input that is missing has not failed.
    fn passes(&self, positions: &[Option<usize>]) -> bool {
        positions.iter().enumerate().all(|(input, position)| {
            let Some(position) = position else { return true };
            let row = self.sides[input].at(*position).row;
            let flags = &self.chunks[input][row.chunk()].flags;
            flags.get(PASS_FLAG).is_none_or(|passes| passes.value(row.row()))
        })
    }

    fn text(&self, positions: &[Option<usize>], input: usize, text: usize) -> Option<&str> {
        use datafusion::arrow::array::Array;

        let position = positions[input]?;
        if let Some(groups) = &self.groups[input] {
            return groups.version(position, text);
        }
        let row = self.sides[input].at(position).row;
        let values = &self.chunks[input][row.chunk()].texts[text];
        (!values.is_null(row.row())).then(|| values.value(row.row()))
    }
}

/// The classes of a partition's samples; what has to be hashed for them is hashed a few rows at a time.
struct Classes<'a> {
    partition: &'a Partition<'a>,
    stored: Option<Stored<'a>>,
    provenance: Provenance,
    /// What is yet to be put into the answer, in its order.
    waiting: Vec<Waiting>,
    /// The positions of the expected rows among it, one row after the other.
    positions: Vec<Option<usize>>,
    found: Answered,
}

enum Waiting {
    /// An expected row; `stale` is `None` if that depends on its version.
    Expected { key: usize, stale: Option<bool>, hashed: bool },
    /// The stored rows of a key.
    Orphans { key: usize },
}

impl<'a> Classes<'a> {
    fn new(partition: &'a Partition<'a>, stored: Option<Stored<'a>>) -> Self {
        let (provenance, found) = (Provenance::new(partition.plan), Answered::new(partition.plan));
        Self { partition, stored, provenance, waiting: Vec::new(), positions: Vec::new(), found }
    }

    /// An expected row of a key.
    fn expected(&mut self, key: usize, positions: &[Option<usize>]) {
        let Partition { plan, sides, .. } = self.partition;
        if !self.partition.passes(positions) {
            return;
        }
        let stale = match (self.stored.as_ref().filter(|stored| stored.has(key)), positions) {
            (None, _) => Some(false),
            (Some(stored), [Some(position)]) if plan.hashed_when_read => {
                if !stored.is_stale(key, sides[0].at(*position).version) {
                    return;
                }
                Some(true)
            }
            _ => None,
        };
        let hashed = stale.is_none() || plan.wants_versions();
        self.waiting.push(Waiting::Expected { key, stale, hashed });
        self.positions.extend_from_slice(positions);
        self.answer_some();
    }

    /// A key that no row is expected of.
    fn unexpected(&mut self, key: usize) {
        if self.stored.as_ref().is_some_and(|stored| stored.has(key)) {
            self.waiting.push(Waiting::Orphans { key });
            self.answer_some();
        }
    }

    /// Puts into the answer what waits, once it is enough.
    fn answer_some(&mut self) {
        if self.waiting.len() >= ROWS {
            self.answer();
        }
    }

    /// Puts into the answer what waits.
    fn answer(&mut self) {
        let Self { partition, stored, provenance, waiting, positions, found } = self;
        let width = partition.plan.expected().max(1);
        let rows = waiting.iter().filter_map(|waiting| match waiting {
            Waiting::Expected { hashed, .. } => Some(*hashed),
            Waiting::Orphans { .. } => None,
        });
        let hashed: Vec<&[Option<usize>]> = rows
            .zip(positions.chunks_exact(width))
            .filter(|(hashed, _)| *hashed)
            .map(|(_, row)| row)
            .collect();
        provenance
            .hash(partition.plan, hashed.len(), |row, input, text| partition.text(hashed[row], input, text));
        let (mut number, mut all) = (0, positions.chunks_exact(width));
        for waiting in &*waiting {
            match *waiting {
                Waiting::Orphans { key } => {
                    if let Some(stored) = stored {
                        stored.orphans(key, |row| found.orphaned(row));
                    }
                }
                Waiting::Expected { key, stale, hashed } => {
                    let Some(positions) = all.next() else { continue };
                    let own = number;
                    number += usize::from(hashed);
                    let stale = stale.or_else(|| {
                        let version = partition.keys_of.version(provenance.sample(own));
                        stored.as_ref().is_some_and(|stored| stored.is_stale(key, version)).then_some(true)
                    });
                    if let Some(stale) = stale {
                        let row = |(input, position): (usize, &Option<usize>)| {
                            position.map_or(Row::NONE, |at| partition.sides[input].at(at).row)
                        };
                        found.expected(stale, positions.iter().enumerate().map(row), (provenance, own));
                    }
                }
            }
        }
        waiting.clear();
        positions.clear();
    }

    fn finish(mut self) -> Answered {
        self.answer();
        self.found
    }
}

/// Puts the stored rows of each key into the order of their ids.
fn sort_by_key(chunks: &[Chunk], side: &mut Side, keys: usize) {
    for key in 0..keys {
        let range = side.positions(key);
        side.rows_mut()[range].sort_by(|a, b| compare(chunks, a.row, b.row));
    }
}
