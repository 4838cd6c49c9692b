//! `status`: how many samples of each feature are new, stale, orphaned or up to date.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cli::narrowed::Narrowed;
use crate::cli::program::{Outcome, Program};
use crate::cli::report;
use crate::cli::rows::Rows;
use crate::cli::select::Selection;
use crate::cli::sql_text;
use crate::error::{MetaxyError, Result};
use crate::model::FeatureKey;
use crate::store::FeatureStatus;
use crate::update::IncrementOptions;

const EXAMPLE: &str = "\
Example:
  $ metaxy-cli status
  +------------+--------------+--------+-----+-------+----------+---------+------------+----------+------+
  | feature    | status       | stored | new | stale | orphaned | pending | up_to_date | progress | note |
  +------------+--------------+--------+-----+-------+----------+---------+------------+----------+------+
  | photo      | root_feature | 3      |     |       |          |         |            |          |      |
  | photo/face | needs_update | 2      | 1   | 0     | 0        | 0       | 2          | 66.6     |      |
  | photo/size | missing      | 0      | 3   | 0     | 0        | 0       | 0          | 0.0      |      |
  +------------+--------------+--------+-----+-------+----------+---------+------------+----------+------+

A root has nothing to be compared with until its samples are given: a table or view of --prepare, or a query.
  $ metaxy-cli status photo --prepare listing.sql --samples photo=listing --format csv
  feature,status,stored,new,stale,orphaned,pending,up_to_date,progress,note
  photo,up_to_date,3,0,0,0,0,3,100.0,";

/// Count the new, stale, orphaned and up-to-date samples of each feature
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    features: Selection,

    /// What a feature is compared with instead of its parents, which a root needs: a table, a view or a
    /// query (repeatable)
    #[arg(long, value_name = "FEATURE=QUERY", value_parser = parse_samples)]
    samples: Vec<(String, String)>,

    /// SQL to run first, for features and views that the command names (repeatable)
    #[arg(long, value_name = "FILE")]
    prepare: Vec<PathBuf>,

    #[command(flatten)]
    narrowed: Narrowed,

    /// Exit with 1 when a sample is new, stale or orphaned, when a feature has no data, or when a check fails; pending
    /// samples, for which there is nothing to compute yet, don't count
    #[arg(long)]
    assert_in_sync: bool,

    /// Progress is always shown; accepted since the Python package asks for it
    #[arg(long, hide = true)]
    progress: bool,
}

fn parse_samples(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((feature, query)) if !feature.trim().is_empty() && !query.trim().is_empty() => {
            Ok((feature.trim().to_owned(), query.trim().to_owned()))
        }
        _ => Err("expected FEATURE=QUERY, such as photo=listing".to_owned()),
    }
}

/// Checks the features and prints a line for each.
///
/// # Errors
///
/// Anything that concerns the run as a whole; a feature whose check fails is a line of the result.
pub(super) async fn run(program: &Program, args: Args) -> Result<Outcome> {
    let session = program.session().await?;
    program.prepare(&args.prepare).await?;
    let store = program.store().await?;
    let chosen = args.features.features(&store).await?;
    let keys: Vec<FeatureKey> = chosen.iter().map(|feature| feature.key().clone()).collect();
    let mut options: HashMap<FeatureKey, IncrementOptions> = HashMap::new();
    let mut unusable: HashMap<FeatureKey, MetaxyError> = HashMap::new();
    for (feature, query) in &args.samples {
        let key = store.feature(feature).await?.key().clone();
        if !keys.contains(&key) {
            return Err(MetaxyError::Invalid(format!(
                "--samples {feature}: this feature is not checked here"
            )));
        }
        let statement = sql_text::query(session, query)?;
        match session.plan(statement).await {
            Ok(samples) => {
                let given = IncrementOptions { samples: Some(samples), ..IncrementOptions::default() };
                options.insert(key, given);
            }
            Err(error) => drop(unusable.insert(key, error)),
        }
    }

    // One look at the tables, for the conditions and for the counts.
    let look = store.opened_once();
    for key in &keys {
        if args.narrowed.is_empty() || unusable.contains_key(key) {
            continue;
        }
        let given = options.remove(key).unwrap_or_default();
        match args.narrowed.over(session, &look, key, given).await {
            Ok(narrowed) => drop(options.insert(key.clone(), narrowed)),
            Err(error) => drop(unusable.insert(key.clone(), error)),
        }
    }
    let bar = program.bar().await?;
    let found = look.statuses(session.context(), &keys, &options).await;
    drop(bar);
    let mut rows = Rows::new([
        "feature",
        "status",
        "stored",
        "new",
        "stale",
        "orphaned",
        "pending",
        "up_to_date",
        "progress",
        "note",
    ]);
    let (mut failed, mut in_sync) = (false, true);
    for (key, status) in keys.iter().zip(found) {
        match unusable.remove(key).map_or(status, Err) {
            Ok(status) => {
                in_sync &= status.is_in_sync();
                rows.push(row(&status));
            }
            Err(error) => {
                failed = true;
                let text = report::describe(&error);
                report::error(&MetaxyError::Invalid(format!("status of {key}: {text}")));
                let mut row = vec![json!(key.to_string()), json!("error")];
                row.resize(9, Value::Null);
                row.push(json!(text));
                rows.push(row);
            }
        }
    }
    program.print(&rows)?;
    let wrong = failed || (args.assert_in_sync && (!in_sync || keys.is_empty()));
    Ok(if wrong { Outcome::Failed } else { Outcome::Done })
}

/// In the Python package's words: a feature without data is missing, whatever else there is to say.
fn word(status: &FeatureStatus) -> &'static str {
    match (status.exists, &status.samples) {
        (false, _) => "missing",
        // There is nothing to compute yet, but there will be.
        (true, Some(counts)) if status.is_in_sync() && counts.pending > 0 => "pending",
        (true, Some(_)) if status.is_in_sync() => "up_to_date",
        (true, None) if status.is_root => "root_feature",
        _ => "needs_update",
    }
}

fn row(status: &FeatureStatus) -> Vec<Value> {
    let counts = status.samples;
    // One digit is enough for people, and a share of 0.9996 must not look like all.
    let percent = |share: f64| (share * 1000.0).floor() / 10.0;
    let note = match (&status.missing_parent, &status.fallback) {
        (Some(parent), _) => Some(format!("its parent {parent} has no data")),
        (None, Some(store)) => Some(format!("read from fallback store {store}")),
        (None, None) => None,
    };
    vec![
        json!(status.feature.to_string()),
        json!(word(status)),
        json!(status.stored),
        json!(counts.map(|counts| counts.new)),
        json!(counts.map(|counts| counts.stale)),
        json!(counts.map(|counts| counts.orphaned)),
        json!(counts.map(|counts| counts.pending)),
        json!(counts.map(|counts| counts.up_to_date)),
        json!(counts.and_then(|counts| counts.progress).map(percent)),
        json!(note),
    ]
}
