//! What every subcommand works with: the shared options, the session they open, and the way to print.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::OnceCell;

use super::args::Globals;
use super::commands::sql::Input;
use super::context::CliContext;
use super::progress::{self, Bar};
use super::report;
use super::rows::{Format, Rows};
use super::run::{self, Flow, Source};
use crate::config::{Config, Environment, Setting, StoreConfig};
use crate::error::{MetaxyError, Result};
use crate::session::{MetaxySession, SessionOptions};
use crate::store::Store;

/// How a subcommand ended, when it ended without an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All is well: exit code 0.
    Done,
    /// It did what it was asked, and the answer is no, or part of it failed and was reported: exit code 1.
    Failed,
    /// The arguments don't fit together; the text says how: exit code 2.
    Usage(String),
}

/// One run of the program.
#[derive(Default)]
pub(super) struct Program {
    /// The shared options.
    pub(super) globals: Globals,
    session: OnceCell<MetaxySession>,
}

impl Program {
    /// A run with these options.
    pub(super) fn new(globals: Globals) -> Self {
        Self { globals, session: OnceCell::new() }
    }

    /// The configuration, with `--store` as the default store.
    ///
    /// # Errors
    ///
    /// When it can't be read, or has no such store.
    pub(super) fn config(&self) -> Result<Config> {
        let mut config = Config::load(self.globals.config.as_deref(), &folder()?, &Environment::process())?;
        if let Some(store) = &self.globals.store {
            config.store(store)?;
            config.store.clone_from(store);
        }
        let (here, file) = (folder()?, config.file.clone());
        for store in config.stores.values_mut() {
            let said = file.as_deref().and_then(|file| misplaced(store, &here, file));
            store.warnings.extend(said);
        }
        Ok(config)
    }

    /// The settings that hold, each with its origin.
    ///
    /// # Errors
    ///
    /// As [`config`](Self::config).
    pub(super) fn settings(&self) -> Result<Vec<Setting>> {
        let mut settings =
            self.config()?.settings(self.globals.config.as_deref(), &folder()?, &Environment::process())?;
        if let (Some(store), Some(setting)) =
            (&self.globals.store, settings.iter_mut().find(|setting| setting.key == "store"))
        {
            setting.value = store.as_str().into();
            "--store".clone_into(&mut setting.origin);
        }
        Ok(settings)
    }

    /// The session over the configuration's stores, opened when it is first asked for.
    ///
    /// # Errors
    ///
    /// When the configuration can't be used, or the store can't be read.
    pub(super) async fn session(&self) -> Result<&MetaxySession> {
        let session = self.session.get_or_try_init(|| async {
            let mut config = self.config()?;
            // The session would print them, too, but only once it is open.
            for warning in std::mem::take(&mut config.warnings) {
                report::warning(&warning);
            }
            let options = SessionOptions {
                store: None,
                memory_limit: self.globals.memory_limit,
                records: cache_folder().map(|folder| folder.join("increments")),
            };
            let session = MetaxySession::open(config, options).await?;
            progress::attach(session.context(), self.globals.quiet);
            Ok::<_, MetaxyError>(session)
        });
        let session = session.await?;
        self.print_warnings();
        Ok(session)
    }

    /// The store that the subcommand is about: the one of `--store`, else the configured default.
    ///
    /// # Errors
    ///
    /// As [`session`](Self::session).
    pub(super) async fn store(&self) -> Result<Arc<Store>> {
        let extension = self.session().await?.extension();
        extension.store(extension.default_store())
    }

    /// A progress bar for work of the session, until it is dropped: before anything is printed.
    ///
    /// # Errors
    ///
    /// As [`session`](Self::session).
    pub(super) async fn bar(&self) -> Result<Bar> {
        Ok(Bar::over(self.session().await?.context()))
    }

    /// Runs files for what they leave in the session, views above all; their results are not printed.
    ///
    /// # Errors
    ///
    /// The first failure, behind the file's name and line.
    pub(super) async fn prepare(&self, files: &[PathBuf]) -> Result<()> {
        let context = CliContext::new(self.session().await?.clone());
        for file in files {
            let source = Source::read(Input::File(file.clone()))?;
            if run::prepare(&context, &source).await? == Flow::Quit {
                break;
            }
        }
        Ok(())
    }

    /// Prints what the session, if one was opened, warned of since the last time.
    pub(super) fn print_warnings(&self) {
        for warning in self.session.get().map(MetaxySession::take_warnings).unwrap_or_default() {
            report::warning(&warning);
        }
    }

    /// Tells the user something beside the results, on the standard error; nothing with `-q`.
    pub(super) fn notice(&self, text: &str) {
        if !self.globals.quiet {
            report::notice(text);
        }
    }

    /// The format of rows.
    pub(super) fn format(&self) -> Format {
        match self.globals.format.as_deref() {
            Some("json") => Format::Json,
            Some("csv") => Format::Csv,
            _ => Format::Table,
        }
    }

    /// Prints rows in the format that was asked for.
    ///
    /// # Errors
    ///
    /// When the standard output can't be written.
    pub(super) fn print(&self, rows: &Rows) -> Result<()> {
        report::output(rows.in_format(self.format())?.as_bytes())
    }
}

/// What to say of a store whose folder is beside the configuration, and not where its path leads from here.
fn misplaced(store: &StoreConfig, here: &Path, file: &Path) -> Option<String> {
    let root = store.root_path.as_deref().filter(|root| !root.is_empty() && !root.contains("://"))?;
    let (path, beside) = (Path::new(root), file.parent()?);
    let is_beside = path.is_relative() && !here.join(path).exists() && beside.join(path).is_dir();
    is_beside.then(|| {
        format!(
            "store {}: root_path {root:?} starts at the working folder, which has no such folder; there is one beside {}: \
             work in {}, or write the whole path",
            store.name,
            file.display(),
            beside.display()
        )
    })
}

/// The working folder.
///
/// # Errors
///
/// When it can't be entered any more.
pub(super) fn folder() -> Result<PathBuf> {
    std::env::current_dir()
        .map_err(|error| MetaxyError::Config(format!("the working folder is not accessible: {error}")))
}

/// The folder for what can be lost at any time: the user's cache folder, as the system wants it.
fn cache_folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || std::env::home_dir().filter(|home| home.is_absolute());
    let caches = if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else {
        let chosen = variable("XDG_CACHE_HOME").filter(|folder| folder.is_absolute());
        let usual = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
        chosen.or_else(|| Some(home()?.join(usual)))
    };
    Some(caches?.join("metaxy"))
}
