//! Stores in a container, over a real Azure server.
//!
//! Ignored by default:
//! `METAXY_TEST_AZURE=$(tests/azure/start.sh) cargo test --features azure --test integration -- --ignored azure::`.

use std::sync::Arc;

use object_store::azure::{MicrosoftAzure, MicrosoftAzureBuilder};

use crate::clouds::{self, BUCKET, Bucket, Place};
use crate::concurrency::{FEATURES, insert};
use crate::support::{Project, column, query, run};

/// The account that every emulator of Azure has, with its key.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// Another key. A key is Base64.
const WRONG: &str = "aHVudGVyMmh1bnRlcjI=";

/// Where the server is.
fn endpoint() -> String {
    std::env::var("METAXY_TEST_AZURE")
        .expect("METAXY_TEST_AZURE is the endpoint that tests/azure/start.sh prints")
}

fn client() -> MicrosoftAzure {
    MicrosoftAzureBuilder::new()
        .with_endpoint(endpoint())
        .with_allow_http(true)
        .with_account(ACCOUNT)
        .with_access_key(KEY)
        .with_container_name(BUCKET)
        .build()
        .unwrap()
}

/// The container by its name.
fn container() -> Bucket {
    let options = vec![
        ("azure_storage_account_name", ACCOUNT.to_owned()),
        ("AZURE_STORAGE_ACCOUNT_KEY", KEY.to_owned()),
        ("azure_storage_endpoint", endpoint()),
        ("azure_allow_http", "true".to_owned()),
    ];
    Bucket { url: "az://metaxy-test", options, client: Arc::new(client()) }
}

/// The container by the name that Hadoop's programs give it, in which the account is.
fn file_system() -> Bucket {
    let mut bucket = container();
    bucket.url = "abfss://metaxy-test@devstoreaccount1.dfs.core.windows.net";
    bucket.options.retain(|(key, _)| *key != "azure_storage_account_name");
    bucket
}

fn environment() -> Vec<(&'static str, String)> {
    vec![
        ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT.to_owned()),
        ("AZURE_STORAGE_ACCOUNT_KEY", KEY.to_owned()),
        ("AZURE_STORAGE_ENDPOINT", endpoint()),
        ("AZURE_ALLOW_HTTP", "true".to_owned()),
    ]
}

#[test]
#[ignore = "needs METAXY_TEST_AZURE: .ci/run sets it"]
fn eight_writers_lose_nothing_and_leave_nothing_behind() {
    clouds::writers(container);
}

#[test]
#[ignore = "needs METAXY_TEST_AZURE: .ci/run sets it"]
fn one_of_eight_equal_writes_under_one_key_counts() {
    clouds::write_keys(container);
}

#[test]
#[ignore = "needs METAXY_TEST_AZURE: .ci/run sets it"]
fn increments_follow_writes_changes_and_deletes() {
    clouds::increments(container);
}

#[test]
#[ignore = "needs METAXY_TEST_AZURE: .ci/run sets it"]
fn all_golden_cases_read_and_resolve_the_same_from_a_container() {
    clouds::golden_cases(container);
}

#[test]
#[ignore = "needs METAXY_TEST_AZURE: .ci/run sets it"]
fn a_large_write_is_whole() {
    clouds::large_writes(container);
}

#[test]
#[ignore = "needs METAXY_TEST_AZURE: .ci/run sets it"]
fn vacuum_removes_what_nobody_needs() {
    clouds::vacuum(container);
}

#[test]
#[ignore = "needs METAXY_TEST_AZURE: .ci/run sets it"]
fn files_of_a_container_are_listed() {
    clouds::files(container, environment);
}

#[test]
#[ignore = "needs METAXY_TEST_AZURE: .ci/run sets it"]
fn a_store_can_be_named_as_hadoop_names_it() {
    clouds::increments(file_system);
    clouds::files(file_system, environment);
}

#[test]
#[ignore = "needs METAXY_TEST_AZURE: .ci/run sets it"]
fn both_names_are_one_place() {
    run(async {
        for kind in ["delta", "parquet"] {
            let place = Place::new(kind, FEATURES, file_system());
            query(&place.session().await, &insert(1, 0)).await;
            let root = place.root.replace(file_system().url, container().url);
            place.configure(&root, &[("azure_storage_account_name", ACCOUNT)]);
            let rows = query(&place.session().await, "SELECT video_id FROM video__raw").await;
            assert_eq!(column(&rows, "video_id"), ["w1-0"], "{kind}");
        }
    });
}

#[test]
#[ignore = "needs METAXY_TEST_AZURE: .ci/run sets it"]
fn wrong_keys_and_places_are_one_line_with_the_store_and_without_a_secret() {
    run(async {
        for kind in ["delta", "parquet"] {
            let place = Place::new(kind, FEATURES, container());
            let says = async |words: &[&str]| place.says(words, &[KEY, WRONG, "hunter2"]).await;
            place.reach(&[("AZURE_STORAGE_ACCOUNT_KEY", WRONG)]);
            says(&["access denied: AuthorizationFailure", "check AZURE_STORAGE_ACCOUNT_NAME"]).await;
            place.reach(&[("azure_storage_account_name", "nobody")]);
            says(&["access denied: AuthorizationFailure"]).await;
            place.reach(&[("AZURE_STORAGE_ACCOUNT_KEY", "hunter2")]);
            says(&["storage_options", "Azure can't be reached with them"]).await;
            place.configure("az://metaxy-no-such-container/a", &[]);
            says(&["az://metaxy-no-such-container: there is no such container"]).await;
            place.configure("abfss://nothing@devstoreaccount1.dfs.core.windows.net/a", &[]);
            says(&["abfss://nothing@devstoreaccount1.dfs.core.windows.net: there is no such container"])
                .await;
            let nobody = [("azure_storage_endpoint", "http://127.0.0.1:1/x"), ("max_retries", "1")];
            place.reach(&nobody);
            says(&["can't be reached", "(after 1 retries)", "AZURE_STORAGE_ENDPOINT"]).await;
            place.reach(&[("azure_allow_http", "")]);
            says(&["AZURE_STORAGE_ENDPOINT begins with http://", "AZURE_ALLOW_HTTP"]).await;
        }
    });
}

#[test]
#[ignore = "needs METAXY_TEST_AZURE: .ci/run sets it"]
fn files_with_a_wrong_key_are_an_error_without_it() {
    let project = Project::new(FEATURES);
    let sql = format!("SELECT * FROM files('{}/*')", container().url);
    let cli = project.cli().args(["-q", "-c", &sql]);
    let cli = environment().iter().fold(cli, |cli, (name, value)| cli.env(name, value));
    let text = cli.env("AZURE_STORAGE_ACCOUNT_KEY", WRONG).run().failed();
    assert!(text.contains("access denied: AuthorizationFailure") && !text.contains(WRONG), "{text}");
}
