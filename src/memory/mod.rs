//! The in-memory executor: an increment over Arrow columns, in one pass and on all cores.
//!
//! The inputs' rows are collected as they arrive from the scans (whose pushdown stays). Where they come in the order of
//! their keys, or in few runs that do, the runs are merged, a range of keys at a time. Otherwise each row gets a 128-bit
//! key, keys are divided over partitions, and within one a hash table numbers the keys. Either way, arrays over the
//! numbers of the keys hold each input's latest row. Expected rows are hashed and compared where they meet; only rows of
//! the answer are noted, by their place. Columns that only the answer needs are read in a second step, for its samples
//! alone.

mod aggregate;
mod answer;
mod chunk;
mod collect;
mod compare;
mod exec;
mod follow;
mod input;
mod late;
mod latest;
mod merge;
mod order;
mod partition;
mod plan;
mod provenance;
mod resolve;
mod rows;

pub(crate) use exec::{InMemoryExec, Question, Streaming};
pub(crate) use follow::Follow;
pub(crate) use input::Input;
pub(crate) use late::{Inputs, columns_of};
pub(crate) use plan::needed_columns;
