//! `files('dir/**/*.jpg')`: the files of a folder or bucket as a relation.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::logical_expr::LogicalPlan;

use super::arguments::Arguments;
use super::files_table::FilesTable;
use super::{FILES, scan};

/// The parameters, in the order of positional arguments.
pub(super) const PARAMETERS: &[&str] = &["location", "content_hash", "content"];

pub(super) fn plan(arguments: &Arguments) -> Result<LogicalPlan> {
    let location = arguments.required_text("location")?;
    let table = FilesTable::try_new(&location, arguments.flag("content_hash")?, arguments.flag("content")?)?;
    scan(FILES, &location, Arc::new(table))
}
