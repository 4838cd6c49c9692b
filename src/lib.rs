//! Metaxy's metadata stores as an [Apache DataFusion](https://datafusion.apache.org) extension.
//!
//! People who run pipelines over video, audio, images or documents keep one small *metadata* row per sample. This
//! crate answers their recurring question: **which samples must be computed, which must be recomputed, and which no
//! longer have a parent?** It answers from SQL, from Rust and from the prompt `metaxy-cli`, over the same Delta
//! tables, the same `metaxy.toml` and with the same hashes as the Python package.
//!
//! # In SQL
//!
//! ```sql
//! SELECT metaxy_increment, count(*) FROM resolve_update('video/crop') GROUP BY 1;
//! INSERT INTO video__crop
//! SELECT *, … FROM resolve_update('video/crop') WHERE metaxy_increment IN ('new', 'stale');
//! ```
//!
//! # In Rust
//!
//! [`session::MetaxySession`] is a DataFusion session whose catalogs are the stores of a configuration;
//! [`session::SessionContextExt::attach_metaxy`] adds stores to a session that you have already;
//! [`store::Store`] reads, writes and resolves without SQL:
//!
//! ```
//! # use std::sync::Arc;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> datafusion_metaxy::error::Result<()> {
//! use datafusion::prelude::SessionContext;
//! use datafusion_metaxy::hash::{HashAlgorithm, HashSettings};
//! use datafusion_metaxy::model::{FeatureDefinition, FeatureSpec, Origin};
//! use datafusion_metaxy::store::{MemoryStore, Store, WriteOptions};
//! use datafusion_metaxy::update::IncrementOptions;
//!
//! let video = FeatureSpec::builder("video").id_columns(["video_id"]).build()?;
//! let crop = FeatureSpec::builder("video/crop").id_columns(["video_id"]).dep("video").build()?;
//! let features = [video, crop].map(|spec| FeatureDefinition::declared(spec, "demo", Origin::Session));
//! let settings = HashSettings::new(HashAlgorithm::XxHash64, 16)?;
//! let store = Arc::new(Store::new("dev", Arc::new(MemoryStore::new()), settings, features.into()).with_project("demo")?);
//!
//! let context = SessionContext::new();
//! let videos = context
//!     .sql("SELECT 'v1' AS video_id, named_struct('default', 'a') AS metaxy_provenance_by_field")
//!     .await?;
//! store.write("video", videos, &WriteOptions::default()).await?;
//! let increment = store.resolve_update(&context, "video/crop", &IncrementOptions::default()).await?;
//! assert_eq!(increment.count().await?, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//!
//! Pure model first, DataFusion next, user surfaces last:
//!
//! | module | what it is |
//! |---|---|
//! | [`error`] | one error enum, both ways with DataFusion's |
//! | [`columns`] | the `metaxy_*` system columns |
//! | `types` | which Arrow types are stored, and which hold the same values |
//! | [`config`] | `metaxy.toml`, the environment, SQL options |
//! | [`model`] | what a feature is: key, spec, graph, versions, plan; no DataFusion types |
//! | [`picture`] | pictures of the features: what changes, the layout, text, Mermaid, DOT, SVG and a page |
//! | [`hash`] | what is hashed and how: algorithms and the SQL functions |
//! | [`update`] | the increment, described once: parents, lineage, provenance, comparison; its native plan |
//! | `operators` | physical operators beside DataFusion's: the latest row per id |
//! | `memory` | the in-memory executor: the same increment over Arrow columns |
//! | `review` | which orphaned samples merely wait for a parent, and why a sample is in an increment |
//! | [`records`] | what earlier comparisons found, by which later ones look at less |
//! | `engine` | from a description to the executor that runs it |
//! | [`store`] | where metadata lives: the trait, Delta Lake, Parquet files, memory, fallbacks, reads and writes |
//! | [`catalog`] | how SQL sees a store |
//! | `functions` | what a user can type in FROM: `resolve_update`, `files`, `system.resolution` |
//! | [`session`] | attaching stores to a session, and the statement layer in front of it |
//! | [`cli`] | the program: its prompt and its subcommands |

mod boxed;
pub mod catalog;
pub mod cli;
pub mod columns;
pub mod config;
mod engine;
pub mod error;
mod functions;
pub mod hash;
mod memory;
pub mod model;
mod operators;
pub mod picture;
pub mod records;
mod review;
pub mod session;
pub mod store;
mod types;
pub mod update;
