//! What goes to the standard error: errors and warnings, one line each; and the end of the standard output.

use std::fmt::{Display, Formatter};
use std::io::{ErrorKind, Write};

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;

use crate::error::{MetaxyError, Result, one_line};

/// Says that nobody reads the standard output any more, which ends a run but is no failure.
#[derive(Debug)]
struct OutputClosed;

impl Display for OutputClosed {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("the output was closed")
    }
}

impl std::error::Error for OutputClosed {}

/// Says that the user has ended the run.
#[derive(Debug)]
struct Interrupted;

impl Display for Interrupted {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Writes to the standard output, at once.
///
/// # Errors
///
/// When it can't be written; [`is_output_closed`] tells whether that is only because the reader left.
pub(super) fn output(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => output_closed(),
        _ => MetaxyError::Invalid(format!("cannot write to the standard output: {error}")),
    })
}

/// The error that ends a run quietly.
pub(super) fn output_closed() -> MetaxyError {
    MetaxyError::DataFusion(Box::new(DataFusionError::External(Box::new(OutputClosed))))
}

/// Whether an error only says that the reader of the standard output has left, as `head` does.
pub(super) fn is_output_closed(error: &MetaxyError) -> bool {
    is::<OutputClosed>(error)
}

/// The error that ends a run because the user has pressed Ctrl-C.
pub(super) fn interrupted() -> MetaxyError {
    MetaxyError::DataFusion(Box::new(DataFusionError::External(Box::new(Interrupted))))
}

/// Whether an error only says that the user has pressed Ctrl-C.
pub(super) fn is_interrupted(error: &MetaxyError) -> bool {
    is::<Interrupted>(error)
}

/// Whether an error ends a run without anything having gone wrong.
pub(super) fn is_end(error: &MetaxyError) -> bool {
    is_output_closed(error) || is_interrupted(error)
}

fn is<E: std::error::Error + 'static>(error: &MetaxyError) -> bool {
    match error {
        MetaxyError::DataFusion(inner) => {
            matches!(inner.as_ref(), DataFusionError::External(inner) if inner.is::<E>())
        }
        _ => false,
    }
}

/// Ends the process quietly when a `println!` of a library finds the standard output closed.
pub(super) fn leave_on_closed_output() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str().is_some_and(|text| text.starts_with("failed printing to stdout")) {
            std::process::exit(0);
        }
        default(panic);
    }));
}

/// Prints an error.
pub(super) fn error(error: &MetaxyError) {
    line("Error", &describe(error));
}

/// Prints a warning.
pub(super) fn warning(text: &str) {
    line("Warning", &one_line(text));
}

/// Prints what is wrong with the arguments, as clap does.
pub(super) fn usage(text: &str) {
    line("error", &format!("{}\n\nFor more information, try '--help'.", one_line(text)));
}

/// Prints something that is neither a result nor a warning.
pub(super) fn notice(text: &str) {
    // There is no one left to tell if this fails.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn line(kind: &str, text: &str) {
    // There is no one left to tell if this fails.
    let _ = writeln!(std::io::stderr(), "{kind}: {text}");
}

/// An error as one line for a user: its cause, without backtraces and wrappers.
pub(super) fn describe(error: &MetaxyError) -> String {
    let text = match error {
        MetaxyError::DataFusion(inner) => describe_datafusion(inner),
        ours => ours.to_string(),
    };
    one_line(text.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or_default())
}

fn describe_datafusion(error: &DataFusionError) -> String {
    match error.find_root() {
        // An error of ours that came through DataFusion's layers says all by itself.
        DataFusionError::External(inner) => match inner.downcast_ref::<MetaxyError>() {
            Some(ours) => describe(ours),
            None => error.to_string(),
        },
        // DataFusion prints these in their debug form.
        DataFusionError::SQL(inner, _) => match inner.as_ref() {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => {
                format!("syntax error: {text}")
            }
            other => format!("syntax error: {other}"),
        },
        _ => {
            let text = error.to_string();
            let text = text.strip_prefix("Error during planning: ").map(str::to_owned).unwrap_or(text);
            vanished(&text).unwrap_or(text)
        }
    }
}

/// What to say of a table's data file that isn't there any more: the readers' own errors are nested three deep.
fn vanished(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("Object at location ")?;
    let (path, _) = rest.split_once(" not found")?;
    let (table, file) = path.rsplit_once('/')?;
    let is_data = [".delta", ".parquet"].iter().any(|ending| table.contains(ending));
    is_data.then(|| {
        format!(
            "table {table}: its data file {file} is gone, by a vacuum while it was read or by another program; run the \
             statement again, and if that doesn't help, put the file back"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn one_line_without_wrappers() {
        let ours = || MetaxyError::Invalid("this\n  is wrong".into());
        assert_eq!(describe(&ours()), "this is wrong");

        let wrapped =
            DataFusionError::Shared(Arc::new(DataFusionError::from(ours()).context("while planning")));
        assert_eq!(describe(&MetaxyError::from(wrapped)), "this is wrong");

        let syntax = ParserError::ParserError("Expected: a statement, found: x at Line: 1, Column: 1".into());
        let syntax = MetaxyError::from(DataFusionError::from(syntax));
        assert_eq!(describe(&syntax), "syntax error: Expected: a statement, found: x at Line: 1, Column: 1");

        let plan = MetaxyError::from(DataFusionError::Plan("no x\n\nbacktrace:   0: frame".into()));
        assert_eq!(describe(&plan), "no x");
    }

    #[test]
    fn a_data_file_that_is_gone_is_told_with_its_table() {
        let text = "Parquet error: Failed to fetch metadata for file d/store/photo/face.delta/part-0.parquet: Object Store \
                    error: Object at location /d/store/photo/face.delta/part-0.parquet not found: No such file (os error 2)";
        let said = vanished(text).unwrap();
        assert!(
            said.starts_with("table /d/store/photo/face.delta: its data file part-0.parquet is gone"),
            "{said}"
        );
        assert_eq!(vanished("Object at location /d/images/a.jpg not found: x"), None);
        assert_eq!(vanished("something else"), None);
    }

    #[test]
    fn a_closed_output_is_told_apart() {
        assert!(is_output_closed(&output_closed()));
        assert!(is_output_closed(&MetaxyError::from(DataFusionError::from(output_closed()))));
        assert!(!is_output_closed(&MetaxyError::Invalid("the output was closed".into())));
    }
}
