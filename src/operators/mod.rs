//! Physical operators that plans of features need besides DataFusion's own.

mod compact;
mod group_window;
mod keys;
mod latest;
mod latest_sorted;
mod numbers;
mod whole_groups;

pub(crate) use group_window::GroupWindowExec;
pub(crate) use keys::{Keys, null_rows};
pub(crate) use latest::latest_times;
pub use latest::{LatestColumns, LatestExec};
pub(crate) use numbers::{Numbers, fold};
