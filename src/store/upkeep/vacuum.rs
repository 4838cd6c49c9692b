//! Vacuum: files that nothing refers to any more are removed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::{MetaxyError, Result};
use crate::model::FeatureKey;
use crate::store::{Store, WriteScope};

use super::duration::shown;

/// How long files are kept: longer than any reader of an earlier version should be at it.
const RETAIN: Duration = Duration::from_hours(7 * 24);
/// How long files are kept that no log has ever named: somebody may be writing them right now.
const WRITING: Duration = Duration::from_hours(24);

/// Which files are removed, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VacuumOptions {
    /// How old a file has to be, and how long ago it must have been taken out of its table; 7 days by default.
    pub retain: Duration,
    /// Whether less than 7 days, or less than a Delta table itself asks for, is meant: who reads an earlier version of the
    /// table at that moment will find files missing.
    pub allow_short_retention: bool,
    /// Only says which files would go.
    pub dry_run: bool,
    /// For whom.
    pub scope: WriteScope,
}

impl Default for VacuumOptions {
    fn default() -> Self {
        Self { retain: RETAIN, allow_short_retention: false, dry_run: false, scope: WriteScope::default() }
    }
}

/// What a kind of store is asked to remove.
#[derive(Debug, Clone)]
pub struct Vacuum {
    /// Files that are younger stay, and so do files that were taken out of their table later.
    pub before: SystemTime,
    /// Files that nobody has ever taken into a table, and that are younger, stay: they may be about to be.
    pub abandoned: SystemTime,
    /// How long files are kept.
    pub retain: Duration,
    /// Whether that may be shorter than a table asks for.
    pub allow_short: bool,
    /// Nothing is removed.
    pub dry_run: bool,
}

/// A feature whose files were looked through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VacuumedFeature {
    /// The feature.
    pub feature: FeatureKey,
    /// The files that are gone or, in a dry run, would be.
    pub files: Vec<VacuumedFile>,
}

/// A file that nothing refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VacuumedFile {
    /// Where it is below the store's root.
    pub path: String,
    /// How large it is.
    pub bytes: u64,
}

impl Store {
    /// Removes files that nothing refers to any more: what [`optimize`](Self::optimize) and hard deletes have replaced, and
    /// what writers that died have left behind.
    ///
    /// `features` are keys or table names; `None` means every feature of the caller's project and the store's own tables.
    /// Of files that were never part of a table only those go that are at least a day old, whatever the retention; that
    /// a feature has no table yet, since its first write was cut short, is no error.
    ///
    /// # Errors
    /// A retention that is shorter than 7 days without the word for it, an unknown feature, one of another project, a folder
    /// that can't be read or written.
    pub async fn vacuum(
        self: &Arc<Self>,
        features: Option<&[&str]>,
        options: &VacuumOptions,
    ) -> Result<Vec<VacuumedFeature>> {
        let targets = self.possible_targets(features, &options.scope).await?;
        if options.retain < RETAIN && !options.allow_short_retention {
            return Err(MetaxyError::Invalid(format!(
                "vacuum: after {} a reader of an earlier version may still be at a file; keep files for {}, or say \
                 allow_short_retention if there is no such reader",
                shown(options.retain),
                shown(RETAIN)
            )));
        }
        let now = SystemTime::now();
        let ago = |span: Duration| now.checked_sub(span).unwrap_or(SystemTime::UNIX_EPOCH);
        let vacuum = Vacuum {
            before: ago(options.retain),
            abandoned: ago(options.retain.max(WRITING)),
            retain: options.retain,
            allow_short: options.allow_short_retention,
            dry_run: options.dry_run,
        };
        let mut vacuumed = Vec::new();
        for target in targets {
            let files = self.backend.vacuum(&target.key, &vacuum).await?;
            vacuumed.push(VacuumedFeature { feature: target.key, files });
        }
        Ok(vacuumed)
    }
}
