//! `CALL procedure(…)`: work that is no query. Each procedure is a file here and a line in [`PROCEDURES`].
//!
//! The name may have the schema `system` and a store before it: `CALL prod.system.push()`.

mod arguments;
mod copy;
mod lock;
mod optimize;
mod push;
mod rebase;
mod relation;
mod vacuum;

use std::fmt::Debug;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::{Function, FunctionArguments};

use self::arguments::Constants;
use super::{Extension, MetaxySession};
use crate::boxed::BoxFuture;
use crate::catalog::SYSTEM_SCHEMA;
use crate::error::{MetaxyError, Result};
use crate::store::{Store, WriteOptions, WriteScope};

/// All procedures, by name.
const PROCEDURES: &[Procedure] =
    &[copy::COPY, lock::LOCK, optimize::OPTIMIZE, push::PUSH, rebase::REBASE, vacuum::VACUUM];

/// What can be called.
struct Procedure {
    name: &'static str,
    /// The names of its arguments, in the order of positional ones.
    parameters: &'static [&'static str],
    /// Checks the arguments; nothing is done yet.
    prepare: fn(&Invocation<'_>) -> Result<Arc<dyn Work>>,
}

/// A call: whose store it is about, and what it was given.
struct Invocation<'a> {
    extension: &'a Arc<Extension>,
    store: Arc<Store>,
    arguments: Constants,
    /// Where queries of the procedure run.
    context: SessionContext,
    /// For whom it writes.
    scope: WriteScope,
}

/// What a call does whenever its result is asked for, once per time.
trait Work: Debug + Send + Sync {
    /// The columns of the result.
    fn schema(&self) -> SchemaRef;

    /// Does it.
    fn run(&self) -> BoxFuture<'_, Result<RecordBatch>>;
}

/// The plan that does what a CALL says.
///
/// # Errors
/// An unknown procedure, store or argument, or an argument that is no constant of the right kind.
pub(super) fn plan(session: &MetaxySession, call: Function) -> Result<LogicalPlan> {
    let (store, name) = split(&call)?;
    let procedure =
        PROCEDURES.iter().find(|procedure| procedure.name == name).ok_or_else(|| unknown(&name))?;
    let args = match call.args {
        FunctionArguments::None => Vec::new(),
        FunctionArguments::List(list) if list.clauses.is_empty() && list.duplicate_treatment.is_none() => {
            list.args
        }
        other => return Err(MetaxyError::Invalid(format!("{name}: {other} is no list of arguments"))),
    };
    let state = session.context().state();
    let catalog = state.config_options().catalog.default_catalog.clone();
    let invocation = Invocation {
        extension: session.extension(),
        store: session.extension().store_or_default(store.as_deref(), &catalog)?,
        context: session.context().clone(),
        scope: WriteOptions::from_session(state.config_options())?.scope,
        arguments: Constants::new(procedure.name, procedure.parameters, args, state)?,
    };
    relation::plan(procedure.name, (procedure.prepare)(&invocation)?)
}

/// The store, if one is named, and the procedure's name.
fn split(call: &Function) -> Result<(Option<String>, String)> {
    let parts: Option<Vec<String>> = call
        .name
        .0
        .iter()
        .map(|part| {
            let ident = part.as_ident()?;
            // Names without quotes are lower case, as everywhere in DataFusion.
            let quoted = ident.quote_style.is_some();
            Some(if quoted { ident.value.clone() } else { ident.value.to_ascii_lowercase() })
        })
        .collect();
    match parts.as_deref() {
        Some([name]) => Ok((None, name.clone())),
        Some([schema, name]) if schema == SYSTEM_SCHEMA => Ok((None, name.clone())),
        Some([store, schema, name]) if schema == SYSTEM_SCHEMA => Ok((Some(store.clone()), name.clone())),
        _ => Err(unknown(&call.name.to_string())),
    }
}

fn unknown(name: &str) -> MetaxyError {
    let known: Vec<String> =
        PROCEDURES.iter().map(|p| format!("{}({})", p.name, p.parameters.join(", "))).collect();
    MetaxyError::Invalid(format!(
        "unknown procedure {name}; there are {}, also as {SYSTEM_SCHEMA}.NAME and STORE.{SYSTEM_SCHEMA}.NAME",
        known.join(", ")
    ))
}
