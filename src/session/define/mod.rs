//! Feature definitions in SQL: `CREATE`, `DROP`, `SHOW` and `DESCRIBE FEATURE`, parsed, carried out and printed.

mod apply;
mod describe;
mod parents;
mod parse;
mod print;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod tests;
mod words;

use crate::model::{External, FeatureSpec};

use super::definitions::Existing;

pub(super) use parse::statement;

/// A statement about the definition of a feature.
#[derive(Debug, Clone)]
pub struct FeatureStatement(pub(super) Kind);

/// What it asks for; names are keys or table names.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Create(Box<CreateFeature>),
    Drop {
        name: String,
        if_exists: bool,
    },
    Describe(String),
    ShowCreate(String),
    /// All features, or those whose keys are like this.
    Show {
        like: Option<String>,
    },
}

/// `CREATE FEATURE`, as it was written.
#[derive(Debug, Clone)]
pub(super) struct CreateFeature {
    pub existing: Existing,
    /// The feature's name, from which the spec's key was guessed.
    pub name: String,
    /// Not yet checked, and with keys that were guessed where table names were given.
    pub spec: FeatureSpec,
    pub project: Option<String>,
    pub external: Option<External>,
}
