//! The provenance of expected rows, hashed into buffers that are used again for every row.

use crate::hash::{HashSettings, PartsHasher, SEPARATOR};

use super::plan::{Piece, Plan, Recipe};

/// Hashes one row after the other.
pub(super) struct Provenance {
    hasher: PartsHasher,
    settings: HashSettings,
    alike: Vec<Alike>,
    /// The fields' versions of the current row, in the order of the spec; `None` is NULL.
    fields: Vec<Text>,
    sample: Text,
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

/// A text that keeps its memory.
#[derive(Default)]
struct Text {
    text: String,
    is_null: bool,
}

impl Text {
    fn value(&self) -> Option<&str> {
        (!self.is_null).then_some(self.text.as_str())
    }
}

impl Provenance {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            hasher: PartsHasher::new(plan.settings.algorithm),
            settings: plan.settings,
            alike: Alike::of(plan),
            fields: plan.recipes.iter().map(|_| Text::default()).collect(),
            sample: Text::default(),
        }
    }

    /// Works out a row's versions, if any are needed; `text(input, index)` gives the row's texts, and `None` for NULL or no row.
    pub(super) fn hash<'a>(&mut self, plan: &Plan, text: impl Fn(usize, usize) -> Option<&'a str>) {
        let Self { hasher, settings, alike, fields, sample } = self;
        for (recipe, field) in plan.recipes.iter().zip(fields.iter_mut()) {
            if let Recipe::Given(index) = recipe {
                field.text.clear();
                let given = text(0, *index);
                field.is_null = given.is_none();
                field.text.push_str(given.unwrap_or_default());
            }
        }
        for Alike { fields: own, rest, longest } in alike {
            hasher.reset_after(*longest);
            let mut is_null = false;
            for piece in rest {
                match piece {
                    Piece::Text(bytes) => hasher.write(bytes),
                    Piece::Version { input, text: index, optional } => match text(*input, *index) {
                        Some(value) => hasher.write(value.as_bytes()),
                        None => is_null |= !*optional,
                    },
                }
            }
            for (field, first) in own {
                let field = &mut fields[*field];
                field.text.clear();
                field.is_null = is_null;
                if !is_null {
                    hasher.finish_after(first, settings.length, &mut field.text);
                }
            }
        }
        if plan.recipes.is_empty() {
            return;
        }
        hasher.reset();
        sample.text.clear();
        sample.is_null = fields.iter().any(|field| field.is_null);
        if sample.is_null {
            return;
        }
        for (i, &field) in plan.sorted_fields.iter().enumerate() {
            if i > 0 {
                hasher.write(SEPARATOR.as_bytes());
            }
            hasher.write(fields[field].text.as_bytes());
        }
        hasher.finish(settings.length, &mut sample.text);
    }

    /// The version of a field.
    pub(super) fn field(&self, field: usize) -> Option<&str> {
        self.fields[field].value()
    }

    /// The version of the sample.
    pub(super) fn sample(&self) -> Option<&str> {
        self.sample.value()
    }
}
