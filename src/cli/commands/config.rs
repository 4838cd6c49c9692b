//! `config`: the settings that hold, and where they come from.

use serde_json::json;

use crate::cli::program::{Outcome, Program};
use crate::cli::rows::Rows;
use crate::error::Result;

const EXAMPLE: &str = "\
Example:
  $ metaxy-cli config
  +-----------------------------+----------------+---------------------+
  | key                         | value          | origin              |
  +-----------------------------+----------------+---------------------+
  …
  +-----------------------------+----------------+---------------------+

Values that may be secrets are shown as ***.";

/// Show the settings that hold, each with the file, the variable or the default that it comes from
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Args {}

/// Prints the settings.
///
/// # Errors
///
/// A configuration that can't be used.
pub(super) async fn run(program: &Program, _args: Args) -> Result<Outcome> {
    let mut rows = Rows::new(["key", "value", "origin"]);
    for setting in program.settings()? {
        rows.push([json!(setting.key), setting.value, json!(setting.origin)]);
    }
    program.print(&rows)?;
    Ok(Outcome::Done)
}
