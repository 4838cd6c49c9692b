//! `man`: the manual pages, made of the same text as `--help`.

use std::path::{Path, PathBuf};

use clap_mangen::Man;

use crate::cli::program::{Outcome, Program};
use crate::cli::{args, report};
use crate::error::{MetaxyError, Result};

const EXAMPLE: &str = "\
Example:
  $ metaxy-cli man > metaxy-cli.1

To read it at once: metaxy-cli man | man -l -";

/// Print the manual page, or write one per subcommand into a folder
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Args {
    /// Write all pages into this folder instead
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// Prints or writes the pages.
///
/// # Errors
///
/// When the standard output or the folder can't be written.
pub(super) async fn run(program: &Program, args: Args) -> Result<Outcome> {
    let mut whole = args::definition().disable_help_subcommand(true);
    whole.build();
    let Some(folder) = &args.output else {
        report::output(&page(&whole, Path::new("the manual page"))?)?;
        return Ok(Outcome::Done);
    };
    write(folder, &whole)?;
    let mut written = 1;
    for command in whole.get_subcommands().filter(|command| !command.is_hide_set()) {
        write(folder, command)?;
        written += 1;
    }
    program.notice(&format!("Wrote {written} pages into {}.", folder.display()));
    Ok(Outcome::Done)
}

fn write(folder: &Path, command: &clap::Command) -> Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let file = folder.join(format!("{name}.1"));
    let bytes = page(command, &file)?;
    std::fs::write(&file, bytes).map_err(|error| failed(&file, &error))
}

fn page(command: &clap::Command, file: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Man::new(command.clone()).render(&mut bytes).map_err(|error| failed(file, &error))?;
    Ok(bytes)
}

fn failed(file: &Path, error: &std::io::Error) -> MetaxyError {
    MetaxyError::File { file: file.to_owned(), reason: format!("cannot be written: {error}") }
}
