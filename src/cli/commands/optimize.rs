//! `optimize`: small files become large ones, and old rows go.

use std::time::Duration;

use serde_json::json;

use crate::cli::program::{Outcome, Program};
use crate::cli::rows::Rows;
use crate::error::Result;
use crate::store::{OptimizeOptions, parse_bytes, parse_duration};

const EXAMPLE: &str = "\
Example:
  $ metaxy-cli optimize photo --dry-run
  +---------+--------------+-------------+--------------+-------------+-------------+
  | feature | files_before | files_after | bytes_before | bytes_after | rows_folded |
  +---------+--------------+-------------+--------------+-------------+-------------+
  | photo   | …
  +---------+--------------+-------------+--------------+-------------+-------------+
  This was a dry run: nothing was written.

Without --fold-older-than every row stays. With it, rows go that have been superseded for so long, and samples that have
been deleted for so long; increments stay the same. In a Delta store the old files stay until `metaxy-cli vacuum`.";

/// Merge small files into large ones with rows in the order of their ids, and drop old rows if asked to
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Args {
    /// Features, by key (video/crop) or table name (video__crop) [default: all of the project, and the store's own tables]
    #[arg(value_name = "FEATURE")]
    features: Vec<String>,

    /// Drop rows that have been superseded, and samples that have been deleted, for longer than this, for example 30d
    #[arg(long, value_name = "SPAN", value_parser = span)]
    fold_older_than: Option<Duration>,

    /// Size of a file, for example 64MB; files of less than half are merged [default: 128MB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    file_size: Option<u64>,

    /// Write large files anew, too
    #[arg(long)]
    full: bool,

    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// A span of time, as an option's value.
pub(super) fn span(text: &str) -> std::result::Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

fn size(text: &str) -> std::result::Result<u64, String> {
    let size = parse_bytes(text).filter(|size| *size > 0);
    size.ok_or_else(|| "write a number of bytes, with k, MB or GB if you like".to_owned())
}

/// Optimizes, and prints for each feature what has become of its files and rows.
///
/// # Errors
///
/// An unknown feature, one of another project or without a table, a store that can't be written.
pub(super) async fn run(program: &Program, args: Args) -> Result<Outcome> {
    let store = program.store().await?;
    let options = OptimizeOptions {
        fold_older_than: args.fold_older_than,
        file_size: args.file_size.unwrap_or_else(|| OptimizeOptions::default().file_size),
        full: args.full,
        dry_run: args.dry_run,
        ..OptimizeOptions::default()
    };
    let names: Vec<&str> = args.features.iter().map(String::as_str).collect();
    let names = (!names.is_empty()).then_some(names.as_slice());
    let bar = program.bar().await?;
    let done = store.optimize(program.session().await?.context(), names, &options).await?;
    drop(bar);
    let mut rows =
        Rows::new(["feature", "files_before", "files_after", "bytes_before", "bytes_after", "rows_folded"]);
    for one in &done {
        rows.push([
            json!(one.feature.to_string()),
            json!(one.files_before),
            json!(one.files_after),
            json!(one.bytes_before),
            json!(one.bytes_after),
            json!(one.rows_folded),
        ]);
    }
    program.print(&rows)?;
    if args.dry_run {
        program.notice("This was a dry run: nothing was written.");
    }
    Ok(Outcome::Done)
}
