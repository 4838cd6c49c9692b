//! Physical operators that plans of features need besides DataFusion's own.

mod among;
mod compact;
mod compact_exec;
mod group_window;
mod keys;
mod latest;
mod latest_sorted;
mod numbers;
mod whole_groups;

pub(crate) use among::{AMONG, among, few_keys, is_among};
pub(crate) use compact::compact;
pub(crate) use compact_exec::CompactExec;
pub(crate) use group_window::GroupWindowExec;
pub(crate) use keys::{Keys, null_rows};
pub(crate) use latest::latest_times;
pub use latest::{LatestColumns, LatestExec};
pub(crate) use numbers::{Numbers, fold};
