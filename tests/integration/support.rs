//! What the tests share: projects on disk, sessions over them, the program, and reading Delta logs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::json::writer::{LineDelimited, WriterBuilder};
use datafusion::dataframe::DataFrame;
use datafusion::prelude::SessionContext;
use datafusion_metaxy::config::{Config, Environment};
use datafusion_metaxy::error::{MetaxyError, Result};
use datafusion_metaxy::model::FeatureKey;
use datafusion_metaxy::session::{MetaxySession, SessionOptions};
use datafusion_metaxy::store::Store;
use deltalake::DeltaTable;
use deltalake::protocol::SaveMode;
use serde_json::Value;
use tempfile::TempDir;
use url::Url;

/// Debug builds plan on deep stacks, as the program does.
const STACK: usize = 16 << 20;

/// Runs a test on threads with stacks like the program's.
pub fn run<F>(test: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let body = move || {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.enable_all().worker_threads(4).thread_stack_size(STACK).build().unwrap();
        runtime.block_on(async { tokio::spawn(test).await })
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(body).unwrap();
    match thread.join() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => std::panic::resume_unwind(error.into_panic()),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// A folder of this repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Copies a folder with everything in it.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            // Not fs::copy, which would copy a read-only mode too.
            fs::write(target, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

/// Every file below a folder, relative to it.
pub fn files_below(folder: &Path) -> BTreeSet<String> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeSet<String>) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                found.insert(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(folder, folder, &mut found);
    found
}

/// A project folder with one store `dev` in `store/`, a Delta one unless said otherwise; gone when dropped.
pub struct Project {
    folder: TempDir,
    kind: &'static str,
}

impl Project {
    /// A project with these features.
    pub fn new(features: &str) -> Self {
        Self::with(features, "", "")
    }

    /// A project with a store of Parquet files.
    pub fn parquet(features: &str) -> Self {
        Self::of_kind("parquet", features, "", "")
    }

    /// A project with more top-level keys, and more keys in the store's `config` table.
    pub fn with(features: &str, top: &str, store: &str) -> Self {
        Self::of_kind("delta", features, top, store)
    }

    /// As [`with`](Self::with), with a store of this kind.
    pub fn of_kind(kind: &'static str, features: &str, top: &str, store: &str) -> Self {
        let project = Self { folder: tempfile::tempdir().unwrap(), kind };
        project.configure(top, store);
        project.write("features.toml", features);
        project
    }

    /// Writes another configuration over the same store and features.
    pub fn configure(&self, top: &str, store: &str) {
        let kind = self.kind;
        let place = if kind == "postgresql" {
            format!("connection_string = {:?}\nschema = {:?}", postgres(), self.schema())
        } else {
            format!("root_path = {:?}", self.path().join("store"))
        };
        let project = if top.contains("project =") { "" } else { "project = \"test\"\n" };
        let text = format!(
            "store = \"dev\"\n{project}{top}\n\n[stores.dev]\ntype = {kind:?}\n[stores.dev.config]\n{place}\n\
             {store}\n\n[ext.datafusion]\nfeatures = [\"features*.toml\"]\n"
        );
        self.write("metaxy.toml", &text);
    }

    /// A project whose store is PostgreSQL, in a schema of its own.
    pub fn postgres(features: &str) -> Self {
        Self::of_kind("postgresql", features, "auto_create_tables = true", "")
    }

    /// The schema of the store's tables, if it is PostgreSQL.
    pub fn schema(&self) -> String {
        // No other test has a folder of this name.
        self.path().file_name().unwrap().display().to_string()
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file below the folder.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Its configuration.
    pub fn config(&self) -> Config {
        Config::load(None, self.path(), &Environment::default()).unwrap()
    }

    /// Opens a session over its store.
    pub async fn try_session(&self) -> Result<MetaxySession> {
        MetaxySession::open(self.config(), SessionOptions::default()).await
    }

    /// As [`try_session`](Self::try_session).
    pub async fn session(&self) -> MetaxySession {
        self.try_session().await.unwrap()
    }

    /// The folder of a feature's table in the nested layout.
    pub fn table(&self, feature: &str) -> PathBuf {
        self.path().join("store").join(format!("{feature}.{}", self.kind))
    }

    /// The program in this folder.
    pub fn cli(&self) -> Cli {
        Cli::new(self.path())
    }
}

/// The URL of the database for tests that need one.
pub fn postgres() -> String {
    std::env::var("METAXY_TEST_POSTGRES")
        .expect("METAXY_TEST_POSTGRES is a database: tests/postgres/start.sh")
}

/// The store `dev` of a session.
pub fn dev(session: &MetaxySession) -> Arc<Store> {
    session.extension().store("dev").unwrap()
}

/// The current version of a feature's definition.
pub async fn feature_version(session: &MetaxySession, feature: &str) -> String {
    let key = FeatureKey::parse(feature).unwrap();
    dev(session).graph().await.unwrap().feature_version(&key).unwrap()
}

/// Runs a statement and gives its rows as JSON objects.
pub async fn query(session: &MetaxySession, sql: &str) -> Vec<Value> {
    match try_query(session, sql).await {
        Ok(rows) => rows,
        Err(error) => panic!("{sql}\n{error}"),
    }
}

/// As [`query`], for statements that may fail.
pub async fn try_query(session: &MetaxySession, sql: &str) -> Result<Vec<Value>> {
    rows(session.sql(sql).await?).await
}

/// The rows of a frame as JSON objects.
pub async fn rows(frame: DataFrame) -> Result<Vec<Value>> {
    Ok(json(&frame.collect().await?))
}

/// Runs a statement that has to fail, and gives the message, which has to be one line.
pub async fn error(session: &MetaxySession, sql: &str) -> String {
    match try_query(session, sql).await {
        Ok(rows) => panic!("{sql}\nshould have failed, but gave {rows:?}"),
        Err(error) => one_line(&error),
    }
}

/// An error's message, which has to be one line.
pub fn one_line(error: &MetaxyError) -> String {
    let text = error.to_string();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

/// The one value of a result with one row and one column.
pub fn only(rows: &[Value]) -> Value {
    let [row] = rows else { panic!("one row expected: {rows:?}") };
    let columns = row.as_object().unwrap();
    assert_eq!(columns.len(), 1, "one column expected: {row}");
    columns.values().next().unwrap().clone()
}

/// The values of one column, in the order of the rows.
pub fn column(rows: &[Value], name: &str) -> Vec<Value> {
    rows.iter().map(|row| row.get(name).unwrap_or_else(|| panic!("no {name} in {row}")).clone()).collect()
}

/// How often each row occurs; the order of struct members means nothing.
pub fn multiset(rows: impl IntoIterator<Item = Value>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for mut row in rows {
        row.sort_all_objects();
        *counts.entry(row.to_string()).or_default() += 1;
    }
    counts
}

/// Batches as JSON objects, NULLs included.
pub fn json(batches: &[RecordBatch]) -> Vec<Value> {
    let mut writer =
        WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::<u8>::new());
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
    let text = String::from_utf8(writer.into_inner()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Appends the rows of a plain DataFusion query to a Delta table with delta-rs, as other programs do.
pub async fn foreign_write(table: &Path, sql: &str) {
    fs::create_dir_all(table).unwrap();
    let batches = SessionContext::new().sql(sql).await.unwrap().collect().await.unwrap();
    let table = DeltaTable::try_from_url(Url::from_directory_path(table).unwrap()).await.unwrap();
    table.write(batches).with_save_mode(SaveMode::Append).await.unwrap();
}

/// The actions of each commit of a table, in order.
pub fn log(table: &Path) -> Vec<Vec<Value>> {
    let commit = |version| table.join(format!("_delta_log/{version:020}.json"));
    (0..)
        .map(commit)
        .take_while(|path| path.exists())
        .map(|path| {
            let text = fs::read_to_string(path).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        })
        .collect()
}

/// Writes a commit of a table anew, each action changed.
pub fn rewrite_commit(table: &Path, version: usize, change: impl Fn(&mut Value)) {
    let path = table.join(format!("_delta_log/{version:020}.json"));
    let mut text = String::new();
    for line in fs::read_to_string(&path).unwrap().lines() {
        let mut action: Value = serde_json::from_str(line).unwrap();
        change(&mut action);
        text += &format!("{action}\n");
    }
    fs::write(path, text).unwrap();
}

/// The actions of one kind in a commit, such as `add`.
pub fn actions<'a>(commit: &'a [Value], kind: &str) -> Vec<&'a Value> {
    commit.iter().filter_map(|action| action.get(kind)).collect()
}

/// Fails unless the table's folder holds exactly the files that its log names.
pub fn assert_no_strays(table: &Path) {
    let data: BTreeSet<String> =
        files_below(table).into_iter().filter(|file| !file.starts_with("_delta_log/")).collect();
    let named: BTreeSet<String> = log(table)
        .iter()
        .flat_map(|commit| actions(commit, "add"))
        .map(|add| add["path"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(data, named, "files in the folder, and files in the log");
    let odd: Vec<String> = files_below(&table.join("_delta_log"))
        .into_iter()
        .filter(|file| !file.ends_with(".json") && !file.contains("checkpoint"))
        .collect();
    assert_eq!(odd, Vec::<String>::new(), "leftovers in the log");
}

/// The program's cache folder, in the working folder.
pub const CACHE: &str = ".cache";

/// The program, ready to be run.
pub struct Cli {
    command: Command,
}

impl Cli {
    /// The program in a working folder, without settings from this process's environment.
    pub fn new(folder: &Path) -> Self {
        Self::through(&[], folder)
    }

    /// The program started by another one, such as `setpriv`.
    pub fn through(starter: &[&str], folder: &Path) -> Self {
        let program = env!("CARGO_BIN_EXE_metaxy-cli");
        let mut command = match starter {
            [] => Command::new(program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("METAXY_") || text.starts_with("DATAFUSION_") || text == "RUST_LOG" {
                command.env_remove(&name);
            }
        }
        // If anything panics, or an error carries a backtrace, it must show.
        command.env("RUST_BACKTRACE", "1").current_dir(folder).stdin(Stdio::null());
        // What one test has found out helps no other one.
        command.env("XDG_CACHE_HOME", folder.join(CACHE));
        Self { command }
    }

    /// Adds arguments.
    pub fn args<S: AsRef<str>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Adds `-q -c SQL` for each statement.
    pub fn sql(self, statements: &[&str]) -> Self {
        self.args(["-q"]).args(statements.iter().flat_map(|sql| ["-c", sql]))
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it with this text as its input.
    pub fn run_with_input(mut self, input: &str) -> Ran {
        use std::io::Write;
        let mut child =
            self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Ran::from(child.wait_with_output().unwrap())
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Ran {
        Ran::from(self.command.output().unwrap())
    }

    /// Starts it.
    pub fn start(mut self) -> std::process::Child {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

/// What a run of the program gave.
#[derive(Debug)]
pub struct Ran {
    /// The exit code.
    pub code: Option<i32>,
    /// The standard output.
    pub stdout: String,
    /// The standard error.
    pub stderr: String,
}

impl From<std::process::Output> for Ran {
    fn from(output: std::process::Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// The output of a run that went well and had nothing to complain about.
    pub fn ok(self) -> String {
        assert!(self.code == Some(0) && self.stderr.is_empty(), "{self:#?}");
        self.stdout
    }

    /// The error of a run that failed: one line, no panic, no backtrace.
    pub fn failed(&self) -> String {
        assert_eq!(self.code, Some(1), "{self:#?}");
        let lines: Vec<&str> = self.stderr.lines().collect();
        let [line] = lines[..] else { panic!("one line expected on stderr: {self:#?}") };
        let Some(message) = line.strip_prefix("Error: ") else { panic!("no error: {self:#?}") };
        for trace in ["panicked", "backtrace", "core::", "std::", "tokio::", "/rustc/"] {
            assert!(!line.contains(trace), "{trace} in {line}");
        }
        message.to_owned()
    }
}
