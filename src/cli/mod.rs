//! The command line program: a prompt and a script runner around our session, made of datafusion-cli's parts.

mod args;
mod command;
mod context;
mod helper;
mod print;
mod prompt;
mod remote;
mod report;
mod run;
mod script;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use datafusion_cli::functions::{
    ListFilesCacheFunc, MetadataCacheFunc, ParquetMetadataFunc, StatisticsCacheFunc,
};
use datafusion_cli::object_storage::instrumented::InstrumentedObjectStoreRegistry;
use datafusion_cli::print_options::{MaxRows, PrintOptions};

use self::args::{Args, Input};
use self::context::CliContext;
use self::run::{Flow, Runner, Source};
use crate::config::{Config, Environment};
use crate::error::{MetaxyError, Result};
use crate::session::{MetaxySession, SessionOptions};

/// Rows of a table that the prompt shows at most, as in datafusion-cli.
const PROMPT_ROWS: usize = 40;

/// Runs the program with these arguments, the program's name first, and returns its exit code: 0 when all is
/// well, 1 when a statement or the start fails, 2 when the arguments are wrong.
///
/// Needs a thread with a large stack for deep plans, and a Tokio runtime with several threads.
pub async fn run<I>(args: I) -> ExitCode
where
    I: IntoIterator<Item = OsString>,
{
    report::leave_on_closed_output();
    let (args, inputs) = match Args::read(args) {
        Ok(read) => read,
        Err(message) => {
            // Help that nobody reads to its end is no failure.
            let _ = message.print();
            return ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(2));
        }
    };
    match Box::pin(start(args, inputs)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if report::is_output_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            report::error(&error);
            ExitCode::FAILURE
        }
    }
}

async fn start(args: Args, inputs: Vec<Input>) -> Result<()> {
    let interactive = inputs.is_empty() && std::io::stdin().is_terminal();
    // All files are read before anything runs: a misspelt name must not leave half the work done.
    let mut sources = inputs.into_iter().map(Source::read).collect::<Result<Vec<_>>>()?;

    let folder = std::env::current_dir()
        .map_err(|error| MetaxyError::Config(format!("the working folder is not accessible: {error}")))?;
    let config = Config::load(args.config.as_deref(), &folder, &Environment::process())?;
    for warning in &config.warnings {
        report::warning(warning);
    }
    let options = SessionOptions { store: args.store.clone(), memory_limit: args.memory_limit };
    let session = MetaxySession::open(config, options).await?;
    register_functions(&session);

    let mut runner =
        Runner { context: CliContext::new(session), options: print_options(&args, interactive), interactive };
    runner.print_warnings();
    if interactive {
        return prompt::run(&mut runner).await;
    }
    if sources.is_empty() {
        sources.push(Source::stdin()?);
    }
    for source in &sources {
        if runner.run(source).await? == Flow::Quit {
            break;
        }
    }
    Ok(())
}

fn print_options(args: &Args, interactive: bool) -> PrintOptions {
    // A result that goes into a file or comes from a script is wanted whole.
    let shortened = interactive && std::io::stdout().is_terminal();
    let default = if shortened { MaxRows::Limited(PROMPT_ROWS) } else { MaxRows::Unlimited };
    PrintOptions {
        format: args.format,
        quiet: args.quiet,
        maxrows: args.maxrows.unwrap_or(default),
        color: args.color,
        instrumented_registry: Arc::new(InstrumentedObjectStoreRegistry::new()),
    }
}

/// Adds datafusion-cli's table functions about Parquet files and caches.
fn register_functions(session: &MetaxySession) {
    let context = session.context();
    let caches = || context.runtime_env().cache_manager.clone();
    context.register_udtf("parquet_metadata", Arc::new(ParquetMetadataFunc {}));
    context.register_udtf("metadata_cache", Arc::new(MetadataCacheFunc::new(caches())));
    context.register_udtf("statistics_cache", Arc::new(StatisticsCacheFunc::new(caches())));
    context.register_udtf("list_files_cache", Arc::new(ListFilesCacheFunc::new(caches())));
}
