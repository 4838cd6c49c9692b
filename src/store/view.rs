//! Which rows of a feature count.

use datafusion::logical_expr::{Expr, col, lit};

use crate::columns::FEATURE_VERSION;
#[cfg(doc)]
use crate::columns::WAITING;

/// Which rows of a feature a table shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// The feature version whose rows count; `None` for all of them.
    pub feature_version: Option<String>,
    /// Every row of a sample instead of the latest one.
    pub sample_history: bool,
    /// Deleted rows, too.
    pub deleted: bool,
    /// What becomes of rows of other feature versions, if there is one whose rows count.
    pub others: Others,
}

/// Rows of other feature versions than the one whose rows count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Others {
    Hidden,
    /// They are shown instead.
    Alone,
    /// They are shown of samples that have no row, not even a deleted one, of the version; a hidden column at the end
    /// of the schema, [`WAITING`], tells them apart.
    Behind,
}

impl View {
    /// The latest live row of each sample at one feature version.
    pub(crate) fn current(feature_version: String) -> Self {
        let others = Others::Hidden;
        Self { feature_version: Some(feature_version), sample_history: false, deleted: false, others }
    }

    /// Every row ever written.
    pub(crate) const HISTORY: Self =
        Self { feature_version: None, sample_history: true, deleted: true, others: Others::Hidden };

    /// Which rows count by their feature version.
    pub(super) fn condition(&self) -> Option<Expr> {
        let version = self.feature_version.as_deref()?;
        match self.others {
            Others::Hidden => Some(col(FEATURE_VERSION).eq(lit(version))),
            Others::Alone => {
                Some(col(FEATURE_VERSION).not_eq(lit(version)).or(col(FEATURE_VERSION).is_null()))
            }
            Others::Behind => None,
        }
    }
}
