//! A store as its users see it: features by key, with reading, writing and increments.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};

use datafusion::arrow::array::{AsArray, StringArray};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::TreeNode;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{LogicalPlan, col, ident, lit};
use datafusion::optimizer::OptimizerRule;
use datafusion::prelude::SessionContext;

use super::external::Expectations;
use super::fallback::Fallbacks;
use super::known::Known;
use super::objects::unknown_options;
use super::once::Once;
use super::past::PastDefinitions;
use super::pushed::{Asked, PushDown};
use super::search::{Search, Wanted, search};
use super::view::{Others, View};
use super::{
    DeltaStore, FeatureTable, FeatureVersions, MemoryStore, MetadataStore, ParquetStore, ReadOptions,
    StoredTable, Warnings,
};
use crate::columns::{INCREMENT, PROVENANCE};
use crate::config::options::MetaxyOptions;
use crate::config::{EnginePreference, StoreConfig, StoreKind};
use crate::engine::ExecuteIncrements;
use crate::error::{MetaxyError, Result};
use crate::hash::{HashAlgorithm, HashSettings};
use crate::model::{FeatureDefinition, FeatureGraph, FeatureKey};
use crate::records::Records;
use crate::update::{IncrementInputs, IncrementOptions, StoreEngine, increment};

/// A named store with the features that are known in it.
///
/// Definitions given by the caller come first, the latest first of all; those that were pushed to the store fill in
/// the rest.
#[derive(Debug, Clone)]
pub struct Store {
    name: String,
    pub(super) backend: Arc<dyn MetadataStore>,
    settings: HashSettings,
    pub(super) definitions: Arc<[FeatureDefinition]>,
    expectations: Arc<Expectations>,
    pub(super) known: Arc<RwLock<Known>>,
    warnings: Warnings,
    preference: EnginePreference,
    pub(super) fallbacks: Fallbacks,
    /// The project that writes belong to, if one is set.
    pub(super) project: Option<String>,
    /// Whether this handle may write to features of other projects.
    pub(super) cross_project: bool,
    /// Whether the user has heard that no project is set.
    pub(super) told_of_project: Arc<AtomicBool>,
    /// The tables that are open already, if this handle opens each of them once.
    pub(super) once: Option<Arc<Once>>,
    /// What increments have found that were not computed in a session with stores.
    records: Arc<Records>,
}

impl Store {
    /// A store over any [`MetadataStore`], with the definitions that its user declares.
    pub fn new(
        name: impl Into<String>,
        backend: Arc<dyn MetadataStore>,
        settings: HashSettings,
        definitions: Vec<FeatureDefinition>,
    ) -> Self {
        Self {
            name: name.into(),
            backend,
            settings,
            definitions: definitions.into(),
            expectations: Arc::default(),
            known: Arc::default(),
            warnings: Warnings::default(),
            preference: EnginePreference::default(),
            fallbacks: Fallbacks::default(),
            project: None,
            cross_project: false,
            told_of_project: Arc::default(),
            once: None,
            records: Arc::default(),
        }
    }

    /// This store with a place for what increments have found, other than its own memory. Sessions with stores have one of
    /// their own.
    #[must_use]
    pub fn with_records(mut self, records: Arc<Records>) -> Self {
        self.records = records;
        self
    }

    /// This store with a preference for an executor, as a configuration can give it.
    #[must_use]
    pub fn with_engine(mut self, preference: EnginePreference) -> Self {
        self.preference = preference;
        self
    }

    /// A store as the configuration describes it.
    ///
    /// # Errors
    /// A kind of store that this build does not have, or settings that it can't use.
    pub fn from_config(
        config: &StoreConfig,
        hash_length: usize,
        definitions: Vec<FeatureDefinition>,
        warnings: Warnings,
    ) -> Result<Self> {
        let backend: Arc<dyn MetadataStore> = match &config.kind {
            StoreKind::Delta => Arc::new(DeltaStore::try_new(config)?),
            StoreKind::Parquet => Arc::new(ParquetStore::try_new(config)?),
            StoreKind::Memory => Arc::new(MemoryStore::new()),
            #[cfg(feature = "postgres")]
            StoreKind::Postgres => {
                Arc::new(super::PostgresStore::try_new(config)?.with_warnings(warnings.clone()))
            }
            #[cfg(not(feature = "postgres"))]
            StoreKind::Postgres => {
                return Err(MetaxyError::Store {
                    store: config.name.clone(),
                    reason: "this build can't open PostgreSQL; build it with the feature `postgres`".into(),
                });
            }
            StoreKind::Other(kind) => {
                return Err(MetaxyError::Store {
                    store: config.name.clone(),
                    reason: format!(
                        "type {:?} is not supported by this build; it has delta, parquet, postgresql and memory",
                        crate::config::redact(kind)
                    ),
                });
            }
        };
        let algorithm = match &config.hash_algorithm {
            Some(name) => name.parse::<HashAlgorithm>().map_err(|error| MetaxyError::Store {
                store: config.name.clone(),
                reason: format!("hash_algorithm: {error}"),
            })?,
            None => HashAlgorithm::XxHash32,
        };
        for warning in config.warnings.iter().chain(&unknown_options(config)) {
            warnings.push(warning);
        }
        let settings = HashSettings::new(algorithm, hash_length)?;
        let fallbacks = Fallbacks::named(&config.fallback_stores, config.fallback);
        let preference =
            EnginePreference { engine: config.versioning_engine, prefer_native: config.prefer_native };
        let store = Self::new(&config.name, backend, settings, definitions).with_engine(preference);
        Ok(Self { warnings, fallbacks, ..store })
    }

    pub(super) fn expectations(&self) -> &Expectations {
        &self.expectations
    }

    /// This store with what its user expects of features of other projects.
    pub(crate) fn with_expectations(mut self, expectations: Arc<Expectations>) -> Self {
        self.expectations = expectations;
        self
    }

    pub(super) fn warnings(&self) -> &Warnings {
        &self.warnings
    }

    /// Messages for the user of this store since the last call. A session gives them out itself.
    pub fn take_warnings(&self) -> Vec<String> {
        self.warnings.take()
    }

    /// The store's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How versions are hashed in this store.
    pub fn settings(&self) -> HashSettings {
        self.settings
    }

    /// The kind of the store, as in `type = "delta"`.
    pub fn kind(&self) -> &'static str {
        self.backend.kind()
    }

    /// Where the store is.
    pub fn location(&self) -> String {
        self.backend.location()
    }

    /// The features known in this store; read from it at the first call.
    ///
    /// # Errors
    /// The store's system tables can't be read, or definitions do not fit together.
    pub async fn graph(&self) -> Result<Arc<FeatureGraph>> {
        match self.known_graph() {
            Some(graph) => Ok(graph),
            None => self.refresh().await,
        }
    }

    /// The definition of a feature, by key (`a/b`) or table name (`a__b`).
    ///
    /// # Errors
    /// No such feature; the message suggests one that is spelled alike.
    pub async fn feature(&self, name: &str) -> Result<Arc<FeatureDefinition>> {
        Ok(Arc::clone(self.graph().await?.lookup(name)?))
    }

    /// The latest live rows of a feature at its current version, as a table.
    ///
    /// # Errors
    /// The table can't be opened, or was written under other hash settings.
    pub async fn current_table(
        self: &Arc<Self>,
        definition: &Arc<FeatureDefinition>,
    ) -> Result<FeatureTable> {
        let own = self.pinned().await?;
        let feature_version = own.graph().await?.feature_version(definition.key())?;
        own.table(definition, View::current(feature_version)).await
    }

    /// Every row ever written to a feature, as a table.
    ///
    /// # Errors
    /// As [`current_table`](Self::current_table).
    pub async fn history_table(
        self: &Arc<Self>,
        definition: &Arc<FeatureDefinition>,
    ) -> Result<FeatureTable> {
        self.table(definition, View::HISTORY).await
    }

    /// As [`current_table`](Self::current_table), but never a fallback's: what an INSERT goes to, and what an
    /// increment compares with.
    pub(crate) async fn own_table(
        self: &Arc<Self>,
        definition: &Arc<FeatureDefinition>,
    ) -> Result<FeatureTable> {
        let own = self.pinned().await?;
        let view = View::current(own.graph().await?.feature_version(definition.key())?);
        let stored = own.open(definition.key()).await?;
        Ok(FeatureTable::new(own, Arc::clone(definition), stored, view))
    }

    async fn table(
        self: &Arc<Self>,
        definition: &Arc<FeatureDefinition>,
        view: View,
    ) -> Result<FeatureTable> {
        let (own, feature) = (self.pinned().await?, Arc::clone(definition));
        if !self.has_fallbacks() {
            let stored = self.open(definition.key()).await?;
            return Ok(FeatureTable::new(own, feature, stored, view));
        }
        let wanted = match &view.feature_version {
            None => Wanted::Any,
            Some(version) => match self.graph().await?.feature_version(definition.key()) {
                Ok(current) if current == *version => Wanted::Current(current),
                _ => Wanted::Version(version.clone()),
            },
        };
        let (search, stored) = search(self, definition.key(), wanted).await?;
        Ok(FeatureTable::new(own, feature, stored, view).found_by(search))
    }

    /// Rows of a feature: by default the latest live one of each sample at the current feature version.
    ///
    /// # Errors
    /// An unknown feature, or one without data here.
    pub async fn read(
        self: &Arc<Self>,
        context: &SessionContext,
        feature: &str,
        options: &ReadOptions,
    ) -> Result<DataFrame> {
        let own = self.pinned().await?;
        let definition = own.feature(feature).await?;
        let view = View {
            feature_version: match &options.feature_version {
                FeatureVersions::Current => Some(own.graph().await?.feature_version(definition.key())?),
                FeatureVersions::Exactly(version) => Some(version.clone()),
                FeatureVersions::All => None,
            },
            sample_history: options.sample_history,
            deleted: options.deleted,
            others: Others::Hidden,
        };
        let table = own.table(&definition, view).await?;
        if !table.exists() {
            return Err(table.not_found());
        }
        Ok(context.read_table(Arc::new(table))?)
    }

    /// How much of a feature's input has been computed: the share of distinct input units that are not new, from
    /// 0 to 1, or `None` when there is no input.
    ///
    /// # Errors
    /// As [`resolve_update`](Self::resolve_update).
    pub async fn progress(
        self: &Arc<Self>,
        context: &SessionContext,
        feature: &str,
        options: &IncrementOptions,
    ) -> Result<Option<f64>> {
        let definition = self.feature(feature).await?;
        let inputs = self.inputs(definition.key(), options.samples.is_some()).await?;
        let options = &self.with_session(context, options);
        let count = async |options: &IncrementOptions| -> Result<f64> {
            let keys: Vec<_> = inputs.plan.comparison_columns.iter().map(ident).collect();
            let frame = self.frame(context, increment(&inputs, options)?)?;
            Ok(frame.filter(col(INCREMENT).eq(lit("new")))?.select(keys)?.distinct()?.count().await? as f64)
        };
        let all = count(&IncrementOptions { skip_comparison: true, ..options.clone() }).await?;
        if all == 0.0 {
            return Ok(None);
        }
        Ok(Some(1.0 - count(options).await? / all))
    }

    /// The increment of a feature: which samples are new, stale or orphaned.
    ///
    /// # Errors
    /// An unknown feature, a required parent without data, and all that [`increment`] refuses.
    pub async fn resolve_update(
        self: &Arc<Self>,
        context: &SessionContext,
        feature: &str,
        options: &IncrementOptions,
    ) -> Result<DataFrame> {
        let definition = self.feature(feature).await?;
        let inputs = self.inputs(definition.key(), options.samples.is_some()).await?;
        let options = self.with_session(context, options);
        self.frame(context, increment(&inputs, &options)?)
    }

    /// The options with what the context's session says about executors, if it says anything.
    pub(super) fn with_session(
        &self,
        context: &SessionContext,
        options: &IncrementOptions,
    ) -> IncrementOptions {
        let config = context.copied_config();
        let session =
            config.options().extensions.get::<MetaxyOptions>().map(MetaxyOptions::engine_preference);
        IncrementOptions { session: session.unwrap_or(options.session), ..options.clone() }
    }

    /// A frame over the context's state, with the rule that increments need.
    pub(super) fn frame(&self, context: &SessionContext, plan: LogicalPlan) -> Result<DataFrame> {
        let state = context.state();
        if state.optimizers().iter().any(|rule| rule.name() == ExecuteIncrements::NAME) {
            return Ok(DataFrame::new(state, plan));
        }
        // Put in place at once: the frame may become a view of a session that does not have the rule.
        let warnings = self.warnings.clone();
        let rule = ExecuteIncrements::new(Arc::clone(&self.records), move |notice| warnings.push(notice));
        let plan = plan.transform_up(|node| rule.rewrite(node, &state))?.data;
        Ok(DataFrame::new(state, plan))
    }

    /// What an increment of the feature is computed from; with `samples` no parent is needed.
    ///
    /// # Errors
    /// An unknown feature or parent, or a required parent without data.
    pub async fn inputs(self: &Arc<Self>, feature: &FeatureKey, samples: bool) -> Result<IncrementInputs> {
        let own = self.pinned().await?;
        let plan = own.graph().await?.plan(feature)?;
        let mut parents: Vec<Option<Arc<dyn TableProvider>>> = Vec::new();
        let mut standing = Vec::new();
        let mut fallbacks = Vec::new();
        for (index, parent) in plan.parents.iter().enumerate() {
            if samples {
                parents.push(None);
                standing.push(None);
                fallbacks.push(None);
                continue;
            }
            let table = own.current_table(&parent.definition).await?;
            fallbacks.push(table.search().and_then(Search::fallback).map(str::to_owned));
            let table = match table.search() {
                Some(_) if table.exists() => Some(table),
                Some(search) if !parent.dep.optional => {
                    return Err(search.not_found(&parent.dep.feature, Some(feature)));
                }
                _ => table.even_without_rows(),
            };
            if let Some(table) = table {
                let table = table.with_versions(plan.parent_struct_keys(index));
                standing.push(table.standing());
                parents.push(Some(Arc::new(table)));
            } else if parent.dep.optional {
                standing.push(None);
                parents.push(None);
            } else {
                return Err(MetaxyError::FeatureNotFound {
                    feature: parent.dep.feature.to_string(),
                    stores: vec![format!("store {}", self.name)],
                    reason: format!("{feature} is computed from it; write it first"),
                });
            }
        }
        let current = own.own_table(&plan.feature).await?;
        let standing_own = current.standing();
        let past: Arc<dyn TableProvider> = Arc::new(PastDefinitions::new(Arc::clone(&own)));
        let current = current.exists().then(|| Arc::new(current) as Arc<dyn TableProvider>);
        let engine = StoreEngine {
            store: self.name.clone(),
            format: self.backend.format(),
            compute: self.backend.compute_engine(),
            preference: self.preference,
        };
        Ok(IncrementInputs {
            plan,
            settings: self.settings,
            parents,
            standing,
            fallbacks,
            current,
            own: standing_own,
            past: Some(past),
            engine,
        })
    }

    /// An increment of a feature of this store, by the engine that holds its data.
    pub(crate) fn push_down(&self, asked: &Asked<'_>) -> PushDown {
        self.backend.push_down(asked)
    }

    pub(crate) fn not_found(&self, feature: &FeatureKey) -> MetaxyError {
        MetaxyError::FeatureNotFound {
            feature: feature.to_string(),
            stores: vec![format!("store {}", self.name)],
            reason: "nothing has been written to it yet".into(),
        }
    }

    /// Opens a feature's table and makes sure that it was written under this store's hash settings.
    pub(super) async fn open(&self, feature: &FeatureKey) -> Result<Option<StoredTable>> {
        let opened = match &self.once {
            Some(once) => once.table(self, feature).await?,
            None => self.backend.open(feature).await?,
        };
        let Some(table) = opened else {
            return Ok(None);
        };
        let fail = |reason: String| MetaxyError::Store {
            store: self.name.clone(),
            reason: format!("feature {feature}: {reason}"),
        };
        match &table.recorded {
            Some(recorded) => recorded.check(self.settings).map_err(fail)?,
            None => {
                let sample = match &table.sample_version {
                    Some(sample) => Some(sample.clone()),
                    None => stored_version(&table).await?,
                };
                if let Some(sample) = sample.filter(|s| !self.settings.looks_like(s)) {
                    return Err(fail(format!(
                        "its stored versions look like {sample:?}, which hash_algorithm = {:?} with \
                         hash_truncation_length = {} can't produce; set them to what the table was written with",
                        self.settings.algorithm.name(),
                        self.settings.length
                    )));
                }
            }
        }
        Ok(Some(table))
    }
}

/// One stored provenance, for tables whose statistics do not have it.
async fn stored_version(table: &StoredTable) -> Result<Option<String>> {
    if table.provider.schema().field_with_name(PROVENANCE).is_err() {
        return Ok(None);
    }
    let rows = SessionContext::new()
        .read_table(Arc::clone(&table.provider))?
        .select(vec![
            datafusion::logical_expr::cast(col(PROVENANCE), datafusion::arrow::datatypes::DataType::Utf8)
                .alias(PROVENANCE),
        ])?
        .filter(col(PROVENANCE).is_not_null())?
        .limit(0, Some(1))?
        .collect()
        .await?;
    let first = |values: &StringArray| values.iter().flatten().next().map(str::to_owned);
    Ok(rows.iter().find_map(|batch| first(batch.column(0).as_string::<i32>())))
}
