//! `lock`: writes the lock file for features of other projects.

use std::path::PathBuf;

use crate::catalog::SYSTEM_SCHEMA;
use crate::cli::program::{Outcome, Program};
use crate::cli::rows::Rows;
use crate::cli::sql_text::{name, string};
use crate::error::{MetaxyError, Result};

const EXAMPLE: &str = "\
Example:
  $ metaxy-cli lock
  +---------+---------+--------+-------------+-------------+
  | feature | project | change | old_version | new_version |
  +---------+---------+--------+-------------+-------------+
  | person  | people  | added  |             | 2b3e36df    |
  +---------+---------+--------+-------------+-------------+";

/// Write the lock file: what the store says about features of other projects on which those here depend
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Args {
    /// The file to write [default: metaxy.lock beside the configuration]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes the file if anything in it has changed, and prints what has.
///
/// # Errors
///
/// A feature that the store doesn't know, or a file that can't be read or written.
pub(super) async fn run(program: &Program, args: Args) -> Result<Outcome> {
    let session = program.session().await?;
    let store = program.store().await?;
    let output = match &args.output {
        Some(file) => match file.to_str() {
            Some(file) => format!("output => {}", string(file)),
            None => {
                return Err(MetaxyError::File {
                    file: file.clone(),
                    reason: "its name is no text".to_owned(),
                });
            }
        },
        None => String::new(),
    };
    let call = format!("CALL {}.{SYSTEM_SCHEMA}.lock({output})", name(store.name()));
    let changes = Rows::collect(session.sql(&call).await?).await?;
    if changes.len() == 0 {
        program.notice("The features here depend on none of another project.");
    }
    program.print(&changes)?;
    Ok(Outcome::Done)
}
