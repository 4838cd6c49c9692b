//! The statement layer: what plain DataFusion can't parse or plan, in front of everything else.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::catalog::UrlTableFactory;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ResolvedTableReference, TableReference, ToDFSchema};
use datafusion::dataframe::DataFrame;
use datafusion::datasource::dynamic_file::DynamicListTableFactory;
use datafusion::datasource::source_as_provider;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::{DdlStatement, EmptyRelation, LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::{ExplainStatement, ResetStatement, Statement};
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use datafusion::sql::sqlparser::dialect::dialect_from_str;

use super::Extension;
use super::attach::attach;
use super::calls::{check_calls, resolve_calls};
use super::insert::{self, Target};
use super::statement::{MetaxyStatement, parse};
use super::views::{Definition, Views, created_view};
use super::written::check_projects;
use super::{call, delete_alias, unwritten};
use crate::catalog::{FEATURES_SCHEMA, HISTORY_SCHEMA};
use crate::config::Config;
use crate::config::options::MetaxyOptions;
use crate::error::{MetaxyError, Result};
use crate::records::Records;
use crate::store::FeatureTable;

const IS_NO_TABLE: &str = "is a feature; DROP removes only tables and views of this session";
const IS_TAKEN: &str = "is the name of a feature; give the table or view another name";

/// How a session is opened.
#[derive(Debug, Clone, Default)]
pub struct SessionOptions {
    /// The default store; `None` means the configuration's.
    pub store: Option<String>,
    /// Bytes that queries may use; `None` means no limit.
    pub memory_limit: Option<usize>,
    /// Where increments leave what they have found, for other processes to go on from; `None` means in memory.
    pub records: Option<PathBuf>,
}

/// Opens tables by path; only the prompt's session has it.
#[derive(Debug)]
pub(super) struct FileTables(pub Arc<dyn UrlTableFactory>);

/// A DataFusion session whose catalogs are stores.
///
/// ```no_run
/// # async fn example() -> datafusion_metaxy::error::Result<()> {
/// use datafusion_metaxy::config::{Config, Environment};
/// use datafusion_metaxy::session::{MetaxySession, SessionOptions};
///
/// let config = Config::load(None, ".".as_ref(), &Environment::process())?;
/// let session = MetaxySession::open(config, SessionOptions::default()).await?;
/// session.sql("SELECT metaxy_increment, count(*) FROM resolve_update('video/crop') GROUP BY 1").await?.show().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MetaxySession {
    context: SessionContext,
    extension: Arc<Extension>,
    views: Arc<Views>,
}

impl MetaxySession {
    /// Opens a session over the stores of a configuration, with the default store's features at hand.
    ///
    /// # Errors
    /// A configuration that can't be used, or a default store that can't be read.
    pub async fn open(config: Config, options: SessionOptions) -> Result<Self> {
        let mut config = config;
        if let Some(store) = options.store {
            config.store(&store)?;
            config.store = store;
        }
        let extension = Extension::from_config(&config)?;
        if let Some(folder) = options.records {
            extension.keep_records(Arc::new(Records::in_folder(folder)))?;
        }
        Self::over(extension, options.memory_limit).await
    }

    /// Opens a session over stores that the program has made itself.
    ///
    /// # Errors
    /// A default store that can't be read.
    pub async fn over(extension: Arc<Extension>, memory_limit: Option<usize>) -> Result<Self> {
        let factory = Arc::new(DynamicListTableFactory::default());
        let files: Arc<dyn UrlTableFactory> = Arc::clone(&factory) as _;
        let mut config = SessionConfig::from_env()?
            .with_information_schema(true)
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(extension.default_store(), FEATURES_SCHEMA)
            .with_extension(Arc::new(FileTables(files)));
        // DataFusion 55 moves `column['member']` below projections and then takes names of different tables for the
        // same ("would be ambiguous"). Delta scans gain nothing from it.
        config.options_mut().optimizer.enable_leaf_expression_pushdown = false;
        let mut runtime = RuntimeEnvBuilder::new();
        if let Some(limit) = memory_limit {
            // A dozen operators of a plan hold a batch each, and sorts set memory aside for merging: DataFusion's
            // defaults are too much for small limits.
            let batch_size = config.batch_size().min((limit >> 16).max(256));
            config = config.with_batch_size(batch_size);
            let execution = &mut config.options_mut().execution;
            execution.sort_spill_reservation_bytes = execution.sort_spill_reservation_bytes.min(limit / 64);
            let consumers = std::num::NonZeroUsize::MIN.saturating_add(4);
            runtime = runtime
                .with_memory_pool(Arc::new(TrackConsumersPool::new(FairSpillPool::new(limit), consumers)));
        }
        let state = SessionStateBuilder::new()
            .with_default_features()
            .with_config(config)
            .with_runtime_env(runtime.build_arc()?)
            .build();
        let context = SessionContext::new_with_state(state);
        factory.session_store().with_state(context.state_weak_ref());
        extension.store(extension.default_store())?.graph().await?;
        attach(&context, &extension)?;
        Ok(Self::attached(context, extension))
    }

    /// The layer over a session of the caller's own, to which the stores were attached.
    pub fn attached(context: SessionContext, extension: Arc<Extension>) -> Self {
        Self { context, extension, views: Arc::default() }
    }

    /// The DataFusion session underneath.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// The session's stores.
    pub fn extension(&self) -> &Arc<Extension> {
        &self.extension
    }

    /// Messages for the user since the last call.
    pub fn take_warnings(&self) -> Vec<String> {
        self.extension.take_warnings()
    }

    /// Splits text into statements.
    ///
    /// # Errors
    /// Text that is not SQL.
    pub fn parse(&self, sql: &str) -> Result<Vec<MetaxyStatement>> {
        let config = self.context.copied_config();
        let dialect = config.options().sql_parser.dialect;
        let dialect = dialect_from_str(dialect)
            .ok_or_else(|| MetaxyError::Config(format!("unknown SQL dialect {dialect}")))?;
        parse(sql, dialect.as_ref())
    }

    /// Plans and starts one statement, as [`SessionContext::sql`] does.
    ///
    /// # Errors
    /// Anything but exactly one statement, or a statement that can't be planned.
    pub async fn sql(&self, sql: &str) -> Result<DataFrame> {
        let mut statements = self.parse(sql)?;
        match (statements.pop(), statements.is_empty()) {
            (Some(statement), true) => self.execute(statement).await,
            _ => Err(MetaxyError::Invalid("exactly one statement is expected".into())),
        }
    }

    /// Plans one statement. `USE STORE`, `RESET metaxy.…` and feature definitions take effect at once.
    ///
    /// # Errors
    /// A statement that can't be planned.
    pub async fn plan(&self, statement: MetaxyStatement) -> Result<LogicalPlan> {
        match statement {
            MetaxyStatement::UseStore(name) => {
                self.use_store(&name).await?;
                nothing()
            }
            MetaxyStatement::Feature(statement) => {
                match Box::pin(self.run_feature_statement(*statement)).await? {
                    Some(plan) => Ok(plan),
                    None => nothing(),
                }
            }
            MetaxyStatement::DataFusion(statement) => {
                let _planning = self.extension.planning.read().await;
                Box::pin(self.plan_statement(*statement)).await
            }
        }
    }

    /// Plans one statement and makes a [`DataFrame`] of it; definitions and settings take effect at once.
    ///
    /// # Errors
    /// A statement that can't be planned or carried out.
    pub async fn execute(&self, statement: MetaxyStatement) -> Result<DataFrame> {
        let plan = self.plan(statement).await?;
        self.start(plan).await
    }

    /// Makes a [`DataFrame`] of a plan; definitions and settings take effect at once.
    ///
    /// # Errors
    /// A definition or setting that can't be carried out.
    pub async fn start(&self, plan: LogicalPlan) -> Result<DataFrame> {
        self.check_definition(&plan)?;
        Ok(self.context.execute_logical_plan(plan).await?)
    }

    /// DataFusion would say that a feature does not exist, or that something was dropped.
    fn check_definition(&self, plan: &LogicalPlan) -> Result<()> {
        let (name, reason) = match plan {
            LogicalPlan::Ddl(DdlStatement::DropTable(drop)) => (&drop.name, IS_NO_TABLE),
            LogicalPlan::Ddl(DdlStatement::DropView(drop)) => (&drop.name, IS_NO_TABLE),
            LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) => (&create.name, IS_TAKEN),
            LogicalPlan::Ddl(DdlStatement::CreateView(create)) => (&create.name, IS_TAKEN),
            LogicalPlan::Ddl(DdlStatement::CreateExternalTable(create)) => (&create.name, IS_TAKEN),
            _ => return Ok(()),
        };
        let resolved = self.resolved(name);
        let is_ours = self.extension.store_names().any(|store| store == resolved.catalog.as_ref());
        let graph = if is_ours { self.extension.store(&resolved.catalog)?.known_graph() } else { None };
        if graph.is_some_and(|graph| graph.lookup(&resolved.table).is_ok()) {
            return Err(MetaxyError::Invalid(format!("{name} {reason}")));
        }
        if reason == IS_NO_TABLE {
            self.views.forget(&resolved);
        }
        Ok(())
    }

    fn resolved(&self, name: &TableReference) -> ResolvedTableReference {
        let config = self.context.copied_config();
        let catalog = &config.options().catalog;
        name.clone().resolve(&catalog.default_catalog, &catalog.default_schema)
    }

    async fn use_store(&self, name: &str) -> Result<()> {
        self.extension.store(name)?.graph().await?;
        let state = self.context.state_ref();
        let mut state = state.write();
        let catalog = &mut state.config_mut().options_mut().catalog;
        catalog.default_catalog = name.to_owned();
        catalog.default_schema = FEATURES_SCHEMA.to_owned();
        Ok(())
    }

    fn set_options(&self, change: impl FnOnce(&mut MetaxyOptions)) {
        let state = self.context.state_ref();
        let mut state = state.write();
        if let Some(options) = state.config_mut().options_mut().extensions.get_mut::<MetaxyOptions>() {
            change(options);
        }
    }

    async fn plan_statement(&self, statement: Statement) -> Result<LogicalPlan> {
        let config = self.context.copied_config();
        check_projects(&self.extension, &statement, config.options()).await?;
        match statement {
            Statement::Statement(statement) => match self.plan_ours(&statement).await? {
                Some(plan) => Ok(plan),
                None => self.plan_plain(Statement::Statement(statement)).await,
            },
            Statement::Explain(explain) => self.plan_explain(explain).await,
            Statement::Reset(ResetStatement::Variable(name))
                if name.to_string().to_ascii_lowercase().starts_with("metaxy.") =>
            {
                self.reset(&name.to_string().to_ascii_lowercase())
            }
            other => self.plan_plain(other).await,
        }
    }

    /// The plan of a statement that DataFusion can't plan as it is meant, or `None` when it can.
    async fn plan_ours(&self, statement: &SqlStatement) -> Result<Option<LogicalPlan>> {
        match statement {
            SqlStatement::Insert(insert) => match self.insert_target(insert).await? {
                Some(target) => self.plan_insert(target, insert.clone()).await.map(Some),
                None => Ok(None),
            },
            SqlStatement::Call(function) => call::plan(self, function.clone()).map(Some),
            SqlStatement::Delete(delete) => match unwritten::plan(self, delete).await? {
                None if delete_alias::has_alias(delete) => {
                    delete_alias::plan(self, delete.clone()).await.map(Some)
                }
                nothing => Ok(nothing),
            },
            _ => Ok(None),
        }
    }

    async fn insert_target(
        &self,
        insert: &datafusion::sql::sqlparser::ast::Insert,
    ) -> Result<Option<Target>> {
        let config = self.context.copied_config();
        let catalog = &config.options().catalog;
        insert::target(&self.extension, insert, &catalog.default_catalog, &catalog.default_schema).await
    }

    async fn plan_insert(
        &self,
        target: Target,
        insert: datafusion::sql::sqlparser::ast::Insert,
    ) -> Result<LogicalPlan> {
        insert::check(&insert)?;
        let Some(query) = insert.source else { return nothing() };
        let source = self.plan_plain(Statement::Statement(Box::new(SqlStatement::Query(query)))).await?;
        insert::plan(target, &insert.columns, source).await
    }

    /// A statement of ours is explained as it would run.
    async fn plan_explain(&self, explain: ExplainStatement) -> Result<LogicalPlan> {
        if let Statement::Statement(inner) = explain.statement.as_ref()
            && let Some(plan) = self.plan_ours(inner).await?
        {
            return Ok(LogicalPlanBuilder::from(plan)
                .explain(explain.options.verbose, explain.options.analyze)?
                .build()?);
        }
        self.plan_plain(Statement::Explain(explain)).await
    }

    fn reset(&self, name: &str) -> Result<LogicalPlan> {
        use datafusion::config::ExtensionOptions;

        let defaults = self.extension.options().entries();
        let Some(entry) = defaults.into_iter().find(|entry| entry.key == name) else {
            return Err(MetaxyError::Config(format!("unknown option {name}")));
        };
        let key = name.trim_start_matches("metaxy.");
        let mut outcome = Ok(());
        self.set_options(|options| outcome = options.set(key, &entry.value.unwrap_or_default()));
        outcome?;
        nothing()
    }

    /// Opens what planning can't wait for, then lets DataFusion plan.
    pub(super) async fn plan_plain(&self, mut statement: Statement) -> Result<LogicalPlan> {
        let state = self.context.state();
        let catalog = state.config_options().catalog.default_catalog.clone();
        let calls = resolve_calls(&mut statement);
        // What is wrong with a call itself is said before anything that its feature lacks.
        check_calls(&statement)?;
        for call in &calls {
            let store = self.extension.store_or_default(call.store.as_deref(), &catalog)?;
            self.extension.open_inputs(&store, &call.feature, call.samples).await?;
        }
        let uses_views = self.renew_views(&statement).await?;
        if let Some(name) = created_view(&statement) {
            let name = self.resolved(&name);
            if !calls.is_empty() || uses_views {
                let catalog = &state.config_options().catalog;
                let defaults = (catalog.default_catalog.clone(), catalog.default_schema.clone());
                self.views.remember(name, Definition { statement: statement.clone(), defaults });
            } else {
                self.views.forget(&name);
            }
        }
        match state.statement_to_plan(statement.clone()).await {
            Ok(plan) => {
                check_data(&plan)?;
                Ok(plan)
            }
            Err(error) => Err(self.explained(error.into(), &statement).await),
        }
    }

    /// Plans the views that a statement reads anew, where they contain an increment or a feature: which tables an
    /// increment compares depends on which were ever written, and a feature may be defined anew.
    async fn renew_views(&self, statement: &Statement) -> Result<bool> {
        let mut found = false;
        let created = created_view(statement).map(|name| self.resolved(&name));
        for reference in self.context.state().resolve_table_references(statement)? {
            let name = self.resolved(&reference);
            if created.as_ref() == Some(&name) {
                continue;
            }
            found |= self.is_feature(&name);
            if let Some(definition) = self.views.definition(&name) {
                found = true;
                let session = self.with_defaults(definition.defaults);
                let plan = Box::pin(session.plan_plain(definition.statement)).await?;
                session.context.execute_logical_plan(plan).await?;
            }
        }
        Ok(found)
    }

    /// The same session with another default catalog and schema.
    fn with_defaults(&self, (catalog, schema): (String, String)) -> Self {
        let mut state = self.context.state();
        let options = &mut state.config_mut().options_mut().catalog;
        options.default_catalog = catalog;
        options.default_schema = schema;
        Self { context: SessionContext::new_with_state(state), ..self.clone() }
    }

    fn is_feature(&self, name: &ResolvedTableReference) -> bool {
        let is_store = self.extension.store_names().any(|store| store == name.catalog.as_ref());
        let graph = || self.extension.store(&name.catalog).ok()?.known_graph();
        is_store
            && is_store_schema(&name.schema)
            && graph().is_some_and(|graph| graph.lookup(&name.table).is_ok())
    }
}

pub(super) fn is_store_schema(schema: &str) -> bool {
    schema == FEATURES_SCHEMA || schema == HISTORY_SCHEMA
}

fn nothing() -> Result<LogicalPlan> {
    Ok(LogicalPlan::EmptyRelation(EmptyRelation {
        produce_one_row: false,
        schema: Arc::new(Schema::empty().to_dfschema()?),
    }))
}

/// A feature that was never written can be planned with, but reading it is an error.
fn check_data(plan: &LogicalPlan) -> Result<()> {
    let mut missing = None;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(provider) = source_as_provider(&scan.source)
            && let Some(table) = provider.downcast_ref::<FeatureTable>()
            && !table.exists()
        {
            missing = Some(table.not_found());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    missing.map_or(Ok(()), Err)
}
