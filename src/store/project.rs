//! Which features a writer may write to: those of its own project.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Store;
use crate::error::{MetaxyError, Result};
use crate::model::{DEFAULT_PROJECT, FeatureDefinition, check_project_name};

/// For whom something is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteScope {
    /// The writer's project; `None` means the store's, see [`Store::with_project`].
    pub project: Option<String>,
    /// Whether features of other projects may be written, too.
    pub cross_project: bool,
}

impl Store {
    /// This store for writers of one project: writes to features of others are refused.
    ///
    /// # Errors
    /// A name that can't be a project's.
    pub fn with_project(mut self, project: impl Into<String>) -> Result<Self> {
        let project = project.into();
        check_project_name(&project)?;
        self.project = Some(project);
        Ok(self)
    }

    /// The project whose features may be written, if one is set.
    pub fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// A handle to the same store that may also write to features of other projects.
    ///
    /// The permission is bound to the handle: this store, and whoever shares it, stay as they are.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use datafusion_metaxy::hash::{HashAlgorithm, HashSettings};
    /// # use datafusion_metaxy::store::{MemoryStore, Store};
    /// # fn main() -> datafusion_metaxy::error::Result<()> {
    /// # let settings = HashSettings::new(HashAlgorithm::XxHash64, 16)?;
    /// let store = Store::new("dev", Arc::new(MemoryStore::new()), settings, Vec::new()).with_project("labels")?;
    /// let store = Arc::new(store);
    /// let everywhere = store.allow_cross_project_writes();
    /// // everywhere.write("video/crop", …) may write; store.write("video/crop", …) is refused.
    /// assert!(everywhere.allows_cross_project_writes() && !store.allows_cross_project_writes());
    /// # Ok(())
    /// # }
    /// ```
    pub fn allow_cross_project_writes(&self) -> Arc<Self> {
        let mut handle = self.clone();
        handle.cross_project = true;
        Arc::new(handle)
    }

    /// Whether this handle may write to features of any project.
    pub fn allows_cross_project_writes(&self) -> bool {
        self.cross_project
    }

    /// Refuses a write to a feature of another project; this comes before anything else.
    pub(crate) fn check_project(&self, definition: &FeatureDefinition, scope: &WriteScope) -> Result<()> {
        if let Some(project) = &scope.project {
            check_project_name(project)?;
        }
        let known = scope.project.as_deref().or(self.project.as_deref());
        let unknown = known.is_none() && !self.cross_project && !scope.cross_project;
        if unknown && !self.told_of_project.swap(true, Ordering::Relaxed) {
            self.warnings().push(format!(
                "store {}: no project is set, so writes are made for project {DEFAULT_PROJECT:?}; set project in \
                 metaxy.toml or METAXY_PROJECT",
                self.name()
            ));
        }
        let expected = known.unwrap_or(DEFAULT_PROJECT);
        if definition.project == expected || self.cross_project || scope.cross_project {
            return Ok(());
        }
        Err(MetaxyError::Project {
            feature: definition.key().to_string(),
            project: definition.project.clone(),
            expected: expected.to_owned(),
        })
    }
}
