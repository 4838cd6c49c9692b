//! Files of a Delta table that are replaced in one commit, alone or against other writers.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use deltalake::DeltaTable;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Add, DeletionVectorDescriptor, LogicalFileView, Remove};
use deltalake::protocol::DeltaOperation;

use super::delta_commit::ATTEMPTS;
use super::delta_remove::DeltaSnapshot;
use super::delta_stage::Stage;
use crate::error::{MetaxyError, Result};

/// What of a table must be as it was for a replacement to be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// The files that are replaced.
    Replaced,
    /// All files that there were: what goes was worked out from their rows. Others may have come.
    AllFiles,
    /// Everything: what is appended was worked out from all rows.
    Unchanged,
}

/// What takes the place of files.
#[derive(Default)]
pub(super) struct Replaced {
    pub removes: Vec<Remove>,
    pub adds: Vec<Add>,
    pub stages: Vec<Stage>,
    pub appended: Option<Stage>,
    /// Spans of modification times within which rows move to others: no other file may get in between.
    pub spans: Vec<(i64, i64)>,
    /// Whether the commit may have got through although nobody has said so: the files have to stay.
    is_open: AtomicBool,
}

/// What a log names a file by: its path, and which of its rows are deleted.
type Identity = (String, Option<String>);

fn identity(path: &str, vector: Option<&DeletionVectorDescriptor>) -> Identity {
    (path.to_owned(), vector.map(|v| format!("{:?}/{:?}", v.path_or_inline_dv, v.offset)))
}

fn identity_of(file: &LogicalFileView) -> Identity {
    identity(&file.path(), file.deletion_vector_descriptor().as_ref())
}

impl Replaced {
    /// Commits it, if what is needed of the snapshot still holds; if not, the error is that of `lost`.
    pub(super) async fn commit(
        &self,
        snapshot: &DeltaSnapshot,
        needs: Needs,
        operation: DeltaOperation,
        lost: &(dyn Fn() -> MetaxyError + Sync),
    ) -> Result<()> {
        let fail = |error: &_| snapshot.store.error(&snapshot.feature, error);
        let files = |table: &DeltaTable| -> Result<HashSet<Identity>> {
            let state = table.snapshot().map_err(|e| fail(&e))?;
            Ok(state.log_data().iter().map(|file| identity_of(&file)).collect())
        };
        let before = files(&snapshot.table)?;
        let needed: HashSet<Identity> = match needs {
            Needs::AllFiles => before.clone(),
            _ => {
                self.removes.iter().map(|file| identity(&file.path, file.deletion_vector.as_ref())).collect()
            }
        };
        // A clock may be behind that of others.
        let is_between = |file: &LogicalFileView| {
            let time = file.modification_time();
            self.spans.iter().any(|(a, b)| (*a..=*b).contains(&time)) && !before.contains(&identity_of(file))
        };
        for _ in 0..ATTEMPTS {
            let Some(table) = snapshot.store.load(&snapshot.feature).await? else {
                return Err(lost());
            };
            let changed = needs == Needs::Unchanged && table.version() != snapshot.table.version();
            let state = table.snapshot().map_err(|e| fail(&e))?;
            let between = state.log_data().iter().any(|file| is_between(&file));
            if changed || between || !needed.is_subset(&files(&table)?) {
                return Err(lost());
            }
            let appended = self.appended.iter().flat_map(|stage| stage.files().iter().cloned());
            let adds: Vec<Add> = self.adds.iter().cloned().chain(appended).collect();
            // By this file the commit is recognised.
            let added = adds.first().map(|add| add.path.clone());
            let removes = self.removes.iter().cloned().map(Action::Remove);
            let outcome = CommitBuilder::from(CommitProperties::default().with_max_retries(0))
                .with_actions(removes.chain(adds.into_iter().map(Action::Add)).collect())
                .build(Some(state), table.log_store(), operation.clone())
                .await;
            let Err(error) = outcome else { return Ok(()) };
            self.is_open.store(snapshot.store.location.remote().is_some(), Ordering::Relaxed);
            // Did it get through all the same, did another writer win, or is it broken?
            let Some(now) = snapshot.store.load(&snapshot.feature).await? else { return Err(fail(&error)) };
            let present = now.snapshot().map_err(|e| fail(&e))?.log_data();
            if added.is_some_and(|path| present.iter().any(|file| file.path() == path.as_str())) {
                return Ok(());
            }
            if now.version() <= table.version() {
                return Err(fail(&error));
            }
            self.is_open.store(false, Ordering::Relaxed);
        }
        Err(snapshot.refused(&format!("other writers won {ATTEMPTS} commits in a row; try again")))
    }

    /// Removes what was staged.
    pub(super) async fn discard(self) {
        if self.is_open.into_inner() {
            return;
        }
        for stage in self.stages.into_iter().chain(self.appended) {
            stage.discard().await;
        }
    }
}
