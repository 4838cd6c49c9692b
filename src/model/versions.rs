//! The hashes that say whether a definition has changed: of fields, features, specs, definitions and projects.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::key::FieldKey;
use super::python_json::python_json;
use super::spec::FeatureSpec;

/// SHA-256 of the parts, one after the other, as hex digits of which the first `length` are kept.
pub(super) fn hash<S: AsRef<str>>(parts: impl IntoIterator<Item = S>, length: usize) -> String {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.as_ref());
    }
    let digits = hasher.finalize().into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| HEX.get(usize::from(digit))).take(length).collect()
}

/// `name` is the field's full name, `feature/key.field/key`; the parents' versions come sorted by theirs.
pub(super) fn field_version<'a>(
    name: &'a str,
    code_version: &'a str,
    parents: impl IntoIterator<Item = &'a str>,
    length: usize,
) -> String {
    hash([name, code_version].into_iter().chain(parents), length)
}

pub(super) fn feature_version(fields: &[(FieldKey, String)], length: usize) -> String {
    let mut parts: Vec<_> = fields.iter().map(|(key, version)| (key.to_string(), version)).collect();
    parts.sort();
    hash(parts.iter().flat_map(|(key, version)| [key.as_str(), version.as_str()]), length)
}

pub(super) fn spec_version(spec: &FeatureSpec, length: usize) -> String {
    hash([python_json(&spec.to_json())], length)
}

pub(super) fn definition_version(spec_version: &str, schema: &Value, length: usize) -> String {
    hash([spec_version, &python_json(schema)], length)
}

/// Features come as key and definition version, sorted by key.
pub(super) fn project_version(features: &[(String, String)], length: usize) -> String {
    if features.is_empty() {
        return "empty".to_owned();
    }
    hash(features.iter().flat_map(|(key, version)| [key, version]), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_hex_and_cut() {
        let full = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash(["abc"], 64), full);
        assert_eq!(hash(["a", "", "bc"], 100), full);
        assert_eq!(hash(["abc"], 8), "ba7816bf");
    }

    #[test]
    fn no_features() {
        assert_eq!(project_version(&[], 8), "empty");
    }
}
