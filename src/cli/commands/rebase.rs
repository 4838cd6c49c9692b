//! `rebase`: rows of one version of a feature's definition become rows of another, without being computed again.

use crate::catalog::SYSTEM_SCHEMA;
use crate::cli::program::{Outcome, Program};
use crate::cli::rows::Rows;
use crate::cli::sql_text::{name, string};
use crate::error::Result;

const EXAMPLE: &str = "\
Example:
  $ metaxy-cli rebase photo/size --from c04cb5e9 --dry-run
  +------------+------+
  | feature    | rows |
  +------------+------+
  | photo/size | 3    |
  +------------+------+
  This was a dry run: nothing was written.

`metaxy-cli history FEATURE` lists the versions that rows have.";

/// Take rows over from another version of a feature's definition, without computing them again
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Args {
    /// The feature, by key (video/crop) or table name (video__crop)
    feature: String,

    /// The version that the rows have
    #[arg(long, value_name = "VERSION")]
    from: String,

    /// The version that they get [default: the feature's current one]
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,

    /// The store that the rows are in, if it is another one
    #[arg(long, value_name = "STORE")]
    from_store: Option<String>,

    /// Print how many rows it would be, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Rebases, and prints how many rows were written.
///
/// # Errors
///
/// An unknown feature, version or store, a feature of another project, a store that can't be written.
pub(super) async fn run(program: &Program, args: Args) -> Result<Outcome> {
    let session = program.session().await?;
    let store = program.store().await?;
    let mut call = format!(
        "CALL {}.{SYSTEM_SCHEMA}.rebase({}, from_version => {}, dry_run => {}",
        name(store.name()),
        string(&args.feature),
        string(&args.from),
        args.dry_run
    );
    for (parameter, value) in [("to_version", &args.to), ("from_store", &args.from_store)] {
        if let Some(value) = value {
            call += &format!(", {parameter} => {}", string(value));
        }
    }
    call.push(')');
    let bar = program.bar().await?;
    let rows = Rows::collect(session.sql(&call).await?).await?;
    drop(bar);
    program.print(&rows)?;
    if args.dry_run {
        program.notice("This was a dry run: nothing was written.");
    }
    Ok(Outcome::Done)
}
