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
    /// Write all pages into this folder instead, which is made if it isn't there
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
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
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
    // The generator fills its paragraphs, and examples are to keep their lines.
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let man = Man::new(command.clone().after_help(None::<&str>))
        .source(concat!("metaxy-cli ", env!("CARGO_PKG_VERSION")))
        .manual("Metaxy's metadata stores");
    man.render(&mut bytes).map_err(|error| failed(file, &error))?;
    let text = String::from_utf8_lossy(&bytes);
    let (before, after) = match text.find("\n.SH VERSION") {
        Some(place) => text.split_at(place + 1),
        None => (text.as_ref(), ""),
    };
    let before = before.trim_end();
    Ok(format!("{before}\n{}{after}", examples_section(&examples)).into_bytes())
}

/// The section with the examples, whose indented lines stay as they are.
fn examples_section(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let mut section = ".SH EXAMPLES\n".to_owned();
    let mut kept = false;
    for line in text.lines().filter(|line| !matches!(*line, "Example:" | "Examples:")) {
        let indented = line.starts_with("  ");
        if !line.is_empty() && indented != kept {
            section += if indented { ".PP\n.nf\n" } else { ".fi\n.PP\n" };
            kept = indented;
        }
        section += &match line.is_empty() {
            true if kept => ".sp\n".to_owned(),
            true => ".PP\n".to_owned(),
            false => format!("{}\n", in_roff(line.strip_prefix("  ").unwrap_or(line))),
        };
    }
    if kept {
        section += ".fi\n";
    }
    section
}

/// A line of text as roff has it.
fn in_roff(line: &str) -> String {
    let escaped = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if escaped.starts_with('.') { format!("\\&{escaped}") } else { escaped }
}

fn failed(file: &Path, error: &std::io::Error) -> MetaxyError {
    MetaxyError::File { file: file.to_owned(), reason: format!("cannot be written: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_keep_their_lines() {
        let text = "Example:\n  $ a --b \\?\n  .c\n\n  it's\n\nAnd more.";
        let section =
            ".SH EXAMPLES\n.PP\n.nf\n$ a \\-\\-b \\e?\n\\&.c\n.sp\nit\\(aqs\n.sp\n.fi\n.PP\nAnd more.\n";
        assert_eq!(examples_section(text), section);
        assert_eq!(examples_section(""), "");
    }
}
