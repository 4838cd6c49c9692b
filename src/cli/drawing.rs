//! The options of subcommands that draw a picture, and where the picture goes.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser};
use uuid::Uuid;

use super::program::Program;
use super::report;
use super::rows::{Format, Rows};
use crate::error::{MetaxyError, Result};
use crate::picture::{Direction, Form, Picture, Style};

/// How many characters of a version are shown where nothing else is asked for.
const VERSION_LENGTH: usize = 8;

/// What is drawn and how.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Drawing {
    /// The picture as text, mermaid, dot, svg or html, or what is in it as table, json or csv [default: what
    /// the name of the --output ends with, else text]
    #[arg(short, long, visible_alias = "as", value_name = "FORMAT", value_parser = formats())]
    #[arg(help_heading = "Global options")]
    format: Option<String>,

    /// Write to this file instead of the standard output, which `-` stands for, too
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Only the features around this one, by key (video/crop) or table name (video__crop) (repeatable)
    #[arg(long = "feature", value_name = "FEATURE")]
    pub(super) features: Vec<String>,

    /// The heading of the picture [default: what is drawn]
    #[arg(long, value_name = "TEXT")]
    pub(super) title: Option<String>,

    /// SQL to run first, for features that it defines (repeatable)
    #[arg(long, value_name = "FILE")]
    pub(super) prepare: Vec<PathBuf>,

    /// How many steps to go from --feature to its ancestors [default: all]
    #[arg(long, value_name = "N", requires = "features")]
    pub(super) up: Option<usize>,

    /// How many steps to go from --feature to its descendants [default: all]
    #[arg(long, value_name = "N", requires = "features")]
    pub(super) down: Option<usize>,

    /// Leave the fields out
    #[arg(long, alias = "no-show-fields")]
    no_fields: bool,

    /// Leave the versions out
    #[arg(long, alias = "no-show-feature-versions")]
    no_versions: bool,

    /// Show the versions of the fields too, which svg and html do anyway
    #[arg(long, alias = "show-field-versions", conflicts_with_all = ["no_fields", "no_versions"])]
    field_versions: bool,

    /// Only keys and links
    #[arg(long, conflicts_with_all = ["verbose", "field_versions"])]
    minimal: bool,

    /// Everything: --field-versions, and versions in full
    #[arg(long)]
    verbose: bool,

    /// How many characters of a version to show, 0 for all [default: 8]
    #[arg(long, value_name = "N")]
    hash_length: Option<usize>,

    #[command(flatten)]
    python: Accepted,

    /// Where children are drawn: down or right of their parents [default: what fits better]
    #[arg(long, value_name = "DIRECTION", value_parser = directions())]
    direction: Option<String>,
}

/// What the Python package's command line has, and what needs no asking for here.
#[derive(Debug, Default, clap::Args)]
struct Accepted {
    #[arg(long = "type", short = 't', hide = true, value_parser = ["graph", "cards"])]
    kind: Option<String>,

    #[arg(long, hide = true)]
    show_fields: bool,

    /// Left out of the pictures that have them without being asked.
    #[arg(long, hide = true, conflicts_with = "field_versions")]
    no_show_field_versions: bool,

    #[arg(long, hide = true)]
    no_show_code_versions: bool,

    #[arg(long, hide = true)]
    show_project_version: bool,

    #[arg(long, hide = true)]
    no_show_project_version: bool,

    #[arg(long, hide = true)]
    no_show_projects: bool,

    #[arg(long, hide = true)]
    show_changed_fields_only: bool,

    #[arg(long, hide = true)]
    show_feature_versions: bool,

    #[arg(long, hide = true)]
    show_code_versions: bool,

    #[arg(long, hide = true)]
    show_projects: bool,
}

/// What comes out.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Picture(Form),
    Rows(Format),
}

/// The Python package has other names for some.
fn formats() -> PossibleValuesParser {
    let text = PossibleValue::new("text").aliases(["terminal", "cards"]);
    let dot = PossibleValue::new("dot").alias("graphviz");
    let table = PossibleValue::new("table").alias("plain");
    PossibleValuesParser::new([
        text,
        "mermaid".into(),
        dot,
        "svg".into(),
        "html".into(),
        table,
        "json".into(),
        "csv".into(),
    ])
}

fn directions() -> PossibleValuesParser {
    PossibleValuesParser::new([
        PossibleValue::new("down").alias("TB"),
        PossibleValue::new("right").alias("LR"),
    ])
}

impl Drawing {
    /// Writes the picture, or its rows, to where they are wanted.
    ///
    /// # Errors
    /// A format that the file's name doesn't tell, or a file that can't be written.
    pub(super) fn finish(
        &self,
        program: &Program,
        picture: &Picture,
        rows: impl FnOnce() -> Rows,
    ) -> Result<()> {
        let text = match self.form(program)? {
            Shape::Picture(form) => match &self.title {
                Some(title) => {
                    let titled = Picture { title: title.clone(), ..picture.clone() };
                    titled.draw(form, &self.style(form))
                }
                None => picture.draw(form, &self.style(form)),
            },
            Shape::Rows(format) => rows().in_format(format)?,
        };
        match self.file() {
            Some(file) => {
                write(file, &text)?;
                program.notice(&format!("Wrote {}.", file.display()));
                Ok(())
            }
            None => report::output(text.as_bytes()),
        }
    }

    /// The file to write; without one it is the standard output.
    fn file(&self) -> Option<&Path> {
        self.output.as_deref().filter(|file| *file != Path::new("-"))
    }

    /// What is asked for, or what the name of the file says.
    fn form(&self, program: &Program) -> Result<Shape> {
        if let Some(format) = &program.globals.format {
            return Ok(match format.as_str() {
                "text" | "terminal" | "cards" => Shape::Picture(Form::Text),
                "mermaid" => Shape::Picture(Form::Mermaid),
                "dot" | "graphviz" => Shape::Picture(Form::Dot),
                "svg" => Shape::Picture(Form::Svg),
                "html" => Shape::Picture(Form::Html),
                _ => Shape::Rows(program.format()),
            });
        }
        let Some(file) = self.file() else { return Ok(Shape::Picture(Form::Text)) };
        let ending = file.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        match ending.as_deref() {
            Some("txt") => Ok(Shape::Picture(Form::Text)),
            Some("mmd" | "mermaid") => Ok(Shape::Picture(Form::Mermaid)),
            Some("dot" | "gv") => Ok(Shape::Picture(Form::Dot)),
            Some("svg") => Ok(Shape::Picture(Form::Svg)),
            Some("html" | "htm") => Ok(Shape::Picture(Form::Html)),
            Some("json") => Ok(Shape::Rows(Format::Json)),
            Some("csv") => Ok(Shape::Rows(Format::Csv)),
            _ => Err(MetaxyError::File {
                file: file.to_owned(),
                reason: "its name does not say what to write; end it with .txt, .mmd, .dot, .svg, .html, .json or \
                         .csv, or give --format"
                    .to_owned(),
            }),
        }
    }

    fn style(&self, form: Form) -> Style {
        let length = match (self.hash_length, self.verbose) {
            (Some(0), _) | (None, true) => usize::MAX,
            (Some(length), _) => length,
            (None, false) => VERSION_LENGTH,
        };
        let large = matches!(form, Form::Svg | Form::Html);
        let versions = !self.no_versions && !self.minimal;
        let is_terminal = self.file().is_none() && std::io::stdout().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Style {
            fields: !self.no_fields && !self.minimal,
            versions,
            field_versions: versions
                && !self.python.no_show_field_versions
                && (self.field_versions || self.verbose || large),
            version_length: length,
            direction: match self.direction.as_deref() {
                Some("down" | "TB") => Direction::Down,
                Some("right" | "LR") => Direction::Right,
                _ => Direction::Auto,
            },
            color: is_terminal && !plain,
        }
    }
}

/// Writes a file in one step: whoever looks at it sees the old picture or the new one.
fn write(file: &Path, text: &str) -> Result<()> {
    let failed = |error: std::io::Error| MetaxyError::File {
        file: file.to_owned(),
        reason: format!("cannot be written: {error}"),
    };
    // Links, pipes and terminals stay what they are.
    if file.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        return std::fs::write(file, text).map_err(failed);
    }
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", Uuid::new_v4()));
    let beside = PathBuf::from(beside);
    let written = std::fs::File::create_new(&beside)
        .and_then(|mut temporary| temporary.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&beside, file));
    if written.is_err() {
        // It is of no use to anyone; that it can't be removed is not what the user has to hear.
        let _ = std::fs::remove_file(&beside);
    }
    written.map_err(failed)
}
