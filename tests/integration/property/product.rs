//! The product under test: a store, written through its interface, and increments by each executor.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
#[cfg(feature = "postgres")]
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::array::RecordBatch;
use datafusion::dataframe::DataFrame;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::displayable;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_metaxy::columns::{
    DATA_VERSION, DATA_VERSION_BY_FIELD, DELETED_AT, FEATURE_VERSION, PROVENANCE, PROVENANCE_BY_FIELD,
    UPDATED_AT,
};
use datafusion_metaxy::config::options::MetaxyOptions;
use datafusion_metaxy::config::{IncrementalResolve, StoreConfig, StoreKind, VersioningEngine};
use datafusion_metaxy::error::{MetaxyError, Result};
use datafusion_metaxy::model::{FeatureDefinition, FeatureKey, Origin};
use datafusion_metaxy::records::Records;
use datafusion_metaxy::store::{
    Append, DeltaStore, MemoryStore, MetadataStore, OptimizeOptions, ParquetStore, Store, WriteOptions,
    WriteTime,
};
use datafusion_metaxy::update::{IncrementOptions, Shard};
use futures::StreamExt;
use tempfile::TempDir;

use super::arrow::{self, BatchBuilder};
use super::case::{Case, Feature, Place, Question, Samples};
use super::model::{Answer, CURRENT};
use super::value::{Row, Type};

/// The executors, all of which have to give the model's answer.
pub const EXECUTORS: [VersioningEngine; 2] = [VersioningEngine::Native, VersioningEngine::Memory];

/// Options that make `executor` compute the increment.
pub fn on(executor: VersioningEngine, options: IncrementOptions) -> IncrementOptions {
    IncrementOptions { engine: executor.into(), ..options }
}

/// Where a database has the tables of all cases, and how many stores were opened there.
#[cfg(feature = "postgres")]
pub const SCHEMA: &str = "push_property";
#[cfg(feature = "postgres")]
static STORES: AtomicU64 = AtomicU64::new(0);

/// Sessions to ask in, shared by all cases: one that keeps everything together, one that cuts everything up, and one
/// with a memory limit, where native plans have other operators.
pub struct Sessions(Vec<SessionContext>);

impl Sessions {
    pub const COUNT: usize = 3;

    pub fn new() -> Self {
        let config = |partitions, batch| {
            SessionConfig::new().with_target_partitions(partitions).with_batch_size(batch)
        };
        let limited = RuntimeEnvBuilder::new().with_memory_limit(1 << 30, 1.0).build_arc().unwrap();
        Self(vec![
            SessionContext::new_with_config(config(1, 8192)),
            SessionContext::new_with_config(config(3, 3)),
            SessionContext::new_with_config_rt(config(2, 4), limited),
        ])
    }

    pub fn get(&self, index: usize) -> &SessionContext {
        &self.0[index]
    }
}

/// A store with a case's features.
pub struct Product<'a> {
    case: &'a Case,
    context: &'a SessionContext,
    backend: Arc<dyn MetadataStore>,
    store: Arc<Store>,
    /// Where the files are, if there are any.
    folder: Option<TempDir>,
    /// What the names of a database's tables begin with.
    prefix: String,
}

impl<'a> Product<'a> {
    pub fn new(case: &'a Case, sessions: &'a Sessions) -> Self {
        let folder =
            matches!(case.place, Place::Parquet | Place::Delta).then(|| tempfile::tempdir().unwrap());
        #[cfg(feature = "postgres")]
        let prefix = format!("c{}_", STORES.fetch_add(1, Ordering::Relaxed));
        #[cfg(not(feature = "postgres"))]
        let prefix = String::new();
        let config = |kind| {
            let root_path = folder.as_ref().map(|folder| folder.path().display().to_string());
            StoreConfig { root_path, ..StoreConfig::new("dev", kind) }
        };
        let backend: Arc<dyn MetadataStore> = match case.place {
            Place::Memory => Arc::new(MemoryStore::new()),
            Place::Parquet => Arc::new(ParquetStore::try_new(&config(StoreKind::Parquet)).unwrap()),
            Place::Delta => Arc::new(DeltaStore::try_new(&config(StoreKind::Delta)).unwrap()),
            #[cfg(not(feature = "postgres"))]
            Place::Database => panic!("this build has no PostgreSQL"),
            #[cfg(feature = "postgres")]
            Place::Database => {
                let mut config = config(StoreKind::Postgres);
                config.database.connection_string =
                    Some(datafusion_metaxy::config::Secret::new(crate::postgres_push::url()));
                config.database.schema = Some(SCHEMA.to_owned());
                config.database.auto_create_tables = true;
                config.database.table_prefix = prefix.clone();
                Arc::new(datafusion_metaxy::store::PostgresStore::try_new(&config).unwrap())
            }
        };
        let declare = |f: &Feature| FeatureDefinition::declared(f.spec.clone(), "default", Origin::Session);
        let definitions = case.features.iter().map(declare).collect();
        let store = Arc::new(Store::new("dev", Arc::clone(&backend), case.settings, definitions));
        Self { case, context: sessions.get(case.session), backend, store, folder, prefix }
    }

    /// Writes the files of a table anew.
    pub async fn optimize(&self, feature: usize, full: bool, fold: bool, small: bool) -> Result<()> {
        let options = OptimizeOptions {
            file_size: if small { 4000 } else { OptimizeOptions::default().file_size },
            full,
            fold_older_than: fold.then_some(std::time::Duration::ZERO),
            ..OptimizeOptions::default()
        };
        let key = self.case.features[feature].key();
        self.store.optimize(self.context, Some(&[key.as_str()]), &options).await.map(drop)
    }

    /// Writes rows as a user does.
    pub async fn write(
        &self,
        feature: usize,
        columns: &[(String, Type)],
        rows: &[Row],
        overrides: bool,
    ) -> Result<()> {
        let feature = &self.case.features[feature];
        let mut batch =
            BatchBuilder::new(rows).user(columns).versions(PROVENANCE_BY_FIELD, &feature.members());
        if overrides {
            batch = batch.versions(DATA_VERSION_BY_FIELD, &feature.members());
        }
        let frame = self.context.read_batch(batch.build())?;
        let report = self.store.write(&feature.key(), frame, &WriteOptions::default()).await?;
        assert_eq!(report.rows, rows.len() as u64, "rows written to {}", feature.key());
        Ok(())
    }

    /// Appends stored rows below all checks; the store sets the time of those that have one.
    pub async fn append(&self, feature: usize, rows: &[Row], timed: bool) -> Result<()> {
        let feature = &self.case.features[feature];
        let key = FeatureKey::parse(&feature.key())?;
        let version = self.store.graph().await?.feature_version(&key)?;
        let mut rows = rows.to_vec();
        for row in &mut rows {
            let slot = row.get_mut(FEATURE_VERSION).unwrap();
            if slot.as_text() == Some(CURRENT) {
                *slot = super::value::Value::text(&version);
            }
        }
        let members = feature.members();
        let mut batch = BatchBuilder::new(&rows)
            .user(&feature.columns)
            .versions(PROVENANCE_BY_FIELD, &members)
            .text(PROVENANCE)
            .versions(DATA_VERSION_BY_FIELD, &members)
            .text(DATA_VERSION)
            .text(FEATURE_VERSION)
            .time(DELETED_AT);
        if timed {
            batch = batch.time(UPDATED_AT);
        }
        let batch = batch.build();
        let append = Append {
            schema: batch.schema(),
            rows: futures::stream::once(async { Ok(batch) }).boxed(),
            settings: self.case.settings,
            id_columns: feature.spec.id_columns.clone(),
            write_key: None,
            time: WriteTime::Updated,
            only_at: None,
        };
        self.backend.append(&key, append).await?;
        Ok(())
    }

    /// The increment that a question asks for.
    pub async fn increment(&self, question: &Question, executor: VersioningEngine) -> Result<DataFrame> {
        let options = on(executor, self.options(question)?);
        let target = self.case.features[self.case.target()].key();
        self.store.resolve_update(self.context, &target, &options).await
    }

    /// Whether the database computes the increment that a question asks for.
    pub async fn is_pushed(&self, question: &Question) -> bool {
        let Ok(frame) = self.increment(question, VersioningEngine::Auto).await else { return false };
        let Ok(plan) = frame.create_physical_plan().await else { return false };
        displayable(plan.as_ref()).indent(false).to_string().contains("PostgresExec")
    }

    /// The folder of a store that has one.
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }

    /// Runs a statement about the table `$t` of a feature in the schema `$s` as another client, if there is that table.
    #[cfg(feature = "postgres")]
    pub async fn in_database(&self, feature: usize, statement: &str) {
        let key = FeatureKey::parse(&self.case.features[feature].key()).unwrap();
        let table = format!("{SCHEMA}.\"{}{}\"", self.prefix, key.table_name());
        let (client, connection) =
            tokio_postgres::connect(&crate::postgres_push::url(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        if client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).await.unwrap().get(0) {
            client.batch_execute(&statement.replace("$t", &table).replace("$s", SCHEMA)).await.unwrap();
        }
    }

    #[cfg(not(feature = "postgres"))]
    pub async fn in_database(&self, _feature: usize, _statement: &str) {
        panic!("this build has no PostgreSQL: {}", self.prefix)
    }

    /// The answer of the executor that goes on from earlier increments over this store, if it does as told, and its plan.
    /// With `changed`, the feature of that number has another code version.
    pub async fn following(
        &self,
        question: &Question,
        changed: Option<usize>,
        records: &Path,
        (choice, rows_at_once): (IncrementalResolve, u64),
    ) -> Result<(Answer, String)> {
        let mut specs: Vec<_> = self.case.features.iter().map(|feature| feature.spec.clone()).collect();
        if let Some(changed) = changed {
            specs[changed].fields[0].code_version.push_str("-changed");
        }
        let declare = |spec| FeatureDefinition::declared(spec, "default", Origin::Session);
        let definitions = specs.into_iter().map(declare).collect();
        let store = Store::new("dev", Arc::clone(&self.backend), self.case.settings, definitions)
            .with_records(Arc::new(Records::in_folder(records)));
        let mut config = self.context.copied_config();
        let options = MetaxyOptions { incremental_resolve: choice, rows_at_once, ..MetaxyOptions::default() };
        config.options_mut().extensions.insert(options);
        let state = SessionStateBuilder::new_from_existing(self.context.state()).with_config(config).build();
        let context = SessionContext::new_with_state(state);
        let executor = match self.case.place {
            Place::Database => VersioningEngine::Auto,
            _ => VersioningEngine::Memory,
        };
        let options = on(executor, self.options(question)?);
        let target = self.case.features[self.case.target()].key();
        let frame = Arc::new(store).resolve_update(&context, &target, &options).await?;
        let columns = frame.schema().fields().iter().map(|field| field.name().clone()).collect();
        let plan = frame.create_physical_plan().await?;
        let batches = datafusion::physical_plan::collect(Arc::clone(&plan), context.task_ctx()).await?;
        let text = DisplayableExecutionPlan::with_metrics(plan.as_ref()).indent(true).to_string();
        Ok((Answer::new(columns, arrow::rows(&batches)), text))
    }

    /// The plan of an increment that came out wrong.
    pub async fn plan(&self, question: &Question, executor: VersioningEngine) -> String {
        let Ok(frame) = self.increment(question, executor).await else { return String::new() };
        let Ok(plan) = frame.create_physical_plan().await else { return String::new() };
        displayable(plan.as_ref()).indent(true).to_string()
    }

    pub async fn progress(&self, question: &Question, executor: VersioningEngine) -> Result<Option<f64>> {
        let options = on(executor, self.options(question)?);
        let target = self.case.features[self.case.target()].key();
        self.store.progress(self.context, &target, &options).await
    }

    fn options(&self, question: &Question) -> Result<IncrementOptions> {
        let exprs = |list: &[super::predicate::Predicate]| list.iter().map(|p| p.expr()).collect::<Vec<_>>();
        let mut filters: HashMap<FeatureKey, Vec<_>> = HashMap::new();
        for (feature, predicate) in &question.filters {
            let key = FeatureKey::parse(&self.case.features[*feature].key())?;
            filters.entry(key).or_default().push(predicate.expr());
        }
        let samples = match &question.samples {
            Some(samples) => {
                let batch = self.samples(samples);
                Some(self.context.read_batch(batch)?.into_unoptimized_plan())
            }
            None => None,
        };
        Ok(IncrementOptions {
            samples,
            filters,
            global_filters: exprs(&question.global),
            target_filters: exprs(&question.target),
            stale_when: exprs(&question.stale_when),
            skip_comparison: question.skip_comparison,
            include_pending: question.include_pending,
            explain: question.explain,
            shard: question.shard.map(|(number, count)| Shard::new(number, count)).transpose()?,
            ..IncrementOptions::default()
        })
    }

    fn samples(&self, samples: &Samples) -> RecordBatch {
        let members = self.case.features[self.case.target()].members();
        let batch =
            BatchBuilder::new(&samples.rows).user(&samples.columns).versions(PROVENANCE_BY_FIELD, &members);
        let batch = if samples.overrides { batch.versions(DATA_VERSION_BY_FIELD, &members) } else { batch };
        batch.build()
    }
}

/// All rows of a frame, with its columns.
pub async fn collect(frame: DataFrame) -> Result<Answer> {
    let columns = frame.schema().fields().iter().map(|field| field.name().clone()).collect();
    let batches = frame.collect().await.map_err(MetaxyError::from)?;
    Ok(Answer::new(columns, arrow::rows(&batches)))
}
