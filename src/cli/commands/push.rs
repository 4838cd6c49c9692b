//! `push`: records the definitions of the project in a store.

use std::path::PathBuf;

use serde_json::{Value, json};

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
    #[arg(short = 't', long = "tag", visible_alias = "tags", value_name = "NAME=VALUE", value_parser = parse_tags)]
    tags: Vec<Tags>,

    /// The project to record instead of the configured one
    #[arg(long, value_name = "NAME")]
    project: Option<String>,

    /// SQL to run first, for features that it defines (repeatable)
    #[arg(long, value_name = "FILE")]
    prepare: Vec<PathBuf>,
}

/// What one `--tag` says: a name and its value or, as the Python package takes them, an object of several.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tags(Vec<(String, String)>);

fn parse_tags(text: &str) -> Result<Tags, String> {
    const EXPECTED: &str = "expected NAME=VALUE, such as git=4f2a9c1";
    if text.trim_start().starts_with('{') {
        let object: serde_json::Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| format!("{EXPECTED}; this JSON can't be read: {error}"))?;
        let value = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        return Ok(Tags(object.into_iter().map(|(name, given)| (name, value(given))).collect()));
    }
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(Tags(vec![(name.to_owned(), value.to_owned())])),
        _ => Err(EXPECTED.to_owned()),
    }
}

/// Pushes, and prints the project's version.
///
/// # Errors
///
/// Definitions that don't fit together, or a store that can't be written.
pub(super) async fn run(program: &Program, args: Args) -> Result<Outcome> {
    program.prepare(&args.prepare).await?;
    let store = program.store().await?;
    let tagged = !args.tags.is_empty();
    let options = PushOptions { tags: args.tags.into_iter().flat_map(|tags| tags.0).collect() };
    let project = args.project.as_deref().or_else(|| store.project());
    let report = store.push(project, &options).await?;
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
            (true, true) if tagged => format!(
                "Store {name} has this version of project {project} already: nothing was recorded, no tag either."
            ),
            (true, true) => format!("Store {name} has this version of project {project} already."),
        });
        return Ok(Outcome::Done);
    }
    if tagged && report.already_pushed && updated.is_empty() {
        program.notice("This version was recorded already: the tags were not.");
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
