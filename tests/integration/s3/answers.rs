//! Reading and resolving from a bucket gives what the Python package gives, byte for byte; vacuum removes what it has to.

use datafusion_metaxy::config::{Secret, StoreConfig, StoreKind};

use super::{BUCKET, InBucket, KEY, KINDS, SECRET, client, endpoint};
use crate::concurrency::{FEATURES, insert};
use crate::conformance::{CASES, Case, read, resolve};
use crate::rehashed::Rehashed;
use crate::support::{column, files_below, query, run};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde_json::json;

/// Puts a store into the bucket, below a prefix of its own, which is returned.
fn into_bucket(store: &mut StoreConfig) -> uuid::Uuid {
    let prefix = uuid::Uuid::new_v4();
    store.root_path = Some(format!("s3://{BUCKET}/{prefix}"));
    for (key, value) in [
        ("AWS_ENDPOINT_URL", endpoint().as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("aws_access_key_id", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
    ] {
        store.storage_options.insert(key.to_owned(), Secret::new(value));
    }
    prefix
}

/// A golden case whose store was copied into the bucket.
async fn case(name: &str) -> Case {
    Case::open_at(name, async |folder, store| {
        let prefix = into_bucket(store);
        for file in files_below(folder) {
            let path = Path::parse(format!("{prefix}/{file}")).unwrap();
            let bytes = std::fs::read(folder.join(&file)).unwrap();
            client().put(&path, bytes.into()).await.unwrap();
        }
    })
    .await
}

#[test]
#[ignore = "needs METAXY_TEST_S3: .ci/run sets it"]
fn all_golden_cases_read_the_same_from_a_bucket() {
    run(async {
        for name in CASES {
            read(&case(name).await).await;
        }
    });
}

#[test]
#[ignore = "needs METAXY_TEST_S3: .ci/run sets it"]
fn all_golden_cases_resolve_the_same_from_a_bucket() {
    run(async {
        for name in CASES {
            resolve(&case(name).await).await;
        }
    });
}

#[test]
#[ignore = "needs METAXY_TEST_S3: .ci/run sets it"]
fn all_golden_cases_with_another_hash_resolve_the_same_from_a_bucket() {
    run(async {
        for name in CASES {
            let rehashed = Rehashed::new(name).await;
            for kind in [StoreKind::Delta, StoreKind::Parquet] {
                let mut config = StoreConfig::new("dev", kind);
                into_bucket(&mut config);
                rehashed.check_in(&config).await;
            }
        }
    });
}

#[test]
#[ignore = "needs METAXY_TEST_S3: .ci/run sets it"]
fn vacuum_lists_the_bucket_and_removes_what_nobody_needs() {
    run(async {
        for kind in KINDS {
            let place = InBucket::new(kind, FEATURES);
            let session = place.session().await;
            for i in 0..3 {
                query(&session, &insert(i, 0)).await;
            }
            query(&session, "CALL optimize('video/raw')").await;
            let table = format!("video/raw.{kind}");
            let strays = match kind {
                "delta" => ["part-stray.parquet", "notes.txt"],
                _ => ["_staging/stray.parquet", "notes.txt"],
            };
            for name in strays {
                place.put(&format!("{table}/{name}"), b"not much".to_vec()).await;
            }
            // Nothing is a week old.
            assert_eq!(query(&session, "CALL vacuum('video/raw')").await.len(), 0, "{kind}");
            // Modification times in a bucket are whole seconds.
            tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
            let before = place.objects().await;
            let short = "CALL vacuum('video/raw', retain => '0', allow_short_retention => true";
            let listed = query(&session, &format!("{short}, dry_run => true)")).await;
            assert_eq!(place.objects().await, before, "{kind}");
            let gone = query(&session, &format!("{short})")).await;
            assert_eq!(column(&gone, "file"), column(&listed, "file"), "{kind}");
            let mut after = place.objects().await;
            after.extend(gone.iter().map(|row| row["file"].as_str().unwrap().to_owned()));
            after.sort();
            assert_eq!(after, before, "{kind}: what is gone is what was said");
            assert!(before.contains(&format!("{table}/notes.txt")), "{kind}");
            assert!(!gone.iter().any(|row| row["file"] == json!(format!("{table}/notes.txt"))), "{kind}");
            if kind == "delta" {
                assert!(gone.len() >= 3, "{gone:?}");
            }
            assert_eq!(query(&place.session().await, "SELECT * FROM video__raw").await.len(), 3, "{kind}");
        }
    });
}
