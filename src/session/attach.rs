//! Attaching stores to a DataFusion session that the caller already has.

use std::sync::Arc;

use datafusion::common::exec_err;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::SessionContext;

use super::Extension;
use super::delete_rule::DeleteRows;
use super::insert_rule::InsertByName;
use crate::boxed::BoxFuture;
use crate::catalog::StoreCatalog;
use crate::engine::ExecuteIncrements;
use crate::error::Result;
use crate::functions::Functions;
use crate::hash::{metaxy_hash, metaxy_hash_agg};

/// Adds stores to a [`SessionContext`].
pub trait SessionContextExt {
    /// Adds everything in one call: each store as a catalog, `resolve_update` and `files`, the hash functions, and
    /// the `metaxy.*` options. The session's default catalog and other settings stay as they are.
    ///
    /// Reading and `resolve_update` then work over the features as they are now;
    /// [`Extension::refresh`] reads them again.
    ///
    /// # Errors
    /// A catalog of a store's name exists already, or a store can't be read.
    fn attach_metaxy<'a>(&'a self, extension: &'a Arc<Extension>) -> BoxFuture<'a, Result<()>>;
}

/// Adds stores to a [`SessionStateBuilder`].
pub trait SessionStateBuilderExt: Sized {
    /// Adds the functions, options and rules. The catalogs follow with
    /// [`attach_metaxy`](SessionContextExt::attach_metaxy) on the context, which sees what is there already.
    fn with_metaxy(self, extension: &Arc<Extension>) -> Self;
}

impl SessionContextExt for SessionContext {
    fn attach_metaxy<'a>(&'a self, extension: &'a Arc<Extension>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            attach(self, extension)?;
            extension.refresh().await
        })
    }
}

/// Attaches without reading anything from the stores.
pub(super) fn attach(context: &SessionContext, extension: &Arc<Extension>) -> Result<()> {
    for name in extension.store_names() {
        if context.catalog(name).is_some() {
            exec_err!("the session has a catalog {name:?} already; give the store another name")?;
        }
    }
    for name in extension.store_names() {
        // A store of a kind that this build lacks is an error where it is used, not before.
        if let Ok(store) = extension.store(name) {
            let files = context
                .state()
                .config()
                .get_extension::<super::metaxy_session::FileTables>()
                .map(|tables| Arc::clone(&tables.0));
            context.register_catalog(name, Arc::new(StoreCatalog::new(&store, extension, files)));
        }
    }
    let done = context.state().optimizers().iter().any(|rule| rule.name() == ExecuteIncrements::NAME);
    if !done {
        // Piece by piece: a state that is built anew forgets some of the host's settings.
        let options = extension.options().for_session();
        context.state_ref().write().config_mut().options_mut().extensions.insert(options);
        context.register_relation_planner(Arc::new(Functions::new(extension)))?;
        context.register_udf(metaxy_hash().as_ref().clone());
        context.register_udaf(metaxy_hash_agg().as_ref().clone());
        context.add_optimizer_rule(Arc::new(execute_increments(extension)));
        context.add_analyzer_rule(Arc::new(InsertByName));
        context.add_analyzer_rule(Arc::new(DeleteRows));
    }
    Ok(())
}

/// The rule that plans increments; what the user should hear of one goes to the extension's warnings.
fn execute_increments(extension: &Arc<Extension>) -> ExecuteIncrements {
    let records = Arc::clone(extension.records());
    let extension = Arc::downgrade(extension);
    ExecuteIncrements::new(records, move |notice| {
        if let Some(extension) = extension.upgrade() {
            extension.warn(notice);
        }
    })
}

impl SessionStateBuilderExt for SessionStateBuilder {
    fn with_metaxy(mut self, extension: &Arc<Extension>) -> Self {
        let options = extension.options().for_session();
        self.config().get_or_insert_default().options_mut().extensions.insert(options);
        self.relation_planners().get_or_insert_default().push(Arc::new(Functions::new(extension)));
        self.scalar_functions().get_or_insert_default().push(metaxy_hash());
        self.aggregate_functions().get_or_insert_default().push(metaxy_hash_agg());
        self.with_optimizer_rule(Arc::new(execute_increments(extension)))
            .with_analyzer_rule(Arc::new(InsertByName))
            .with_analyzer_rule(Arc::new(DeleteRows))
    }
}
