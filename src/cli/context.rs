//! Our session in the shape in which datafusion-cli's commands expect one.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::config::Dialect;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion_cli::cli_context::CliSessionContext;
use object_store::ObjectStore;
use url::Url;

use crate::boxed::BoxFuture;
use crate::session::MetaxySession;

/// A session that can be lent to datafusion-cli.
#[derive(Clone)]
pub(super) struct CliContext {
    session: MetaxySession,
}

impl CliContext {
    pub(super) fn new(session: MetaxySession) -> Self {
        Self { session }
    }

    pub(super) fn session(&self) -> &MetaxySession {
        &self.session
    }

    /// The SQL dialect that is set at the moment.
    pub(super) fn dialect(&self) -> Dialect {
        self.session.context().state_ref().read().config_options().sql_parser.dialect
    }

    /// The store that unqualified names refer to: stores are catalogs.
    pub(super) fn store(&self) -> String {
        self.session.context().state_ref().read().config_options().catalog.default_catalog.clone()
    }
}

#[async_trait]
impl CliSessionContext for CliContext {
    fn task_ctx(&self) -> Arc<TaskContext> {
        self.session.context().task_ctx()
    }

    fn session_state(&self) -> SessionState {
        self.session.context().state()
    }

    fn register_object_store(
        &self,
        url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore + 'static>> {
        self.session.context().register_object_store(url, store)
    }

    fn register_table_options_extension_from_scheme(&self, scheme: &str) {
        CliSessionContext::register_table_options_extension_from_scheme(self.session.context(), scheme);
    }

    // As async_trait has it, but without a plan in a future of its own: see `boxed`.
    fn execute_logical_plan<'life0, 'async_trait>(
        &'life0 self,
        plan: LogicalPlan,
    ) -> BoxFuture<'async_trait, Result<DataFrame, DataFusionError>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        self.started(plan)
    }
}

impl CliContext {
    /// The rows of a plan.
    fn started(&self, plan: LogicalPlan) -> BoxFuture<'_, Result<DataFrame, DataFusionError>> {
        Box::pin(async move { Ok(self.session.start(plan).await?) })
    }
}
