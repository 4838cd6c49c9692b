//! What the generator leaves out because the product does not do it yet. Turn a switch on once it does.

/// Rows of a parent that are live at an older version of it and have no row at the current one: the samples that
/// depend on them are pending, not orphaned.
pub const PENDING_SAMPLES: bool = false;
