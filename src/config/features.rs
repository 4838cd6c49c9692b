//! The feature files that `[ext.datafusion] features` stands for.

use std::path::{Path, PathBuf};

use glob::Pattern;

use super::model::Config;
use crate::error::{MetaxyError, Result};

const KEY: &str = "ext.datafusion.features";
const WILDCARDS: [char; 3] = ['*', '?', '['];

impl Config {
    /// Every feature file, sorted and each once.
    ///
    /// # Errors
    /// A glob matches nothing: a file that was named outright is missing, or the folder to search in is. Only
    /// a folder that exists and has no such file yet is fine.
    pub fn feature_files(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for pattern in &self.datafusion.features {
            let found = self.matches(pattern)?;
            if found.is_empty() && !self.may_be_empty(pattern) {
                return Err(
                    self.failed(&format!("{pattern:?} matches no file below {}", self.folder.display()))
                );
            }
            files.extend(found);
        }
        files.sort();
        files.dedup();
        Ok(files)
    }

    fn matches(&self, pattern: &str) -> Result<Vec<PathBuf>> {
        let whole = if Path::new(pattern).is_absolute() {
            pattern.to_owned()
        } else {
            format!("{}/{pattern}", Pattern::escape(&self.folder.display().to_string()))
        };
        let paths = glob::glob(&whole)
            .map_err(|error| self.failed(&format!("{pattern:?} is no glob: {}", error.msg)))?;
        let mut files = Vec::new();
        for path in paths {
            let path = path.map_err(|error| {
                self.failed(&format!("{} cannot be read: {}", error.path().display(), error.error()))
            })?;
            if path.is_file() {
                files.push(path);
            }
        }
        Ok(files)
    }

    /// Whether the glob has wildcards, and the folder before the first of them exists.
    fn may_be_empty(&self, pattern: &str) -> bool {
        let Some(wildcard) = pattern.find(WILDCARDS) else {
            return false;
        };
        let folder = pattern[..wildcard].rsplit_once('/').map_or("", |(folder, _)| folder);
        self.folder.join(folder).is_dir()
    }

    fn failed(&self, reason: &str) -> MetaxyError {
        match &self.file {
            Some(file) => MetaxyError::File { file: file.clone(), reason: format!("{KEY}: {reason}") },
            None => MetaxyError::Config(format!("{KEY}: {reason}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names(features: &[&str]) -> Result<Vec<String>> {
        let folder = tempfile::Builder::new().prefix("with[brackets]").tempdir().unwrap();
        for name in ["features/b.toml", "features/a.toml", "features/x.txt", "one.toml", "empty/keep"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let mut config = Config::embedded(folder.path());
        config.datafusion.features = features.iter().map(|text| (*text).to_owned()).collect();
        let files = config.feature_files()?;
        Ok(files.iter().map(|path| path.strip_prefix(folder.path()).unwrap().display().to_string()).collect())
    }

    #[test]
    fn sorted_and_each_once() {
        let files = names(&["one.toml", "features/*.toml", "**/a.toml"]).unwrap();
        assert_eq!(files, ["features/a.toml", "features/b.toml", "one.toml"]);
    }

    #[test]
    fn nothing_found() {
        assert_eq!(names(&[]).unwrap(), Vec::<String>::new());
        assert_eq!(names(&["empty/*.toml"]).unwrap(), Vec::<String>::new());
        for pattern in ["two.toml", "nowhere/*.toml"] {
            let message = names(&[pattern]).unwrap_err().to_string();
            assert!(message.contains("ext.datafusion.features") && message.contains(pattern), "{message}");
        }
    }
}
