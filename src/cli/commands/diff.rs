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
use crate::model::{FeatureDep, FeatureGraph};
use crate::picture::{Change, Picture};
use crate::store::{Behind, FeatureVersions, ReadOptions, Store};

const EXAMPLE: &str = "\
Example:
  $ metaxy-cli diff
  Changes of photos, latest … → current …
  ~ photo/size  … → …  3 samples to recompute  field width: code version 1 → 2
  3 features, 1 changed, 3 samples to recompute
  not shown: 2 unchanged features
  ~ changed

A version is one of `metaxy-cli history`, or the beginning of one; `latest` is the one that was pushed last, and
`current` is what a push would record: what feature files and --prepare define, and what was pushed before of a project
that no file defines. Samples to recompute are the live ones that have no row at the new version yet; those whose
parents are gone are called orphaned. Where a definition was edited and keeps its version, as with another filter of a
parent, they are those that become stale, and what becomes new and orphaned is counted, too.
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
        count(program.session().await?.context(), &before, &after, &mut picture).await?;
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
    /// The store with these features.
    store: Arc<Store>,
}

impl Side {
    async fn read(program: &Program, store: &Arc<Store>, project: &str, version: &str) -> Result<Self> {
        match version {
            "current" => {
                let graph = store.declared_graph(project).await?;
                let name = format!("current {}", graph.project_version(project)?);
                // The store itself: it knows what features of other projects are now.
                Ok(Self { graph, name, store: Arc::clone(store) })
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
                Ok(Self::past(graph, name, store))
            }
            version => {
                let version = whole_version(store, project, version).await?;
                Ok(Self::past(store.load_graph(project, &version).await?, version, store))
            }
        }
    }

    fn past(graph: FeatureGraph, name: String, store: &Arc<Store>) -> Self {
        let store = store.over_graph(&graph);
        Self { graph, name, store }
    }

    /// What of a feature's definition decides which samples there are.
    fn sources(&self, key: &str) -> Option<(&[FeatureDep], &[String])> {
        let spec = &self.graph.lookup(key).ok()?.spec;
        Some((&spec.deps, &spec.id_columns))
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

/// What is counted of a feature.
#[derive(Clone, Copy)]
enum Counted {
    /// All that is stored of a removed feature.
    Removed,
    /// What has no row at its new version yet.
    Behind,
    /// The same, of a feature that was not recorded before; rows of it may be stored all the same.
    Added,
    /// What another definition of the same version makes of the samples.
    Edited,
}

/// Counts the samples that a change concerns.
async fn count(context: &SessionContext, before: &Side, after: &Side, picture: &mut Picture) -> Result<()> {
    let concerned = picture.features.iter().enumerate().filter_map(|(place, feature)| {
        let counted = match feature.change {
            Change::Removed => Counted::Removed,
            Change::Added => Counted::Added,
            Change::Edited if before.sources(&feature.key) != after.sources(&feature.key) => Counted::Edited,
            // Only a feature that has changed had another version before.
            _ if feature.previous_version.is_some() => Counted::Behind,
            _ => return None,
        };
        Some((place, feature.key.clone(), feature.version.clone()?, counted))
    });
    let mut counts: Vec<BoxFuture<'_, Result<(usize, Counts)>>> = Vec::new();
    for (place, key, version, counted) in concerned {
        let count = async move {
            let counts = match counted {
                Counted::Removed => {
                    let stored = stored(context, &before.store, &key, version).await?;
                    Counts { samples: Some(stored), ..Counts::default() }
                }
                Counted::Behind | Counted::Added => {
                    let behind = after.store.samples_behind(context, &key, &version).await?;
                    match counted {
                        // Nothing is stored, or all of it is of this version.
                        Counted::Added if behind == Behind::default() => Counts::default(),
                        _ => Counts {
                            samples: Some(behind.samples),
                            orphaned: Some(behind.orphaned),
                            new: None,
                        },
                    }
                }
                Counted::Edited => match after.store.reclassified(&before.store, context, &key).await? {
                    Some(found) => Counts {
                        samples: Some(found.stale),
                        new: Some(found.new),
                        orphaned: Some(found.orphaned),
                    },
                    None => Counts::default(),
                },
            };
            Ok((place, counts))
        };
        counts.push(count.boxed());
    }
    let counts = futures::stream::iter(counts).buffered(AT_A_TIME);
    for counted in counts.collect::<Vec<_>>().await {
        let (place, Counts { samples, new, orphaned }) = counted?;
        if let Some(feature) = picture.features.get_mut(place) {
            (feature.samples, feature.new, feature.orphaned) = (samples, new, orphaned);
        }
    }
    Ok(())
}

/// Numbers of samples of a feature.
#[derive(Default)]
struct Counts {
    samples: Option<u64>,
    new: Option<u64>,
    orphaned: Option<u64>,
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
    let mut rows = Rows::new([
        "feature",
        "project",
        "change",
        "old_version",
        "new_version",
        "samples",
        "new",
        "orphaned",
        "why",
    ]);
    for feature in picture.features.iter().filter(|feature| feature.change != Change::Same) {
        let (old, new) = match feature.change {
            Change::Removed => (&feature.version, &None),
            Change::Added => (&None, &feature.version),
            Change::Edited => (&feature.version, &feature.version),
            _ => (&feature.previous_version, &feature.version),
        };
        rows.push([
            json!(feature.key),
            json!(feature.project),
            json!(feature.change.to_string()),
            json!(old),
            json!(new),
            json!(feature.samples),
            json!(feature.new),
            json!(feature.orphaned),
            json!(feature.why().join("; ")),
        ]);
    }
    rows
}
