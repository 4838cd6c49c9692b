//! The command line: what can be asked for, and in which order.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser};
use datafusion_cli::print_format::PrintFormat;
use datafusion_cli::print_options::MaxRows;

/// The program's version and that of the engine in it, as `--version` and the banner show them.
pub(super) static VERSION: LazyLock<String> = LazyLock::new(|| {
    format!("{} (DataFusion {})", env!("CARGO_PKG_VERSION"), datafusion::DATAFUSION_VERSION)
});

const EXAMPLES: &str = "\
Examples:
  metaxy-cli
      a prompt on the default store; \\? lists its commands, \\q leaves
  metaxy-cli -q --format csv -c \"SELECT * FROM resolve_update('video/crop')\" > todo.csv
      the samples that need work, as a file
  metaxy-cli --store prod -f prepare.sql -f nightly.sql
      scripts, in this order, on another store; the first error ends the run with exit code 1

Without a metaxy.toml there is one store, `dev`: Delta tables in the folder ./metaxy-store.
-c and -f run in the order they are given. Without them, SQL that is piped in is run as a script.";

/// SQL over Metaxy's metadata stores: which samples are new, stale or orphaned?
#[derive(Debug, Parser)]
#[command(name = "metaxy-cli", version = VERSION.as_str(), after_help = EXAMPLES)]
pub(super) struct Args {
    /// Run these statements, then exit (repeatable)
    #[arg(short = 'c', long, value_name = "SQL", action = ArgAction::Append, allow_hyphen_values = true, value_parser = NonEmptyStringValueParser::new())]
    command: Vec<String>,

    /// Run the statements of this file, then exit; `-` is the standard input (repeatable)
    #[arg(short = 'f', long, value_name = "FILE", action = ArgAction::Append)]
    file: Vec<PathBuf>,

    /// Configuration to use instead of the metaxy.toml that is found from here upwards
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// Store to work on instead of the configured default
    #[arg(long, value_name = "NAME")]
    pub(super) store: Option<String>,

    /// How results are printed; `automatic` is a table
    #[arg(long, value_enum, default_value_t = PrintFormat::Automatic)]
    pub(super) format: PrintFormat,

    /// Print results only: no banner, no row counts, no timing
    #[arg(short, long)]
    pub(super) quiet: bool,

    /// Rows of a table to show: a number or `inf` [default: 40 at the prompt; inf for -c, -f and when
    /// the output is not a terminal]
    #[arg(long, value_name = "N")]
    pub(super) maxrows: Option<MaxRows>,

    /// Highlight SQL while it is typed
    #[arg(long)]
    pub(super) color: bool,

    /// Memory that queries may use, for example 512m or 10g [default: no limit]
    #[arg(short, long, value_name = "SIZE", value_parser = parse_size)]
    pub(super) memory_limit: Option<usize>,
}

/// Something to run, as it stands on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// The SQL after a `-c`.
    Command(String),
    /// The file after a `-f`.
    File(PathBuf),
}

impl Args {
    /// Reads the command line, with its `-c` and `-f` in the order they were given.
    ///
    /// # Errors
    ///
    /// What clap says, `--help` and `--version` included: print it and leave with its exit code.
    pub(super) fn read<I>(args: I) -> Result<(Self, Vec<Input>), clap::Error>
    where
        I: IntoIterator<Item = OsString>,
    {
        let matches = Self::command().try_get_matches_from(args)?;
        let args = Self::from_arg_matches(&matches)?;
        let commands = args.command.iter().cloned().map(Input::Command);
        let files = args.file.iter().cloned().map(Input::File);
        let mut inputs: Vec<(usize, Input)> = positions(&matches, "command")
            .zip(commands)
            .chain(positions(&matches, "file").zip(files))
            .collect();
        inputs.sort_by_key(|(position, _)| *position);
        Ok((args, inputs.into_iter().map(|(_, input)| input).collect()))
    }
}

fn positions<'a>(matches: &'a ArgMatches, name: &str) -> impl Iterator<Item = usize> + 'a {
    matches.indices_of(name).into_iter().flatten()
}

/// A size in bytes from a number with an optional unit of 1024s: `b`, `k`, `m`, `g` or `t`, `kb` etc. too.
fn parse_size(text: &str) -> Result<usize, String> {
    let lower = text.trim().to_lowercase();
    let split = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(split);
    let shift = match unit {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        "t" | "tb" => 40,
        _ => return Err("expected a number with an optional unit, such as 512m or 10g".to_owned()),
    };
    match number.parse::<usize>().ok().and_then(|number| number.checked_mul(1_usize << shift)) {
        Some(0) => Err("must be more than nothing".to_owned()),
        Some(bytes) => Ok(bytes),
        None if number.is_empty() => Err("expected a number, such as 512m or 10g".to_owned()),
        None => Err("is too large".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<(Args, Vec<Input>), clap::Error> {
        Args::read(std::iter::once("metaxy-cli").chain(args.iter().copied()).map(OsString::from))
    }

    #[test]
    fn a_command_may_start_with_a_comment() {
        let args = ["metaxy-cli", "-c", "-- a comment\nSELECT 1"].map(OsString::from);
        let (_, inputs) = Args::read(args).unwrap();
        assert_eq!(inputs, [Input::Command("-- a comment\nSELECT 1".into())]);
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn inputs_keep_their_order() {
        let (_, inputs) = read(&["-c", "a", "-f", "b.sql", "--command", "c", "-fd.sql"]).unwrap();
        let expected = [
            Input::Command("a".into()),
            Input::File("b.sql".into()),
            Input::Command("c".into()),
            Input::File("d.sql".into()),
        ];
        assert_eq!(inputs, expected);
    }

    #[test]
    fn usage_errors_exit_with_2_and_help_with_0() {
        assert_eq!(read(&["--no-such-option"]).unwrap_err().exit_code(), 2);
        assert_eq!(read(&["--format", "xml"]).unwrap_err().exit_code(), 2);
        assert_eq!(read(&["--maxrows", "few"]).unwrap_err().exit_code(), 2);
        assert_eq!(read(&["-m", "1x"]).unwrap_err().exit_code(), 2);
        assert_eq!(read(&["-c", ""]).unwrap_err().exit_code(), 2);
        assert_eq!(read(&["--help"]).unwrap_err().exit_code(), 0);
        assert_eq!(read(&["--version"]).unwrap_err().exit_code(), 0);
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("5"), Ok(5));
        assert_eq!(parse_size("4KB"), Ok(4096));
        assert_eq!(parse_size("1g"), Ok(1 << 30));
        for wrong in ["", "g", "0", "-1g", "1 g", "99999999999999t", "1.5g"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
