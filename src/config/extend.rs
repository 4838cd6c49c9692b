//! `extend`: one file inherits from another.

use std::path::{Path, PathBuf};

use super::{
    env::Environment,
    expand::expand,
    find::absolute,
    tree::{Node, Value},
};
use crate::error::{MetaxyError, Result};

/// The settings of `file` on top of those of the files it extends.
///
/// # Errors
/// A file can't be read, or the files extend each other in a circle.
pub(super) fn read_with_parents(file: &Path, env: &Environment) -> Result<Node> {
    resolve(file, env, &mut vec![])
}

fn resolve(file: &Path, env: &Environment, chain: &mut Vec<PathBuf>) -> Result<Node> {
    let mut child = Node::read_file(file)?;
    chain.push(file.to_owned());
    let Value::Table(entries) = &mut child.value else {
        return Ok(child);
    };
    let Some(extend) = entries.shift_remove("extend") else {
        return Ok(child);
    };
    let Value::Text(target) = &extend.value else {
        return Err(extend.origin.error("extend", "must be the path of a file, as text"));
    };
    let (target, missing) = expand(target, env);
    if let Some(name) = missing.first() {
        return Err(extend.origin.error("extend", &format!("the variable {name} is not set")));
    }
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let parent = absolute(&folder.join(&target))?;
    if !parent.is_file() {
        return Err(extend.origin.error("extend", &format!("there is no file {}", parent.display())));
    }
    if let Some(start) = position(chain, &parent)? {
        let mut names: Vec<String> = chain[start..].iter().map(|path| path.display().to_string()).collect();
        names.push(parent.display().to_string());
        let reason = format!("the files extend each other in a circle: {}", names.join(" -> "));
        return Err(extend.origin.error("extend", &reason));
    }
    let parent = resolve(&parent, env, chain)?;
    Ok(merge(parent, child))
}

/// Where `path` is in the chain, however it is spelled there.
fn position(chain: &[PathBuf], path: &Path) -> Result<Option<usize>> {
    let real = real(path)?;
    for (index, seen) in chain.iter().enumerate() {
        if self::real(seen)? == real {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

fn real(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|error| MetaxyError::File {
        file: path.to_owned(),
        reason: format!("cannot be read: {error}"),
    })
}

/// The child's settings over the parent's: tables are merged one level deep and no deeper, so a store that
/// both have is the child's alone; lists are appended; of anything else the child's value counts.
fn merge(mut parent: Node, child: Node) -> Node {
    let Value::Table(new) = child.value else {
        return child;
    };
    if let Value::Table(merged) = &mut parent.value {
        for (key, node) in new {
            match (merged.get_mut(&key).map(|old| &mut old.value), node) {
                (Some(Value::Table(old)), Node { value: Value::Table(new), .. }) => old.extend(new),
                (Some(Value::List(old)), Node { value: Value::List(new), .. }) => old.extend(new),
                (_, node) => {
                    merged.insert(key, node);
                }
            }
        }
    }
    parent.origin = child.origin;
    parent
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn merged(files: &[(&str, &str)], env: &Environment) -> Result<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        read_with_parents(&folder.path().join(files[0].0), env).map(|node| node.to_json().to_string())
    }

    #[test]
    fn scalars_tables_and_lists() {
        let child = "extend = 'base/${BASE:-b}.toml'\nproject = 'child'\nentrypoints = ['c']\n\
                     [stores.dev]\ntype = 'x'\n[stores.own]\ntype = 'o'\n";
        let base = "project = 'base'\ntheme = 't'\nentrypoints = ['b']\n\
                    [stores.dev]\ntype = 'y'\nconfig = {root_path = 'r'}\n[stores.prod]\ntype = 'p'\n";
        let all = merged(&[("sub/metaxy.toml", child), ("sub/base/b.toml", base)], &Environment::default())
            .unwrap();
        assert_eq!(
            all,
            concat!(
                r#"{"project":"child","theme":"t","entrypoints":["b","c"],"stores":"#,
                r#"{"dev":{"type":"x"},"prod":{"type":"p"},"own":{"type":"o"}}}"#
            )
        );
    }

    #[test]
    fn chains_reach_the_grandparent() {
        let files =
            [("a.toml", "extend = 'b.toml'"), ("b.toml", "extend = './c.toml'"), ("c.toml", "store = 'c'")];
        assert_eq!(merged(&files, &Environment::default()).unwrap(), r#"{"store":"c"}"#);
    }

    #[test]
    fn a_circle_is_named() {
        let files = [("a.toml", "extend = 'b.toml'"), ("b.toml", "\nextend = './a.toml'")];
        let message = merged(&files, &Environment::default()).unwrap_err().to_string();
        assert!(message.contains("extend (line 2): ") && message.contains("circle"), "{message}");
        assert_eq!(message.matches(" -> ").count(), 2, "{message}");
    }

    #[test]
    fn a_missing_parent_is_named() {
        let message = merged(&[("a.toml", "extend = 'z.toml'")], &Environment::default()).unwrap_err();
        assert!(message.to_string().contains("extend (line 1): there is no file"), "{message}");
    }
}
