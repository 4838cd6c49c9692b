//! `files('dir/**/*.jpg')`: the files of a folder or bucket as a relation.

use std::sync::{Arc, Weak};

use datafusion::common::Result;
use datafusion::logical_expr::LogicalPlan;

use super::arguments::Arguments;
use super::files_table::FilesTable;
use super::{FILES, scan};
use crate::config::redact;
use crate::session::Extension;

/// The parameters, in the order of positional arguments.
pub(super) const PARAMETERS: &[&str] = &["location", "content_hash", "content"];

pub(super) fn plan(extension: &Weak<Extension>, arguments: &Arguments) -> Result<LogicalPlan> {
    let location = arguments.required_text("location")?;
    let (content_hash, content) = (arguments.flag("content_hash")?, arguments.flag("content")?);
    let table = FilesTable::try_new(&location, content_hash, content, extension)?;
    scan(FILES, &redact(&location), Arc::new(table))
}
