//! What is decided once rows are classified, whichever executor has done it.
//!
//! A sample without a row of its parents may be gone, or its parent may merely not be recomputed yet. Only rows at older
//! versions of the parents can tell, and they are read only once there is such a sample.

mod exec;
mod known;
mod lookup;
mod visible;

pub(crate) use exec::ReviewExec;
pub(crate) use lookup::Lookups;
pub(crate) use visible::may_show;
