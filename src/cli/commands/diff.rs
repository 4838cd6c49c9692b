//! `diff`: what changes between two versions of a project, and which samples have to be computed again.

use std::sync::Arc;

use datafusion::prelude::SessionContext;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use serde_json::json;

use super::graph::keys;
use crate::cli::drawing::Drawing;
use crate::cli::program::{Outcome, Program};
use crate::cli::rows::Rows;
use crate::error::{MetaxyError, Result};
use crate::model::FeatureGraph;
use crate::picture::{Change, Picture};
use crate::store::{FeatureVersions, ReadOptions, Store};

const EXAMPLE: &str = "\
Example:
  $ metaxy-cli diff
  Changes of photos, latest … → current …
  ~ photo/size  … → …  3 samples to recompute  field width: code version 1 → 2
  3 features, 1 changed, 3 samples to recompute
  not shown: 2 unchanged features
  ~ changed

A version is one of `metaxy-cli history`, or the beginning of one; `latest` is the one that was pushed last, and
`current` is what the feature files say. Samples to recompute are the live ones that have no row at the new version yet.
Exit code: 0, with --exit-code 1 if anything has changed.";

/// How many features are counted at the same time.
const AT_A_TIME: usize = 4;

/// Show what a push would change, or what lies between two versions of the project
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Args {
    /// The earlier version: latest, current, or a version that was pushed
    #[arg(value_name = "FROM", default_value = "latest")]
    from: String,

    /// The later version
    #[arg(value_name = "TO", default_value = "current")]
    to: String,

    #[command(flatten)]
    drawing: Drawing,

    /// The project to compare instead of the configured one
    #[arg(long, value_name = "NAME")]
    project: Option<String>,

    /// Don't count samples, which reads the features that change
    #[arg(long)]
    no_samples: bool,

    /// Exit with 1 if anything has changed
    #[arg(long)]
    exit_code: bool,
}

/// Compares, and draws what has changed.
///
/// # Errors
///
/// A version that was never pushed, a store that can't be read, or a file that can't be written.
pub(super) async fn run(program: &Program, args: Args) -> Result<Outcome> {
    program.prepare(&args.drawing.prepare).await?;
    let store = program.store().await?;
    let project = match args.project.as_deref().or_else(|| store.project()) {
        Some(project) => project.to_owned(),
        None => {
            let graph = store.graph().await?;
            only_project(&graph)?
        }
    };
    let before = Side::read(program, &store, &project, &args.from).await?;
    let after = Side::read(program, &store, &project, &args.to).await?;
    let mut picture = Picture::of_change(&before.graph, &after.graph);
    picture.title = format!("Changes of {project}, {} → {}", before.name, after.name);
    if !args.no_samples {
        count(program.session().await?.context(), &store, &mut picture).await?;
    }
    let changed = picture.has_changes();
    if !args.drawing.features.is_empty() {
        // What is gone is known to the earlier graph only.
        let chosen = keys(&after.graph, &args.drawing.features)
            .or_else(|error| keys(&before.graph, &args.drawing.features).map_err(|_| error))?;
        picture = picture.around(&chosen, args.drawing.up, args.drawing.down)?;
    }
    args.drawing.finish(program, &picture, || rows(&picture))?;
    Ok(if changed && args.exit_code { Outcome::Failed } else { Outcome::Done })
}

/// The project that all features are of.
fn only_project(graph: &FeatureGraph) -> Result<String> {
    let mut projects: Vec<&str> = graph.iter().map(|feature| feature.project.as_str()).collect();
    projects.sort_unstable();
    projects.dedup();
    match projects.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(MetaxyError::Invalid("nothing to compare: no features are defined".to_owned())),
        several => Err(MetaxyError::Invalid(format!(
            "there are features of several projects ({}); name one with --project, or set `project` in the \
             configuration",
            several.join(", ")
        ))),
    }
}

/// One of the two graphs.
struct Side {
    graph: FeatureGraph,
    name: String,
}

impl Side {
    async fn read(program: &Program, store: &Store, project: &str, version: &str) -> Result<Self> {
        match version {
            "current" => {
                let graph = store.declared_graph(project).await?;
                Ok(Self { name: format!("current {}", graph.project_version(project)?), graph })
            }
            "latest" => {
                let graph = store.pushed_graph(project).await?;
                let versions = store.project_versions().await?;
                let last = versions.into_iter().find(|known| known.project == project && known.is_current);
                let name = match last {
                    Some(last) => format!("latest {}", last.version),
                    None => {
                        program.notice(&format!(
                            "Project {project} was never pushed to store {}.",
                            store.name()
                        ));
                        "nothing".to_owned()
                    }
                };
                Ok(Self { graph, name })
            }
            version => {
                let version = whole_version(store, project, version).await?;
                Ok(Self { graph: store.load_graph(project, &version).await?, name: version })
            }
        }
    }
}

/// The version that begins like this, if there is only one; for `latest` the one that was pushed last.
pub(super) async fn whole_version(store: &Store, project: &str, version: &str) -> Result<String> {
    let known = store.project_versions().await?.into_iter().filter(|known| known.project == project);
    if version == "latest" {
        let last = known.into_iter().find(|known| known.is_current);
        return Ok(last.map_or_else(|| version.to_owned(), |last| last.version));
    }
    let alike: Vec<String> =
        known.map(|known| known.version).filter(|known| known.starts_with(version)).collect();
    match alike.as_slice() {
        [only] => Ok(only.clone()),
        // Not a beginning, or no version; loading it says which there are.
        [] => Ok(version.to_owned()),
        several if several.iter().any(|known| known == version) => Ok(version.to_owned()),
        several => Err(MetaxyError::Invalid(format!(
            "several versions of project {project} begin with {version:?}: {}",
            several.join(", ")
        ))),
    }
}

/// Counts the stored samples that a change concerns: those that have no row at the feature's new version yet, and all of
/// removed features.
async fn count(context: &SessionContext, store: &Arc<Store>, picture: &mut Picture) -> Result<()> {
    let concerned = picture.features.iter().enumerate().filter_map(|(place, feature)| {
        let is_gone = feature.change == Change::Removed;
        // Only a feature that has changed had another version before.
        let concerned = is_gone || feature.previous_version.is_some();
        Some((place, feature.key.clone(), feature.version.clone().filter(|_| concerned)?, is_gone))
    });
    let mut counts: Vec<BoxFuture<'_, Result<(usize, u64)>>> = Vec::new();
    for (place, key, version, is_gone) in concerned {
        let count = async move {
            let count = match is_gone {
                true => stored(context, store, &key, version).await?,
                false => match store.samples_behind(context, &key, &version).await {
                    // Both versions are of the past.
                    Err(MetaxyError::UnknownFeature { .. }) => 0,
                    counted => counted?,
                },
            };
            Ok((place, count))
        };
        counts.push(count.boxed());
    }
    let counts = futures::stream::iter(counts).buffered(AT_A_TIME);
    for counted in counts.collect::<Vec<_>>().await {
        let (place, samples) = counted?;
        if let Some(feature) = picture.features.get_mut(place) {
            feature.samples = Some(samples);
        }
    }
    Ok(())
}

/// How many live samples of a feature are stored at this version.
async fn stored(context: &SessionContext, store: &Arc<Store>, key: &str, version: String) -> Result<u64> {
    let options =
        ReadOptions { feature_version: FeatureVersions::Exactly(version), ..ReadOptions::default() };
    match store.read(context, key, &options).await {
        Ok(rows) => Ok(rows.count().await? as u64),
        // Nothing is stored, or not even known any more.
        Err(MetaxyError::FeatureNotFound { .. } | MetaxyError::UnknownFeature { .. }) => Ok(0),
        Err(error) => Err(error),
    }
}

/// What has changed, a row for each feature.
fn rows(picture: &Picture) -> Rows {
    let mut rows =
        Rows::new(["feature", "project", "change", "old_version", "new_version", "samples", "why"]);
    for feature in picture.features.iter().filter(|feature| feature.change != Change::Same) {
        let (old, new) = match feature.change {
            Change::Removed => (&feature.version, &None),
            Change::Added => (&None, &feature.version),
            Change::Reworded => (&feature.version, &feature.version),
            _ => (&feature.previous_version, &feature.version),
        };
        rows.push([
            json!(feature.key),
            json!(feature.project),
            json!(feature.change.to_string()),
            json!(old),
            json!(new),
            json!(feature.samples),
            json!(feature.why().join("; ")),
        ]);
    }
    rows
}
