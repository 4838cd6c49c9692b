//! `copy`: rows of features from one store to another.

use datafusion::catalog::TableProvider;
use datafusion::common::DFSchema;
use serde_json::json;

use crate::cli::program::{Outcome, Program};
use crate::cli::rows::Rows;
use crate::cli::select::Selection;
use crate::cli::sql_text;
use crate::error::Result;
use crate::store::{CopyOptions, FeatureVersions, WriteOptions};

const EXAMPLE: &str = "\
Example:
  $ metaxy-cli copy photo photo/face --from dev --to prod
  +------------+------+
  | feature    | rows |
  +------------+------+
  | photo/face | 2    |
  | photo      | 3    |
  +------------+------+

Rows keep their versions and times, and rows that are there already are left out: what was interrupted is repeated.";

/// Copy rows of features, with their history, from one store to another
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    features: Selection,

    /// The store that the rows are in
    #[arg(long, value_name = "STORE")]
    from: String,

    /// The store that they are copied to [default: that of --store, else the configured default]
    #[arg(long, value_name = "STORE")]
    to: Option<String>,

    /// Only rows for which this holds, of every feature; of several conditions, all have to hold
    #[arg(short, long = "where", visible_alias = "filter", value_name = "SQL", allow_hyphen_values = true)]
    conditions: Vec<String>,

    /// Only rows of the features' current versions
    #[arg(long, alias = "no-with-feature-history")]
    current_only: bool,

    /// Only the latest row of each sample
    #[arg(long, alias = "no-with-sample-history")]
    latest_only: bool,

    /// Print how many rows it would be, and copy nothing
    #[arg(long)]
    dry_run: bool,

    /// Rows of all feature versions, which is the default
    #[arg(long, hide = true, conflicts_with = "current_only")]
    with_feature_history: bool,

    /// All rows of each sample, which is the default
    #[arg(long, hide = true, conflicts_with = "latest_only")]
    with_sample_history: bool,
}

/// Copies, and prints how many rows of each feature were not there yet.
///
/// # Errors
///
/// An unknown store or feature, stores that hash differently, a feature of another project, a store that can't be
/// written. Features that were copied before the one that fails stay copied.
pub(super) async fn run(program: &Program, args: Args) -> Result<Outcome> {
    if !args.features.is_given() {
        return Ok(Outcome::Usage("name the features, or say --all-features".to_owned()));
    }
    let session = program.session().await?;
    let extension = session.extension();
    let target = extension.store(args.to.as_deref().unwrap_or_else(|| extension.default_store()))?;
    let source = extension.store(&args.from)?;
    if source.name() == target.name() {
        return Ok(Outcome::Usage(format!("--from and --to are both store {}", source.name())));
    }
    let mut features = Vec::new();
    for feature in args.features.features(&source).await? {
        // Of all features, those are meant that there are rows of.
        if args.features.is_named() || source.own_table(&feature).await?.exists() {
            features.push(feature);
        }
    }
    let mut options = CopyOptions {
        feature_versions: if args.current_only { FeatureVersions::Current } else { FeatureVersions::All },
        sample_history: !args.latest_only,
        scope: WriteOptions::from_session(session.context().copied_config().options())?.scope,
        dry_run: args.dry_run,
        ..CopyOptions::default()
    };
    for feature in &features {
        if args.conditions.is_empty() {
            break;
        }
        let schema = DFSchema::try_from(source.history_table(feature).await?.schema())?;
        let conditions = sql_text::expressions(session, &args.conditions, &schema)?;
        options.filters.insert(feature.key().clone(), conditions);
    }
    let names: Vec<String> = features.iter().map(|feature| feature.key().to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bar = program.bar().await?;
    let copied = target.copy_from(&source, session.context(), Some(&names), &options).await?;
    drop(bar);
    let mut rows = Rows::new(["feature", "rows"]);
    for copied in &copied {
        rows.push([json!(copied.feature.to_string()), json!(copied.rows)]);
    }
    program.print(&rows)?;
    if args.dry_run {
        program.notice("This was a dry run: nothing was copied.");
    }
    Ok(Outcome::Done)
}
