//! Which file to read: the one that was named, else the first one found going up.

use std::path::{Path, PathBuf};

use super::{env::Environment, tree::Node};
use crate::error::{MetaxyError, Result};

/// The variable that names the file.
const FILE_VARIABLE: &str = "METAXY_CONFIG";

/// The configuration file, if there is one.
///
/// An argument goes before `METAXY_CONFIG`, which goes before the search: from `start_dir` upwards the first
/// folder with a `metaxy.toml`, or with a `pyproject.toml` that has a `[tool.metaxy]`.
///
/// # Errors
/// A file that was named doesn't exist, or a `pyproject.toml` on the way can't be read.
pub(super) fn find(explicit: Option<&Path>, start_dir: &Path, env: &Environment) -> Result<Option<PathBuf>> {
    let start = absolute(start_dir)?;
    if let Some(path) = explicit {
        return named(&start.join(path), "").map(Some);
    }
    if let Some(path) = env.get(FILE_VARIABLE).filter(|path| !path.is_empty()) {
        return named(&start.join(path), ", though METAXY_CONFIG names it").map(Some);
    }
    for folder in start.ancestors() {
        let own = folder.join("metaxy.toml");
        if own.is_file() {
            return Ok(Some(own));
        }
        let shared = folder.join("pyproject.toml");
        if shared.is_file() && Node::read_file(&shared)?.entries().next().is_some() {
            return Ok(Some(shared));
        }
    }
    Ok(None)
}

/// `path` as it is seen from the root, symbolic links left alone.
pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    // The empty path stands for the working directory too.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    std::path::absolute(path).map_err(|error| MetaxyError::File {
        file: path.to_owned(),
        reason: format!("is no place to search for metaxy.toml: {error}"),
    })
}

fn named(path: &Path, by: &str) -> Result<PathBuf> {
    if path.is_file() {
        return Ok(path.to_owned());
    }
    let what = if path.is_dir() { "is a folder, not a configuration file" } else { "does not exist" };
    Err(MetaxyError::File { file: path.to_owned(), reason: format!("{what}{by}") })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn no_env() -> Environment {
        Environment::default()
    }

    #[test]
    fn searches_upwards_and_skips_foreign_pyprojects() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b/c");
        fs::create_dir_all(&deep).unwrap();
        fs::write(root.path().join("metaxy.toml"), "").unwrap();
        fs::write(root.path().join("a/b/pyproject.toml"), "[project]\nname = 'x'\n").unwrap();
        assert_eq!(find(None, &deep, &no_env()).unwrap(), Some(root.path().join("metaxy.toml")));

        fs::write(root.path().join("a/pyproject.toml"), "[tool.metaxy]\nstore = 'x'\n").unwrap();
        assert_eq!(find(None, &deep, &no_env()).unwrap(), Some(root.path().join("a/pyproject.toml")));

        fs::write(root.path().join("a/metaxy.toml"), "").unwrap();
        assert_eq!(find(None, &deep, &no_env()).unwrap(), Some(root.path().join("a/metaxy.toml")));
    }

    #[test]
    fn the_argument_goes_before_the_variable() {
        let root = tempfile::tempdir().unwrap();
        for name in ["metaxy.toml", "one.toml", "two.toml"] {
            fs::write(root.path().join(name), "").unwrap();
        }
        let env = Environment::from_iter([("METAXY_CONFIG", "two.toml")]);
        let found = |explicit: Option<&str>| find(explicit.map(Path::new), root.path(), &env).unwrap();
        assert_eq!(found(Some("one.toml")), Some(root.path().join("one.toml")));
        assert_eq!(found(None), Some(root.path().join("two.toml")));
        let empty = Environment::from_iter([("METAXY_CONFIG", "")]);
        assert_eq!(find(None, root.path(), &empty).unwrap(), Some(root.path().join("metaxy.toml")));
    }

    #[test]
    fn a_named_file_must_exist() {
        let root = tempfile::tempdir().unwrap();
        let env = Environment::from_iter([("METAXY_CONFIG", "nowhere.toml")]);
        let message = find(None, root.path(), &env).unwrap_err().to_string();
        assert!(message.contains("nowhere.toml") && message.contains("METAXY_CONFIG"), "{message}");
    }
}
