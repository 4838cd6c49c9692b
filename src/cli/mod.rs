//! The command line program: a prompt and a script runner around our session, made of datafusion-cli's parts.

mod args;
mod command;
mod commands;
mod context;
mod drawing;
mod helper;
mod narrowed;
mod print;
mod program;
mod progress;
mod prompt;
mod remote;
mod report;
mod rows;
mod run;
mod script;
mod select;
mod spellings;
mod sql_text;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use self::args::Invocation;
use self::commands::{Command, Work, sql};
use self::program::{Outcome, Program};
use crate::error::{MetaxyError, Result};
use crate::store::settled;

/// Exit codes: all is well, something failed, the arguments are wrong, Ctrl-C has ended the program.
const SUCCESS: u8 = 0;
const FAILURE: u8 = 1;
const WRONG_USAGE: u8 = 2;
const INTERRUPTED: u8 = 130;

/// How long what is left of cancelled work may take to be taken away before the process ends anyway.
const GRACE: Duration = Duration::from_secs(10);

/// Runs the program with these arguments, the program's name first, and returns its exit code: 0 when all is
/// well, 1 when a statement, a subcommand or the start fails, 2 when the arguments are wrong.
///
/// Needs a thread with a large stack for deep plans, and a Tokio runtime with several threads.
pub async fn run<I>(args: I) -> ExitCode
where
    I: IntoIterator<Item = OsString>,
{
    report::leave_on_closed_output();
    let Invocation { globals, command } = match args::read(args) {
        Ok(read) => read,
        Err(message) => {
            // Help that nobody reads to its end is no failure.
            let _ = message.print();
            return ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(2));
        }
    };
    let program = Arc::new(Program::new(globals));
    let code = outcome(&program, command).await;
    settle(code).await;
    ExitCode::from(code)
}

/// Lets go of files that something cancelled has begun. The runtime must not end under them; what takes too long, or
/// who presses Ctrl-C again, ends the process instead.
async fn settle(code: u8) {
    let settled = tokio::select! {
        settled = settled(GRACE) => settled,
        _ = tokio::signal::ctrl_c() => false,
    };
    if !settled {
        std::process::exit(i32::from(code));
    }
}

/// Does the work and prints what is wrong with it; returns the exit code.
async fn outcome(program: &Arc<Program>, command: Command) -> u8 {
    let outcome = match command.work(Arc::clone(program)) {
        Work::Sql(args) => Box::pin(sql::run(program, args)).await.map(|()| Outcome::Done),
        Work::Other(work) => match interruptible(work).await {
            Some(outcome) => outcome,
            None => std::process::exit(i32::from(INTERRUPTED)),
        },
    };
    program.print_warnings();
    match outcome {
        Ok(Outcome::Done) => SUCCESS,
        Ok(Outcome::Failed) => FAILURE,
        Ok(Outcome::Usage(text)) => {
            report::usage(&text);
            WRONG_USAGE
        }
        Err(error) if report::is_output_closed(&error) => SUCCESS,
        Err(error) if report::is_interrupted(&error) => INTERRUPTED,
        Err(error) => {
            report::error(&error);
            FAILURE
        }
    }
}

/// Does the work in a task of its own, so that Ctrl-C is heard even while it is busy; `None` if it was heard. What
/// the work has staged is taken away when it is dropped.
async fn interruptible(work: BoxFuture<'static, Result<Outcome>>) -> Option<Result<Outcome>> {
    let mut task = tokio::spawn(work);
    tokio::select! {
        outcome = &mut task => return Some(outcome.unwrap_or_else(|_| Err(stopped()))),
        // Without a handler for it, Ctrl-C ends the process at once.
        Ok(()) = tokio::signal::ctrl_c() => task.abort(),
    }
    // It stops where it next waits for something; who can't wait for that presses Ctrl-C again.
    tokio::select! {
        // What was done before the signal came is done.
        outcome = &mut task => outcome.ok(),
        _ = tokio::signal::ctrl_c() => None,
    }
}

fn stopped() -> MetaxyError {
    // The panic has printed itself already.
    MetaxyError::Invalid("this stopped because of a bug in the program; please report it".to_owned())
}
