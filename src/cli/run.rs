//! Commands, files and what is typed: every text takes this way.

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use datafusion::sql::sqlparser::dialect::dialect_from_str;
use datafusion_cli::print_options::PrintOptions;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::task::JoinError;

use super::command::{self, Next};
use super::commands::sql::Input;
use super::context::CliContext;
use super::script::{Piece, Script};
use super::{print, remote, report};
use crate::error::{MetaxyError, Result};
use crate::session::MetaxyStatement;

/// How deep files may include each other before this is taken for a circle.
const MAX_INCLUDES: usize = 32;

/// A text to run and how errors in it are introduced.
pub(super) struct Source {
    /// The file's name; what is typed or given with `-c` has none.
    pub(super) name: Option<String>,
    /// The statements.
    pub(super) text: String,
}

impl Source {
    /// Reads an input of the command line.
    ///
    /// # Errors
    ///
    /// When a file can't be read or isn't UTF-8.
    pub(super) fn read(input: Input) -> Result<Self> {
        match input {
            Input::Command(text) => Ok(Self { name: None, text }),
            Input::File(file) if file == Path::new("-") => Self::stdin(),
            Input::File(file) => Self::file(&file),
        }
    }

    /// Reads all of the standard input.
    ///
    /// # Errors
    ///
    /// When it can't be read or isn't UTF-8.
    pub(super) fn stdin() -> Result<Self> {
        let mut text = String::new();
        let read = std::io::stdin().lock().read_to_string(&mut text);
        read.map_err(|error| file_error("standard input", &error))?;
        Ok(Self { name: Some("standard input".to_owned()), text })
    }

    fn file(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).map_err(|error| file_error(file, &error))?;
        // Some editors begin a file with a byte order mark, which is no SQL.
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        Ok(Self { name: Some(file.display().to_string()), text })
    }

    /// The file that a line of another one includes.
    fn included(line: &str, file: &Path, depth: usize) -> Result<Self> {
        if depth == MAX_INCLUDES {
            let reason = format!("{line}: files include each other more than {MAX_INCLUDES} deep");
            return Err(MetaxyError::Invalid(reason));
        }
        Self::file(file)
    }

    /// An error of what starts here, behind the file's name and line if there is one.
    fn failure(&self, script: &Script<'_>, start: usize, error: MetaxyError) -> MetaxyError {
        match &self.name {
            Some(name) if !report::is_end(&error) => {
                let file = format!("{name}:{}", script.line(start)).into();
                MetaxyError::File { file, reason: report::describe(&error) }
            }
            _ => error,
        }
    }
}

fn file_error(file: impl Into<PathBuf>, error: &std::io::Error) -> MetaxyError {
    MetaxyError::File { file: file.into(), reason: format!("cannot be read: {error}") }
}

/// Whether to go on after a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// With the next one.
    Continue,
    /// No: it said `\q`.
    Quit,
}

/// Runs texts in a session and prints results and warnings.
pub(super) struct Runner {
    /// The session.
    pub(super) context: CliContext,
    /// How results are printed; commands change it.
    pub(super) options: PrintOptions,
    /// Whether Ctrl-C ends the statement only, and not the program too.
    pub(super) interactive: bool,
}

impl Runner {
    /// Runs all statements and commands of a text, up to the first that fails.
    ///
    /// # Errors
    ///
    /// The failure, behind the file's name and line if there is one.
    pub(super) async fn run(&mut self, source: &Source) -> Result<Flow> {
        self.run_nested(source, 0).await
    }

    async fn run_nested(&mut self, source: &Source, depth: usize) -> Result<Flow> {
        let mut script = Script::new(&source.text);
        while let Some(piece) = next_piece(&self.context, &mut script)? {
            let (start, result) = match piece {
                Piece::Sql(range) => (range.start, self.run_sql(&script, &range).await),
                Piece::Command(range) => {
                    (range.start, Box::pin(self.run_command(script.text(&range), depth)).await)
                }
            };
            self.print_warnings();
            match result {
                Ok(Flow::Continue) => {}
                Ok(Flow::Quit) => return Ok(Flow::Quit),
                Err(error) => return Err(source.failure(&script, start, error)),
            }
        }
        Ok(Flow::Continue)
    }

    async fn run_sql(&self, script: &Script<'_>, range: &Range<usize>) -> Result<Flow> {
        for statement in statements(&self.context, script, range)? {
            self.run_statement(statement).await?;
        }
        Ok(Flow::Continue)
    }

    /// Runs a statement in a task of its own, so that Ctrl-C is heard even while it is busy. What the statement has
    /// staged is taken away when it is dropped.
    async fn run_statement(&self, statement: MetaxyStatement) -> Result<()> {
        let work = print::execute(self.context.clone(), statement, self.options.clone());
        let mut task = tokio::spawn(Box::pin(work));
        tokio::select! {
            result = &mut task => return result.unwrap_or_else(|error| Err(stopped(&error))),
            Ok(()) = tokio::signal::ctrl_c() => task.abort(),
        }
        if self.interactive {
            // The terminal has shown ^C in this line.
            report::output(b"\n")?;
        }
        // It stops where it next waits for something; who can't wait for that presses Ctrl-C again.
        tokio::select! {
            result = &mut task => match self.interactive {
                true => result.unwrap_or_else(|error| Err(stopped(&error))),
                // A script ends here, even if the statement was done before the signal came.
                false => Err(report::interrupted()),
            },
            Ok(()) = tokio::signal::ctrl_c() => std::process::exit(130),
        }
    }

    async fn run_command(&mut self, line: &str, depth: usize) -> Result<Flow> {
        match command::run(line, &self.context, &mut self.options).await? {
            Next::Continue => Ok(Flow::Continue),
            Next::Quit => Ok(Flow::Quit),
            Next::Include(file) => self.run_nested(&Source::included(line, &file, depth)?, depth + 1).await,
        }
    }

    /// Prints what the session warned of since the last time.
    pub(super) fn print_warnings(&self) {
        for warning in self.context.session().take_warnings() {
            report::warning(&warning);
        }
    }
}

/// Runs a text for what it leaves in the session, views above all; its results are not printed.
///
/// # Errors
///
/// The first failure, behind the file's name and line; a command that would print.
pub(super) async fn prepare(context: &CliContext, source: &Source) -> Result<Flow> {
    prepare_nested(context, source, 0).await
}

fn prepare_nested<'a>(
    context: &'a CliContext,
    source: &'a Source,
    depth: usize,
) -> BoxFuture<'a, Result<Flow>> {
    async move {
        let mut script = Script::new(&source.text);
        while let Some(piece) = next_piece(context, &mut script)? {
            let (start, result) = match piece {
                Piece::Sql(range) => (range.start, prepare_sql(context, &script, &range).await),
                Piece::Command(range) => {
                    (range.start, prepare_command(context, script.text(&range), depth).await)
                }
            };
            match result {
                Ok(Flow::Continue) => {}
                Ok(Flow::Quit) => return Ok(Flow::Quit),
                Err(error) => return Err(source.failure(&script, start, error)),
            }
        }
        Ok(Flow::Continue)
    }
    .boxed()
}

async fn prepare_sql(context: &CliContext, script: &Script<'_>, range: &Range<usize>) -> Result<Flow> {
    for statement in statements(context, script, range)? {
        let plan = context.session().plan(statement).await?;
        remote::execute(context, plan).await?.collect().await?;
    }
    Ok(Flow::Continue)
}

async fn prepare_command(context: &CliContext, line: &str, depth: usize) -> Result<Flow> {
    match command::without_output(line)? {
        Next::Continue => Ok(Flow::Continue),
        Next::Quit => Ok(Flow::Quit),
        Next::Include(file) => {
            let source = Source::included(line, &file, depth)?;
            prepare_nested(context, &source, depth + 1).await
        }
    }
}

fn next_piece(context: &CliContext, script: &mut Script<'_>) -> Result<Option<Piece>> {
    let name = context.dialect();
    match dialect_from_str(name) {
        Some(dialect) => Ok(script.next(name.as_ref(), dialect.as_ref())),
        None => Err(MetaxyError::Config(format!("the SQL dialect {name} is unknown to the parser"))),
    }
}

fn statements(
    context: &CliContext,
    script: &Script<'_>,
    range: &Range<usize>,
) -> Result<Vec<MetaxyStatement>> {
    let session = context.session();
    // Only an error needs to know where in the file the statement is.
    session.parse(script.text(range)).or_else(|_| session.parse(&script.in_place(range)))
}

fn stopped(error: &JoinError) -> MetaxyError {
    MetaxyError::Invalid(match error.is_cancelled() {
        true => "cancelled".to_owned(),
        // The panic has printed itself already.
        false => "the statement stopped because of a bug in this program; please report it".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named() {
        let error = Source::read(Input::File("no/such/file.sql".into())).err().unwrap();
        let text = report::describe(&error);
        assert!(text.starts_with("no/such/file.sql: cannot be read: "), "{text}");
    }
}
