//! What an increment is, apart from its rows: which columns mean what, and how versions come about.
//!
//! Both executors work from this description: the native one turns it into joins and windows, the in-memory one
//! carries it out itself.

use std::fmt::Formatter;

use datafusion::physical_plan::DisplayFormatType;

use crate::hash::{HashSettings, SEPARATOR};
use crate::model::{FeatureKey, FeaturePlan, FieldPlan};

use super::executor::Executor;
use super::review::Review;
use super::{IncrementInputs, internal};

/// An increment without its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    pub feature: FeatureKey,
    /// The comparison columns; every input has them under these names, in one type.
    pub keys: Vec<String>,
    /// The expected side's inputs: the parents that have a table, or the samples.
    pub expected: Vec<ExpectedInput>,
    /// The feature's fields in the order of the spec.
    pub fields: Vec<FieldRecipe>,
    /// Whether the samples bring data versions of their own, in [`internal::DATA_VERSIONS`] and
    /// [`internal::DATA_VERSION`].
    pub overridden: bool,
    pub settings: HashSettings,
    /// The stored side; `None` when everything is new.
    pub current: Option<CurrentInput>,
    pub executor: Executor,
    /// What is looked up for rows of the answer, if anything is.
    pub review: Option<Review>,
}

/// One input of the expected side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExpectedInput {
    /// Whether a sample without a row here is a sample all the same.
    pub optional: bool,
    /// The columns that flow into the increment, without the keys.
    pub user_columns: Vec<String>,
    /// The column that says whether a row passes the caller's filters, if there are any.
    pub pass: Option<String>,
    /// The columns with versions that the fields are hashed from.
    pub versions: Vec<String>,
    /// How rows are put together before their versions count.
    pub aggregation: Option<Aggregation>,
    /// Whether a row's id is the comparison key, so that there is at most one row per key.
    pub unique: bool,
}

/// N:1 lineage: every row of a group carries the hash of the group's versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Aggregation {
    /// The columns that make a group; the keys are among them.
    pub groups: Vec<String>,
    /// The columns that order a group's rows: all ids of the parent, NULLs first.
    pub order: Vec<String>,
}

/// How a field's provenance comes about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldRecipe {
    pub struct_key: String,
    pub source: FieldSource,
}

/// Where a field's provenance is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FieldSource {
    /// The hash of these parts, written one after the other; separators are in the texts.
    Hashed(Vec<Part>),
    /// A column of the samples.
    Given(String),
}

/// A piece of what is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Text(String),
    /// A parent's data version. If `optional`, NULL counts as the empty string; else it makes the hash NULL.
    Version {
        input: usize,
        column: String,
        optional: bool,
    },
}

/// The stored side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CurrentInput {
    pub rows: StoredRows,
    /// Whether a row's id is the comparison key, no more and no less.
    pub unique: bool,
    /// Columns of the increment that orphaned rows take from the stored row, there called [`internal::stored`].
    pub stored: Vec<String>,
    /// The columns that order the stored rows of a key, NULLs first.
    pub order: Vec<String>,
}

/// How the stored rows relate to the comparison key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoredRows {
    /// The key has the whole of the feature's id in it.
    Unique,
    /// Expansion: the children of a parent stand for it together.
    Collapsed,
    /// The key is only a part of the id, and each stored row stays a row of its own.
    Ranked,
}

impl Description {
    /// What EXPLAIN says of an executor's operator; in a tree, each entry has a line of its own.
    pub(crate) fn explain(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Executor { engine, reason, .. } = &self.executor;
        match t {
            DisplayFormatType::TreeRender => {
                writeln!(f, "engine={engine}")?;
                write!(f, "reason={reason}")
            }
            _ => write!(f, "IncrementExec: feature={}, engine={engine}, reason={reason}", self.feature),
        }
    }

    /// Whether expected rows say if they pass the caller's filters.
    pub(crate) fn is_filtered(&self) -> bool {
        self.expected.iter().any(|input| input.pass.is_some())
    }

    /// The user columns of the increment, each with its input.
    pub(crate) fn user_columns(&self) -> impl Iterator<Item = (usize, &String)> {
        self.expected.iter().enumerate().flat_map(|(i, input)| input.user_columns.iter().map(move |c| (i, c)))
    }

    /// The struct keys of the fields, in the order of the spec.
    pub(crate) fn field_keys(&self) -> Vec<&str> {
        self.fields.iter().map(|field| field.struct_key.as_str()).collect()
    }

    /// The indices of the fields in the order in which their versions make the sample's.
    pub(crate) fn sorted_fields(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.fields.len()).collect();
        order.sort_by(|&a, &b| self.fields[a].struct_key.cmp(&self.fields[b].struct_key));
        order
    }
}

/// The recipes of a feature's fields, when the inputs are those parents that have a table.
pub(crate) fn recipes(inputs: &IncrementInputs) -> Vec<FieldRecipe> {
    inputs
        .plan
        .fields
        .iter()
        .map(|field| FieldRecipe {
            struct_key: field.key.struct_key(),
            source: FieldSource::Hashed(parts(inputs, field)),
        })
        .collect()
}

/// The recipes when the samples bring each field's provenance.
pub(crate) fn given(plan: &FeaturePlan) -> Vec<FieldRecipe> {
    plan.fields
        .iter()
        .map(|field| {
            let struct_key = field.key.struct_key();
            FieldRecipe { source: FieldSource::Given(internal::field(&struct_key)), struct_key }
        })
        .collect()
}

fn parts(inputs: &IncrementInputs, field: &FieldPlan) -> Vec<Part> {
    let mut text = format!("{}{SEPARATOR}{}", field.key, field.code_version);
    let mut parts = Vec::new();
    for parent_field in &field.parents {
        text.push_str(SEPARATOR);
        text.push_str(&parent_field.name);
        text.push_str(SEPARATOR);
        let parent = &inputs.plan.parents[parent_field.parent];
        let Some(input) = inputs.input_of(parent_field.parent) else {
            // An optional parent that has no table at all is missing for every sample.
            continue;
        };
        parts.push(Part::Text(std::mem::take(&mut text)));
        parts.push(Part::Version {
            input,
            column: internal::parent_version(parent_field.parent, &parent_field.field.struct_key()),
            optional: parent.dep.optional,
        });
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    parts
}
