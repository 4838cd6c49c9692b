//! The interactive loop.

use std::path::PathBuf;

use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{Config, Editor};

use super::args::VERSION;
use super::helper::PromptHelper;
use super::report;
use super::run::{Flow, Runner, Source};
use crate::error::{MetaxyError, Result};

/// The history's file in the user's home, so that working folders stay clean.
const HISTORY: &str = ".metaxy_history";

/// Reads and runs until the user leaves. A failing statement is reported and ends nothing.
///
/// # Errors
///
/// When the terminal can't be used any more.
pub(super) async fn run(runner: &mut Runner) -> Result<()> {
    if !runner.options.quiet {
        report::output(format!("metaxy-cli {}, store {}\n", *VERSION, runner.context.store()).as_bytes())?;
    }
    // A space before a line keeps it, and a password in it, out of the history.
    let config = Config::builder().history_ignore_space(true).build();
    let mut editor: Editor<PromptHelper, DefaultHistory> =
        Editor::with_config(config).map_err(|e| terminal(&e))?;
    editor.set_helper(Some(PromptHelper::new(runner.context.dialect(), runner.options.color)));
    let history = history_file();
    if let Some(file) = &history {
        // The first time there is none.
        let _ = editor.load_history(file);
    }

    loop {
        match editor.readline("> ") {
            Ok(line) => {
                if remember(&mut editor, line.trim_end(), history.as_ref()).is_err() {
                    report::warning("the history cannot be written");
                }
                match runner.run(&Source { name: None, text: line }).await {
                    Ok(Flow::Continue) => {}
                    Ok(Flow::Quit) => return Ok(()),
                    Err(error) if report::is_output_closed(&error) => return Err(error),
                    Err(error) => report::error(&error),
                }
                if let Some(helper) = editor.helper_mut() {
                    helper.set_dialect(runner.context.dialect());
                }
            }
            Err(ReadlineError::Interrupted) => {
                report::output(b"^C\n")?;
                if let Some(helper) = editor.helper() {
                    helper.reset_hint();
                }
            }
            Err(ReadlineError::Eof) => return report::output(b"\\q\n"),
            Err(error) => return Err(terminal(&error)),
        }
    }
}

fn remember(
    editor: &mut Editor<PromptHelper, DefaultHistory>,
    line: &str,
    file: Option<&PathBuf>,
) -> rustyline::Result<()> {
    if line.is_empty() {
        return Ok(());
    }
    editor.add_history_entry(line)?;
    match file {
        // At once: a session that is killed has a history too.
        Some(file) => editor.append_history(file),
        None => Ok(()),
    }
}

fn history_file() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| !home.as_os_str().is_empty()).map(|home| home.join(HISTORY))
}

fn terminal(error: &ReadlineError) -> MetaxyError {
    MetaxyError::Invalid(format!("the prompt cannot read from the terminal: {error}"))
}
