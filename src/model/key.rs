//! Feature keys and field keys: `a/b/c`, and the names of tables, columns and struct members made of them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{MetaxyError, Result};

/// First part of the keys of system tables.
const SYSTEM: &str = "metaxy-system";

/// The project of features and writers when none is configured.
pub const DEFAULT_PROJECT: &str = "default";

/// The key of a feature, such as `video/crop`; cheap to clone, ordered by its parts.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeatureKey(Arc<[String]>);

/// The key of a field of a feature, such as `audio/french`; cheap to clone, ordered by its parts.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldKey(Arc<[String]>);

/// What both kinds of key can do.
macro_rules! key {
    ($key:ident) => {
        impl $key {
            /// Reads `a/b/c`. The error names the text and the part that is not allowed.
            pub fn parse(text: &str) -> Result<Self> {
                check_parts(text, text.split('/'))?;
                Ok(Self(text.split('/').map(str::to_owned).collect()))
            }

            /// Makes a key of its parts. The error names the part that is not allowed.
            pub fn from_parts<S: Into<String>>(parts: impl IntoIterator<Item = S>) -> Result<Self> {
                let parts: Vec<String> = parts.into_iter().map(Into::into).collect();
                check_parts(&parts.join("/"), parts.iter().map(String::as_str))?;
                Ok(Self(parts.into()))
            }

            /// The parts, at least one.
            pub fn parts(&self) -> &[String] {
                &self.0
            }
        }

        impl fmt::Display for $key {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0.join("/"))
            }
        }

        impl fmt::Debug for $key {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0.join("/"), f)
            }
        }

        impl FromStr for $key {
            type Err = MetaxyError;

            fn from_str(text: &str) -> Result<Self> {
                Self::parse(text)
            }
        }

        impl Serialize for $key {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $key {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                match Written::deserialize(deserializer)? {
                    Written::Text(text) => Self::parse(&text),
                    Written::Parts(parts) => Self::from_parts(parts),
                }
                .map_err(serde::de::Error::custom)
            }
        }
    };
}

key!(FeatureKey);
key!(FieldKey);

/// A key may be written as one string or as the list of its parts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Parts(Vec<String>),
}

impl FeatureKey {
    /// The name of the feature's table in SQL: parts joined by `__`, hyphens as underscores.
    ///
    /// Not reversible (`a-b` and `a_b` give one name): [`FeatureGraph::lookup`](super::FeatureGraph::lookup)
    /// finds a feature by its table name.
    pub fn table_name(&self) -> String {
        self.0.iter().map(|part| part.replace('-', "_")).collect::<Vec<_>>().join("__")
    }

    /// What is put behind a parent's version columns so that several parents' don't clash. Hyphens stay.
    pub fn column_suffix(&self) -> String {
        format!("__{}", self.0.join("_"))
    }

    /// Whether no feature may have this key: it is that of a system table, or its table could be one's.
    pub(crate) fn is_reserved(&self) -> bool {
        self.is_system() || self.table_name().starts_with(&format!("{}__", SYSTEM.replace('-', "_")))
    }

    /// Is this one of Metaxy's own tables, such as `metaxy-system/feature_versions`?
    pub fn is_system(&self) -> bool {
        self.0.first().is_some_and(|part| part == SYSTEM)
    }
}

impl FieldKey {
    /// The field's member name in the `*_by_field` structs: parts joined by `_`. Hyphens stay.
    pub fn struct_key(&self) -> String {
        self.0.join("_")
    }

    /// Are these parts the last ones of `longer` (or all of them)?
    pub(super) fn is_suffix_of(&self, longer: &FieldKey) -> bool {
        longer.0.ends_with(&self.0)
    }
}

/// Checks a project's name: letters, digits, `_` and `-`, not empty, no `__`.
pub fn check_project_name(name: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let reason = if name.is_empty() {
        "a project needs a name"
    } else if name.contains("__") {
        "a project's name must not contain `__`"
    } else if !name.chars().all(allowed) {
        "a project's name has only letters, digits, `_` and `-`"
    } else {
        return Ok(());
    };
    Err(MetaxyError::Key { key: name.to_owned(), reason: reason.to_owned() })
}

fn check_parts<'a>(key: &str, parts: impl Iterator<Item = &'a str>) -> Result<()> {
    let wrong = |reason: String| Err(MetaxyError::Key { key: key.to_owned(), reason });
    let mut count = 0;
    for part in parts {
        if part.is_empty() {
            return wrong("it has an empty part; write parts with one `/` between them".to_owned());
        }
        if part.contains("__") {
            return wrong(format!("part {part:?} contains `__`, which separates the parts in table names"));
        }
        let first = count == 0;
        if !starts_well(part, first) || !part.bytes().all(allowed) {
            let start = if first { "a letter or `_`" } else { "a letter, a digit or `_`" };
            return wrong(format!(
                "part {part:?} must start with {start} and have only a-z, 0-9, `_` and `-`"
            ));
        }
        count += 1;
    }
    if count == 0 { wrong("a key needs at least one part".to_owned()) } else { Ok(()) }
}

fn starts_well(part: &str, first: bool) -> bool {
    part.bytes().next().is_some_and(|c| c != b'-' && !(first && c.is_ascii_digit()))
}

fn allowed(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_' || c == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(text: &str) -> FeatureKey {
        FeatureKey::parse(text).unwrap()
    }

    #[test]
    fn names() {
        let key = feature("a-x/b");
        assert_eq!(key.to_string(), "a-x/b");
        assert_eq!(key.parts(), ["a-x", "b"]);
        assert_eq!(key.table_name(), "a_x__b");
        assert_eq!(key.column_suffix(), "__a-x_b");
        assert_eq!(FieldKey::parse("audio/french").unwrap().struct_key(), "audio_french");
        assert!(feature("metaxy-system/events").is_system());
        assert!(!key.is_system());
        assert_eq!(format!("{:>6}|{:?}", feature("a/b"), feature("a/b")), "   a/b|\"a/b\"");
    }

    #[test]
    fn allowed_keys() {
        for text in ["a", "_", "a/1", "a/_x-", "video/raw-2"] {
            assert_eq!(text.parse::<FeatureKey>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refused_keys() {
        let cases = [
            ("", "empty part"),
            ("a//b", "empty part"),
            ("/a", "empty part"),
            ("1a", "must start with a letter or `_`"),
            ("a/-b", "must start with a letter, a digit"),
            ("a\n", "have only a-z"),
            ("Video", "part \"Video\""),
            ("a/b__c", "contains `__`"),
            ("ä", "have only"),
        ];
        for (text, reason) in cases {
            let error = FeatureKey::parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
            assert!(FieldKey::parse(text).is_err());
        }
        assert!(FeatureKey::from_parts(Vec::<String>::new()).is_err());
        assert!(FeatureKey::from_parts(["a/b"]).is_err());
    }

    #[test]
    fn order_is_by_parts() {
        // As text `a-b` comes before `a/b`; by parts `a` is the smaller first part.
        assert!(feature("a/b") < feature("a-b"));
        assert!("a-b" < "a/b");
    }

    #[test]
    fn serde() {
        let keys: Vec<FieldKey> = serde_json::from_str(r#"["a/b", ["a", "c"]]"#).unwrap();
        assert_eq!(serde_json::to_string(&keys).unwrap(), r#"["a/b","a/c"]"#);
        assert!(serde_json::from_str::<FeatureKey>(r#""A""#).unwrap_err().to_string().contains("\"A\""));
    }

    #[test]
    fn project_names() {
        assert!(check_project_name("My_project-1").is_ok());
        for name in ["", "a__b", "a b", "a/b"] {
            assert!(check_project_name(name).is_err(), "{name}");
        }
    }
}
