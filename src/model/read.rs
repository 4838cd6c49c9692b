//! Reads values out of JSON and says exactly at which key something is wrong.

use std::fmt;

use serde_json::{Map, Value};

use super::key::{FeatureKey, FieldKey};
use crate::error::Result;

/// One step from a value to a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Step::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Step::Index(index)
    }
}

/// What is wrong with a definition, and at which key. Becomes a `MetaxyError` once feature or file are known.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) path: Vec<Step>,
    pub(super) reason: String,
}

impl Wrong {
    pub(super) fn at<const N: usize>(path: [Step; N], reason: impl Into<String>) -> Self {
        Wrong { path: path.into(), reason: reason.into() }
    }

    /// The same fault, seen from further outside.
    pub(super) fn within(mut self, outer: impl IntoIterator<Item = Step>) -> Self {
        self.path.splice(0..0, outer);
        self
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.path.iter().enumerate() {
            match step {
                Step::Key(key) if i == 0 => write!(f, "{key}")?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        let colon = if self.path.is_empty() { "" } else { ": " };
        write!(f, "{colon}{}", self.reason)
    }
}

/// A value and where it is.
#[derive(Clone)]
pub(super) struct Node<'a> {
    value: &'a Value,
    path: Vec<Step>,
}

impl<'a> Node<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Node { value, path: Vec::new() }
    }

    /// Another value that stands in the place of this one.
    pub(super) fn with<'b>(&self, value: &'b Value) -> Node<'b> {
        Node { value, path: self.path.clone() }
    }

    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    pub(super) fn path(&self) -> Vec<Step> {
        self.path.clone()
    }

    fn child(&self, step: impl Into<Step>, value: &'a Value) -> Node<'a> {
        let mut path = self.path.clone();
        path.push(step.into());
        Node { value, path }
    }

    pub(super) fn wrong(&self, reason: impl Into<String>) -> Wrong {
        Wrong { path: self.path.clone(), reason: reason.into() }
    }

    pub(super) fn expected(&self, what: &str) -> Wrong {
        let found = match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "a table",
        };
        self.wrong(format!("expected {what}, found {found}"))
    }

    fn map(&self) -> Result<&'a Map<String, Value>, Wrong> {
        self.value.as_object().ok_or_else(|| self.expected("a table"))
    }

    /// A member, where a null counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<Node<'a>> {
        let value = self.value.get(key)?;
        if value.is_null() { None } else { Some(self.child(key, value)) }
    }

    pub(super) fn need(&self, key: &str) -> Result<Node<'a>, Wrong> {
        self.map()?;
        self.get(key).ok_or_else(|| self.wrong(format!("key `{key}` is missing")))
    }

    /// Refuses members that aren't among `known`.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Wrong> {
        match self.map()?.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some((key, value)) => Err(self
                .child(key.as_str(), value)
                .wrong(format!("unknown key; known here: {}", known.join(", ")))),
        }
    }

    pub(super) fn entries(&self) -> Result<impl Iterator<Item = (&'a str, Node<'a>)>, Wrong> {
        Ok(self.map()?.iter().map(|(key, value)| (key.as_str(), self.child(key.as_str(), value))))
    }

    pub(super) fn items(&self) -> Result<impl Iterator<Item = Node<'a>>, Wrong> {
        let items = self.value.as_array().ok_or_else(|| self.expected("a list"))?;
        Ok(items.iter().enumerate().map(|(index, value)| self.child(index, value)))
    }

    pub(super) fn text(&self) -> Result<&'a str, Wrong> {
        self.value.as_str().ok_or_else(|| self.expected("a string"))
    }

    pub(super) fn texts(&self) -> Result<Vec<String>, Wrong> {
        self.items()?.map(|item| item.text().map(str::to_owned)).collect()
    }

    pub(super) fn flag(&self) -> Result<bool, Wrong> {
        self.value.as_bool().ok_or_else(|| self.expected("true or false"))
    }

    pub(super) fn feature_key(&self) -> Result<FeatureKey, Wrong> {
        self.key(FeatureKey::parse, FeatureKey::from_parts)
    }

    pub(super) fn field_key(&self) -> Result<FieldKey, Wrong> {
        self.key(FieldKey::parse, FieldKey::from_parts)
    }

    pub(super) fn field_keys(&self) -> Result<Vec<FieldKey>, Wrong> {
        self.items()?.map(|item| item.field_key()).collect()
    }

    fn key<K>(
        &self,
        parse: impl Fn(&str) -> Result<K>,
        from_parts: impl Fn(Vec<String>) -> Result<K>,
    ) -> Result<K, Wrong> {
        let key = match self.value {
            Value::String(text) => parse(text),
            Value::Array(_) => from_parts(self.texts()?),
            _ => return Err(self.expected("a key such as \"a/b\"")),
        };
        key.map_err(|error| self.wrong(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn faults_name_their_place() {
        let value = json!({"deps": [{"feature": "A", "x": 1}], "none": null});
        let root = Node::root(&value);
        let dep = root.need("deps").unwrap().items().unwrap().next().unwrap();
        assert_eq!(
            dep.only(&["feature"]).unwrap_err().to_string(),
            "deps[0].x: unknown key; known here: feature"
        );
        let wrong = dep.need("feature").unwrap().feature_key().unwrap_err().to_string();
        assert!(wrong.starts_with("deps[0].feature: invalid key \"A\""), "{wrong}");
        assert_eq!(root.need("none").err().unwrap().to_string(), "key `none` is missing");
        assert_eq!(dep.text().unwrap_err().to_string(), "deps[0]: expected a string, found a table");
    }
}
