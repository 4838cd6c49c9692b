//! The steps of an increment, each by itself and without files: `cargo bench --bench micro`.
//!
//! What a user waits for, with files and beside other programs, is measured by `run.py`.

#![allow(clippy::panic, reason = "what can't be measured is an error of the benchmark")]

use std::sync::Arc;

use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_metaxy::config::VersioningEngine;
use datafusion_metaxy::error::Result;
use datafusion_metaxy::hash::{HashAlgorithm, HashSettings, PartsHasher, SEPARATOR, TextsHasher};
use datafusion_metaxy::model::{FeatureDefinition, FeatureSpec, Origin};
use datafusion_metaxy::store::{MemoryStore, ReadOptions, Store, WriteOptions};
use datafusion_metaxy::update::IncrementOptions;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

/// Samples of a table.
const SAMPLES: usize = 200_000;

/// One version, from what a field is hashed of.
#[divan::bench(args = HashAlgorithm::ALL)]
fn hash(bencher: Bencher<'_, '_>, algorithm: HashAlgorithm) {
    let parts = ["audio", SEPARATOR, "1", SEPARATOR, "example/video.audio", SEPARATOR, "8404802861773469680"];
    let mut hasher = PartsHasher::new(algorithm);
    let mut out = String::new();
    let bytes = parts.iter().map(|part| part.len()).sum::<usize>();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        hasher.reset();
        out.clear();
        for part in parts {
            hasher.write(black_box(part).as_bytes());
        }
        hasher.finish(16, &mut out);
        black_box(out.len())
    });
}

/// The same of many samples.
#[divan::bench(args = HashAlgorithm::ALL)]
fn hash_many(bencher: Bencher<'_, '_>, algorithm: HashAlgorithm) {
    let parts = ["audio", SEPARATOR, "1", SEPARATOR, "example/video.audio", SEPARATOR, "8404802861773469680"];
    let settings = HashSettings::new(algorithm, 16).unwrap_or_else(|error| panic!("{error}"));
    let mut texts = TextsHasher::new(settings);
    let bytes = parts.iter().map(|part| part.len()).sum::<usize>();
    bencher.counter(BytesCount::new(64 * bytes)).bench_local(|| {
        texts.clear();
        for _ in 0..64 {
            texts.begin(0);
            for part in parts {
                texts.write(black_box(part).as_bytes());
            }
            texts.end_after(b"");
        }
        texts.finish();
        black_box(texts.get(63).map(str::len))
    });
}

/// The latest row of each id, of tables that were written so many times over.
#[divan::bench(args = [1, 5], sample_count = 10)]
fn latest_per_id(bencher: Bencher<'_, '_>, writes: usize) {
    let tables = Tables::new(writes);
    bencher.counter(ItemsCount::new(SAMPLES * writes)).bench_local(|| {
        let read = async {
            let rows = tables.store.read(&tables.context, "video", &ReadOptions::default()).await?;
            rows.select_columns(&["video_id", "metaxy_provenance"])?.collect().await?;
            Ok(())
        };
        tables.run(read);
    });
}

/// Expected and stored rows compared, where nothing has changed.
#[divan::bench(args = [VersioningEngine::Memory, VersioningEngine::Native], sample_count = 10)]
fn comparison(bencher: Bencher<'_, '_>, engine: VersioningEngine) {
    let tables = Tables::new(1);
    tables.run(tables.compute());
    bencher.counter(ItemsCount::new(SAMPLES)).bench_local(|| {
        let resolve = async {
            let options = IncrementOptions { engine: engine.into(), ..IncrementOptions::default() };
            let increment = tables.store.resolve_update(&tables.context, "video/crop", &options).await?;
            assert_eq!(increment.count().await?, 0, "samples that are up to date");
            Ok(())
        };
        tables.run(resolve);
    });
}

/// A parent with samples, and a feature made of it, in memory.
struct Tables {
    runtime: Runtime,
    context: SessionContext,
    store: Arc<Store>,
}

impl Tables {
    fn new(writes: usize) -> Self {
        let opened = || -> Result<Store> {
            let spec =
                |key| FeatureSpec::builder(key).id_columns(["video_id"]).field("audio").field("frames");
            let (video, crop) = (spec("video").build()?, spec("video/crop").dep("video").build()?);
            let features =
                [video, crop].map(|spec| FeatureDefinition::declared(spec, "bench", Origin::Session));
            let settings = HashSettings::new(HashAlgorithm::XxHash64, 16)?;
            Store::new("bench", Arc::new(MemoryStore::new()), settings, features.into()).with_project("bench")
        };
        let tables = Self {
            runtime: value(Runtime::new()),
            context: SessionContext::new_with_config(SessionConfig::new()),
            store: Arc::new(value(opened())),
        };
        for number in 0..writes {
            tables.run(tables.write(number));
        }
        tables
    }

    async fn write(&self, number: usize) -> Result<()> {
        let rows = self
            .context
            .sql(&format!(
                "SELECT concat('sample-', lpad(CAST(value AS VARCHAR), 10, '0')) AS video_id,
                 named_struct('audio', concat('a{number}-', value), 'frames', concat('f{number}-', value))
                 AS metaxy_provenance_by_field FROM generate_series(1, {SAMPLES})"
            ))
            .await?;
        self.store.write("video", rows, &WriteOptions::default()).await?;
        Ok(())
    }

    async fn compute(&self) -> Result<()> {
        let due =
            self.store.resolve_update(&self.context, "video/crop", &IncrementOptions::default()).await?;
        self.store.write("video/crop", due, &WriteOptions::default()).await?;
        Ok(())
    }

    fn run(&self, work: impl Future<Output = Result<()>>) {
        value(self.runtime.block_on(work));
    }
}

/// What can't fail here, or else there is nothing to measure.
fn value<T, E: std::fmt::Display>(result: std::result::Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}
