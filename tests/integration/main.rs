//! Tests that need more than SQL files can say: golden cases, races, files on disk, the program, embedding, Python.
//!
//! Each test works in a temporary folder of its own. Tests that need the Python package are ignored by default;
//! `METAXY_TEST_PYTHON=… cargo test --test integration -- --ignored python` runs them. So are those that need PostgreSQL:
//! `METAXY_TEST_POSTGRES="$(tests/postgres/start.sh)" cargo test --test integration -- --ignored postgres`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[cfg(feature = "azure")]
mod azure;
mod buffered;
mod cancel;
mod cli;
mod cli_commands;
mod cli_errors;
mod cli_help;
mod cli_incremental;
mod cli_init;
mod cli_pictures;
mod cli_prepared;
mod cli_project;
mod cli_python;
mod cli_several;
mod cli_shell;
mod cli_status;
#[cfg(any(feature = "azure", feature = "gcs"))]
mod clouds;
mod concurrency;
mod conformance;
mod copy_memory;
mod define;
mod delete_races;
mod deletes;
mod delta;
mod delta_foreign;
mod delta_order;
mod docs;
mod embed;
mod exactly_once;
mod external;
mod fallback;
#[cfg(feature = "gcs")]
mod gcs;
mod memory_limit;
mod own_store;
mod parquet;
mod parquet_foreign;
mod pending;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_bytes;
#[cfg(feature = "postgres")]
mod postgres_changes;
#[cfg(feature = "postgres")]
mod postgres_comparisons;
#[cfg(feature = "postgres")]
mod postgres_faults;
#[cfg(feature = "postgres")]
mod postgres_killed;
#[cfg(feature = "postgres")]
mod postgres_push;
#[cfg(feature = "postgres")]
mod postgres_restarted;
#[cfg(feature = "postgres")]
mod postgres_same;
#[cfg(feature = "postgres")]
mod postgres_shared;
mod projects;
mod property;
mod push_updates;
mod python;
mod python_operations;
mod python_system;
mod reads;
mod reasons;
mod rehashed;
mod s3;
mod safety;
mod shards;
mod status;
mod stories;
mod support;
mod system_keys;
mod system_tables;
mod ties;
mod transfer;
mod upkeep;
mod upkeep_crash;
