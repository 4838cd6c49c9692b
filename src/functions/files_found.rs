//! A file that a listing has found, and what is read of it.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use glob::MatchOptions;
use sha2::{Digest, Sha256};

/// As in a shell: `*` stays within a folder, `**` goes through folders.
pub(super) const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// A file of a listing.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Its path as the user would type it.
    pub shown: String,
    pub size: u64,
    pub modified: DateTime<Utc>,
    pub e_tag: Option<String>,
    pub at: FoundAt,
}

/// Where a file is read.
#[derive(Debug, Clone)]
pub(super) enum FoundAt {
    Disk(PathBuf),
    Object(object_store::path::Path),
}

/// What was read of a file.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    /// SHA-256 in lower-case hexadecimal digits.
    pub hash: String,
    /// `None` where the bytes are no text, or weren't kept.
    pub text: Option<String>,
}

/// Bytes that go by.
pub(super) struct Digesting {
    hasher: Sha256,
    kept: Option<Vec<u8>>,
}

impl Digesting {
    pub(super) fn new(keep: bool) -> Self {
        Self { hasher: Sha256::new(), kept: keep.then(Vec::new) }
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(bytes);
        }
    }

    pub(super) fn finish(self) -> Content {
        Content {
            hash: self.hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
            text: self.kept.and_then(|bytes| String::from_utf8(bytes).ok()),
        }
    }
}
