//! What is wrong with keys, buckets, endpoints and options is said in one line, without a secret.

use super::{BUCKET, InBucket, KEY, KINDS, SECRET, endpoint, storage_options, store};
use crate::concurrency::{FEATURES, insert};
use crate::support::{self, Project, query, run, try_query};

/// The message that opening or reading the store gives.
async fn message(place: &InBucket) -> String {
    let error = match place.project.try_session().await {
        Ok(session) => match try_query(&session, "SELECT * FROM video__raw").await {
            Ok(rows) => panic!("should have failed, but gave {rows:?}"),
            Err(error) => error,
        },
        Err(error) => error,
    };
    let text = support::one_line(&error);
    for secret in [SECRET, "hunter2"] {
        assert!(!text.contains(secret), "{text}");
    }
    text
}

#[test]
#[ignore = "needs METAXY_TEST_S3: .ci/run sets it"]
fn wrong_keys_and_places_are_one_line_with_the_store_and_without_a_secret() {
    run(async {
        for kind in KINDS {
            let place = InBucket::new(kind, FEATURES);
            let says = async |expected: &[&str]| {
                let text = message(&place).await;
                assert!(text.contains("store dev"), "{text}");
                for expected in expected {
                    assert!(text.contains(expected), "{expected}: {text}");
                }
            };
            let endpoint = endpoint();
            place.reach(&endpoint, "nobody", "hunter2", "");
            says(&["access denied: InvalidAccessKeyId", "check AWS_ACCESS_KEY_ID"]).await;
            place.reach(&endpoint, KEY, "hunter2", "");
            says(&["access denied: SignatureDoesNotMatch"]).await;
            place.configure("s3://metaxy-no-such-bucket/a", &endpoint, KEY, SECRET, "");
            says(&["s3://metaxy-no-such-bucket: there is no such bucket"]).await;
            place.reach("http://127.0.0.1:1", KEY, SECRET, "max_retries = \"1\"");
            says(&["can't be reached", "(after 1 retries)", "AWS_ENDPOINT_URL"]).await;
            place.reach(&endpoint, KEY, SECRET, "AWS_S3_LOCKING_PROVIDER = \"dynamodb\"");
            says(&["AWS_S3_LOCKING_PROVIDER asks for a lock table"]).await;
            place.reach(&endpoint, KEY, SECRET, "AWS_S3_ALLOW_UNSAFE_RENAME = \"true\"");
            says(&["AWS_S3_ALLOW_UNSAFE_RENAME asks for commits that can overwrite"]).await;
            place.configure(&format!("s3://ada:hunter2@{BUCKET}/a"), &endpoint, KEY, SECRET, "");
            says(&["s3://***@metaxy-test/a", "storage_options"]).await;
        }
    });
}

#[test]
#[ignore = "needs METAXY_TEST_S3: .ci/run sets it"]
fn two_stores_in_one_bucket_keep_their_own_credentials() {
    run(async {
        for kind in KINDS {
            let place = InBucket::new(kind, FEATURES);
            query(&place.session().await, &insert(1, 0)).await;
            let root = format!("s3://{BUCKET}/{}", place.prefix);
            let right = store("dev", kind, &root, &storage_options(&endpoint(), KEY, SECRET, ""));
            let wrong = store("bad", kind, &root, &storage_options(&endpoint(), KEY, "hunter2", ""));
            let rest = "[ext.datafusion]\nfeatures = [\"features*.toml\"]\n";
            let top = "store = \"dev\"\nproject = \"test\"\n";
            place.project.write("metaxy.toml", &format!("{top}{right}{wrong}{rest}"));
            let session = place.session().await;
            for _ in 0..2 {
                assert_eq!(query(&session, "SELECT video_id FROM video__raw").await.len(), 1, "{kind}");
                let text = support::error(&session, "SELECT video_id FROM bad.features.video__raw").await;
                assert!(text.contains("store bad") && text.contains("SignatureDoesNotMatch"), "{text}");
            }
        }
    });
}

#[test]
#[ignore = "needs METAXY_TEST_S3: .ci/run sets it"]
fn secrets_are_in_no_log_listing_or_plan() {
    run(async {
        for kind in KINDS {
            let place = InBucket::new(kind, FEATURES);
            query(&place.session().await, &insert(1, 0)).await;
            let sql = "SHOW ALL; EXPLAIN SELECT * FROM video__raw; EXPLAIN VERBOSE SELECT * FROM video__raw; \
                       SELECT * FROM system.stores; SELECT * FROM video__raw";
            for args in [&["-c", sql][..], &["config"], &["list", "stores"], &["list", "features"]] {
                let ran = place.project.cli().args(args).env("RUST_LOG", "trace").run();
                let text = format!("{}{}", ran.stdout, ran.stderr);
                assert!(!text.contains(SECRET), "{kind} {args:?}: a secret is shown");
                assert!(text.contains("s3://") || args[0] == "list", "{kind} {args:?}: {text}");
            }
        }
    });
}

#[test]
#[ignore = "needs METAXY_TEST_S3: .ci/run sets it"]
fn files_of_a_stores_bucket_are_listed_with_its_options() {
    run(async {
        let place = InBucket::new("delta", FEATURES);
        for name in ["photos/a.jpg", "photos/deep/b.jpg", "photos/c.txt"] {
            place.put(name, name.as_bytes().to_vec()).await;
        }
        let session = place.session().await;
        let at = format!("s3://{BUCKET}/{}/photos", place.prefix);
        let sql =
            format!("SELECT path, size, content_hash FROM files('{at}/**/*.jpg', content_hash => true)");
        let rows = query(&session, &sql).await;
        let paths = support::column(&rows, "path");
        assert_eq!(paths, [format!("{at}/a.jpg"), format!("{at}/deep/b.jpg")]);
        assert_eq!(rows[0]["size"], 12);
        assert_eq!(rows[0]["content_hash"].as_str().unwrap().len(), 64);
        assert_eq!(query(&session, &format!("SELECT * FROM files('{at}/*')")).await.len(), 2);
        let text = support::error(&session, "SELECT * FROM files('s3://ada:hunter2@metaxy-test/x/*')").await;
        assert!(text.starts_with("files: ") && !text.contains("hunter2"), "{text}");
    });
}

#[test]
#[ignore = "needs METAXY_TEST_S3: .ci/run sets it"]
fn files_of_a_bucket_are_listed_with_the_environment() {
    run(async {
        let place = InBucket::new("delta", FEATURES);
        place.put("a.jpg", vec![1]).await;
        let project = Project::new(FEATURES);
        let sql = format!("SELECT size FROM files('s3://{BUCKET}/{}/*.jpg')", place.prefix);
        let cli = || {
            let cli = project.cli().args(["-q", "--format", "csv", "-c", &sql]);
            cli.env("AWS_ENDPOINT_URL", &endpoint())
                .env("AWS_ALLOW_HTTP", "true")
                .env("AWS_ACCESS_KEY_ID", KEY)
        };
        let ran = cli().env("AWS_SECRET_ACCESS_KEY", SECRET).run();
        assert_eq!(ran.stdout.trim(), "size\n1", "{}", ran.stderr);
        let ran = cli().env("AWS_SECRET_ACCESS_KEY", "hunter2").run();
        assert!(
            ran.stderr.contains("SignatureDoesNotMatch") && !ran.stderr.contains("hunter2"),
            "{}",
            ran.stderr
        );
    });
}

#[test]
fn a_place_or_endpoint_that_cannot_be_is_an_error_of_its_option_and_no_folder() {
    run(async {
        for kind in KINDS {
            let project = Project::of_kind(kind, FEATURES, "", "");
            let place = InBucket { project, prefix: "a".into(), kind };
            for endpoint in ["hunter2", "localhost:9000", "http://127.0.0.1:9000 hunter2"] {
                place.reach(endpoint, KEY, SECRET, "");
                let text = message(&place).await;
                assert!(
                    text.contains("store dev") && text.contains("AWS_ENDPOINT_URL is not the address"),
                    "{text}"
                );
            }
            for root in ["s3://bad bucket/x", "s3://[x/y", "s3://bad%20bucket/x", "ftp://host/x", "s3:///x"] {
                place.configure(root, "http://127.0.0.1:1", KEY, SECRET, "");
                let text = message(&place).await;
                assert!(text.contains(&format!("store dev: root_path {root}: ")), "{text}");
            }
            let names = support::files_below(place.project.path());
            assert_eq!(names.len(), 2, "{names:?}");
        }
    });
}
