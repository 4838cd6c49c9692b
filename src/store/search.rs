//! Looking for a feature in a store and its fallbacks: where its rows come from, and what to say about it.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::logical_expr::{col, lit};
use datafusion::prelude::SessionContext;

use super::{Store, StoredTable};
use crate::columns::FEATURE_VERSION;
use crate::config::FallbackPolicy;
use crate::error::{MetaxyError, Result};
use crate::model::FeatureKey;

/// The rows that a store needs to have, be they deleted ones, for a feature not to be missing in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Of the version that the feature's definition has now.
    Current(String),
    /// Of a version that the caller names.
    Version(String),
    /// Of any version.
    Any,
}

impl Wanted {
    fn version(&self) -> Option<&str> {
        match self {
            Self::Current(version) | Self::Version(version) => Some(version),
            Self::Any => None,
        }
    }

    fn no_row(&self) -> String {
        match self {
            Self::Current(_) => "no row of its current version".into(),
            Self::Version(version) => format!("no row of its version {version}"),
            Self::Any => "no row of it".into(),
        }
    }
}

/// What a store has of a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holding {
    NoTable,
    NoRow,
    Rows,
}

/// How a feature was looked for in a store and its fallbacks.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    wanted: Wanted,
    /// The stores that were asked, in order; only the last one can have rows.
    asked: Vec<(String, Holding)>,
    /// Stores whose policy forbids to ask their fallbacks, which follow.
    forbidden: Vec<(String, Vec<String>)>,
    /// The strictest policy on the way to the store that has rows.
    policy: FallbackPolicy,
}

/// Asks a store and then its fallbacks, depth first and each store once, until one has rows of the feature.
///
/// The table is that store's, or the store's own if none has rows.
pub(super) async fn search(
    store: &Arc<Store>,
    feature: &FeatureKey,
    wanted: Wanted,
) -> Result<(Search, Option<StoredTable>)> {
    let mut search = Search { wanted, asked: vec![], forbidden: vec![], policy: FallbackPolicy::Allow };
    let mut own = None;
    let mut seen: Vec<Arc<Store>> = Vec::new();
    // Fallbacks to be asked, the next one last: the store that names one, its place there, the policy so far.
    let mut waiting: Vec<(Arc<Store>, usize, FallbackPolicy)> = Vec::new();
    let mut next = Some((Arc::clone(store), FallbackPolicy::Allow));
    while let Some((store, policy)) = next {
        if !seen.iter().any(|other| Arc::ptr_eq(other, &store)) {
            let table = store.open(feature).await?;
            let holding = holding(table.as_ref(), search.wanted.version()).await?;
            search.asked.push((store.name().to_owned(), holding));
            if holding == Holding::Rows {
                search.policy = policy;
                return Ok((search, table));
            }
            if seen.is_empty() {
                own = table;
            }
            let fallbacks = store.fallbacks();
            let policy = policy.max(fallbacks.policy());
            if fallbacks.policy() == FallbackPolicy::Forbid && !fallbacks.is_empty() {
                search.forbidden.push((store.name().to_owned(), fallbacks.names()));
            } else {
                waiting.extend((0..fallbacks.len()).rev().map(|place| (Arc::clone(&store), place, policy)));
            }
            seen.push(store);
        }
        next = match waiting.pop() {
            Some((owner, place, policy)) => Some((owner.fallbacks().open(&owner, place)?, policy)),
            None => None,
        };
    }
    Ok((search, own))
}

/// Whether the table has a row, be it a deleted one, of this version.
pub(super) async fn has_rows(table: Option<&StoredTable>, version: &str) -> Result<bool> {
    Ok(holding(table, Some(version)).await? == Holding::Rows)
}

/// Whether the table has rows of the version. Statistics leave out most files, and the first row is enough.
async fn holding(table: Option<&StoredTable>, version: Option<&str>) -> Result<Holding> {
    let Some(table) = table else { return Ok(Holding::NoTable) };
    let schema = table.provider.schema();
    let versioned = schema.field_with_name(FEATURE_VERSION).is_ok();
    let mut rows = SessionContext::new().read_table(Arc::clone(&table.provider))?;
    if let Some(version) = version.filter(|_| versioned) {
        rows = rows.filter(col(FEATURE_VERSION).eq(lit(version)))?;
    }
    if versioned {
        rows = rows.select_columns(&[FEATURE_VERSION])?;
    }
    let found = rows.limit(0, Some(1))?.collect().await?;
    Ok(if found.iter().any(|batch| batch.num_rows() > 0) { Holding::Rows } else { Holding::NoRow })
}

impl Search {
    /// The store that has rows, if one has.
    pub(crate) fn served_by(&self) -> Option<&str> {
        self.asked.last().filter(|(_, holding)| *holding == Holding::Rows).map(|(name, _)| name.as_str())
    }

    /// The fallback store that has rows, if it is one.
    pub(crate) fn fallback(&self) -> Option<&str> {
        self.served_by().filter(|_| self.asked.len() > 1)
    }

    /// The stores that were asked, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Tells the user of `store` that a statement reads the feature from a fallback, if it does.
    pub(super) fn tell(&self, store: &Store, feature: &FeatureKey, statement: &dyn Session) {
        let Some(fallback) = self.fallback() else { return };
        let reasons: Vec<String> =
            self.asked.iter().filter_map(|(name, holding)| self.lack(name, *holding)).collect();
        let message =
            format!("feature {feature} is read from fallback store {fallback}: {}", reasons.join(", "));
        if self.policy == FallbackPolicy::Allow {
            log::debug!("{message}");
            return;
        }
        let started = statement.execution_props().query_execution_start_time;
        store.warnings().push_once(message, started.unwrap_or_else(chrono::Utc::now));
    }

    fn lack(&self, store: &str, holding: Holding) -> Option<String> {
        match holding {
            Holding::NoTable => Some(format!("store {store} has no table of it")),
            Holding::NoRow => Some(format!("store {store} has {}", self.wanted.no_row())),
            Holding::Rows => None,
        }
    }

    fn not_asked(&self) -> impl Iterator<Item = String> {
        self.forbidden.iter().map(|(store, fallbacks)| {
            let names: Vec<String> = fallbacks.iter().map(|name| format!("store {name}")).collect();
            let were = if names.len() == 1 { "was" } else { "were" };
            format!("{} {were} not asked, since store {store} has fallback = \"forbid\"", names.join(", "))
        })
    }

    /// Which store has the feature's rows and why it is that one, as `system.resolution` tells it.
    pub(super) fn explain(&self, optional: bool) -> String {
        let said = |(name, holding): &(String, Holding)| match (holding, self.wanted.version()) {
            (Holding::Rows, _) => format!("store {name} has it"),
            (Holding::NoRow, Some(version)) => {
                format!("store {name} has no row of feature version {version}")
            }
            (holding, _) => self.lack(name, *holding).unwrap_or_default(),
        };
        let reasons: Vec<String> = self.asked.iter().map(said).chain(self.not_asked()).collect();
        let reasons = reasons.join("; ");
        match self.served_by() {
            Some(_) => reasons,
            None if optional => format!("optional, and no store has it: {reasons}"),
            None => format!("no store has it: {reasons}"),
        }
    }

    /// The error for a feature that no store has; `child` is what would be computed from it.
    pub(super) fn not_found(&self, feature: &FeatureKey, child: Option<&FeatureKey>) -> MetaxyError {
        let mut reasons: Vec<String> = Vec::new();
        reasons.extend(child.map(|child| format!("{child} is computed from it")));
        let before = reasons.len();
        let without_row = self.asked.iter().filter(|(_, holding)| *holding == Holding::NoRow);
        reasons.extend(without_row.filter_map(|(name, holding)| self.lack(name, *holding)));
        if reasons.len() == before {
            reasons.push("nothing has been written to it yet".into());
        }
        reasons.extend(self.not_asked());
        MetaxyError::FeatureNotFound {
            feature: feature.to_string(),
            stores: self.asked.iter().map(|(name, _)| format!("store {name}")).collect(),
            reason: reasons.join("; "),
        }
    }
}
