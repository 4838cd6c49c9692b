//! Copying the rows of features from another store, with their versions and times.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::SessionContext;
use futures::StreamExt;

use super::missing::missing;
use super::{Recorded, again, stored_rows};
use crate::error::{MetaxyError, Result};
use crate::model::{FeatureDefinition, FeatureKey};
use crate::store::view::{Others, View};
use crate::store::{
    Append, Basis, EventType, FeatureTable, FeatureVersions, Samples, Store, WriteScope, WriteTime, watched,
};

/// Hears how far a copy is.
pub type OnProgress = Arc<dyn Fn(&CopyProgress) + Send + Sync>;

/// What is copied, and for whom.
#[derive(Clone)]
pub struct CopyOptions {
    /// The feature versions whose rows are copied; by default all.
    pub feature_versions: FeatureVersions,
    /// Every row of a sample, which is the default, instead of its latest one.
    pub sample_history: bool,
    /// Conditions on the rows of single features.
    pub filters: HashMap<FeatureKey, Vec<Expr>>,
    /// Conditions on the rows of every feature.
    pub global_filters: Vec<Expr>,
    /// For whom rows are written.
    pub scope: WriteScope,
    /// Only counts the rows that would be copied.
    pub dry_run: bool,
    /// Is told of every batch that was copied.
    pub progress: Option<OnProgress>,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            feature_versions: FeatureVersions::All,
            sample_history: true,
            filters: HashMap::new(),
            global_filters: Vec::new(),
            scope: WriteScope::default(),
            dry_run: false,
            progress: None,
        }
    }
}

impl fmt::Debug for CopyOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyOptions")
            .field("feature_versions", &self.feature_versions)
            .field("sample_history", &self.sample_history)
            .field("filters", &self.filters)
            .field("global_filters", &self.global_filters)
            .field("scope", &self.scope)
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}

/// How far a copy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyProgress {
    /// The feature that is being copied.
    pub feature: FeatureKey,
    /// Rows of it that were read so far; they become visible together, at the end.
    pub rows: u64,
}

/// A feature that was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedFeature {
    /// The feature.
    pub feature: FeatureKey,
    /// Rows that this store did not have yet, or in a dry run still has not.
    pub rows: u64,
}

impl Store {
    /// Copies features from another store: rows keep their feature and project versions and their times, so that
    /// nothing of a sample's history is lost or mixed up. Rows that are here already are left out: a copy that is
    /// repeated adds nothing, and one that was interrupted goes on with the feature that it was at.
    ///
    /// `features` are keys or table names; `None` means every feature of which the other store has rows. Dependents
    /// come before their parents, so that no sample looks unprocessed in between. A dry run leaves no trace, not even an
    /// event.
    ///
    /// # Errors
    /// An unknown feature or one without data in the other store, features of another project (nothing is copied
    /// then), stores that hash differently, columns whose types contradict the table that is here.
    pub async fn copy_from(
        self: &Arc<Self>,
        source: &Arc<Store>,
        context: &SessionContext,
        features: Option<&[&str]>,
        options: &CopyOptions,
    ) -> Result<Vec<CopiedFeature>> {
        let graph = source.graph().await?;
        let mut chosen: Vec<Arc<FeatureDefinition>> = match features {
            Some(names) => names.iter().map(|name| graph.lookup(name).cloned()).collect::<Result<_>>()?,
            None => graph.iter().cloned().collect(),
        };
        let own = self.graph().await?;
        let mut allowed = Vec::new();
        for definition in chosen {
            let here = own.get(definition.key()).unwrap_or(&definition);
            match self.check_project(here, &options.scope) {
                Ok(()) => allowed.push(definition),
                // Of all features, only those count that there are rows of.
                Err(_)
                    if features.is_none()
                        && matches!(source.backend.open(definition.key()).await, Ok(None)) => {}
                Err(error) => return Err(error),
            }
        }
        chosen = allowed;
        for definition in &chosen {
            check_ids(own.get(definition.key()).unwrap_or(definition), definition)?;
        }
        self.check_same_hashes(source)?;
        let place = |key: &FeatureKey| graph.iter().position(|definition| definition.key() == key);
        chosen.sort_by_key(|definition| std::cmp::Reverse(place(definition.key())));
        chosen.dedup_by(|a, b| a.key() == b.key());
        let mut copied = Vec::new();
        for definition in chosen {
            let stored = source.open(definition.key()).await?;
            if stored.is_none() && features.is_some() {
                return Err(source.not_found(definition.key()));
            }
            let Some(stored) = stored else { continue };
            let view = View {
                feature_version: match &options.feature_versions {
                    FeatureVersions::All => None,
                    FeatureVersions::Exactly(version) => Some(version.clone()),
                    FeatureVersions::Current => Some(graph.feature_version(definition.key())?),
                },
                sample_history: options.sample_history,
                deleted: true,
                others: Others::Hidden,
            };
            let table = FeatureTable::new(Arc::clone(source), Arc::clone(&definition), Some(stored), view);
            let (project, started) = (&definition.project, EventType::CopyStarted);
            let work = match options.dry_run {
                true => None,
                false => Some(Recorded::start(self, project, started, Some(&definition)).await),
            };
            let mut attempt = 1;
            let outcome = loop {
                let outcome = self.copy_feature(context, &definition, &table, options).await;
                if !again(&outcome, attempt) {
                    break outcome;
                }
                attempt += 1;
            };
            let rows = outcome.as_ref().copied();
            if let Some(work) = work {
                work.end(EventType::CopyCompleted, EventType::CopyFailed, rows).await;
            }
            copied.push(CopiedFeature { feature: definition.key().clone(), rows: outcome? });
        }
        Ok(copied)
    }

    fn check_same_hashes(&self, source: &Store) -> Result<()> {
        if self.settings() == source.settings() {
            return Ok(());
        }
        let shown = |store: &Store| {
            let settings = store.settings();
            let (algorithm, length) = (settings.algorithm.name(), settings.length);
            format!("hash_algorithm = {algorithm:?} and hash_truncation_length = {length}")
        };
        Err(MetaxyError::Store {
            store: self.name().to_owned(),
            reason: format!(
                "it has {}, but store {} has {}; versions of one mean nothing in the other",
                shown(self),
                source.name(),
                shown(source)
            ),
        })
    }

    async fn copy_feature(
        self: &Arc<Self>,
        context: &SessionContext,
        definition: &Arc<FeatureDefinition>,
        source: &FeatureTable,
        options: &CopyOptions,
    ) -> Result<u64> {
        let read_at = self.backend.state(definition.key()).await?;
        let mut plan = scan("source", Arc::new(source.clone()))?;
        let own_filters = options.filters.get(definition.key()).into_iter().flatten();
        for condition in own_filters.chain(&options.global_filters) {
            plan = LogicalPlanBuilder::from(plan).filter(condition.clone())?.build()?;
        }
        let stored = self.open(definition.key()).await?;
        let table = stored.as_ref().map(|stored| stored.provider.schema());
        let rows = match stored {
            Some(stored) => {
                let own = Arc::clone(definition);
                let target = FeatureTable::new(Arc::clone(self), own, Some(stored), View::HISTORY);
                let target = scan("target", Arc::new(target))?;
                missing(plan, target, definition, context.state()).await?
            }
            None => {
                let what = format!("copying {}", definition.key());
                watched(what, DataFrame::new(context.state(), plan)).await?
            }
        };
        let (schema, mut rows) = stored_rows(rows, table.as_deref());
        if options.dry_run {
            let mut count = 0;
            while let Some(batch) = rows.next().await.transpose()? {
                count += batch.num_rows() as u64;
            }
            return Ok(count);
        }
        let (progress, feature, read) =
            (options.progress.clone(), definition.key().clone(), AtomicU64::new(0));
        let rows = rows.inspect(move |batch| {
            if let (Some(progress), Ok(batch)) = (&progress, batch) {
                let rows = batch.num_rows() as u64;
                let rows = read.fetch_add(rows, Ordering::Relaxed) + rows;
                progress(&CopyProgress { feature: feature.clone(), rows });
            }
        });
        let samples = Samples::new(&definition.spec.id_columns);
        let append = Append {
            schema,
            rows: samples.of(rows.boxed()),
            settings: self.settings(),
            id_columns: definition.spec.id_columns.clone(),
            write_key: None,
            time: WriteTime::Kept,
            only_at: Some(Basis { state: read_at, samples: Some(Arc::clone(&samples)) }),
        };
        self.backend.append(definition.key(), append).await
    }
}

fn check_ids(own: &FeatureDefinition, other: &FeatureDefinition) -> Result<()> {
    if own.spec.id_columns == other.spec.id_columns {
        return Ok(());
    }
    let (own_ids, other_ids) = (own.spec.id_columns.join(", "), other.spec.id_columns.join(", "));
    Err(MetaxyError::Write {
        feature: own.key().to_string(),
        reason: format!("its id columns are {own_ids} here, but {other_ids} in the other store"),
    })
}

fn scan(name: &str, table: Arc<dyn TableProvider>) -> Result<LogicalPlan> {
    Ok(LogicalPlanBuilder::scan(TableReference::bare(name), provider_as_source(table), None)?.build()?)
}
