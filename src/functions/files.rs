//! `files('dir/**/*.jpg')`: the files of a folder or bucket as a relation.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};

use super::FILES;
use super::arguments::Arguments;
use super::files_table::FilesTable;

/// The parameters, in the order of positional arguments.
pub(super) const PARAMETERS: &[&str] = &["location", "content_hash", "content"];

pub(super) fn plan(arguments: &Arguments) -> Result<LogicalPlan> {
    let location = arguments.required_text("location")?;
    let table = FilesTable::try_new(&location, arguments.flag("content_hash")?, arguments.flag("content")?)?;
    LogicalPlanBuilder::scan(FILES, provider_as_source(Arc::new(table)), None)?.build()
}
