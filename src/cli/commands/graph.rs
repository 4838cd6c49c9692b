//! `graph`: a picture of the features and how they depend on each other.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::diff::whole_version;
use crate::cli::drawing::Drawing;
use crate::cli::program::{Outcome, Program};
use crate::cli::report;
use crate::cli::rows::Rows;
use crate::error::{MetaxyError, Result};
use crate::model::{FeatureDefinition, FeatureGraph, FeatureKey, Lineage, Origin};
use crate::picture::{Feature, Link, Picture, Standing, Status};
use crate::store::{FeatureStatus, Store};

const EXAMPLE: &str = "\
Example:
  $ metaxy-cli graph --status
  photo          …  3 samples            default
  ├─ photo/face  …  1 new, 2 up to date  faces 1
  └─ photo/size  …  3 new                width 2
  3 features
  $ metaxy-cli graph --status -o features.html
  Wrote features.html.

The page needs no network; it lights up the relatives of the feature under the pointer.";

/// Draw the features and how they depend on each other
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    drawing: Drawing,

    /// Show how many samples of each feature are new, stale, orphaned and up to date
    #[arg(long)]
    status: bool,

    /// The features as they were when this version of the project was pushed: one of `metaxy-cli history`, the beginning
    /// of one, or latest
    #[arg(long, alias = "snapshot", value_name = "VERSION", conflicts_with = "status")]
    project_version: Option<String>,

    /// Features of this project, and what they are computed from, instead of those of the configured one
    #[arg(long, value_name = "NAME", conflicts_with_all = ["all_projects", "features"])]
    project: Option<String>,

    /// Features of all projects
    #[arg(long)]
    all_projects: bool,
}

/// Draws the graph.
///
/// # Errors
///
/// An unknown feature or project, a store that can't be read, or a file that can't be written.
pub(super) async fn run(program: &Program, args: Args) -> Result<Outcome> {
    program.prepare(&args.drawing.prepare).await?;
    let store = program.store().await?;
    let project = args.project.as_deref().or_else(|| store.project()).filter(|_| !args.all_projects);
    let graph = match &args.project_version {
        Some(version) => {
            let Some(project) = args.project.as_deref().or_else(|| store.project()) else {
                return Ok(Outcome::Usage("--project-version needs a --project to look for it".to_owned()));
            };
            let version = whole_version(&store, project, version).await?;
            Arc::new(store.load_graph(project, &version).await?)
        }
        None => store.graph().await?,
    };
    let drawing = &args.drawing;
    let chosen = keys(&graph, &drawing.features)?;
    let picture = without_removed(&graph, &chosen)?;
    let mut picture = if chosen.is_empty() {
        of_project(picture, &graph, project, args.project.is_some())?
    } else {
        picture.around(&chosen, drawing.up, drawing.down)?
    };
    if let Some(version) = &args.project_version {
        picture.title = format!("Feature graph, version {version}");
    }
    if picture.features.is_empty() {
        report::warning("no features are defined; `metaxy-cli init FOLDER` starts a project");
    }
    let checked = !args.status || count(program, &store, &mut picture).await?;
    args.drawing.finish(program, &picture, || rows(&picture, args.status))?;
    Ok(if checked { Outcome::Done } else { Outcome::Failed })
}

/// The keys of features that are named by key or table name.
pub(super) fn keys(graph: &FeatureGraph, names: &[String]) -> Result<Vec<String>> {
    names.iter().map(|name| graph.lookup(name).map(|feature| feature.key().to_string())).collect()
}

/// A picture of the graph without features that were removed from their projects, save those that are named, and those
/// that others are still computed from.
fn without_removed(graph: &FeatureGraph, named: &[String]) -> Result<Picture> {
    let mut shown: Vec<String> = live(graph).map(|feature| feature.key().to_string()).collect();
    shown.extend(named.iter().cloned());
    Picture::of_graph(graph).around(&shown, None, Some(0))
}

/// The features that are part of their projects.
fn live(graph: &FeatureGraph) -> impl Iterator<Item = &Arc<FeatureDefinition>> {
    graph.iter().filter(|feature| !matches!(feature.origin, Origin::Removed(_)))
}

/// The features of the project with all their ancestors; everything if there is no project, or none of its features.
fn of_project(picture: Picture, graph: &FeatureGraph, project: Option<&str>, named: bool) -> Result<Picture> {
    let Some(project) = project else { return Ok(picture) };
    let own = live(graph).filter(|feature| feature.project == project);
    let own: Vec<String> = own.map(|feature| feature.key().to_string()).collect();
    match own.is_empty() {
        true if named => Err(MetaxyError::Invalid(format!("project {project} has no features here"))),
        true => Ok(picture),
        false => picture.around(&own, None, Some(0)),
    }
}

/// Puts the status of every feature into the picture, and returns whether all could be checked.
async fn count(program: &Program, store: &Arc<Store>, picture: &mut Picture) -> Result<bool> {
    let defined = picture.features.iter().filter(|feature| feature.standing != Standing::Undefined);
    let keys = defined.map(|feature| FeatureKey::parse(&feature.key)).collect::<Result<Vec<_>>>()?;
    let context = program.session().await?.context();
    let bar = program.bar().await?;
    let found = store.statuses(context, &keys, &HashMap::new()).await;
    drop(bar);
    let mut all = true;
    for (key, status) in keys.iter().zip(found) {
        if let Err(error) = &status {
            all = false;
            let text = report::describe(error);
            report::error(&MetaxyError::Invalid(format!("status of {key}: {text}")));
        }
        if let Some(feature) = picture.feature_mut(&key.to_string()) {
            feature.status = Some(match status {
                Ok(status) => shown(&status),
                Err(error) => Status::Unknown(report::describe(&error)),
            });
        }
    }
    Ok(all)
}

fn shown(status: &FeatureStatus) -> Status {
    match (&status.samples, &status.missing_parent) {
        (Some(counts), _) => Status::Counts {
            new: counts.new,
            stale: counts.stale,
            orphaned: counts.orphaned,
            pending: counts.pending,
            up_to_date: counts.up_to_date,
        },
        (None, Some(parent)) => Status::Unknown(format!("its parent {parent} has no data")),
        (None, None) => Status::Stored(status.stored),
    }
}

/// The picture as data: a row for each feature.
fn rows(picture: &Picture, status: bool) -> Rows {
    let mut columns = vec!["feature", "project", "version", "fields", "parents"];
    if status {
        columns.extend(["new", "stale", "orphaned", "pending", "up_to_date", "stored", "note"]);
    }
    let mut rows = Rows::new(columns);
    for (place, feature) in picture.features.iter().enumerate() {
        let parents = picture.links.iter().filter(|link| link.child == place);
        let parents: Vec<Value> = parents.map(|link| parent(picture, link)).collect();
        let mut row = vec![
            json!(feature.key),
            json!((!feature.project.is_empty()).then_some(&feature.project)),
            json!(feature.version),
            json!(fields(feature)),
            json!(parents),
        ];
        if status {
            row.extend(counts(feature));
        }
        rows.push(row);
    }
    rows
}

fn fields(feature: &Feature) -> Vec<Value> {
    let field = |field: &crate::picture::Field| {
        json!({
            "field": field.key, "code_version": field.code_version, "version": field.version,
            "from": field.parents,
        })
    };
    feature.fields.iter().map(field).collect()
}

fn parent(picture: &Picture, link: &Link) -> Value {
    let lineage = match link.lineage {
        Lineage::Identity => "1:1",
        Lineage::Aggregation { .. } => "N:1",
        Lineage::Expansion { .. } => "1:N",
    };
    let key = picture.features.get(link.parent).map(|feature| &feature.key);
    json!({"feature": key, "lineage": lineage, "optional": link.optional})
}

fn counts(feature: &Feature) -> [Value; 7] {
    let mut row = [const { Value::Null }; 7];
    match &feature.status {
        Some(Status::Counts { new, stale, orphaned, pending, up_to_date }) => {
            for (cell, count) in row.iter_mut().zip([new, stale, orphaned, pending, up_to_date]) {
                *cell = json!(count);
            }
        }
        Some(Status::Stored(stored)) => row[5] = json!(stored),
        Some(Status::Unknown(reason)) => row[6] = json!(reason),
        None => {}
    }
    row
}
