//! `sql`, and what the program does without a subcommand: a prompt, or statements from the command line, files or a
//! pipe.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser};
use clap::{ArgAction, ArgMatches, ValueEnum};
use datafusion_cli::functions::{
    ListFilesCacheFunc, MetadataCacheFunc, ParquetMetadataFunc, StatisticsCacheFunc,
};
use datafusion_cli::object_storage::instrumented::InstrumentedObjectStoreRegistry;
use datafusion_cli::print_format::PrintFormat;
use datafusion_cli::print_options::{MaxRows, PrintOptions};

use crate::cli::context::CliContext;
use crate::cli::program::Program;
use crate::cli::prompt;
use crate::cli::run::{Flow, Runner, Source};
use crate::error::Result;
use crate::session::MetaxySession;

/// Rows of a table that the prompt shows at most, as in datafusion-cli.
const PROMPT_ROWS: usize = 40;

/// The arguments that may stand before no subcommand.
pub(in crate::cli) const ARGUMENTS: [&str; 4] = ["command", "file", "maxrows", "color"];

pub(in crate::cli) const EXAMPLES: &str = "\
Examples:
  metaxy-cli
      a prompt on the default store; \\? lists its commands, \\q leaves
  metaxy-cli -q --format csv -c \"SELECT * FROM resolve_update('video/crop')\" > todo.csv
      the samples that need work, as a file
  metaxy-cli --store prod -f prepare.sql -f nightly.sql
      scripts, in this order, on another store; the first error ends the run with exit code 1

Without a metaxy.toml there is one store, `dev`: Delta tables in the folder ./metaxy-store.
-c and -f run in the order they are given. Without them, SQL that is piped in is run as a script.";

/// Run SQL: a prompt, or statements and files (what happens without a subcommand, too)
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// Run these statements, then exit (repeatable)
    #[arg(short = 'c', long, value_name = "SQL", action = ArgAction::Append, allow_hyphen_values = true, value_parser = NonEmptyStringValueParser::new())]
    command: Vec<String>,

    /// Run the statements of this file, then exit; `-` is the standard input (repeatable)
    #[arg(short = 'f', long, value_name = "FILE", action = ArgAction::Append)]
    file: Vec<PathBuf>,

    /// Rows of a table to show: a number or `inf` [default: 40 at the prompt; inf for -c, -f and when
    /// the output is not a terminal]
    #[arg(long, value_name = "N")]
    maxrows: Option<MaxRows>,

    /// Highlight SQL while it is typed
    #[arg(long)]
    color: bool,

    /// What to run, in the order of the command line.
    #[arg(skip)]
    pub(in crate::cli) inputs: Vec<Input>,
}

/// Something to run, as it stands on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Input {
    /// The SQL after a `-c`.
    Command(String),
    /// The file after a `-f`.
    File(PathBuf),
}

impl Args {
    /// The arguments with `-c` and `-f` in the order in which they were given.
    pub(in crate::cli) fn in_order(mut self, matches: &ArgMatches) -> Self {
        let commands = self.command.drain(..).map(Input::Command);
        let files = self.file.drain(..).map(Input::File);
        let mut inputs: Vec<(usize, Input)> = positions(matches, "command")
            .zip(commands)
            .chain(positions(matches, "file").zip(files))
            .collect();
        inputs.sort_by_key(|(position, _)| *position);
        self.inputs = inputs.into_iter().map(|(_, input)| input).collect();
        self
    }
}

fn positions<'a>(matches: &'a ArgMatches, name: &str) -> impl Iterator<Item = usize> + 'a {
    matches.indices_of(name).into_iter().flatten()
}

/// `--format` of SQL: everything that datafusion-cli can print.
pub(in crate::cli) fn formats(argument: clap::Arg) -> clap::Arg {
    let values = PrintFormat::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    argument
        .value_parser(PossibleValuesParser::new(values))
        .help("How results are printed; `automatic` is a table [default: automatic]")
}

/// Runs the statements, or the prompt if there are none.
///
/// # Errors
///
/// The first failure of a script; at the prompt a failing statement ends nothing.
pub(in crate::cli) async fn run(program: &Program, args: Args) -> Result<()> {
    let interactive = args.inputs.is_empty() && std::io::stdin().is_terminal();
    let options = print_options(program, &args, interactive);
    // All files are read before anything runs: a misspelt name must not leave half the work done.
    let mut sources = args.inputs.into_iter().map(Source::read).collect::<Result<Vec<_>>>()?;
    let session = program.session().await?;
    register_functions(session);

    let mut runner = Runner { context: CliContext::new(session.clone()), options, interactive };
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

fn print_options(program: &Program, args: &Args, interactive: bool) -> PrintOptions {
    // A result that goes into a file or comes from a script is wanted whole.
    let shortened = interactive && std::io::stdout().is_terminal();
    let default = if shortened { MaxRows::Limited(PROMPT_ROWS) } else { MaxRows::Unlimited };
    let format = program.globals.format.as_deref().and_then(|name| PrintFormat::from_str(name, false).ok());
    PrintOptions {
        format: format.unwrap_or(PrintFormat::Automatic),
        quiet: program.globals.quiet,
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
