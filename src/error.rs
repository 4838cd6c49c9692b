//! The one error type of the crate, convertible from and into [`DataFusionError`].

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::error::DataFusionError;
use deltalake::DeltaTableError;

use crate::config::redact;
use crate::store::objects::{Said, find_said, said};

/// A result whose error is a [`MetaxyError`].
pub type Result<T, E = MetaxyError> = std::result::Result<T, E>;

/// Everything that can go wrong, said so that a user knows which feature, file, column or key to look at.
///
/// Each message is one line. An error that passes through DataFusion comes back unchanged: converting into
/// [`DataFusionError`] and back gives the same value, not a box in a box.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetaxyError {
    /// A feature key, field key or project name is not well formed.
    #[error("invalid key {key:?}: {reason}")]
    Key {
        /// The text as it was given.
        key: String,
        /// What is wrong with it, and what is allowed.
        reason: String,
    },
    /// A feature definition is wrong in itself.
    #[error("feature {feature}: {reason}")]
    Spec {
        /// The feature's key as far as it is known.
        feature: String,
        /// What is wrong and where.
        reason: String,
    },
    /// Definitions that are fine alone do not fit together.
    #[error("feature graph: {0}")]
    Graph(String),
    /// The configuration or a feature file can't be used.
    #[error("{}: {reason}", file.display())]
    File {
        /// The file that was read.
        file: PathBuf,
        /// Which key or line is wrong, and how.
        reason: String,
    },
    /// A setting that doesn't come from a file (environment, arguments, SQL options) is wrong.
    #[error("configuration: {0}")]
    Config(String),
    /// No store knows data of this feature.
    #[error("feature {feature} has no data in {}{}", stores.join(", "), hint(.reason))]
    FeatureNotFound {
        /// The feature's key.
        feature: String,
        /// The stores that were searched, in order.
        stores: Vec<String>,
        /// More to say, or nothing.
        reason: String,
    },
    /// No definition of this feature exists.
    #[error("unknown feature {feature}{}", hint(.reason))]
    UnknownFeature {
        /// The key as it was given.
        feature: String,
        /// A suggestion, or nothing.
        reason: String,
    },
    /// The configuration has no store of this name.
    // What was given may be the URL that belongs elsewhere, with its password.
    #[error("unknown store {:?}{}", redact(.store), hint(.reason))]
    UnknownStore {
        /// The name as it was given.
        store: String,
        /// The stores that exist, or nothing.
        reason: String,
    },
    /// A store can't be opened, read or written.
    #[error("store {store}: {reason}")]
    Store {
        /// The store's name.
        store: String,
        /// What failed.
        reason: String,
    },
    /// Rows were refused; nothing was written.
    #[error("cannot write {feature}: {reason}")]
    Write {
        /// The feature's key.
        feature: String,
        /// Which column or rows, how many, with examples.
        reason: String,
    },
    /// A write to a feature of another project.
    #[error(
        "Cannot write to feature {feature} from project '{project}' when the expected project is '{expected}'; \
         set project = \"{project}\", or allow it: SET metaxy.allow_cross_project_writes = true in SQL, \
         Store::allow_cross_project_writes in Rust"
    )]
    Project {
        /// The feature's key.
        feature: String,
        /// The project that owns the feature.
        project: String,
        /// The project that the write belongs to.
        expected: String,
    },
    /// Rows that were worked out from a table could not be written or removed, as others have changed it meanwhile.
    #[error(
        "feature {feature}: others wrote or removed the same rows at the same time; nothing was done, try again"
    )]
    Changed {
        /// The feature's key.
        feature: String,
    },
    /// A file went while it was read, since others deleted rows or rewrote files.
    #[error("store {store}: {reason}")]
    Overtaken {
        /// The store's name.
        store: String,
        /// Which file, and what to do.
        reason: String,
    },
    /// Rows that a buffered writer took could not be written. It keeps them and tries again by itself: nothing has to
    /// be given once more.
    #[error("{rows} row(s) could not be written and wait for the next try: {error}")]
    Waiting {
        /// How many rows wait in the writer, those of other features included.
        rows: usize,
        /// Why they were not written.
        error: Box<MetaxyError>,
    },
    /// A statement or a call asks for something impossible.
    #[error("{0}")]
    Invalid(String),
    /// An error of DataFusion's own.
    #[error(transparent)]
    DataFusion(Box<DataFusionError>),
}

fn hint(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!("; {reason}") }
}

impl From<DataFusionError> for MetaxyError {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(inner) => match inner.downcast::<MetaxyError>() {
                Ok(ours) => *ours,
                Err(inner) => MetaxyError::DataFusion(Box::new(DataFusionError::External(inner))),
            },
            DataFusionError::Context(text, inner) => match MetaxyError::from(*inner) {
                MetaxyError::DataFusion(inner) => {
                    MetaxyError::DataFusion(Box::new(DataFusionError::Context(text, inner)))
                }
                ours => ours,
            },
            DataFusionError::Shared(inner) => match Arc::try_unwrap(inner) {
                Ok(inner) => inner.into(),
                Err(inner) => Self::of_bucket(DataFusionError::Shared(inner)),
            },
            other => Self::of_bucket(other),
        }
    }
}

impl From<MetaxyError> for DataFusionError {
    fn from(error: MetaxyError) -> Self {
        match error {
            MetaxyError::DataFusion(inner) => *inner,
            ours => DataFusionError::External(Box::new(ours)),
        }
    }
}

impl MetaxyError {
    /// What a bucket says, if it is the cause; else DataFusion's own error.
    fn of_bucket(error: DataFusionError) -> Self {
        match find_said(&error) {
            Some(Said { store: Some(store), reason }) => Self::Store { store, reason },
            Some(Said { store: None, reason }) => Self::Invalid(reason),
            None => Self::DataFusion(Box::new(error)),
        }
    }

    /// Whether others have changed a table in the middle of the work, so that doing it again may succeed.
    pub(crate) fn is_conflict(&self) -> bool {
        match self {
            Self::Changed { .. } | Self::Overtaken { .. } => true,
            Self::DataFusion(error) => match error.find_root() {
                DataFusionError::External(inner) => {
                    inner.downcast_ref::<Self>().is_some_and(Self::is_conflict)
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// An error of the Delta library, under the name of the store and table it happened in.
    pub(crate) fn delta(store: &str, table: &str, error: &DeltaTableError) -> Self {
        let reason = said(error).unwrap_or_else(|| one_line(without_backtrace(&error.to_string())));
        MetaxyError::Store { store: store.to_owned(), reason: format!("{table}: {reason}") }
    }
}

/// The Delta kernel writes the backtrace into its message when backtraces are switched on.
fn without_backtrace(text: &str) -> &str {
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with("0: ") {
            return text[..end].trim_end();
        }
        end += line.len();
    }
    text
}

/// Folds a message of several lines into one.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_without_a_backtrace() {
        let text = "Json error: unexpected 'g'\n   0: kernel::Error::with_backtrace\n   1: main";
        assert_eq!(one_line(without_backtrace(text)), "Json error: unexpected 'g'");
        assert_eq!(without_backtrace("10: nothing"), "10: nothing");
    }

    #[test]
    fn an_error_of_ours_passes_through_datafusion_unchanged() {
        let ours = MetaxyError::Invalid("no".into());
        let through = DataFusionError::from(ours).context("while planning");
        assert!(matches!(MetaxyError::from(through), MetaxyError::Invalid(reason) if reason == "no"));
        let theirs = MetaxyError::from(DataFusionError::Plan("theirs".into()));
        assert!(matches!(DataFusionError::from(theirs), DataFusionError::Plan(text) if text == "theirs"));
    }
}
