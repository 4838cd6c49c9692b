//! `list`: the features of the project, or the configured stores.

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::cli::program::{Outcome, Program};
use crate::cli::rows::Rows;
use crate::cli::select::Projects;
use crate::config::redact;
use crate::error::Result;

const EXAMPLE: &str = "\
Example:
  $ metaxy-cli list stores
  +-------+-------+----------+-----------------+------------+
  | store | type  | location | fallback_stores | is_default |
  +-------+-------+----------+-----------------+------------+
  | dev   | delta | store    |                 | true       |
  | prod  | delta | prod     |                 | false      |
  +-------+-------+----------+-----------------+------------+
  $ metaxy-cli list features --format csv
  feature,project,version,parents,defined_in
  photo,photos,b7daf55b,,file …/features.toml
  photo/face,photos,f857eef2,photo,file …/features.toml
  photo/size,photos,a8a68044,photo,file …/features.toml";

/// List features or stores
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Args {
    /// What to list
    #[arg(value_enum)]
    what: What,

    /// With id columns, fields and descriptions
    #[arg(short, long)]
    verbose: bool,

    #[command(flatten)]
    projects: Projects,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Features, parents before children
    #[value(alias = "feature")]
    Features,
    /// Stores, in the order of the configuration
    #[value(alias = "store")]
    Stores,
}

/// Prints the list.
///
/// # Errors
///
/// A configuration or a store that can't be read.
pub(super) async fn run(program: &Program, args: Args) -> Result<Outcome> {
    let rows = match args.what {
        What::Features => features(program, &args).await?,
        What::Stores => stores(program)?,
    };
    program.print(&rows)?;
    Ok(Outcome::Done)
}

async fn features(program: &Program, args: &Args) -> Result<Rows> {
    let store = program.store().await?;
    let chosen = args.projects.features(&store).await?;
    let graph = store.graph().await?;
    let mut columns = vec!["feature", "project", "version", "parents", "defined_in"];
    if args.verbose {
        columns.extend(["id_columns", "fields", "description"]);
    }
    let mut rows = Rows::new(columns);
    for feature in &chosen {
        let spec = &feature.spec;
        let mut row = vec![
            json!(spec.key.to_string()),
            json!(feature.project),
            // Unknown while a parent is.
            json!(graph.feature_version(&spec.key).ok()),
            names(spec.deps.iter().map(|parent| parent.feature.to_string())),
            json!(feature.origin.to_string()),
        ];
        if args.verbose {
            row.push(names(spec.id_columns.iter().cloned()));
            row.push(names(spec.fields.iter().map(|field| field.key.to_string())));
            row.push(json!(spec.description));
        }
        rows.push(row);
    }
    Ok(rows)
}

fn stores(program: &Program) -> Result<Rows> {
    let config = program.config()?;
    let default = config.store.clone();
    let mut rows = Rows::new(["store", "type", "location", "fallback_stores", "is_default"]);
    for store in config.stores.values() {
        rows.push([
            json!(store.name),
            json!(redact(store.kind.name())),
            json!(store.root_path.as_deref().map(redact)),
            names(store.fallback_stores.iter().map(|name| redact(name))),
            json!(store.name == default),
        ]);
    }
    Ok(rows)
}

/// Names in one cell.
fn names(names: impl Iterator<Item = String>) -> Value {
    Value::String(names.collect::<Vec<_>>().join(", "))
}
