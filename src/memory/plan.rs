//! Where the executor finds what it needs: the columns of each input, by their place in its chunks.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{Result, internal_datafusion_err};

use crate::columns::{DATA_VERSION, DATA_VERSION_BY_FIELD, INCREMENT, PROVENANCE, PROVENANCE_BY_FIELD};
use crate::hash::HashSettings;
use crate::update::internal::{self, DATA_VERSIONS, STALE, TARGET, is_of_orphans, orphan_key, stored};
use crate::update::{Description, FieldSource, Part, StoredRows};

/// The columns that each input has to have for these columns of the increment, in the order of the inputs.
pub(crate) fn needed_columns(description: &Description, wanted: &[&str]) -> Vec<Vec<String>> {
    let hashes = hashes(description, wanted);
    let mut inputs = Vec::new();
    for input in &description.expected {
        let mut columns = Columns(description.keys.clone());
        columns.extend(input.user_columns.iter().filter(|c| wanted.contains(&c.as_str())));
        columns.extend(&input.pass);
        if hashes {
            columns.extend(&input.versions);
            if let Some(aggregation) = &input.aggregation {
                columns.extend(&aggregation.groups);
                columns.extend(&aggregation.order);
            }
            for field in &description.fields {
                if let FieldSource::Given(column) = &field.source {
                    columns.push(column);
                }
            }
        }
        if description.overridden && wanted.contains(&DATA_VERSION_BY_FIELD) {
            columns.push(DATA_VERSIONS);
        }
        if description.overridden && wanted.contains(&DATA_VERSION) {
            columns.push(internal::DATA_VERSION);
        }
        inputs.push(columns.0);
    }
    if let Some(current) = &description.current {
        let mut columns = Columns(description.keys.clone());
        let orphaned = current.stored.iter().filter(|column| wanted.contains(&column.as_str()));
        columns.push(&stored(PROVENANCE));
        columns.extend(&orphaned.map(|column| stored(column)).collect::<Vec<_>>());
        columns.push(TARGET);
        columns.push(STALE);
        columns.extend(&current.order);
        inputs.push(columns.0);
    }
    inputs
}

/// Whether any version has to be hashed.
fn hashes(description: &Description, wanted: &[&str]) -> bool {
    let versions = [PROVENANCE, PROVENANCE_BY_FIELD, DATA_VERSION, DATA_VERSION_BY_FIELD];
    description.current.is_some() || versions.iter().any(|version| wanted.contains(version))
}

/// Names, each once.
struct Columns(Vec<String>);

impl Columns {
    fn push(&mut self, name: &str) {
        if !self.0.iter().any(|known| known == name) {
            self.0.push(name.to_owned());
        }
    }

    fn extend<'a>(&mut self, names: impl IntoIterator<Item = &'a String>) {
        names.into_iter().for_each(|name| self.push(name));
    }
}

/// The layout of one input's chunks: indices into the columns that [`needed_columns`] lists.
#[derive(Debug, Clone, Default)]
pub(super) struct Layout {
    pub columns: Vec<String>,
    /// Which of the columns the answer has; the others go once keys, texts and flags are taken from them.
    pub kept: Vec<bool>,
    pub keys: Vec<usize>,
    /// Whether a row's id is its key.
    pub unique: bool,
    /// Columns that are read as text, as [`Chunk::texts`](super::chunk::Chunk::texts).
    pub texts: Vec<usize>,
    /// Columns that are read as truth values, as [`Chunk::flags`](super::chunk::Chunk::flags).
    pub flags: Vec<usize>,
    /// The columns that make a group, and those that order it.
    pub aggregation: Option<(Vec<usize>, Vec<usize>)>,
    /// The columns that order the stored rows of a key.
    pub order: Vec<usize>,
}

impl Layout {
    pub(super) fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    fn indices<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> Result<Vec<usize>> {
        names
            .into_iter()
            .map(|name| self.index_of(name).ok_or_else(|| internal_datafusion_err!("no column {name}")))
            .collect()
    }
}

/// How a field's provenance is put together.
#[derive(Debug, Clone)]
pub(super) enum Recipe {
    Hashed(Vec<Piece>),
    /// A text of the samples.
    Given(usize),
}

/// A piece of what is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(Box<[u8]>),
    /// A text of an input's rows.
    Version {
        input: usize,
        text: usize,
        optional: bool,
    },
}

/// The stored side's text and flags.
pub(super) const STORED_PROVENANCE: usize = 0;
pub(super) const TARGET_FLAG: usize = 0;
pub(super) const STALE_FLAG: usize = 1;
/// The flag of an expected row that says whether it passes the caller's filters.
pub(super) const PASS_FLAG: usize = 0;

/// All that is known before the first row arrives.
#[derive(Debug)]
pub(super) struct Plan {
    pub description: Arc<Description>,
    /// The columns that are asked for.
    pub schema: SchemaRef,
    /// The expected inputs' layouts, then the stored side's.
    pub layouts: Vec<Layout>,
    /// Empty when nothing has to be hashed.
    pub recipes: Vec<Recipe>,
    /// The order in which the fields' versions make the sample's.
    pub sorted_fields: Vec<usize>,
    pub settings: HashSettings,
    pub rows: StoredRows,
    /// Whether an expected row's provenance depends on one input's row alone, so that it is hashed as it is read.
    pub hashed_when_read: bool,
    /// Whether columns are asked for that orphaned rows have from the stored ones.
    pub shows_stored: bool,
    /// Whether the fields' and the sample's versions are asked for.
    pub wants_fields: bool,
    pub wants_sample: bool,
}

impl Plan {
    pub(super) fn try_new(description: Arc<Description>, schema: SchemaRef) -> Result<Self> {
        let wanted: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let needed = needed_columns(&description, &wanted);
        let hashes = hashes(&description, &wanted);
        let mut layouts = Vec::new();
        for (i, columns) in needed.into_iter().enumerate() {
            let is_kept = |column: &String| match description.expected.get(i) {
                Some(_) => [DATA_VERSIONS, internal::DATA_VERSION].contains(&column.as_str()),
                None => wanted.iter().any(|name| stored(name) == *column || *name == orphan_key(column)),
            };
            let kept = columns.iter().map(|c| wanted.contains(&c.as_str()) || is_kept(c)).collect();
            let mut layout = Layout { columns, kept, ..Layout::default() };
            layout.keys = layout.indices(&description.keys)?;
            if let Some(input) = description.expected.get(i) {
                layout.unique = input.unique;
                layout.flags = layout.indices(&input.pass)?;
                if hashes {
                    layout.texts = layout.indices(&input.versions)?;
                    let given = description.fields.iter().filter_map(|field| match &field.source {
                        FieldSource::Given(column) => Some(column),
                        FieldSource::Hashed(_) => None,
                    });
                    layout.texts.extend(layout.indices(given)?);
                    if let Some(aggregation) = &input.aggregation {
                        let groups = layout.indices(&aggregation.groups)?;
                        layout.aggregation = Some((groups, layout.indices(&aggregation.order)?));
                    }
                }
            } else if let Some(current) = &description.current {
                layout.unique = current.unique;
                layout.texts = layout.indices([&stored(PROVENANCE)])?;
                layout.flags = layout.indices([&TARGET.to_owned(), &STALE.to_owned()])?;
                layout.order = layout.indices(&current.order)?;
            }
            layouts.push(layout);
        }
        let recipes = if hashes { recipes(&description, &layouts)? } else { Vec::new() };
        let wants = |names: &[&str]| names.iter().any(|name| wanted.contains(name));
        let own_version = |name| !description.overridden && wants(&[name]);
        let alone = matches!(description.expected.as_slice(), [only] if only.aggregation.is_none());
        let stored = layouts.get(description.expected.len());
        Ok(Self {
            shows_stored: stored.is_some_and(|layout| layout.columns.iter().any(|name| is_of_orphans(name))),
            sorted_fields: if hashes { description.sorted_fields() } else { Vec::new() },
            settings: description.settings,
            hashed_when_read: alone && description.current.is_some(),
            rows: description.current.as_ref().map_or(StoredRows::Unique, |current| current.rows),
            wants_fields: wants(&[PROVENANCE_BY_FIELD]) || own_version(DATA_VERSION_BY_FIELD),
            wants_sample: wants(&[PROVENANCE]) || own_version(DATA_VERSION),
            description,
            schema,
            layouts,
            recipes,
        })
    }

    /// Whether rows that come in the order of their keys can be merged.
    pub(super) fn is_merged(&self) -> bool {
        self.layouts
            .iter()
            .all(|layout| layout.unique && layout.keys.len() == 1 && layout.aggregation.is_none())
    }

    /// Whether the texts of an input are needed once its rows are read.
    pub(super) fn keeps_texts(&self, input: usize) -> bool {
        Some(input) != self.current() && (!self.hashed_when_read || self.wants_versions())
    }

    /// Whether any version that was hashed is part of the answer.
    pub(super) fn wants_versions(&self) -> bool {
        self.wants_fields || self.wants_sample
    }

    /// The number of expected inputs.
    pub(super) fn expected(&self) -> usize {
        self.description.expected.len()
    }

    /// The index of the stored side's layout.
    pub(super) fn current(&self) -> Option<usize> {
        self.description.current.as_ref().map(|_| self.expected())
    }

    /// Whether a column is the class of the row.
    pub(super) fn is_class(name: &str) -> bool {
        name == INCREMENT
    }
}

fn recipes(description: &Description, layouts: &[Layout]) -> Result<Vec<Recipe>> {
    let text = |input: usize, column: &str| -> Result<usize> {
        let layout = layouts.get(input);
        layout
            .and_then(|layout| {
                let index = layout.index_of(column)?;
                layout.texts.iter().position(|&text| text == index)
            })
            .ok_or_else(|| internal_datafusion_err!("no version {column}"))
    };
    description
        .fields
        .iter()
        .map(|field| match &field.source {
            FieldSource::Given(column) => Ok(Recipe::Given(text(0, column)?)),
            FieldSource::Hashed(parts) => {
                let pieces = parts.iter().map(|part| match part {
                    Part::Text(text) => Ok(Piece::Text(text.as_bytes().into())),
                    Part::Version { input, column, optional } => {
                        Ok(Piece::Version { input: *input, text: text(*input, column)?, optional: *optional })
                    }
                });
                Ok(Recipe::Hashed(pieces.collect::<Result<_>>()?))
            }
        })
        .collect()
}
