//! Stores in a bucket of Google Cloud, over a server that speaks its protocol.
//!
//! Ignored by default:
//! `METAXY_TEST_GCS=$(tests/gcs/start.sh) cargo test --features gcs --test integration -- --ignored gcs::`.

use std::sync::Arc;

use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder};
use serde_json::json;

use crate::clouds::{self, BUCKET, Bucket, Place};
use crate::concurrency::FEATURES;
use crate::support::run;

/// Where the server is.
fn endpoint() -> String {
    std::env::var("METAXY_TEST_GCS").expect("METAXY_TEST_GCS is the address that tests/gcs/start.sh prints")
}

/// A service account that says where the server is, and that nobody has to be asked for a token.
fn account(endpoint: &str) -> String {
    json!({
        "gcs_base_url": endpoint,
        "disable_oauth": true,
        "client_email": "",
        "private_key": "hunter2",
        "private_key_id": "",
    })
    .to_string()
}

fn client() -> GoogleCloudStorage {
    GoogleCloudStorageBuilder::new()
        .with_service_account_key(account(&endpoint()))
        .with_bucket_name(BUCKET)
        .build()
        .unwrap()
}

fn bucket() -> Bucket {
    let options = vec![("google_service_account_key", account(&endpoint()))];
    Bucket { url: "gs://metaxy-test", options, client: Arc::new(client()) }
}

fn environment() -> Vec<(&'static str, String)> {
    vec![("GOOGLE_SERVICE_ACCOUNT_KEY", account(&endpoint()))]
}

#[test]
#[ignore = "needs METAXY_TEST_GCS: .ci/run sets it"]
fn eight_writers_lose_nothing_and_leave_nothing_behind() {
    clouds::writers(bucket);
}

#[test]
#[ignore = "needs METAXY_TEST_GCS: .ci/run sets it"]
fn one_of_eight_equal_writes_under_one_key_counts() {
    clouds::write_keys(bucket);
}

#[test]
#[ignore = "needs METAXY_TEST_GCS: .ci/run sets it"]
fn increments_follow_writes_changes_and_deletes() {
    clouds::increments(bucket);
}

#[test]
#[ignore = "needs METAXY_TEST_GCS: .ci/run sets it"]
fn all_golden_cases_read_and_resolve_the_same_from_a_bucket() {
    clouds::golden_cases(bucket);
}

#[test]
#[ignore = "needs METAXY_TEST_GCS: .ci/run sets it"]
fn a_large_write_is_whole() {
    clouds::large_writes(bucket);
}

#[test]
#[ignore = "needs METAXY_TEST_GCS: .ci/run sets it"]
fn vacuum_removes_what_nobody_needs() {
    clouds::vacuum(bucket);
}

#[test]
#[ignore = "needs METAXY_TEST_GCS: .ci/run sets it"]
fn files_of_a_bucket_are_listed() {
    clouds::files(bucket, environment);
}

#[test]
#[ignore = "needs METAXY_TEST_GCS: .ci/run sets it"]
fn wrong_places_and_accounts_are_one_line_with_the_store_and_without_a_secret() {
    run(async {
        for kind in ["delta", "parquet"] {
            let place = Place::new(kind, FEATURES, bucket());
            let says = async |words: &[&str]| place.says(words, &["hunter2"]).await;
            place.configure("gs://metaxy-no-such-bucket/a", &[]);
            says(&["gs://metaxy-no-such-bucket: there is no such bucket"]).await;
            place.reach(&[
                ("google_service_account_key", &account("http://127.0.0.1:1")),
                ("max_retries", "1"),
            ]);
            says(&["can't be reached", "(after 1 retries)", "GOOGLE_BASE_URL"]).await;
            place.reach(&[("google_service_account_key", "hunter2")]);
            says(&["storage_options", "Google Cloud Storage can't be reached with them"]).await;
            place.reach(&[("google_service_account_key", &account("http://a hunter2"))]);
            says(&["gcs_base_url is not the address of a server"]).await;
        }
    });
}
