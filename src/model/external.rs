//! Features that another project owns, declared here as what they are expected to be.

use std::collections::BTreeMap;

use serde_json::Value;

use super::key::{FieldKey, check_project_name};
use super::read::{Node, Wrong};
use super::spec::FeatureSpec;

/// What marks a feature of a feature file as external, and what only such a feature may say.
const EXTERNAL: &str = "external";
const PROJECT: &str = "project";
const PROVENANCE: &str = "provenance_by_field";
const ON_MISMATCH: &str = "on_version_mismatch";

/// What is expected of a feature of another project, whose definition comes from the store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct External {
    /// The versions of fields, where they are told rather than computed from the declared spec.
    pub provenance_by_field: BTreeMap<FieldKey, String>,
    /// What to do when the store's definition has another version.
    pub on_version_mismatch: OnMismatch,
}

/// What to do when a feature is not what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMismatch {
    /// Tell the user, and go on with the store's definition.
    #[default]
    Warn,
    /// Refuse to use the feature, and what depends on it.
    Error,
}

/// An external feature of a feature file, taken apart.
pub(super) struct Declared {
    /// The owner.
    pub project: String,
    /// What is expected besides the spec.
    pub external: External,
}

/// Takes what is said about an external feature out of its table, which leaves the spec; `None` for one's own.
///
/// `project` is that of a file with a single feature, whose key it is as well.
pub(super) fn read(node: &Node<'_>, project: Option<&str>) -> Result<Option<(Value, Declared)>, Wrong> {
    let Some(flag) = node.get(EXTERNAL) else {
        return match [PROJECT, PROVENANCE, ON_MISMATCH].iter().find_map(|key| node.get(key)) {
            Some(given) => Err(given.wrong("only an external feature has this key; add external = true")),
            None => Ok(None),
        };
    };
    if !flag.flag()? {
        return Err(flag.wrong("write true, or leave it out: a feature is not external unless it says so"));
    }
    let name = match (node.get(PROJECT), project) {
        (Some(project), _) => {
            let name = project.text()?;
            check_project_name(name).map_err(|error| project.wrong(error.to_string()))?;
            name
        }
        (None, Some(name)) => name,
        (None, None) => {
            return Err(node.wrong("key `project` is missing: an external feature names its owner"));
        }
    };
    let mut external = External::default();
    if let Some(versions) = node.get(PROVENANCE) {
        for (field, version) in versions.entries()? {
            let key = FieldKey::parse(field).map_err(|error| version.wrong(error.to_string()))?;
            external.provenance_by_field.insert(key, version.text()?.to_owned());
        }
    }
    if let Some(word) = node.get(ON_MISMATCH) {
        external.on_version_mismatch = match word.text()? {
            "warn" => OnMismatch::Warn,
            "error" => OnMismatch::Error,
            _ => return Err(word.wrong("expected \"warn\" or \"error\"")),
        };
    }
    let mut spec = node.value().clone();
    if let Some(table) = spec.as_object_mut() {
        table.retain(|key, _| ![EXTERNAL, PROJECT, PROVENANCE, ON_MISMATCH].contains(&key.as_str()));
    }
    Ok(Some((spec, Declared { project: name.to_owned(), external })))
}

impl External {
    /// Versions can only be told of fields that the spec has.
    pub(super) fn check(&self, spec: &FeatureSpec) -> Result<(), Wrong> {
        match self.provenance_by_field.keys().find(|key| spec.field(key).is_none()) {
            None => Ok(()),
            Some(key) => {
                let fields: Vec<String> = spec.fields.iter().map(|field| field.key.to_string()).collect();
                let reason = format!("the feature has no such field, only {}", fields.join(", "));
                Err(Wrong::at([PROVENANCE.into(), key.to_string().as_str().into()], reason))
            }
        }
    }
}
