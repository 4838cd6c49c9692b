//! Which features a subcommand is about.

use std::sync::Arc;

use super::report;
use crate::error::{MetaxyError, Result};
use crate::model::{FeatureDefinition, FeatureGraph, Origin};
use crate::store::Store;

/// Features by name, or all of the project.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Selection {
    /// Features, by key (video/crop) or table name (video__crop)
    #[arg(value_name = "FEATURE", conflicts_with = "all_features")]
    features: Vec<String>,

    /// Every feature of the project
    #[arg(long)]
    pub(super) all_features: bool,

    #[command(flatten)]
    projects: Projects,
}

/// Whose features are meant when none are named.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Projects {
    /// Features of this project instead of the configured one
    #[arg(long, value_name = "NAME", conflicts_with = "all_projects")]
    project: Option<String>,

    /// Features of all projects
    #[arg(long)]
    all_projects: bool,
}

impl Selection {
    /// Whether features were chosen, be it all of them.
    pub(super) fn is_given(&self) -> bool {
        !self.features.is_empty() || self.all_features || self.projects.is_given()
    }

    /// Whether features were named one by one.
    pub(super) fn is_named(&self) -> bool {
        !self.features.is_empty()
    }

    /// The only name that was given, if it is one.
    pub(super) fn only_name(&self) -> Option<&str> {
        match self.features.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The chosen features, parents before children; without a choice those of the project.
    ///
    /// # Errors
    ///
    /// An unknown feature, with a suggestion, one of another project than the one that was named, or a store that can't be
    /// read.
    pub(super) async fn features(&self, store: &Store) -> Result<Vec<Arc<FeatureDefinition>>> {
        let graph = store.graph().await?;
        if self.features.is_empty() {
            return self.projects.features(store).await;
        }
        let named =
            self.features.iter().map(|name| graph.lookup(name).cloned()).collect::<Result<Vec<_>>>()?;
        if let Some(project) = &self.projects.project
            && let Some(other) = named.iter().find(|feature| feature.project != *project)
        {
            return Err(MetaxyError::Invalid(format!(
                "feature {} is of project {}, not of {project}",
                other.key(),
                other.project
            )));
        }
        Ok(in_order(&graph, |definition| named.iter().any(|named| named.key() == definition.key())))
    }
}

impl Projects {
    fn is_given(&self) -> bool {
        self.project.is_some() || self.all_projects
    }

    /// The features of the project: the named one, else the configured one, else of all.
    ///
    /// # Errors
    ///
    /// A project of which there is no feature, or a store that can't be read.
    pub(super) async fn features(&self, store: &Store) -> Result<Vec<Arc<FeatureDefinition>>> {
        let graph = store.graph().await?;
        let project = match self.all_projects {
            true => None,
            false => self.project.as_deref().or_else(|| store.project()),
        };
        let of_project = |definition: &FeatureDefinition| {
            project.is_none_or(|name| definition.project == name)
                && !matches!(definition.origin, Origin::Removed(_))
        };
        let features = in_order(&graph, of_project);
        if let (Some(name), true) = (&self.project, features.is_empty()) {
            let mut known: Vec<&str> = graph.iter().map(|definition| definition.project.as_str()).collect();
            known.sort_unstable();
            known.dedup();
            return Err(MetaxyError::Invalid(match known.is_empty() {
                true => format!("project {name} has no features here; no features are defined"),
                false => {
                    format!("project {name} has no features here; there are features of {}", known.join(", "))
                }
            }));
        }
        if features.is_empty() {
            report::warning(&match project {
                Some(name) if !graph.is_empty() => {
                    format!("project {name} has no features; --all-projects shows those of others")
                }
                _ => "no features are defined; `metaxy-cli init FOLDER` starts a project".to_owned(),
            });
        }
        Ok(features)
    }
}

fn in_order(
    graph: &FeatureGraph,
    wanted: impl Fn(&FeatureDefinition) -> bool,
) -> Vec<Arc<FeatureDefinition>> {
    graph.iter().filter(|definition| wanted(definition)).cloned().collect()
}
