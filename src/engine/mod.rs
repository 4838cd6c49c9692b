//! From the description of an increment to what runs: the optimizer rule, and physical planning for both executors.
//!
//! The rule puts a table in place of an increment's node, once filters have gone through the node. Scanning that table
//! plans the executor that was chosen: this needs nothing of a host's session but the rule.

mod chosen;
mod followed;
mod native_exec;
mod pinned;
mod planning;
mod ranged_exec;
mod ranges;
mod rule;
mod table;

pub use rule::ExecuteIncrements;
