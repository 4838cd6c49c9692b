//! What is hashed and how: the algorithms, the joined and truncated text, and the SQL functions over them.

mod accumulator;
mod aggregate;
mod algorithm;
mod function;
mod hasher;
mod md5_lanes;
mod shard;
mod strings;
mod texts;

pub use aggregate::metaxy_hash_agg;
pub use algorithm::{HashAlgorithm, HashSettings};
pub use function::{hash_expr, metaxy_hash};
pub use hasher::{PartsHasher, SEPARATOR};
pub(crate) use shard::{SHARD, asks_for_shard, shard_expr};
pub use texts::TextsHasher;
