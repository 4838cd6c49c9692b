//! `completions`: what a shell needs to complete the program's arguments.

use clap_complete::{Shell, generate};

use crate::cli::program::{Outcome, Program};
use crate::cli::{args, report};
use crate::error::Result;

const EXAMPLE: &str = "\
Example:
  $ metaxy-cli completions bash > metaxy-cli.bash

For this shell: source <(metaxy-cli completions bash). For good: put the file where your shell looks for completions,
such as ~/.local/share/bash-completion/completions/metaxy-cli.";

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
///
/// When the standard output can't be written.
pub(super) async fn run(_program: &Program, args: Args) -> Result<Outcome> {
    let mut script = Vec::new();
    generate(args.shell, &mut args::definition(), "metaxy-cli", &mut script);
    if args.shell == Shell::Bash {
        // The generator writes the hyphen of the program's name in one way where it finds out about the subcommand, and
        // in another where it asks which one it is.
        let text = String::from_utf8_lossy(&script).replace("metaxy__subcmd__cli", "metaxy__cli");
        script = text.into_bytes();
    }
    report::output(&script)?;
    Ok(Outcome::Done)
}
