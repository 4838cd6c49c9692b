//! The subcommands: one file each, and the table of them.
//!
//! A subcommand is a file with a struct `Args`, whose comment is its help and which ends with an example, and a
//! function `run`. To add one, name its file and add it to the table below. The rest follows from the table: help,
//! completions, the man page, and the test that runs the examples. A subcommand whose `--format` is not `table`,
//! `json` or `csv` has an argument `format` of its own, a text.

mod completions;
mod config;
mod copy;
mod delete;
mod describe;
mod diff;
mod graph;
mod history;
mod init;
mod list;
mod lock;
mod man;
mod optimize;
mod push;
mod rebase;
pub(super) mod sql;
mod status;
mod vacuum;

use std::sync::Arc;

use clap::Subcommand;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::program::{Outcome, Program};
use crate::error::Result;

/// What a subcommand does: SQL stays with the caller, since a prompt can't move to another thread.
pub(super) enum Work {
    /// Statements or a prompt.
    Sql(sql::Args),
    /// Everything else.
    Other(BoxFuture<'static, Result<Outcome>>),
}

macro_rules! commands {
    ($($name:ident in $module:ident,)*) => {
        /// A subcommand with its arguments, in the order in which `--help` lists them.
        #[derive(Debug, Subcommand)]
        pub(super) enum Command {
            Sql(sql::Args),
            $($name($module::Args),)*
        }

        impl Command {
            /// What is to be done.
            pub(super) fn work(self, program: Arc<Program>) -> Work {
                match self {
                    Self::Sql(args) => Work::Sql(args),
                    $(Self::$name(args) => {
                        Work::Other(async move { $module::run(&program, args).await }.boxed())
                    })*
                }
            }
        }
    };
}

commands! {
    Init in init,
    Push in push,
    List in list,
    Describe in describe,
    Status in status,
    Graph in graph,
    Diff in diff,
    Delete in delete,
    Copy in copy,
    Rebase in rebase,
    History in history,
    Config in config,
    Lock in lock,
    Completions in completions,
    Man in man,
    Optimize in optimize,
    Vacuum in vacuum,
}
