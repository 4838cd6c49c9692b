//! The provenance of expected rows, hashed into buffers that are used again.

use crate::hash::{SEPARATOR, TextsHasher};

use super::plan::{Piece, Plan, Recipe};

/// Rows that are worth hashing together.
pub(super) const ROWS: usize = 64;

/// Hashes a few rows at a time.
pub(super) struct Provenance {
    /// How many fields there are.
    width: usize,
    alike: Vec<Alike>,
    hashes: TextsHasher,
    /// Versions that are given, one after the other.
    given: String,
    /// The rows' versions, for each row those of its fields in the order of the spec.
    fields: Vec<Version>,
    sample_hashes: TextsHasher,
    samples: Vec<Version>,
}

/// Where the text of a version is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Version {
    Null,
    /// The hash with this number.
    Hashed(usize),
    /// These bytes of what is given.
    Given(usize, usize),
}

/// Fields that are hashed from the same pieces after a text of their own: without a mapping of fields, that is all of
/// them. The pieces are put together once for each row.
struct Alike {
    /// The fields, and what stands first in each.
    fields: Vec<(usize, Box<[u8]>)>,
    rest: Vec<Piece>,
    longest: usize,
}

impl Alike {
    fn of(plan: &Plan) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for (field, recipe) in plan.recipes.iter().enumerate() {
            let Recipe::Hashed(pieces) = recipe else { continue };
            let (first, rest) = match pieces.as_slice() {
                [Piece::Text(first), rest @ ..] => (first.clone(), rest),
                rest => (Box::default(), rest),
            };
            let at = groups.iter().position(|group| group.rest == rest).unwrap_or_else(|| {
                groups.push(Self { fields: Vec::new(), rest: rest.to_vec(), longest: 0 });
                groups.len() - 1
            });
            groups[at].longest = groups[at].longest.max(first.len());
            groups[at].fields.push((field, first));
        }
        groups
    }
}

impl Provenance {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            width: plan.recipes.len(),
            alike: Alike::of(plan),
            hashes: TextsHasher::new(plan.settings),
            given: String::new(),
            fields: Vec::new(),
            sample_hashes: TextsHasher::new(plan.settings),
            samples: Vec::new(),
        }
    }

    /// Works out the versions of so many rows, if any are needed; `text(row, input, index)` gives the texts of a row, and
    /// `None` for NULL or no row.
    pub(super) fn hash<'a>(
        &mut self,
        plan: &Plan,
        rows: usize,
        text: impl Fn(usize, usize, usize) -> Option<&'a str>,
    ) {
        self.given.clear();
        self.hashes.clear();
        self.sample_hashes.clear();
        self.samples.clear();
        self.fields.clear();
        self.fields.resize(rows * self.width, Version::Null);
        if self.width == 0 {
            return;
        }
        for (row, fields) in self.fields.chunks_exact_mut(self.width).enumerate() {
            for (recipe, field) in plan.recipes.iter().zip(fields.iter_mut()) {
                if let Recipe::Given(index) = recipe
                    && let Some(given) = text(row, 0, *index)
                {
                    let start = self.given.len();
                    self.given.push_str(given);
                    *field = Version::Given(start, self.given.len());
                }
            }
            for Alike { fields: own, rest, longest } in &self.alike {
                self.hashes.begin(*longest);
                let mut is_null = false;
                for piece in rest {
                    match piece {
                        Piece::Text(bytes) => self.hashes.write(bytes),
                        Piece::Version { input, text: index, optional } => match text(row, *input, *index) {
                            Some(value) => self.hashes.write(value.as_bytes()),
                            None => is_null |= !*optional,
                        },
                    }
                }
                if !is_null {
                    for (field, first) in own {
                        fields[*field] = Version::Hashed(self.hashes.end_after(first));
                    }
                }
            }
        }
        self.hashes.finish();
        for row in 0..rows {
            let sample = self.sample_of(plan, row);
            self.samples.push(sample);
        }
        self.sample_hashes.finish();
    }

    fn sample_of(&mut self, plan: &Plan, row: usize) -> Version {
        let fields = &self.fields[row * self.width..(row + 1) * self.width];
        if fields.contains(&Version::Null) {
            return Version::Null;
        }
        self.sample_hashes.begin(0);
        for (i, &field) in plan.sorted_fields.iter().enumerate() {
            if i > 0 {
                self.sample_hashes.write(SEPARATOR.as_bytes());
            }
            let text = text_of(fields[field], &self.hashes, &self.given).unwrap_or_default();
            self.sample_hashes.write(text.as_bytes());
        }
        Version::Hashed(self.sample_hashes.end_after(b""))
    }

    /// The version of a field of a row, of those that were hashed last.
    pub(super) fn field(&self, row: usize, field: usize) -> Option<&str> {
        text_of(*self.fields.get(row * self.width + field)?, &self.hashes, &self.given)
    }

    /// The version of the sample of a row.
    pub(super) fn sample(&self, row: usize) -> Option<&str> {
        text_of(*self.samples.get(row)?, &self.sample_hashes, "")
    }
}

fn text_of<'a>(version: Version, hashes: &'a TextsHasher, given: &'a str) -> Option<&'a str> {
    match version {
        Version::Null => None,
        Version::Hashed(number) => hashes.get(number),
        Version::Given(start, end) => given.get(start..end),
    }
}
