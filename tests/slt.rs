//! The main test suite: every `.slt` file below `tests/slt` runs over every store with every executor.
//!
//! Those of stores in a bucket are ignored unless `METAXY_TEST_S3` is the endpoint of an S3 server, which
//! `tests/s3/start.sh` starts.
//!
//! `cargo test --test slt -- resolve` runs the trials whose names contain `resolve`; with `-- --complete` the files
//! are rewritten to what the stores answer, to be read before they are committed. Trials over PostgreSQL are ignored
//! unless `METAXY_TEST_POSTGRES` is the URL of a database, as `tests/postgres/start.sh` prints it.

#[path = "slt/harness/database.rs"]
mod database;
#[path = "slt/harness/fixture.rs"]
mod fixture;
#[path = "slt/harness/scans.rs"]
mod scans;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use sqllogictest::{Runner, default_normalizer, default_validator, strict_column_validator};

use database::Database;
use fixture::{Fixture, ROOT};

/// What the files run over, also as labels of `onlyif` and `skipif`.
const STORES: [&str; 4] = ["memory", "delta", "parquet", "postgresql"];
/// The same in a bucket, beside their own labels with `s3`. Once each: where rows are from is all the same to an executor.
const IN_BUCKET: [(&str, &str); 2] = [("delta", "memory"), ("parquet", "native")];
/// What computes increments, also as labels: `engine_native`, `engine_memory`.
const EXECUTORS: [&str; 2] = ["native", "memory"];

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let complete = std::env::args().any(|arg| arg == "--complete");
    let mut arguments = Arguments::from_iter(std::env::args().filter(|arg| arg != "--complete"));
    if complete {
        // A file is rewritten once per store, so one after the other.
        arguments.test_threads = Some(1);
    }
    let mut trials = Vec::new();
    for file in glob::glob(&format!("{}/**/*.slt", glob::Pattern::escape(ROOT)))? {
        let file = file?;
        let name = file.strip_prefix(ROOT)?.with_extension("").display().to_string();
        let runs = STORES.iter().flat_map(|store| EXECUTORS.map(|executor| (*store, executor)));
        trials.extend(runs.map(|(store, executor)| {
            let file = file.clone();
            let name = format!("slt::{store}::{executor}::{name}");
            let missing = store == "postgresql" && fixture::postgres().is_none();
            Trial::test(name, move || run(file, Fixture::new(store, executor)?, complete))
                .with_ignored_flag(missing)
        }));
        // The answers are the same: they are written where they are worked out faster.
        let in_bucket = IN_BUCKET.iter().filter(|_| !complete);
        trials.extend(in_bucket.map(|(store, executor)| {
            let file = file.clone();
            let name = format!("slt::{store}_s3::{executor}::{name}");
            Trial::test(name, move || run(file, Fixture::in_bucket(store, executor)?, complete))
                .with_ignored_flag(fixture::endpoint().is_none())
        }));
    }
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

fn run(file: PathBuf, fixture: Fixture, complete: bool) -> Result<(), Failed> {
    let work = async move {
        let fixture = Arc::new(fixture);
        let labels = fixture.labels();
        let mut runner = Runner::new(|| Database::open(Arc::clone(&fixture)));
        for label in labels {
            runner.add_label(&label);
        }
        runner.with_column_validator(strict_column_validator);
        if complete {
            let (rows, text) = (default_validator, default_normalizer);
            let update = runner.update_test_file(&file, " ", rows, text, strict_column_validator);
            return update.await.map_err(|error| error.to_string());
        }
        runner.run_file_async(&file).await.map_err(|error| error.display(false).to_string())
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).thread_stack_size(16 << 20).enable_all().build()?;
    // Plans are walked recursively: in a debug build that takes the large stack that spawned tasks have.
    Ok(runtime.block_on(runtime.spawn(work))??)
}
