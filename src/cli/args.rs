//! The command line: a subcommand or plain SQL, with the options that all of them share.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::builder::{NonEmptyStringValueParser, PossibleValue, PossibleValuesParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches, Parser};

use super::commands::{Command, sql};
use super::spellings;

/// The program's version and that of the engine in it, as `--version` and the banner show them.
pub(super) static VERSION: LazyLock<String> = LazyLock::new(|| {
    format!("{} (DataFusion {})", env!("CARGO_PKG_VERSION"), datafusion::DATAFUSION_VERSION)
});

/// The name of `--format`, which a subcommand can have an argument of its own for.
const FORMAT: &str = "format";

/// SQL over Metaxy's metadata stores: which samples are new, stale or orphaned?
///
/// Without a subcommand this is `metaxy-cli sql`: a prompt, or the SQL of -c and -f.
#[derive(Debug, Parser)]
#[command(name = "metaxy-cli", version = VERSION.as_str(), after_help = sql::EXAMPLES)]
// Lines stay as they are: those of the examples are what the program prints. Without this it would depend on which
// features of clap other crates of the build turn on.
#[command(term_width = 0)]
struct Cli {
    #[command(flatten)]
    sql: sql::Args,

    #[command(flatten)]
    globals: Globals,

    #[command(subcommand)]
    command: Option<Command>,
}

/// Options that may stand before and after a subcommand.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Globals {
    /// Configuration to use instead of the metaxy.toml that is found from here upwards
    #[arg(long, alias = "config-file", global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// Store to work on instead of the configured default
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) store: Option<String>,

    /// How results are printed: table, json, csv; SQL has more, see `metaxy-cli sql --help`
    #[arg(long, global = true, value_name = "FORMAT", value_parser = NonEmptyStringValueParser::new())]
    pub(super) format: Option<String>,

    /// Print results only: no banner, no row counts, no timing, no notices
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,

    /// Memory that queries may use, for example 512m or 10g [default: no limit]
    #[arg(short, long, global = true, value_name = "SIZE", value_parser = parse_size)]
    pub(super) memory_limit: Option<usize>,
}

/// What the program was asked to do.
#[derive(Debug)]
pub(super) struct Invocation {
    /// The shared options.
    pub(super) globals: Globals,
    /// The subcommand; SQL if none was named.
    pub(super) command: Command,
}

/// The whole command line: what completions and the man page are made of, too.
pub(super) fn definition() -> clap::Command {
    Cli::command().mut_subcommands(|command| match command.get_name() {
        "sql" => command.arg(sql::formats(format_argument())),
        _ if command.get_arguments().any(|argument| argument.get_id() == FORMAT) => command,
        _ => command.arg(formats_of_rows(format_argument())),
    })
}

fn format_argument() -> Arg {
    Arg::new(FORMAT).long(FORMAT).value_name("FORMAT").help_heading("Global options")
}

/// What subcommands print unless they say otherwise. `plain` and `-f` are the Python package's.
fn formats_of_rows(argument: Arg) -> Arg {
    let values = [PossibleValue::new("table").alias("plain"), "json".into(), "csv".into()];
    argument
        .short_alias('f')
        .value_parser(PossibleValuesParser::new(values))
        .help("How results are printed [default: table]")
}

/// Reads the command line.
///
/// # Errors
///
/// What clap says, `--help` and `--version` included: print it and leave with its exit code.
pub(super) fn read<I>(args: I) -> Result<Invocation, clap::Error>
where
    I: IntoIterator<Item = OsString>,
{
    let mut definition = definition();
    let args = spellings::ours(&definition, args.into_iter().collect());
    if let Some(text) = spellings::incomplete(&definition, &args) {
        return Err(definition.error(ErrorKind::MissingSubcommand, text));
    }
    let matches = definition.try_get_matches_from_mut(args)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    let command = match (cli.command.take(), matches.subcommand()) {
        (Some(command), Some((name, inner))) => {
            check_stray_sql(&mut definition, &matches, name)?;
            check_format(&definition, name, cli.globals.format.as_deref())?;
            match command {
                Command::Sql(args) => Command::Sql(args.in_order(inner)),
                other => other,
            }
        }
        _ => {
            check_format(&definition, "sql", cli.globals.format.as_deref())?;
            Command::Sql(cli.sql.in_order(&matches))
        }
    };
    Ok(Invocation { globals: cli.globals, command })
}

/// SQL before a subcommand would be ignored.
fn check_stray_sql(
    definition: &mut clap::Command,
    matches: &ArgMatches,
    command: &str,
) -> Result<(), clap::Error> {
    for argument in sql::ARGUMENTS {
        if matches.value_source(argument) == Some(ValueSource::CommandLine) {
            let mut text = format!("--{argument} can't stand before the subcommand '{command}'");
            let prepares = definition
                .find_subcommand(command)
                .is_some_and(|found| found.get_arguments().any(|known| known.get_id() == "prepare"));
            if prepares && matches!(argument, "command" | "file") {
                text += &format!("; `metaxy-cli {command} --prepare FILE` runs the SQL of a file first");
            }
            return Err(definition.error(ErrorKind::ArgumentConflict, text));
        }
    }
    Ok(())
}

/// A format that stands before the subcommand has not been compared with what the subcommand knows yet.
fn check_format(definition: &clap::Command, command: &str, format: Option<&str>) -> Result<(), clap::Error> {
    let Some(command) = definition.find_subcommand(command) else { return Ok(()) };
    let Some(argument) = command.get_arguments().find(|arg| arg.get_id() == FORMAT) else { return Ok(()) };
    let known = argument.get_possible_values();
    let Some(format) = format.filter(|format| !known.iter().any(|value| value.matches(format, false))) else {
        return Ok(());
    };
    let names = known.iter().map(|value| value.get_name().to_owned()).collect();
    let mut error = clap::Error::new(ErrorKind::InvalidValue).with_cmd(command);
    error.insert(ContextKind::InvalidArg, ContextValue::String("--format <FORMAT>".into()));
    error.insert(ContextKind::InvalidValue, ContextValue::String(format.to_owned()));
    error.insert(ContextKind::ValidValue, ContextValue::Strings(names));
    Err(error)
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
    use crate::cli::commands::sql::Input;

    fn run(args: &[&str]) -> Result<Invocation, clap::Error> {
        read(std::iter::once("metaxy-cli").chain(args.iter().copied()).map(OsString::from))
    }

    fn inputs(args: &[&str]) -> Vec<Input> {
        match run(args).unwrap().command {
            Command::Sql(args) => args.inputs,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_command_may_start_with_a_comment() {
        let comment = "-- a comment\nSELECT 1";
        assert_eq!(inputs(&["-c", comment]), [Input::Command(comment.into())]);
    }

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn inputs_keep_their_order_with_and_without_the_subcommand() {
        let args = ["-c", "a", "-f", "b.sql", "--command", "c", "-fd.sql"];
        let expected = [
            Input::Command("a".into()),
            Input::File("b.sql".into()),
            Input::Command("c".into()),
            Input::File("d.sql".into()),
        ];
        assert_eq!(inputs(&args), expected);
        let named: Vec<&str> = std::iter::once("sql").chain(args).collect();
        assert_eq!(inputs(&named), expected);
    }

    #[test]
    fn shared_options_stand_anywhere() {
        for args in [
            &["--config", "x.toml", "--store", "prod", "--format", "csv", "-q", "push"][..],
            &["push", "--config-file", "x.toml", "--store", "prod", "--format", "csv", "-q"],
            &["--config-file=x.toml", "--store", "dev", "push", "-q", "--format=csv", "--store", "prod"],
        ] {
            let globals = run(args).unwrap().globals;
            assert_eq!(globals.config, Some("x.toml".into()), "{args:?}");
            assert_eq!(globals.store.as_deref(), Some("prod"), "{args:?}");
            assert_eq!(globals.format.as_deref(), Some("csv"), "{args:?}");
            assert!(globals.quiet, "{args:?}");
        }
    }

    #[test]
    fn usage_errors_exit_with_2_and_help_with_0() {
        for wrong in [
            &["--no-such-option"][..],
            &["--format", "xml"],
            &["--format", "tsv", "push"],
            &["push", "--format", "tsv"],
            &["sql", "--format", "xml"],
            &["--maxrows", "few"],
            &["-m", "1x"],
            &["-c", ""],
            &["-c", "SELECT 1", "push"],
            &["--color", "push"],
            &["pull"],
        ] {
            let error = run(wrong).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{wrong:?}");
            assert!(error.to_string().starts_with("error: "), "{error}");
        }
        for help in [&["--help"][..], &["--version"], &["push", "--help"], &["sql", "--help"]] {
            assert_eq!(run(help).unwrap_err().exit_code(), 0, "{help:?}");
        }
    }

    #[test]
    fn sql_before_a_subcommand_is_told_where_it_belongs() {
        let text = run(&["-f", "define.sql", "push"]).unwrap_err().to_string();
        assert!(text.contains("metaxy-cli push --prepare FILE"), "{text}");
        let text = run(&["-f", "define.sql", "lock"]).unwrap_err().to_string();
        assert!(text.contains("can't stand before") && !text.contains("--prepare"), "{text}");
    }

    #[test]
    fn half_of_a_python_command_is_told_the_other_half() {
        for (half, known) in [("metadata", "status, delete, copy, rebase"), ("graph-diff", "render")] {
            let error = run(&[half]).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(known), "{error}");
            assert!(run(&[half, "other"]).is_err());
        }
    }

    #[test]
    fn a_wrong_format_is_told_with_the_right_ones() {
        for wrong in [&["--format", "tsv", "push"][..], &["push", "--format", "tsv"]] {
            let text = run(wrong).unwrap_err().to_string();
            assert!(text.contains("'tsv'") && text.contains("table, json, csv"), "{text}");
        }
        assert_eq!(run(&["--format", "tsv"]).unwrap().globals.format.as_deref(), Some("tsv"));
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
