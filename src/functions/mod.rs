//! What a user can type in FROM: `resolve_update`, `files` and `system.resolution`.

mod arguments;
mod files;
mod files_disk;
mod files_found;
mod files_objects;
mod files_table;
mod resolution;
mod resolve_update;

use std::sync::{Arc, Weak};

use datafusion::catalog::TableProvider;
use datafusion::common::{Result, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{ObjectName, TableFactor};

use crate::session::Extension;
pub(crate) use arguments::{Arguments, as_text};
pub(crate) use resolve_update::check as check_resolve_update;

/// Name of the function that gives an increment.
pub(crate) const RESOLVE_UPDATE: &str = "resolve_update";
/// Name of the function that lists files.
pub(crate) const FILES: &str = "files";

/// Plans our functions in FROM: they take named arguments and SQL expressions, which table functions can't.
#[derive(Debug)]
pub(crate) struct Functions {
    extension: Weak<Extension>,
}

impl Functions {
    pub(crate) fn new(extension: &Arc<Extension>) -> Self {
        Self { extension: Arc::downgrade(extension) }
    }
}

/// The name of a function call in FROM, if it is one of ours.
pub(crate) fn our_function(name: &ObjectName) -> Option<&'static str> {
    let [part] = name.0.as_slice() else { return None };
    let name = &part.as_ident()?.value;
    [RESOLVE_UPDATE, FILES].into_iter().find(|ours| name.eq_ignore_ascii_case(ours))
}

/// Whether a bare name is that of one of our functions.
pub(crate) fn is_our_function(name: &str) -> bool {
    [RESOLVE_UPDATE, FILES].iter().any(|ours| name.eq_ignore_ascii_case(ours))
}

/// The plan that reads what a function gives. Its table's name says what that is: DataFusion takes two scans under one
/// name for the same and would give both the rows of the first.
fn scan(function: &str, of: &str, table: Arc<dyn TableProvider>) -> Result<LogicalPlan> {
    let name = TableReference::bare(format!("{function}({of})"));
    LogicalPlanBuilder::scan(name, provider_as_source(table), None)?.alias(function)?.build()
}

impl RelationPlanner for Functions {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let (name, args, alias) = match relation {
            TableFactor::Table { name, args: Some(args), alias, .. }
                if resolution::called(&name).is_some() =>
            {
                let arguments = Arguments::parse(resolution::NAME, args.args, resolution::PARAMETERS)?;
                let store = resolution::called(&name).flatten();
                let plan = resolution::plan(&self.extension, store.as_deref(), &arguments, context)?;
                return Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))));
            }
            TableFactor::Table { name, args: Some(args), alias, .. } if our_function(&name).is_some() => {
                (our_function(&name), args.args, alias)
            }
            TableFactor::Function { name, args, alias, .. } if our_function(&name).is_some() => {
                (our_function(&name), args, alias)
            }
            other => return Ok(RelationPlanning::Original(Box::new(other))),
        };
        let plan = match name {
            Some(RESOLVE_UPDATE) => {
                let arguments = Arguments::parse(RESOLVE_UPDATE, args, resolve_update::PARAMETERS)?;
                resolve_update::plan(&self.extension, &arguments, context)?
            }
            _ => files::plan(&self.extension, &Arguments::parse(FILES, args, files::PARAMETERS)?)?,
        };
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}
