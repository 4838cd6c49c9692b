//! What a caller can ask when reading a feature.

/// Which feature versions are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum FeatureVersions {
    /// Rows written under the current definition.
    #[default]
    Current,
    /// Rows of one version.
    Exactly(String),
    /// Rows of every version; the latest row is then worked out per sample and version.
    All,
}

/// Which rows of a feature are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// The feature versions whose rows count.
    pub feature_version: FeatureVersions,
    /// Every row of a sample instead of its latest one.
    pub sample_history: bool,
    /// Deleted rows, too.
    pub deleted: bool,
}
