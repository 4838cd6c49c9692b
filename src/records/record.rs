//! One record.

use datafusion::arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

/// What a comparison found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    /// All that the answer depends on but the rows: the graph, versions, filters and settings.
    pub question: String,
    /// The tables as they were, in the order of the increment's inputs.
    pub moments: Vec<Moment>,
    /// The keys of the samples that were new, stale or orphaned, maybe with others that were not.
    pub keys: RecordBatch,
}

/// A table at a point of its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moment {
    /// The table's own identity, which a table that is made anew at the same place does not share.
    pub table: String,
    /// The version in its log.
    pub version: u64,
    /// A hash of what the log says of that version: after a backup was restored, another history can lead to a version
    /// of the same number.
    pub commit: String,
}

/// A short name for a question. Others can have the same: the question itself is in its record.
pub(crate) fn name(question: &str) -> String {
    format!("{:032x}", xxh3_128(question.as_bytes()))
}
