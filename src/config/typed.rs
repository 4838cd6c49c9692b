//! One key with its value, read as the type it should have; the errors say where it was written.

use indexmap::IndexMap;

use super::{
    secret::{is_secret_key, redact},
    suggest::{hint, nearest},
    tree::{Node, Value},
};
use crate::error::{MetaxyError, Result};

const FLAG: &str = "true or false";
const WHOLE: &str = "a whole number";

/// A key's full path and the value found there.
pub(super) struct Entry<'a> {
    pub(super) path: String,
    pub(super) node: &'a Node,
}

impl<'a> Entry<'a> {
    /// The top of the tree, whose keys have nothing before them.
    pub(super) fn root(node: &'a Node) -> Self {
        Self { path: String::new(), node }
    }

    /// The entry below this one, if it is there.
    pub(super) fn get(&self, key: &str) -> Option<Entry<'a>> {
        self.node.get(key).map(|node| self.below(key, node))
    }

    fn below(&self, key: &str, node: &'a Node) -> Entry<'a> {
        let key = if is_bare(key) { key.to_owned() } else { format!("{key:?}") };
        let path = if self.path.is_empty() { key } else { format!("{}.{key}", self.path) };
        Entry { path, node }
    }

    /// An error about this key.
    pub(super) fn error(&self, reason: &str) -> MetaxyError {
        self.node.origin.error(&self.path, reason)
    }

    /// The entries of a table, without those that are null.
    pub(super) fn entries(&self) -> Result<Vec<(&'a str, Entry<'a>)>> {
        match &self.node.value {
            Value::Table(entries) => Ok(entries
                .iter()
                .filter(|(_, node)| !matches!(node.value, Value::Null))
                .map(|(key, node)| (key.as_str(), self.below(key, node)))
                .collect()),
            _ => Err(self.mismatch("a table")),
        }
    }

    /// An error for this entry, since nobody knows its `name`; `known` are the names there are.
    pub(super) fn unknown(&self, name: &str, known: &[&str]) -> MetaxyError {
        self.error(&format!("unknown key; {}", hint(name, known)))
    }

    pub(super) fn text(&self) -> Result<String> {
        match &self.node.value {
            Value::Text(text) => Ok(text.clone()),
            _ => Err(self.mismatch("text")),
        }
    }

    /// A flag; as in Python also the words and numbers that commonly stand for one, which `${VAR}` gives.
    pub(super) fn flag(&self) -> Result<bool> {
        let flag = match &self.node.value {
            Value::Flag(flag) => Some(*flag),
            Value::Whole(0) => Some(false),
            Value::Whole(1) => Some(true),
            Value::Text(text) => match text.to_lowercase().as_str() {
                "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
                "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        };
        flag.ok_or_else(|| self.mismatch(FLAG))
    }

    /// A whole number; as in Python also text that holds one, or `8.0`.
    pub(super) fn whole(&self) -> Result<i64> {
        let whole = match &self.node.value {
            Value::Whole(whole) => Some(*whole),
            Value::Real(real) if real.fract() == 0.0 => format!("{real:.0}").parse().ok(),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        whole.ok_or_else(|| self.mismatch(WHOLE))
    }

    pub(super) fn texts(&self) -> Result<Vec<String>> {
        self.items()?.iter().map(Entry::text).collect()
    }

    /// The items of a list, each under the list's key.
    pub(super) fn items(&self) -> Result<Vec<Entry<'a>>> {
        match &self.node.value {
            Value::List(items) => {
                Ok(items.iter().map(|node| Entry { path: self.path.clone(), node }).collect())
            }
            _ => Err(self.mismatch("a list")),
        }
    }

    /// A flag, number or text, as text.
    pub(super) fn scalar(&self) -> Result<String> {
        match &self.node.value {
            Value::Text(text) => Ok(text.clone()),
            Value::Flag(flag) => Ok(flag.to_string()),
            Value::Whole(whole) => Ok(whole.to_string()),
            Value::Real(real) => Ok(real.to_string()),
            Value::Null | Value::List(_) | Value::Table(_) => Err(self.mismatch("text, a number or a flag")),
        }
    }

    /// A table of scalars, all as text.
    pub(super) fn scalars(&self) -> Result<IndexMap<String, String>> {
        self.entries()?.into_iter().map(|(key, entry)| Ok((key.to_owned(), entry.scalar()?))).collect()
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T> {
        let text = self.text()?;
        choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            let hint =
                nearest(&text, &names).map_or_else(String::new, |name| format!("; did you mean {name:?}?"));
            self.error(&format!("must be one of {}, not {}{hint}", names.join(", "), self.shown()))
        })
    }

    /// The value as an error may quote it.
    pub(super) fn shown(&self) -> String {
        match &self.node.value {
            _ if self.path.split('.').any(is_secret_key) => "the value".to_owned(),
            Value::Text(text) => format!("{:?}", redact(self.node.written.as_ref().unwrap_or(text))),
            _ => "the value".to_owned(),
        }
    }

    fn mismatch(&self, wanted: &str) -> MetaxyError {
        let found = match &self.node.value {
            Value::Null => "nothing".to_owned(),
            // Text may stand for a number or a flag: then it is the text itself that is wrong.
            Value::Text(_) if wanted == WHOLE || wanted == FLAG => self.shown(),
            Value::Text(_) => "text".to_owned(),
            Value::Flag(_) => "a flag".to_owned(),
            Value::Whole(_) => "a number".to_owned(),
            Value::Real(_) => "a number with a fraction".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        };
        self.error(&format!("must be {wanted}, not {found}"))
    }
}

fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::{super::tree::Origin, *};

    fn node(json: serde_json::Value) -> Node {
        Node::from_json(json, &Origin::variable("METAXY_X"))
    }

    #[test]
    fn text_that_stands_for_other_types() {
        let root = node(serde_json::json!({"flag": "Yes", "one": 1, "whole": " 12 ", "real": 8.0}));
        let root = Entry::root(&root);
        assert!(root.get("flag").unwrap().flag().unwrap());
        assert!(root.get("one").unwrap().flag().unwrap());
        assert_eq!(root.get("whole").unwrap().whole().unwrap(), 12);
        assert_eq!(root.get("real").unwrap().whole().unwrap(), 8);
    }

    #[test]
    fn errors_say_what_was_wanted_and_hide_secrets() {
        let root = node(
            serde_json::json!({"a b": {"n": "x://me:hunter2@h", "token": "hunter2", "l": [1], "f": 1.5}}),
        );
        let table = Entry::root(&root).get("a b").unwrap();
        let error = |key: &str| table.get(key).unwrap().whole().unwrap_err().to_string();
        assert_eq!(
            error("n"),
            "configuration: METAXY_X (\"a b\".n): must be a whole number, not \"x://***@h\""
        );
        assert!(error("token").ends_with("not the value"), "{}", error("token"));
        assert!(error("l").ends_with("not a list"));
        assert!(error("f").ends_with("not a number with a fraction"));
        assert!(
            table.get("l").unwrap().texts().unwrap_err().to_string().ends_with("must be text, not a number")
        );
    }
}
