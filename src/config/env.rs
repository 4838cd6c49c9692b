//! The environment, and the `METAXY_*` variables that go over what a file says.

use std::{collections::BTreeMap, fmt};

use indexmap::IndexMap;

use super::{
    keys::{Shape, names_below, shape},
    tree::{Node, Origin, Value},
};
use crate::error::Result;

/// The variables that a configuration may use: the process's own, or made-up ones in a test.
///
/// `Debug` shows names alone, since values are often credentials.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process, without those that are not Unicode.
    pub fn process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of a variable; a variable may be set to nothing.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Lays the `METAXY_*` variables over `root`.
///
/// After the prefix come the key's parts, joined with two underscores, in any case. Where a key takes a list
/// or a table, the value is JSON; a JSON table is merged into the one that is there. Variables whose first
/// part is no key are somebody else's.
///
/// # Errors
/// A list or a table is not valid JSON.
pub(super) fn apply(root: &mut Node, env: &Environment, warnings: &mut Vec<String>) -> Result<()> {
    let top = names_below("");
    let mut overrides: Vec<(Vec<String>, &str, &str)> = env
        .0
        .iter()
        .filter_map(|(name, value)| {
            let path: Vec<String> =
                name.to_lowercase().strip_prefix("metaxy_")?.split("__").map(str::to_owned).collect();
            Some((path, name.as_str(), value.as_str()))
        })
        .filter(|(path, ..)| top.contains(&path[0].as_str()) && path.iter().all(|part| !part.is_empty()))
        .collect();
    // A whole table first, then what is said about its entries.
    overrides.sort_by_key(|(path, ..)| path.len());

    for (path, name, value) in overrides {
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        if parts == ["extend"] {
            warnings.push(format!("{name} has no effect: only a file can extend another"));
            continue;
        }
        if parts.len() > 1 && shape(&parts[..1]) != Shape::Table {
            continue;
        }
        let origin = Origin::variable(name);
        let node = parse(value, &parts, &origin)?;
        let whole = parts.iter().rev().fold(node, |node, part| {
            Node::new(Value::Table([((*part).to_owned(), node)].into()), origin.clone())
        });
        merge(root, whole);
    }
    Ok(())
}

/// The value of a variable as its key wants it.
fn parse(value: &str, path: &[&str], origin: &Origin) -> Result<Node> {
    let text = || Node::new(Value::Text(value.to_owned()), origin.clone());
    let json = serde_json::from_str::<serde_json::Value>(value);
    let (wanted, fits): (&str, fn(&serde_json::Value) -> bool) = match shape(path) {
        Shape::Text | Shape::Flag | Shape::Whole => return Ok(text()),
        Shape::Any => {
            return Ok(match json {
                Ok(json) if json.is_array() || json.is_object() => Node::from_json(json, origin),
                _ => text(),
            });
        }
        Shape::List => ("a list in JSON, such as [\"a\", \"b\"]", serde_json::Value::is_array),
        Shape::Table | Shape::Texts => {
            ("a table in JSON, such as {\"a\": \"b\"}", serde_json::Value::is_object)
        }
    };
    match json {
        Ok(json) if fits(&json) => Ok(Node::from_json(json, origin)),
        _ => Err(origin.error(&path.join("."), &format!("must be {wanted}"))),
    }
}

/// The key as it is spelled already, for variables' names have no case: `AWS_REGION` in the file is the same
/// option as `aws_region` here.
fn spelling(entries: &IndexMap<String, Node>, key: &str) -> String {
    if entries.contains_key(key) {
        return key.to_owned();
    }
    entries.keys().find(|present| present.eq_ignore_ascii_case(key)).map_or(key, |present| present).to_owned()
}

/// Puts `new` in place of `old`; tables are merged to any depth.
fn merge(old: &mut Node, new: Node) {
    match (&mut old.value, new) {
        (Value::Table(entries), Node { value: Value::Table(new), .. }) => {
            for (key, node) in new {
                let key = spelling(entries, &key);
                match entries.get_mut(&key) {
                    Some(old) => merge(old, node),
                    None => {
                        entries.insert(key, node);
                    }
                }
            }
        }
        (_, new) => *old = new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(file: serde_json::Value, env: &[(&str, &str)]) -> (serde_json::Value, Vec<String>) {
        let mut root = Node::from_json(file, &Origin::built_in());
        let mut warnings = vec![];
        apply(&mut root, &env.iter().copied().collect(), &mut warnings).unwrap();
        (root.to_json(), warnings)
    }

    #[test]
    fn nested_names_reach_into_the_file() {
        let file =
            serde_json::json!({"stores": {"Dev": {"config": {"storage_options": {"AWS_REGION": "a"}}}}});
        let (root, _) = applied(
            file,
            &[
                ("METAXY_STORES__dev__CONFIG__ROOT_PATH", "/x"),
                ("METAXY_STORES__DEV__CONFIG__STORAGE_OPTIONS__AWS_REGION", "b"),
                ("metaxy_project", "p"),
                ("METAXY_CONFIG", "no key"),
                ("METAXY_STORE__X", "no table"),
                ("METAXY_UNHEARD_OF", "no key"),
            ],
        );
        let expected = serde_json::json!({"stores": {"Dev": {"config":
            {"storage_options": {"AWS_REGION": "b"}, "root_path": "/x"}}}, "project": "p"});
        assert_eq!(root, expected);
    }

    #[test]
    fn json_where_a_list_or_table_belongs() {
        let file = serde_json::json!({"stores": {"dev": {"type": "t", "config": {"layout": "flat"}}}});
        let (root, _) = applied(
            file,
            &[
                ("METAXY_STORES__DEV__CONFIG", r#"{"root_path": "/j", "storage_options": {"k": 1}}"#),
                ("METAXY_STORES__DEV__CONFIG__FALLBACK_STORES", r#"["prod"]"#),
                ("METAXY_STORES__DEV__CONFIG__STORAGE_OPTIONS__ACCOUNT", r#"{"id": 7}"#),
                ("METAXY_STORES", r#"{"prod": {"type": "p"}}"#),
            ],
        );
        let dev = &root["stores"]["dev"]["config"];
        assert_eq!(dev["root_path"], "/j");
        assert_eq!(dev["layout"], "flat");
        assert_eq!(dev["fallback_stores"][0], "prod");
        // An option's value is text even if it looks like JSON: a cloud's account file, say.
        assert_eq!(dev["storage_options"]["account"], r#"{"id": 7}"#);
        assert_eq!(root["stores"]["prod"]["type"], "p");
    }

    #[test]
    fn broken_json_names_variable_and_key() {
        let env = Environment::from_iter([("METAXY_STORES__DEV__CONFIG__FALLBACK_STORES", "hunter2")]);
        let mut root = Node::table(Origin::built_in());
        let message = apply(&mut root, &env, &mut vec![]).unwrap_err().to_string();
        assert!(
            message
                .contains("METAXY_STORES__DEV__CONFIG__FALLBACK_STORES (stores.dev.config.fallback_stores)"),
            "{message}"
        );
        assert!(!message.contains("hunter2"), "{message}");
    }

    #[test]
    fn extend_belongs_into_a_file() {
        let (root, warnings) = applied(serde_json::json!({}), &[("METAXY_EXTEND", "x.toml")]);
        assert_eq!(root, serde_json::json!({}));
        assert!(warnings[0].starts_with("METAXY_EXTEND has no effect"));
    }

    #[test]
    fn debug_shows_no_value() {
        let env = Environment::from_iter([("TOKEN", "hunter2")]);
        assert_eq!(format!("{env:?}"), r#"{"TOKEN"}"#);
    }
}
