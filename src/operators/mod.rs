//! Physical operators that plans of features need besides DataFusion's own.

mod group_window;
mod latest;
mod latest_sorted;
mod whole_groups;

pub(crate) use group_window::GroupWindowExec;
pub(crate) use latest::latest_times;
pub use latest::{LatestColumns, LatestExec};
