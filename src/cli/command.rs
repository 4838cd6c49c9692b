//! Backslash commands: datafusion-cli's, as far as they don't run SQL past our statement layer.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::common::instant::Instant;
use datafusion::error::DataFusionError;
use datafusion_cli::command::{Command, OutputFormat};
use datafusion_cli::print_format::PrintFormat;
use datafusion_cli::print_options::PrintOptions;

use super::context::CliContext;
use super::report;
use crate::error::{MetaxyError, Result};

/// What is left to do after a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Go on with what follows.
    Continue,
    /// Leave the program.
    Quit,
    /// Run this file.
    Include(PathBuf),
}

/// Runs a line that starts with a backslash.
///
/// # Errors
///
/// When there is no such command, or when it fails.
pub(super) async fn run(line: &str, context: &CliContext, options: &mut PrintOptions) -> Result<Next> {
    match parsed(line)? {
        Command::Quit => return Ok(Next::Quit),
        Command::Include(file) => return included(file),
        Command::OutputFormat(None) => {
            report::output(format!("Output format is {:?}.\n", options.format).as_bytes())?
        }
        Command::OutputFormat(Some(option)) => {
            let option: OutputFormat = option.parse().map_err(|()| unknown(line))?;
            option.execute(options).map_err(failure)?;
        }
        Command::ObjectStoreProfileMode(_) => {
            return Err(MetaxyError::Invalid("\\object_store_profiling is not available here".to_owned()));
        }
        Command::DescribeTableStmt(name) => {
            let describe = Command::DescribeTableStmt(table_name(&name));
            describe.execute(context, options).await.map_err(failure)?;
        }
        Command::Help => help(context, options)?,
        command => command.execute(context, options).await.map_err(failure)?,
    }
    Ok(Next::Continue)
}

/// As [`run`], for a file whose results are not printed.
///
/// # Errors
///
/// A command that is there to print, or to say how.
pub(super) fn without_output(line: &str) -> Result<Next> {
    match parsed(line)? {
        Command::Quit => Ok(Next::Quit),
        Command::Include(file) => included(file),
        _ => Err(MetaxyError::Invalid(format!(
            "{line} is for files of -f; those of --prepare print nothing, and \\i and \\q are all that they can have"
        ))),
    }
}

fn parsed(line: &str) -> Result<Command> {
    let words: Vec<&str> = line.trim_start_matches('\\').trim_end_matches(';').split_whitespace().collect();
    words.join(" ").parse::<Command>().map_err(|()| unknown(line))
}

fn unknown(line: &str) -> MetaxyError {
    MetaxyError::Invalid(format!("{line} is not a command; \\? lists all commands"))
}

fn included(file: Option<String>) -> Result<Next> {
    match file {
        Some(file) => Ok(Next::Include(file.into())),
        None => Err(MetaxyError::Invalid("\\i needs the name of a file".to_owned())),
    }
}

/// The commands, with what they do here.
const COMMANDS: [(&str, &str); 9] = [
    ("\\d", "list tables"),
    ("\\d name", "describe table"),
    ("\\q", "quit metaxy-cli"),
    ("\\?", "help"),
    ("\\i filename", "reads input from the specified filename"),
    ("\\h", "function list"),
    ("\\h function", "search function"),
    ("\\quiet (true|false)?", "print or set quiet mode"),
    ("\\pset [NAME [VALUE]]", "set table output option (format)"),
];

fn help(context: &CliContext, options: &PrintOptions) -> Result<()> {
    // Prints with the format as it is, and `automatic` is no table to it.
    let mut options = options.clone();
    if options.format == PrintFormat::Automatic {
        options.format = PrintFormat::Table;
    }
    // How many rows it is, and how long it took, belongs to tables alone.
    options.quiet |= options.format != PrintFormat::Table;
    let column = |text: fn(&(&'static str, &'static str)) -> &'static str| -> ArrayRef {
        Arc::new(COMMANDS.iter().map(text).map(Some).collect::<StringArray>())
    };
    let columns = [("Command", column(|command| command.0)), ("Description", column(|command| command.1))];
    let batch = RecordBatch::try_from_iter(columns).map_err(DataFusionError::from)?;
    let state = context.session().context().state();
    let format = &state.config_options().format;
    let (start, rows) = (Instant::now(), batch.num_rows());
    options.print_batches(batch.schema(), &[batch], start, rows, format).map_err(failure)
}

/// The table of a feature whose key was written with slashes, quoted or not; other names as they are.
fn table_name(name: &str) -> String {
    let bare = name.trim_matches('"');
    if bare.contains('/') && !bare.contains(['"', '\'', '.']) {
        bare.replace('/', "__")
    } else {
        name.to_owned()
    }
}

/// These commands print by themselves, so a reader that left shows up as their failure.
fn failure(error: DataFusionError) -> MetaxyError {
    match error.find_root() {
        DataFusionError::IoError(inner) if inner.kind() == ErrorKind::BrokenPipe => report::output_closed(),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feature_keys_become_table_names() {
        assert_eq!(table_name("video/crop"), "video__crop");
        assert_eq!(table_name("\"video/crop\""), "video__crop");
        for same in ["video__crop", "prod.features.crop", "\"Video\"", "'a/b.csv'", "'a/b'"] {
            assert_eq!(table_name(same), same);
        }
    }
}
