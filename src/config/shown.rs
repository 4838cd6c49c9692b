//! The settings that hold, each with the place it comes from, for a user to look at: without secrets.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::env::{Environment, apply};
use super::expand::expand_tree;
use super::extend::read_with_parents;
use super::find::find;
use super::keys::{Shape, names_below, shape};
use super::model::Config;
use super::options::{MetaxyOptions, SESSION_OPTIONS};
use super::secret::{HIDDEN, is_secret_key, redact};
use super::tree::{Node, Origin, Value};
use crate::error::Result;

/// A setting that holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The key as a path, such as `stores.dev.config.root_path`.
    pub key: String,
    /// The value; `***` in place of secrets.
    pub value: Json,
    /// The file and line, the variable, or `default`.
    pub origin: String,
}

impl Config {
    /// The settings of this configuration, which [`Config::load`] has made of the same arguments.
    ///
    /// Hidden are all values that may be secrets: those of keys whose names say so, storage options, and whatever is
    /// in keys that only the Python package understands.
    ///
    /// # Errors
    /// A file can't be read any more.
    pub fn settings(
        &self,
        explicit: Option<&Path>,
        start_dir: &Path,
        env: &Environment,
    ) -> Result<Vec<Setting>> {
        let mut root = match find(explicit, start_dir, env)? {
            Some(file) => read_with_parents(&file, env)?,
            None => Node::table(Origin::built_in()),
        };
        apply(&mut root, env, &mut Vec::new())?;
        expand_tree(&mut root, "", env, &mut Vec::new());
        let mut found = Vec::new();
        collect(&root, &mut Vec::new(), false, &mut found);
        for (key, value) in self.defaults() {
            if !found.iter().any(|setting| setting.key == key) {
                found.push(Setting { key, value, origin: "default".to_owned() });
            }
        }
        // Stores and tables together, whoever has said what.
        found.sort_by(|a, b| (a.key.contains('.'), &a.key).cmp(&(b.key.contains('.'), &b.key)));
        Ok(found)
    }

    /// What holds where nothing is said.
    fn defaults(&self) -> Vec<(String, Json)> {
        use datafusion::config::ExtensionOptions;

        let mut all = vec![
            ("store".to_owned(), json!(self.store)),
            ("project".to_owned(), json!(self.project)),
            ("hash_truncation_length".to_owned(), json!(self.hash_truncation_length)),
        ];
        for store in self.stores.values() {
            let key = |name: &str| format!("stores.{}.{name}", store.name);
            all.push((key("type"), json!(redact(store.kind.name()))));
            all.push((key("config.root_path"), json!(store.root_path.as_deref().map(redact))));
            let algorithm = store.hash_algorithm.as_deref().unwrap_or("xxhash32");
            all.push((key("config.hash_algorithm"), json!(algorithm)));
            all.push((key("config.fallback_stores"), json!(store.fallback_stores)));
        }
        let entries = MetaxyOptions::default().entries();
        for (name, entry) in SESSION_OPTIONS.iter().zip(entries) {
            all.push((format!("ext.datafusion.{name}"), option(entry.value.unwrap_or_default())));
        }
        all
    }
}

/// A session option's text as the flag or the text that it stands for; nothing if it is not set.
fn option(text: String) -> Json {
    match text.parse() {
        Ok(flag) => Json::Bool(flag),
        Err(_) if text.is_empty() => Json::Null,
        Err(_) => Json::String(text),
    }
}

fn collect<'a>(node: &'a Node, path: &mut Vec<&'a str>, hidden: bool, found: &mut Vec<Setting>) {
    let Value::Table(_) = &node.value else {
        let value = if hidden { json!(HIDDEN) } else { shown(understood(node, path)) };
        found.push(Setting { key: path.join("."), value, origin: node.origin.to_string() });
        return;
    };
    for (key, inner) in node.entries() {
        path.push(key);
        collect(inner, path, hidden || is_hidden(path), found);
        path.pop();
    }
}

/// The value; a variable's text as the number or flag that the key takes.
fn understood(node: &Node, path: &[&str]) -> Json {
    match (&node.value, shape(path)) {
        // Options are kept as text, and their texts stand for flags, too.
        (Value::Text(text), _) if is_option(path) => option(text.clone()),
        (Value::Text(text), Shape::Whole | Shape::Flag) => {
            serde_json::from_str(&text.to_lowercase()).unwrap_or_else(|_| node.to_json())
        }
        _ => node.to_json(),
    }
}

/// Whether what is below this key may be a secret.
fn is_hidden(path: &[&str]) -> bool {
    match path {
        ["stores", _, "config", key] => {
            let plain = !matches!(*key, "storage_options" | "delta_write_options" | "connection_params");
            // A connection string need not be a URL: `host=db password=…`.
            !(plain && !is_secret_key(key) && names_below("stores.NAME.config").contains(key))
        }
        ["ext", plugin, key] if *plugin != "datafusion" => *key != "enable",
        [.., key] => is_secret_key(key) && !is_option(path),
        [] => false,
    }
}

/// Session options have no secrets, though the name of one has the word "key" in it.
fn is_option(path: &[&str]) -> bool {
    matches!(path, ["ext", "datafusion", name] if SESSION_OPTIONS.contains(name))
}

/// Credentials can stand in any URL.
fn shown(value: Json) -> Json {
    match value {
        Json::String(text) => Json::String(redact(&text)),
        Json::Array(items) => items.into_iter().map(shown).collect(),
        Json::Object(entries) => entries
            .into_iter()
            .map(|(key, value)| {
                let value = if is_secret_key(&key) { json!(HIDDEN) } else { shown(value) };
                (key, value)
            })
            .collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str, variables: &[(&str, &str)]) -> Vec<Setting> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("metaxy.toml"), text).unwrap();
        let env: Environment = variables.iter().copied().collect();
        let config = Config::load(None, folder.path(), &env).unwrap();
        config.settings(None, folder.path(), &env).unwrap()
    }

    fn find<'a>(settings: &'a [Setting], key: &str) -> &'a Setting {
        settings.iter().find(|setting| setting.key == key).unwrap_or_else(|| panic!("{key}: {settings:#?}"))
    }

    #[test]
    fn values_and_where_they_come_from() {
        let text = "project = \"demo\"\n[stores.dev]\ntype = \"delta\"\n[stores.dev.config]\nroot_path = \"${ROOT}/x\"\n";
        let found = settings(text, &[("ROOT", "/data"), ("METAXY_STORE", "dev")]);
        assert_eq!(find(&found, "stores.dev.config.root_path").value, "/data/x");
        assert!(find(&found, "project").origin.ends_with("metaxy.toml:1"), "{found:#?}");
        assert_eq!(find(&found, "store").origin, "METAXY_STORE");
        let default = find(&found, "hash_truncation_length");
        assert_eq!((&default.value, default.origin.as_str()), (&json!(8), "default"));
        assert_eq!(find(&found, "ext.datafusion.strict_versions").value, true);
        assert_eq!(find(&found, "ext.datafusion.prefer_native").value, Json::Null);
        assert_eq!(find(&found, "ext.datafusion.engine").value, "auto");
    }

    #[test]
    fn nothing_that_may_be_a_secret_is_shown() {
        let secret = "hunter2";
        let text = format!(
            "[stores.dev]\ntype = \"delta\"\n[stores.dev.config]\nroot_path = \"s3://ada:{secret}@bucket/x?sig={secret}\"\n\
             storage_options = {{ PLAIN = \"{secret}\", OTHER = \"${{PASSWORD}}\" }}\n\
             [stores.db]\ntype = \"metaxy.ext.duckdb.DuckDBMetadataStore\"\n[stores.db.config]\n\
             database = \"{secret}\"\nextensions = [{{ token = \"{secret}\" }}]\n\
             [stores.pg]\ntype = \"postgresql\"\n[stores.pg.config]\n\
             connection_string = \"host=db password={secret}\"\nconnection_params = {{ user = \"{secret}\" }}\n\
             [ext.sqlmodel]\nenable = true\nurl = \"x{secret}\"\n"
        );
        let found = settings(&text, &[("PASSWORD", secret)]);
        assert!(!format!("{found:?}").contains(secret), "{found:#?}");
        assert_eq!(find(&found, "stores.dev.config.root_path").value, "s3://***@bucket/x?***");
        assert_eq!(find(&found, "ext.sqlmodel.enable").value, true);
    }
}
