//! What the generator leaves out because the product does not do it yet. Turn a switch on once it does.

/// Rows of a parent that are live at an older version of it and have no row at the current one: the samples that
/// depend on them are pending, not orphaned.
pub const PENDING_SAMPLES: bool = false;

/// Samples that are given with data versions of their own: the increment's `metaxy_data_version` is made of them.
pub const OVERRIDDEN_SAMPLES: bool = false;

/// Ids of three columns in which two texts change places: their hashes collide in DataFusion.
pub const SWAPPED_TEXT_IDS: bool = false;
