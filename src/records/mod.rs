//! What earlier comparisons found, so that a later one only has to look at what has changed since.
//!
//! A record says: at these moments of its tables, the increment of this question had these keys in its answer. It stays
//! true whatever happens afterwards. Whether it still helps is for the tables to say, which know what was written since.

mod file;
mod record;
#[cfg(feature = "postgres")]
mod text;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use indexmap::IndexMap;

pub(crate) use record::{Moment, Record, name};
#[cfg(feature = "postgres")]
pub(crate) use text::{from_text, to_text};

/// Questions whose records are kept; of more, those that nobody has asked for the longest time are forgotten.
const QUESTIONS: usize = 256;

/// Records are kept of answers with so many keys at most.
pub(crate) const KEYS: usize = 1 << 20;

/// Where records of comparisons are kept: in memory and, if there is a folder for them, in files that other processes
/// read.
///
/// A file that is missing, damaged or can't be written costs time and nothing else.
#[derive(Default)]
pub struct Records {
    folder: Option<PathBuf>,
    known: Mutex<IndexMap<String, Arc<Record>>>,
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Records {
    /// Records that outlive the process, in a folder that is made when the first one is written. It should be readable
    /// for the user alone: the ids of samples are in it.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()), ..Self::default() }
    }

    /// What is known of a question.
    pub(crate) fn get(&self, question: &str) -> Option<Arc<Record>> {
        if let Some(folder) = &self.folder {
            // Another process may have compared since.
            return file::read(folder, question).map(Arc::new);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (question, record) = known.shift_remove_entry(question)?;
        known.insert(question, Arc::clone(&record));
        Some(record)
    }

    /// Keeps a record in place of an earlier one of its question.
    pub(crate) fn put(&self, record: Record) {
        if record.keys.num_rows() > KEYS {
            return;
        }
        if let Some(folder) = &self.folder {
            if let Err(error) = file::write(folder, &record, QUESTIONS) {
                log::debug!("no record of a comparison in {}: {error}", folder.display());
            }
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.shift_remove(&record.question);
        known.insert(record.question.clone(), Arc::new(record));
        while known.len() > QUESTIONS {
            known.shift_remove_index(0);
        }
    }
}
