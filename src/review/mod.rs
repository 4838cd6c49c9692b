//! What is decided once rows are classified, whichever executor has done it.
//!
//! A sample without a row of its parents may be gone, or its parent may merely not be recomputed yet. Only rows at older
//! versions of the parents can tell, and they are read only once there is such a sample. Why a sample is in the answer
//! is said in the same place, so that both executors say the same.

mod exec;
mod known;
mod lookup;
mod reason;
mod stored;
mod visible;
mod work;

pub(crate) use exec::ReviewExec;
pub(crate) use lookup::Lookups;
pub(crate) use visible::may_show;
