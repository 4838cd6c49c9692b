//! `Store::status` and `Store::statuses`: counts without SQL, and every table opened once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use datafusion::prelude::SessionContext;
use datafusion_metaxy::error::{MetaxyError, Result};
use datafusion_metaxy::hash::{HashAlgorithm, HashSettings};
use datafusion_metaxy::model::{FeatureDefinition, FeatureKey, FeatureSpec, Origin};
use datafusion_metaxy::store::{
    Append, MemoryStore, MetadataStore, SampleCounts, Store, StoredTable, TableState, WriteOptions,
};
use datafusion_metaxy::update::IncrementOptions;

use crate::support::run;

/// A store in memory that counts how often each table is opened.
#[derive(Debug, Default)]
struct Counting {
    inner: MemoryStore,
    opened: Mutex<BTreeMap<String, usize>>,
}

#[async_trait]
impl MetadataStore for Counting {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn format(&self) -> &'static str {
        self.inner.format()
    }

    fn compute_engine(&self) -> Option<&'static str> {
        self.inner.compute_engine()
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    async fn open(&self, feature: &FeatureKey) -> Result<Option<StoredTable>> {
        *self.opened.lock().unwrap().entry(feature.to_string()).or_default() += 1;
        self.inner.open(feature).await
    }

    async fn append(&self, feature: &FeatureKey, rows: Append) -> Result<u64> {
        self.inner.append(feature, rows).await
    }

    async fn state(&self, feature: &FeatureKey) -> Result<TableState> {
        self.inner.state(feature).await
    }
}

const CHILDREN: usize = 6;

/// A store with `video`, its children `video/c0` to `video/c5`, and `lone`, whose parent is not defined.
fn store(backend: &Arc<Counting>) -> Arc<Store> {
    let spec = |key: &str| FeatureSpec::builder(key).id_columns(["video_id"]);
    let mut specs = vec![spec("video"), spec("lone").dep("nobody")];
    specs.extend((0..CHILDREN).map(|i| spec(&format!("video/c{i}")).dep("video")));
    let features = specs
        .into_iter()
        .map(|spec| FeatureDefinition::declared(spec.build().unwrap(), "demo", Origin::Session))
        .collect();
    let settings = HashSettings::new(HashAlgorithm::XxHash64, 16).unwrap();
    let backend: Arc<dyn MetadataStore> = Arc::clone(backend) as _;
    Arc::new(Store::new("dev", backend, settings, features).with_project("demo").unwrap())
}

fn key(name: &str) -> FeatureKey {
    FeatureKey::parse(name).unwrap()
}

async fn videos(context: &SessionContext, store: &Arc<Store>, names: &str) {
    let sql = format!(
        "SELECT video_id, named_struct('default', hash) AS metaxy_provenance_by_field FROM (VALUES {names}) AS t(video_id, hash)"
    );
    let rows = context.sql(&sql).await.unwrap();
    store.write("video", rows, &WriteOptions::default()).await.unwrap();
}

#[test]
fn what_is_to_be_done_is_counted() {
    run(async {
        let context = SessionContext::new();
        let store = store(&Arc::default());
        let none = IncrementOptions::default();
        let status = store.status(&context, "video/c0", &none).await.unwrap();
        assert_eq!(
            (status.exists, status.samples, status.missing_parent.clone()),
            (false, None, Some(key("video")))
        );
        assert!(!status.is_in_sync());

        videos(&context, &store, "('a', '1'), ('b', '1'), ('c', '1')").await;
        let all = store.resolve_update(&context, "video/c0", &none).await.unwrap();
        store.write("video/c0", all, &WriteOptions::default()).await.unwrap();
        let status = store.status(&context, "video/c0", &none).await.unwrap();
        assert!(status.is_in_sync() && status.exists && !status.is_root, "{status:?}");
        videos(&context, &store, "('b', '2'), ('d', '1')").await;
        let status = store.status(&context, "video__c0", &none).await.unwrap();
        let counts =
            SampleCounts { new: 1, stale: 1, up_to_date: 2, progress: Some(0.75), ..SampleCounts::default() };
        assert_eq!((status.stored, status.samples), (3, Some(counts)));
        assert!(!status.is_in_sync());
        // The same as what is counted one by one.
        let increment = store.resolve_update(&context, "video/c0", &none).await.unwrap();
        assert_eq!(increment.count().await.unwrap(), 2);
        assert_eq!(store.progress(&context, "video/c0", &none).await.unwrap(), Some(0.75));

        let root = store.status(&context, "video", &none).await.unwrap();
        assert_eq!((root.is_root, root.stored, root.samples, root.is_in_sync()), (true, 4, None, true));
    });
}

#[test]
fn tables_of_many_features_are_opened_once() {
    run(async {
        let context = SessionContext::new();
        let backend = Arc::new(Counting::default());
        let store = store(&backend);
        videos(&context, &store, "('a', '1')").await;
        let keys: Vec<FeatureKey> =
            store.graph().await.unwrap().iter().map(|feature| feature.key().clone()).collect();
        backend.opened.lock().unwrap().clear();
        let found = store.statuses(&context, &keys, &HashMap::new()).await;
        let opened: Vec<(String, usize)> = backend.opened.lock().unwrap().clone().into_iter().collect();
        let expected: Vec<(String, usize)> = std::iter::once(("video".to_owned(), 1))
            .chain((0..CHILDREN).map(|i| (format!("video/c{i}"), 1)))
            .collect();
        assert_eq!(opened, expected);
        // In the order that was asked for, and one failure is that of one feature.
        assert_eq!(found.len(), keys.len());
        for (key, status) in keys.iter().zip(found) {
            match (key.to_string().as_str(), status) {
                ("lone", Err(MetaxyError::Graph(reason))) => assert!(reason.contains("nobody"), "{reason}"),
                ("video", Ok(status)) => assert_eq!((&status.feature, status.stored), (key, 1)),
                (_, Ok(status)) => {
                    assert_eq!((&status.feature, status.samples.unwrap().new), (key, 1));
                }
                (key, status) => panic!("{key}: {status:?}"),
            }
        }
        // A handle that is kept opens nothing again; the store itself sees what is new.
        let opened = || backend.opened.lock().unwrap()["video"];
        let (look, none, before) = (store.opened_once(), IncrementOptions::default(), opened());
        look.status(&context, "video", &none).await.unwrap();
        look.status(&context, "video/c0", &none).await.unwrap();
        assert_eq!(opened(), before + 1);
        videos(&context, &store, "('b', '1')").await;
        assert_eq!(store.status(&context, "video", &none).await.unwrap().stored, 2);
    });
}
