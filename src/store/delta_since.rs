//! What has happened to a Delta table since a moment of its past.

use deltalake::kernel::Action;
use deltalake::logstore::get_actions;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use super::delta::DeltaRows;
use crate::records::Moment;

/// Commits that are looked through at most: of more, reading the table takes no longer.
const COMMITS: u64 = 256;

impl DeltaRows {
    /// The moment that these rows are of, if its commit is still in the log.
    pub(crate) async fn moment(&self) -> Option<Moment> {
        let version = self.table.version()?;
        let state = self.table.snapshot().ok()?;
        Some(Moment { table: state.metadata().id().to_owned(), version, commit: self.commit(version).await? })
    }

    /// The files with rows that were written since then, if that is all that has happened; otherwise what else has.
    pub(crate) async fn added_since(&self, then: &Moment, now: &Moment) -> Result<Vec<String>, String> {
        if then.table != now.table {
            return Err("a table was made anew".to_owned());
        }
        if then.version > now.version || now.version - then.version > COMMITS {
            return Err(format!("a table is {} commits away", now.version.abs_diff(then.version)));
        }
        let commit = if then.version == now.version {
            Some(now.commit.clone())
        } else {
            self.commit(then.version).await
        };
        if commit.as_ref() != Some(&then.commit) {
            return Err("a table has another history".to_owned());
        }
        let mut added = Vec::new();
        for version in then.version + 1..=now.version {
            let entry = self.table.log_store().read_commit_entry(version).await;
            let Ok(Some(entry)) = entry else { return Err("a part of a log is gone".to_owned()) };
            let actions = get_actions(version, &entry)
                .map_err(|_| "a log has entries of an unknown kind".to_owned())?;
            for action in actions {
                match action {
                    Action::Add(file) if file.data_change => added.push(file.path),
                    Action::Add(_) | Action::Remove(_) => {
                        return Err("rows were removed, or files written anew".to_owned());
                    }
                    Action::Metadata(_) | Action::Protocol(_) => {
                        return Err("a table's schema has changed".to_owned());
                    }
                    Action::Txn(_) | Action::CommitInfo(_) | Action::Cdc(_) => {}
                    _ => return Err("a log has entries of an unknown kind".to_owned()),
                }
            }
        }
        Ok(added)
    }

    /// How many rows there are in these files, or in all, as far as their statistics say.
    pub(crate) fn rows_in(&self, files: Option<&[String]>) -> Option<u64> {
        let mut rows = 0;
        for file in self.table.snapshot().ok()?.log_data().iter() {
            if files.is_none_or(|files| files.iter().any(|path| *path == file.path())) {
                let stats: Value = serde_json::from_str(&file.stats()?).ok()?;
                rows += stats["numRecords"].as_u64()?;
            }
        }
        Some(rows)
    }

    async fn commit(&self, version: u64) -> Option<String> {
        let entry = self.table.log_store().read_commit_entry(version).await.ok()??;
        Some(format!("{:032x}", xxh3_128(&entry)))
    }
}
