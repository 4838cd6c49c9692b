//! What a picture consists of: features with their fields, and the links between them.

use crate::model::Lineage;

/// A feature graph, ready to be drawn; with what has changed, if it is of two graphs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Picture {
    /// What the picture is of, as its heading.
    pub title: String,
    /// The features, parents before children. Links name them by their places here.
    pub features: Vec<Feature>,
    /// The links, by child and in the order of its spec.
    pub links: Vec<Link>,
    /// Whether the picture is of two graphs, so that changes are shown.
    pub compares: bool,
}

/// A feature as it is drawn.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Feature {
    /// Its key.
    pub key: String,
    /// The project that owns it; empty where that is not known.
    pub project: String,
    /// Whether it is defined, and where.
    pub standing: Standing,
    /// Its version; none where an ancestor is not defined.
    pub version: Option<String>,
    /// The version that it had before, if it has another one now.
    pub previous_version: Option<String>,
    /// The columns that identify its samples.
    pub id_columns: Vec<String>,
    /// What it is, for people.
    pub description: Option<String>,
    /// Its fields, in the order of the spec; removed ones last.
    pub fields: Vec<Field>,
    /// What has become of it.
    pub change: Change,
    /// Why that is, beside what its fields say: one phrase each.
    pub reasons: Vec<String>,
    /// How many stored samples the change concerns: to be computed again, or left without a definition.
    pub samples: Option<u64>,
    /// How many samples there are to compute that were none before the change.
    pub new: Option<u64>,
    /// How many stored samples have no parents any more: since the change, or those that a new version leaves behind.
    pub orphaned: Option<u64>,
    /// How much of it has been computed, if somebody has looked.
    pub status: Option<Status>,
}

/// Where a feature's definition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// In the graph.
    #[default]
    Defined,
    /// In another project, and here is only what is expected of it.
    External,
    /// Nowhere: a parent that is only named.
    Undefined,
}

/// A field as it is drawn.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Field {
    /// Its key.
    pub key: String,
    /// The version of the code that computes it; none if the author never gave one.
    pub code_version: Option<String>,
    /// The code version that it had before, if the code version has changed.
    pub previous_code_version: Option<Option<String>>,
    /// Its version; none where an ancestor is not defined.
    pub version: Option<String>,
    /// The version that it had before, if it has another one now.
    pub previous_version: Option<String>,
    /// The parent fields that it is computed from: `feature/key.field/key`.
    pub parents: Vec<String>,
    /// What has become of it.
    pub change: Change,
}

/// A child's dependency on a parent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Link {
    /// The parent's place in [`Picture::features`].
    pub parent: usize,
    /// The child's place in [`Picture::features`].
    pub child: usize,
    /// How many of the parent's rows stand behind one row of the child.
    pub lineage: Lineage,
    /// Whether samples that the parent doesn't have are computed all the same.
    pub optional: bool,
    /// The parent's columns that have another name in the child: old name and new name.
    pub renames: Vec<(String, String)>,
    /// The conditions that the parent's rows must meet.
    pub filters: Vec<String>,
    /// What has become of it.
    pub change: Change,
}

/// What has become of a part between two graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Change {
    /// Nothing.
    #[default]
    Same,
    /// It is only in the later graph.
    Added,
    /// It is only in the earlier graph.
    Removed,
    /// Its own definition gives it another version.
    Changed,
    /// It has another version, but only because a parent has.
    Inherited,
    /// Its definition reads differently but gives the same version.
    Edited,
}

/// How much of a feature has been computed, in samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The feature's increment.
    Counts {
        /// Samples that are not computed yet.
        new: u64,
        /// Samples to compute again.
        stale: u64,
        /// Samples whose parents are gone.
        orphaned: u64,
        /// Samples that wait for a parent to be computed again.
        pending: u64,
        /// Samples that need nothing.
        up_to_date: u64,
    },
    /// The stored samples of a root feature: which are missing, only its source knows.
    Stored(u64),
    /// Nothing could be counted, and why.
    Unknown(String),
}

impl Change {
    /// Whether samples have to be computed again because of it.
    pub fn is_new_version(self) -> bool {
        matches!(self, Change::Changed | Change::Inherited)
    }
}

impl Picture {
    /// The feature of this key, to say more about it: its status, or its samples.
    pub fn feature_mut(&mut self, key: &str) -> Option<&mut Feature> {
        self.features.iter_mut().find(|feature| feature.key == key)
    }

    /// Whether there are features of several projects, so that it has to be said whose each one is.
    pub(super) fn has_projects(&self) -> bool {
        self.projects().len() > 1
    }

    /// The parents of each feature, by place: the links that lead to it.
    pub(super) fn links_above(&self) -> Vec<Vec<&Link>> {
        let mut above = vec![Vec::new(); self.features.len()];
        for link in &self.links {
            above[link.child].push(link);
        }
        above
    }

    /// The children of each feature, by place: the links that lead away from it, in the order of the children.
    pub(super) fn links_below(&self) -> Vec<Vec<&Link>> {
        let mut below = vec![Vec::new(); self.features.len()];
        for link in &self.links {
            below[link.parent].push(link);
        }
        for links in &mut below {
            links.sort_by_key(|link| link.child);
        }
        below
    }

    /// The projects, in the order in which they come first.
    pub(super) fn projects(&self) -> Vec<&str> {
        let mut projects: Vec<&str> = Vec::new();
        for feature in &self.features {
            if !feature.project.is_empty() && !projects.contains(&feature.project.as_str()) {
                projects.push(&feature.project);
            }
        }
        projects
    }
}
