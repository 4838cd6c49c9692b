//! `push`: records the definitions of the project in a store.

use serde_json::json;

use crate::cli::program::{Outcome, Program};
use crate::cli::report;
use crate::cli::rows::{Format, Rows};
use crate::error::Result;
use crate::store::PushOptions;

const EXAMPLE: &str = "\
Example:
  $ metaxy-cli push --tag git=4f2a9c1
  8c2b838d
  Recorded project photos in store dev.

The project's version goes to the standard output, for scripts, the sentence to the standard error.";

/// Record the project's feature definitions in the store, where everyone reads them
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Args {
    /// A name and a value to remember with this version of the project (repeatable)
    #[arg(short = 't', long = "tag", visible_alias = "tags", value_name = "NAME=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,
}

fn parse_tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE, such as git=4f2a9c1".to_owned()),
    }
}

/// Pushes, and prints the project's version.
///
/// # Errors
///
/// Definitions that don't fit together, or a store that can't be written.
pub(super) async fn run(program: &Program, args: Args) -> Result<Outcome> {
    let store = program.store().await?;
    let options = PushOptions { tags: args.tags.into_iter().collect() };
    let report = store.push(store.project(), &options).await?;
    let updated: Vec<String> = report.updated_features.iter().map(ToString::to_string).collect();
    if program.format() == Format::Table {
        report::output(format!("{}\n", report.project_version).as_bytes())?;
        let (project, name) = (&report.project, store.name());
        program.notice(&match (report.already_pushed, updated.is_empty()) {
            (false, _) => format!("Recorded project {project} in store {name}."),
            (true, false) => format!(
                "Store {name} has this version of project {project} already; recorded what is new about {}.",
                updated.join(", ")
            ),
            (true, true) => format!("Store {name} has this version of project {project} already."),
        });
        return Ok(Outcome::Done);
    }
    let mut rows = Rows::new(["project", "project_version", "already_pushed", "updated_features"]);
    rows.push([
        json!(report.project),
        json!(report.project_version),
        json!(report.already_pushed),
        json!(updated),
    ]);
    program.print(&rows)?;
    Ok(Outcome::Done)
}
