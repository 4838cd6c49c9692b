//! `vacuum`: files that nothing refers to any more go.

use std::time::Duration;

use serde_json::json;

use super::optimize::span;
use crate::cli::program::{Outcome, Program};
use crate::cli::rows::Rows;
use crate::error::Result;
use crate::store::VacuumOptions;

const EXAMPLE: &str = "\
Example:
  $ metaxy-cli vacuum --retain 14d --dry-run
  +---------+------+-------+
  | feature | file | bytes |
  +---------+------+-------+
  +---------+------+-------+
  This was a dry run: 0 files with 0 bytes could be removed.

What goes are files that `metaxy-cli optimize` and hard deletes have replaced, and what programs that died have left.";

/// Remove files that no table refers to any more
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Args {
    /// Features, by key (video/crop) or table name (video__crop) [default: all of the project, and the store's own tables]
    #[arg(value_name = "FEATURE")]
    features: Vec<String>,

    /// Keep files that were still needed within this time, for example 14d [default: 7d]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    retain: Option<Duration>,

    /// Let --retain be less than 7d: nobody reads an earlier version of a table right now
    #[arg(long)]
    allow_short_retention: bool,

    /// Print the files, and remove none
    #[arg(long)]
    dry_run: bool,
}

/// Removes files, and prints which.
///
/// # Errors
///
/// An unknown feature, one of another project, a retention that is too short, a store that can't be written.
pub(super) async fn run(program: &Program, args: Args) -> Result<Outcome> {
    let defaults = VacuumOptions::default();
    if args.retain.is_some_and(|retain| retain < defaults.retain) && !args.allow_short_retention {
        return Ok(Outcome::Usage(
            "--retain of less than 7d needs --allow-short-retention: a reader of an earlier version of a table may still \
             be at its files"
                .to_owned(),
        ));
    }
    let store = program.store().await?;
    let options = VacuumOptions {
        retain: args.retain.unwrap_or(defaults.retain),
        allow_short_retention: args.allow_short_retention,
        dry_run: args.dry_run,
        ..defaults
    };
    let names: Vec<&str> = args.features.iter().map(String::as_str).collect();
    let done = store.vacuum((!names.is_empty()).then_some(names.as_slice()), &options).await?;
    let mut rows = Rows::new(["feature", "file", "bytes"]);
    let (mut count, mut bytes) = (0, 0);
    for one in &done {
        for file in &one.files {
            rows.push([json!(one.feature.to_string()), json!(file.path), json!(file.bytes)]);
            count += 1;
            bytes += file.bytes;
        }
    }
    program.print(&rows)?;
    let files = if count == 1 { "file" } else { "files" };
    program.notice(&match args.dry_run {
        true => format!("This was a dry run: {count} {files} with {bytes} bytes could be removed."),
        false => format!("{count} {files} with {bytes} bytes removed."),
    });
    Ok(Outcome::Done)
}
