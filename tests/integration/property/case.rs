//! One case: features, their history, and the question that is asked at its end.

use datafusion_metaxy::config::VersioningEngine;
use datafusion_metaxy::hash::{HashAlgorithm, HashSettings};
use datafusion_metaxy::model::FeatureSpec;

use super::predicate::Predicate;
use super::value::{Row, Type};

/// A feature and the columns that its rows are written with.
#[derive(Debug, Clone)]
pub struct Feature {
    pub spec: FeatureSpec,
    /// What the SQL filters of each dependency say.
    pub filters: Vec<Vec<Predicate>>,
    /// Id columns and other user columns.
    pub columns: Vec<(String, Type)>,
}

impl Feature {
    pub fn key(&self) -> String {
        self.spec.key.to_string()
    }

    /// The struct keys of its fields, in the order of the spec.
    pub fn members(&self) -> Vec<String> {
        self.spec.fields.iter().map(|field| field.key.struct_key()).collect()
    }
}

/// Whether, and when, a raw row was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    No,
    /// At the time of the append, or later than all times before it.
    Now,
    /// Before everything else.
    Past,
}

/// Something that happened to a feature's table.
#[derive(Debug, Clone)]
pub enum Step {
    /// A write of rows with ids, user columns, provenance and perhaps data versions.
    Write { feature: usize, columns: Vec<(String, Type)>, rows: Vec<Row>, overrides: bool },
    /// Rows appended as they are. Without `timed` they have no time of a write at all.
    Append { feature: usize, rows: Vec<(Row, Deleted)>, timed: bool },
    /// Some live rows, chosen bit by bit, are appended again as deleted.
    Delete { feature: usize, mask: u32 },
    /// Some new and stale samples of the feature, chosen bit by bit, are computed and written.
    Process { feature: usize, mask: u32, children: u8, seed: u8, overrides: bool },
    /// The files of the feature's table are written anew, some or all of them, as few or as many. With `fold` rows go
    /// that nobody needs any more: to the model nothing happens.
    Optimize { feature: usize, full: bool, fold: bool, small: bool },
}

/// What keeps the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Memory,
    Parquet,
    Delta,
    /// A PostgreSQL server, which only one test has.
    Database,
}

impl Step {
    /// What happened, in a line; the rows are in the tables.
    pub fn summary(&self, features: &[Feature]) -> String {
        let key = |feature: &usize| features[*feature].key();
        match self {
            Self::Write { feature, columns, rows, overrides } => {
                let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
                format!("write {} of {} rows, {names:?}, overrides {overrides}", key(feature), rows.len())
            }
            Self::Append { feature, rows, timed } => {
                format!("append {} raw rows to {}, timed {timed}", rows.len(), key(feature))
            }
            Self::Optimize { feature, full, fold, small } => {
                format!("optimize {}, full {full}, fold {fold}, small {small}", key(feature))
            }
            Self::Delete { feature, mask } => format!("delete from {}, mask {mask:x}", key(feature)),
            Self::Process { feature, mask, children, seed, overrides } => {
                let key = key(feature);
                format!(
                    "process {key}, mask {mask:x}, children {children}, seed {seed}, overrides {overrides}"
                )
            }
        }
    }
}

/// Samples given with the question.
#[derive(Debug, Clone)]
pub struct Samples {
    pub columns: Vec<(String, Type)>,
    pub rows: Vec<Row>,
    /// Whether they have a column of data versions.
    pub overrides: bool,
}

/// What is asked of the increment.
#[derive(Debug, Clone, Default)]
pub struct Question {
    pub samples: Option<Samples>,
    /// Conditions per feature.
    pub filters: Vec<(usize, Predicate)>,
    pub global: Vec<Predicate>,
    pub target: Vec<Predicate>,
    pub stale_when: Vec<Predicate>,
    pub skip_comparison: bool,
    pub include_pending: bool,
    /// Only to be asked once more; the model has no reasons.
    pub explain: bool,
    /// Only the samples of shard i of n.
    pub shard: Option<(u32, u32)>,
}

/// What else is asked, besides the whole increment. At most one thing per case: planning takes nearly all of the time.
#[derive(Debug, Clone)]
pub enum Further {
    Nothing,
    /// How many rows there are of each class.
    Counts,
    /// The share of input that is not new.
    Progress,
    /// Why each row is there.
    Reasons,
    /// Some columns, chosen bit by bit, of the rows that meet a condition: a column and what is asked of it.
    Excerpt {
        columns: u32,
        condition: Option<(u8, u8)>,
    },
}

/// A whole case; the last feature is the one that is asked about.
#[derive(Debug, Clone)]
pub struct Case {
    pub features: Vec<Feature>,
    pub steps: Vec<Step>,
    pub question: Question,
    pub further: Further,
    /// Whether all that is due is written then, to see that nothing is due any more.
    pub settle: bool,
    pub settings: HashSettings,
    /// Index of the session, see [`super::product::Sessions`].
    pub session: usize,
    pub place: Place,
}

impl Case {
    /// The case with its tables in a database, which knows no files and only some hashes.
    pub fn in_database(mut self) -> Self {
        self.place = Place::Database;
        self.steps.retain(|step| !matches!(step, Step::Optimize { .. }));
        if matches!(self.settings.algorithm, HashAlgorithm::XxHash32 | HashAlgorithm::XxHash64) {
            self.settings = HashSettings { algorithm: HashAlgorithm::Md5, length: 8 };
        } else if self.settings.algorithm == HashAlgorithm::WyHash {
            self.settings = HashSettings { algorithm: HashAlgorithm::Sha256, length: 64 };
        }
        self
    }

    /// The executors, all of which have to give the model's answer.
    pub fn executors(&self) -> [VersioningEngine; 2] {
        // Not all that is asked can be answered by the database alone.
        let first =
            if self.place == Place::Database { VersioningEngine::Auto } else { VersioningEngine::Native };
        [first, VersioningEngine::Memory]
    }

    pub fn target(&self) -> usize {
        self.features.len() - 1
    }

    /// The index of the feature with this key.
    pub fn index(&self, key: &str) -> usize {
        self.features.iter().position(|feature| feature.key() == key).unwrap()
    }
}
