//! Settings before they are understood: a tree of values that know which file and line, or which variable,
//! they come from.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use indexmap::IndexMap;
use toml::de::{DeTable, DeValue};

use crate::error::{MetaxyError, Result, one_line};

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
    /// The text before `${VAR}` was expanded: errors quote this one, a variable may hold a secret.
    pub(super) written: Option<String>,
}

/// The values that TOML and JSON have in common.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Text(String),
    Flag(bool),
    Whole(i64),
    Real(f64),
    List(Vec<Node>),
    Table(IndexMap<String, Node>),
}

/// Where a value was written.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    source: Arc<Source>,
    line: Option<usize>,
}

#[derive(Debug)]
enum Source {
    File { path: PathBuf, pyproject: bool },
    Variable(String),
    BuiltIn,
}

impl Origin {
    /// A variable of the environment.
    pub(super) fn variable(name: &str) -> Self {
        Self { source: Arc::new(Source::Variable(name.to_owned())), line: None }
    }

    /// No file and no variable: a default.
    pub(super) fn built_in() -> Self {
        Self { source: Arc::new(Source::BuiltIn), line: None }
    }

    /// The file this was read from, if it was one.
    pub(super) fn file(&self) -> Option<&Path> {
        match &*self.source {
            Source::File { path, .. } => Some(path),
            Source::Variable(_) | Source::BuiltIn => None,
        }
    }

    /// The variable this was read from, if it was one.
    pub(super) fn name_of_variable(&self) -> Option<&str> {
        match &*self.source {
            Source::Variable(name) => Some(name),
            Source::File { .. } | Source::BuiltIn => None,
        }
    }

    /// An error about the value of `key` that was written here.
    pub(super) fn error(&self, key: &str, reason: &str) -> MetaxyError {
        match &*self.source {
            Source::File { path, pyproject } => {
                let section = if *pyproject { "tool.metaxy." } else { "" };
                let line = self.line.map_or_else(String::new, |line| format!(" (line {line})"));
                MetaxyError::File { file: path.clone(), reason: format!("{section}{key}{line}: {reason}") }
            }
            Source::Variable(name) => MetaxyError::Config(format!("{name} ({key}): {reason}")),
            Source::BuiltIn => MetaxyError::Config(format!("{key}: {reason}")),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.source, self.line) {
            (Source::File { path, .. }, Some(line)) => write!(f, "{}:{line}", path.display()),
            (Source::File { path, .. }, None) => write!(f, "{}", path.display()),
            (Source::Variable(name), _) => f.write_str(name),
            (Source::BuiltIn, _) => f.write_str("default"),
        }
    }
}

impl Node {
    pub(super) fn new(value: Value, origin: Origin) -> Self {
        Self { value, origin, written: None }
    }

    /// A table without entries.
    pub(super) fn table(origin: Origin) -> Self {
        Self::new(Value::Table(IndexMap::new()), origin)
    }

    /// The entries, none if this is no table.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&String, &Node)> {
        match &self.value {
            Value::Table(entries) => Some(entries),
            _ => None,
        }
        .into_iter()
        .flatten()
    }

    /// The entry of this name, if this is a table that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Table(entries) => entries.get(key).filter(|node| !matches!(node.value, Value::Null)),
            _ => None,
        }
    }

    /// A value out of JSON.
    pub(super) fn from_json(value: serde_json::Value, origin: &Origin) -> Self {
        use serde_json::Value as Json;
        let value = match value {
            Json::Null => Value::Null,
            Json::Bool(flag) => Value::Flag(flag),
            Json::Number(number) => match number.as_i64() {
                Some(whole) => Value::Whole(whole),
                None => Value::Real(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::Text(text),
            Json::Array(items) => {
                Value::List(items.into_iter().map(|item| Self::from_json(item, origin)).collect())
            }
            Json::Object(entries) => Value::Table(
                entries.into_iter().map(|(key, value)| (key, Self::from_json(value, origin))).collect(),
            ),
        };
        Self::new(value, origin.clone())
    }

    /// The value as JSON, for keys that are kept without being understood.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Text(text) => text.as_str().into(),
            Value::Flag(flag) => (*flag).into(),
            Value::Whole(whole) => (*whole).into(),
            Value::Real(real) => (*real).into(),
            Value::List(items) => items.iter().map(Node::to_json).collect::<Vec<_>>().into(),
            Value::Table(entries) => {
                entries.iter().map(|(key, node)| (key.clone(), node.to_json())).collect()
            }
        }
    }

    /// The settings of a TOML file: all of it, of a `pyproject.toml` its `[tool.metaxy]`.
    pub(super) fn read_file(path: &Path) -> Result<Self> {
        let failed = |reason: String| MetaxyError::File { file: path.to_owned(), reason };
        let text =
            std::fs::read_to_string(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
        // Only the error's message: its full text quotes the line, which may hold a password.
        let table = DeTable::parse(&text).map_err(|error| {
            let line = error
                .span()
                .map_or_else(String::new, |span| format!(" (line {})", line_of(&text, span.start)));
            failed(format!("is not valid TOML{line}: {}", one_line(error.message())))
        })?;
        let pyproject = path.file_name().is_some_and(|name| name == "pyproject.toml");
        let source = Arc::new(Source::File { path: path.to_owned(), pyproject });
        let origin = Origin { source: source.clone(), line: None };
        let all = Self::new(from_table(table.into_inner(), &text, &source), origin.clone());
        if !pyproject {
            return Ok(all);
        }
        let section = all.get("tool").and_then(|tool| tool.get("metaxy")).cloned();
        Ok(section.unwrap_or_else(|| Self::table(origin)))
    }
}

fn from_table(table: DeTable<'_>, text: &str, source: &Arc<Source>) -> Value {
    let mut entries: Vec<_> = table.into_iter().collect();
    // The parser sorts by name; the file's order is the one a user expects to see.
    entries.sort_by_key(|(key, _)| key.span().start);
    let nodes = entries.into_iter().map(|(key, value)| {
        let at = key.span().start;
        (key.into_inner().into_owned(), from_value(value.into_inner(), at, text, source))
    });
    Value::Table(nodes.collect())
}

fn from_value(value: DeValue<'_>, at: usize, text: &str, source: &Arc<Source>) -> Node {
    let value = match value {
        DeValue::String(string) => Value::Text(string.into_owned()),
        DeValue::Boolean(flag) => Value::Flag(flag),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(whole) => Value::Whole(whole),
            Err(_) => Value::Text(integer.as_str().to_owned()),
        },
        DeValue::Float(float) => match float.as_str().parse() {
            Ok(real) => Value::Real(real),
            Err(_) => Value::Text(float.as_str().to_owned()),
        },
        DeValue::Datetime(time) => Value::Text(time.to_string()),
        DeValue::Array(items) => Value::List(
            items
                .into_iter()
                .map(|item| {
                    let at = item.span().start;
                    from_value(item.into_inner(), at, text, source)
                })
                .collect(),
        ),
        DeValue::Table(table) => from_table(table, text, source),
    };
    Node::new(value, Origin { source: source.clone(), line: Some(line_of(text, at)) })
}

/// The line, counted from 1, that holds the byte at `offset`.
fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn keeps_order_and_lines() {
        let (_folder, path) =
            written("metaxy.toml", "z = 0x1_0\na = -2.5\n[t.b]\nx = [true,\n 'y']\n[t.a]\n");
        let root = Node::read_file(&path).unwrap();
        assert_eq!(root.to_json().to_string(), r#"{"z":16,"a":-2.5,"t":{"b":{"x":[true,"y"]},"a":{}}}"#);
        let x = root.get("t").unwrap().get("b").unwrap().get("x").unwrap();
        assert_eq!(x.origin.line, Some(4));
        let Value::List(items) = &x.value else { panic!("a list") };
        assert_eq!(items[1].origin.line, Some(5));
    }

    #[test]
    fn a_syntax_error_names_the_line_and_quotes_nothing() {
        let (_folder, path) = written("metaxy.toml", "a = 1\npassword = \"hunter2\n");
        let message = Node::read_file(&path).unwrap_err().to_string();
        assert!(message.contains("line 2") && !message.contains("hunter2"), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }

    #[test]
    fn pyproject_has_a_section() {
        let (_folder, path) =
            written("pyproject.toml", "[project]\nname = 'p'\n[tool.metaxy]\nstore = 'x'\n");
        let root = Node::read_file(&path).unwrap();
        assert_eq!(root.to_json().to_string(), r#"{"store":"x"}"#);
        let error = root.get("store").unwrap().origin.error("store", "bad").to_string();
        assert!(error.ends_with("pyproject.toml: tool.metaxy.store (line 4): bad"), "{error}");
    }
}
