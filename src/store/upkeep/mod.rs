//! Upkeep: many small files become few large ones, rows that nobody needs any more go, and so do files that nothing refers
//! to.

mod duration;
mod fold;
mod optimize;
mod runs;
mod targets;
mod vacuum;

pub(super) use duration::shown;
pub use duration::{parse_bytes, parse_duration};
pub use optimize::{OnOptimizeProgress, OptimizeOptions, OptimizeProgress, OptimizedFeature};
pub use vacuum::{Vacuum, VacuumOptions, VacuumedFeature, VacuumedFile};
