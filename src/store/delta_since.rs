//! What has happened to a Delta table since a moment of its past.

use std::collections::HashSet;

use bytes::Bytes;
use datafusion::common::Result;
use deltalake::DeltaTable;
use deltalake::kernel::Action;
use deltalake::logstore::{commit_uri_from_version, get_actions};
use object_store::GetOptions;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use super::delta::DeltaRows;
use super::objects::Now;
use crate::records::Moment;

/// Commits that are looked through at most: of more, reading the table takes no longer.
const COMMITS: u64 = 256;

impl DeltaRows {
    /// The rows as they are now, and the moment that this is. `None` if the log doesn't show that they are of that moment:
    /// where a table was set back, a handle that was open before would put two histories together.
    pub(crate) async fn at_a_moment(&self) -> Result<Option<(Self, Moment)>> {
        let mut rows = self.clone();
        let mut commit = rows.own_commit().await;
        if commit.is_none() {
            rows.table = DeltaTable::new(rows.table.log_store());
            rows.table.load().await?;
        }
        let before = rows.table.version();
        let rows = rows.now().await?;
        if rows.table.version() != before {
            commit = None;
        }
        let commit = match commit {
            Some(commit) => Some(commit),
            None => rows.own_commit().await,
        };
        let (Some(commit), Some(version), Ok(state)) = (commit, rows.table.version(), rows.table.snapshot())
        else {
            return Ok(None);
        };
        let table = state.metadata().id().to_owned();
        Ok(Some((rows, Moment { table, version, commit: hash(&commit) })))
    }

    /// What the log has of this version, if that is what led to these rows: the files that it adds are among theirs, and no
    /// two commits add a file of one name. Of a commit that adds none, nobody can tell.
    async fn own_commit(&self) -> Option<Bytes> {
        let version = self.table.version()?;
        let state = self.table.snapshot().ok()?;
        let entry = self.entry(version).await?;
        let mut added = get_actions(version, &entry).ok()?.into_iter().filter_map(|action| match action {
            Action::Add(file) => Some(file.path),
            _ => None,
        });
        let files: HashSet<String> = state.log_data().iter().map(|file| file.path().into_owned()).collect();
        let is_own = added.next().is_some_and(|first| files.contains(&first))
            && added.all(|path| files.contains(&path));
        is_own.then_some(entry)
    }

    /// The files with rows that were written since then, if that is all that has happened; otherwise what else has.
    pub(crate) async fn added_since(
        &self,
        then: &Moment,
        now: &Moment,
    ) -> std::result::Result<Vec<String>, String> {
        if then.table != now.table {
            return Err("a table was made anew".to_owned());
        }
        if then.version > now.version || now.version - then.version > COMMITS {
            return Err(format!("a table is {} commits away", now.version.abs_diff(then.version)));
        }
        let gone = || "a part of a log is gone".to_owned();
        let commit = match then.version == now.version {
            true => now.commit.clone(),
            false => hash(&self.entry(then.version).await.ok_or_else(gone)?),
        };
        if commit != then.commit {
            return Err("a table has another history".to_owned());
        }
        let mut added = Vec::new();
        for version in then.version + 1..=now.version {
            let entry = self.entry(version).await.ok_or_else(gone)?;
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

    /// What the log has of a version now, if it still has it: what was read of it before may be of another history.
    async fn entry(&self, version: u64) -> Option<Bytes> {
        let mut now = GetOptions::default();
        now.extensions.insert(Now);
        let log = self.table.log_store().object_store(None);
        log.get_opts(&commit_uri_from_version(Some(version)), now).await.ok()?.bytes().await.ok()
    }
}

fn hash(entry: &Bytes) -> String {
    format!("{:032x}", xxh3_128(entry))
}
