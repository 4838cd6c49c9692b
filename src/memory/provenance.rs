//! The provenance of expected rows, hashed into buffers that are used again for every row.

use crate::hash::{HashSettings, PartsHasher, SEPARATOR};

use super::plan::{Piece, Plan, Recipe};

/// Hashes one row after the other.
pub(super) struct Provenance {
    hasher: PartsHasher,
    settings: HashSettings,
    /// The fields' versions of the current row, in the order of the spec; `None` is NULL.
    fields: Vec<Text>,
    sample: Text,
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
            fields: plan.recipes.iter().map(|_| Text::default()).collect(),
            sample: Text::default(),
        }
    }

    /// Works out a row's versions, if any are needed; `text(input, index)` gives the row's texts, and `None` for NULL or no row.
    pub(super) fn hash<'a>(&mut self, plan: &Plan, text: impl Fn(usize, usize) -> Option<&'a str>) {
        let Self { hasher, settings, fields, sample } = self;
        for (recipe, field) in plan.recipes.iter().zip(fields.iter_mut()) {
            field.text.clear();
            field.is_null = false;
            match recipe {
                Recipe::Given(index) => match text(0, *index) {
                    Some(value) => field.text.push_str(value),
                    None => field.is_null = true,
                },
                Recipe::Hashed(pieces) => {
                    hasher.reset();
                    for piece in pieces {
                        match piece {
                            Piece::Text(bytes) => hasher.write(bytes),
                            Piece::Version { input, text: index, optional } => match text(*input, *index) {
                                Some(value) => hasher.write(value.as_bytes()),
                                None if *optional => {}
                                None => field.is_null = true,
                            },
                        }
                    }
                    if !field.is_null {
                        hasher.finish(settings.length, &mut field.text);
                    }
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
