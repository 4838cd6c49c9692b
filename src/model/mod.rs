//! What a feature is: its key, its spec, the graph it stands in, its versions and the plan of an increment.

mod assemble;
mod builder;
mod definition;
mod external;
mod files;
mod graph;
mod key;
mod lineage;
mod lock;
mod mapping;
mod order;
mod plan;
mod python_json;
mod read;
mod resolve;
mod spec;
mod spec_json;
mod suggest;
mod validate;
mod versions;

pub use builder::{FeatureDepBuilder, FeatureSpecBuilder, FieldSpecBuilder};
pub use definition::{FeatureDefinition, Origin};
pub use external::{External, OnMismatch};
pub use files::load_feature_files;
pub use graph::FeatureGraph;
pub use key::{DEFAULT_PROJECT, FeatureKey, FieldKey, check_project_name};
pub use lineage::Lineage;
pub use lock::{LockChange, LockFile, LockedFeature};
pub use mapping::FieldsMapping;
pub use plan::{FeaturePlan, FieldPlan, ParentField, ParentPlan};
pub use python_json::{python_json, python_json_in_order};
pub use spec::{
    ALL_FIELDS, DEFAULT_CODE_VERSION, FeatureDep, FeatureSpec, FieldDep, FieldDeps, FieldSelection, FieldSpec,
};
