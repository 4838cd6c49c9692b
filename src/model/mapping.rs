//! Which fields of a parent a field depends on when it doesn't say so itself.

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::key::FieldKey;
use super::read::{Node, Wrong};
use super::spec::FeatureSpec;

/// The rule that finds a field's parent fields within one parent feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldsMapping {
    /// The parent's field of the same key; if there is none, all the parent's fields.
    Default {
        /// Also the parent's fields whose keys end with the field's key: `french` finds `audio/french`.
        match_suffix: bool,
        /// Fields of the parent that are never used.
        exclude_fields: Vec<FieldKey>,
    },
    /// For each field the parent's fields it depends on; those that the parent doesn't have are left out.
    Specific(IndexMap<FieldKey, Vec<FieldKey>>),
    /// All the parent's fields.
    All,
    /// No field of the parent.
    None,
}

impl Default for FieldsMapping {
    fn default() -> Self {
        FieldsMapping::Default { match_suffix: false, exclude_fields: Vec::new() }
    }
}

impl FieldsMapping {
    /// The fields of `parent` that `field` depends on, in the order of the parent's spec.
    pub fn resolve(&self, field: &FieldKey, parent: &FeatureSpec) -> Vec<FieldKey> {
        let keys = || parent.fields.iter().map(|field| &field.key);
        match self {
            FieldsMapping::Default { match_suffix, exclude_fields } => {
                let usable: Vec<_> = keys().filter(|key| !exclude_fields.contains(key)).cloned().collect();
                let matches = |key: &&FieldKey| *key == field || (*match_suffix && field.is_suffix_of(key));
                let matched: Vec<_> = usable.iter().filter(matches).cloned().collect();
                if matched.is_empty() { usable } else { matched }
            }
            FieldsMapping::Specific(mapping) => match mapping.get(field) {
                Some(listed) => keys().filter(|key| listed.contains(key)).cloned().collect(),
                None => Vec::new(),
            },
            FieldsMapping::All => keys().cloned().collect(),
            FieldsMapping::None => Vec::new(),
        }
    }

    pub(super) fn read(node: &Node<'_>) -> Result<Self, Wrong> {
        if node.value().is_string() {
            return match node.text()? {
                "default" => Ok(Self::default()),
                "all" => Ok(FieldsMapping::All),
                "none" => Ok(FieldsMapping::None),
                "specific" => {
                    Err(node.wrong("specific needs fields: {type = \"specific\", mapping = {a = [\"b\"]}}"))
                }
                name => Err(unknown(node, name)),
            };
        }
        // A specific mapping without its wrapper has a key `mapping` too, but always beside a `type`.
        if let (Some(inner), None) = (node.get("mapping"), node.get("type")) {
            node.only(&["mapping"])?;
            return Self::read(&inner);
        }
        let name = node.need("type")?;
        match name.text()? {
            "default" => {
                node.only(&["type", "match_suffix", "exclude_fields"])?;
                Ok(FieldsMapping::Default {
                    match_suffix: node.get("match_suffix").map_or(Ok(false), |flag| flag.flag())?,
                    exclude_fields: node
                        .get("exclude_fields")
                        .map_or(Ok(Vec::new()), |fields| fields.field_keys())?,
                })
            }
            "specific" => {
                node.only(&["type", "mapping"])?;
                read_specific(&node.need("mapping")?)
            }
            "all" => node.only(&["type"]).map(|()| FieldsMapping::All),
            "none" => node.only(&["type"]).map(|()| FieldsMapping::None),
            other => Err(unknown(&name, other)),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let mapping = match self {
            FieldsMapping::Default { match_suffix, exclude_fields } => {
                json!({"type": "default", "match_suffix": match_suffix, "exclude_fields": exclude_fields})
            }
            FieldsMapping::Specific(mapping) => {
                // A set in Python, where it is written sorted and each key as its parts.
                let mapping: Map<String, Value> = mapping
                    .iter()
                    .map(|(field, parents)| {
                        let mut parents: Vec<_> = parents.iter().collect();
                        parents.sort();
                        parents.dedup();
                        let parts: Vec<_> = parents.into_iter().map(FieldKey::parts).collect();
                        (field.to_string(), json!(parts))
                    })
                    .collect();
                json!({"type": "specific", "mapping": mapping})
            }
            FieldsMapping::All => json!({"type": "all"}),
            FieldsMapping::None => json!({"type": "none"}),
        };
        json!({"mapping": mapping})
    }
}

fn unknown(node: &Node<'_>, name: &str) -> Wrong {
    node.wrong(format!("unknown fields mapping {name:?}; known: default, specific, all, none"))
}

fn read_specific(node: &Node<'_>) -> Result<FieldsMapping, Wrong> {
    let mut mapping = IndexMap::new();
    for (field, parents) in node.entries()? {
        let field = FieldKey::parse(field).map_err(|error| parents.wrong(error.to_string()))?;
        mapping.insert(field, parents.field_keys()?);
    }
    Ok(FieldsMapping::Specific(mapping))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FieldSpec;

    fn read(value: &Value) -> Result<FieldsMapping, String> {
        FieldsMapping::read(&Node::root(value)).map_err(|wrong| wrong.to_string())
    }

    fn resolve(mapping: &Value, field: &str) -> Vec<String> {
        let parent = FeatureSpec::builder("p")
            .id_columns(["id"])
            .field(FieldSpec::new("audio/french"))
            .field(FieldSpec::new("audio/english"))
            .field(FieldSpec::new("frames"))
            .build()
            .unwrap();
        let found = read(mapping).unwrap().resolve(&FieldKey::parse(field).unwrap(), &parent);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn default_takes_the_same_key_or_everything() {
        assert_eq!(resolve(&json!("default"), "frames"), ["frames"]);
        assert_eq!(resolve(&json!("default"), "french"), ["audio/french", "audio/english", "frames"]);
        let excluding = json!({"type": "default", "exclude_fields": ["frames", ["audio", "english"]]});
        assert_eq!(resolve(&excluding, "frames"), ["audio/french"]);
    }

    #[test]
    fn suffixes() {
        let suffix = json!({"mapping": {"type": "default", "match_suffix": true}});
        assert_eq!(resolve(&suffix, "french"), ["audio/french"]);
        assert_eq!(resolve(&suffix, "audio/english"), ["audio/english"]);
        assert_eq!(resolve(&suffix, "x/audio/english").len(), 3);
    }

    #[test]
    fn specific_all_none() {
        let specific = json!({"type": "specific", "mapping": {"sound": ["gone", ["audio", "french"]]}});
        assert_eq!(resolve(&specific, "sound"), ["audio/french"]);
        assert!(resolve(&specific, "frames").is_empty());
        assert_eq!(resolve(&json!("all"), "frames").len(), 3);
        assert!(resolve(&json!({"type": "none"}), "frames").is_empty());
    }

    #[test]
    fn json_shape() {
        let stored = json!({"mapping": {"type": "specific", "mapping": {"a/b": [["c"], ["d", "e"]]}}});
        let read = read(&json!({"type": "specific", "mapping": {"a/b": ["d/e", "c", "c"]}})).unwrap();
        assert_eq!(read.to_json(), stored);
    }

    #[test]
    fn refusals() {
        for (value, reason) in [
            (json!("some"), "unknown fields mapping \"some\""),
            (json!({"mapping": {"type": "some"}}), "mapping.type: unknown"),
            (json!("specific"), "specific needs fields"),
            (json!({"type": "specific"}), "key `mapping` is missing"),
            (json!({"type": "specific", "mapping": {"A": []}}), "mapping.A: invalid key"),
            (json!({"type": "all", "match_suffix": true}), "match_suffix: unknown key"),
            (json!({"type": "default", "match_suffix": "yes"}), "match_suffix: expected true or false"),
        ] {
            let error = read(&value).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
