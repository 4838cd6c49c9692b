//! Several writers at once on one table in a bucket.

use serde_json::json;

use super::{InBucket, KINDS};
use crate::concurrency::{FEATURES, WRITERS, all_at_once, check_rows, insert};
use crate::support::{self, query, run};

/// Commits of a Delta table, or data files of a Parquet one.
fn commits(kind: &str, objects: &[String]) -> usize {
    let is_commit = |name: &&String| match kind {
        "delta" => name.contains("/_delta_log/") && name.ends_with(".json"),
        _ => name.starts_with("video/raw.parquet/0"),
    };
    objects.iter().filter(is_commit).count()
}

#[test]
#[ignore = "needs METAXY_TEST_S3: .ci/run sets it"]
fn eight_writers_lose_nothing_and_leave_nothing_behind() {
    run(async {
        for kind in KINDS {
            let place = InBucket::new(kind, FEATURES);
            for result in all_at_once(&place.project, |i| vec![insert(i, 0), insert(i, 1)]).await {
                assert_eq!(support::only(&result.unwrap()), json!(1), "{kind}");
            }
            check_rows(&place.project, 2).await;
            let objects = place.objects().await;
            assert_eq!(commits(kind, &objects), 2 * WRITERS, "{kind}: {objects:#?}");
            // The tenth commit of a log brings a checkpoint, which is a Parquet file too.
            let is_data = |name: &&String| name.ends_with(".parquet") && !name.contains("/_delta_log/");
            let data = objects.iter().filter(is_data).count();
            assert_eq!(data, 2 * WRITERS, "{kind}: {objects:#?}");
        }
    });
}

#[test]
#[ignore = "needs METAXY_TEST_S3: .ci/run sets it"]
fn one_of_eight_equal_writes_under_one_key_counts() {
    run(async {
        for kind in KINDS {
            let place = InBucket::new(kind, FEATURES);
            let write = |_| vec!["SET metaxy.write_key = 'once'".to_owned(), insert(0, 0)];
            for result in all_at_once(&place.project, write).await {
                result.unwrap();
            }
            let session = place.session().await;
            let rows = query(&session, "SELECT count(*) FROM history.video__raw").await;
            assert_eq!(support::only(&rows), json!(1), "{kind}");
        }
    });
}

#[test]
#[ignore = "needs METAXY_TEST_S3: .ci/run sets it"]
fn deletes_and_rewrites_beside_writers_lose_nothing() {
    run(async {
        for kind in KINDS {
            let place = InBucket::new(kind, FEATURES);
            let session = place.session().await;
            for i in 0..4 {
                query(&session, &insert(i, 9)).await;
            }
            let results = all_at_once(&place.project, |i| match i {
                0 => vec!["DELETE FROM history.video__raw WHERE video_id = 'w0-9'".to_owned()],
                1 => vec!["CALL optimize('video/raw')".to_owned()],
                2 => vec!["DELETE FROM video__raw WHERE video_id = 'w1-9'".to_owned()],
                _ => vec![insert(i, 0), insert(i, 1)],
            })
            .await;
            for (i, result) in results.iter().enumerate() {
                // Deletes and rewrites may be overtaken; then they say so and have done nothing.
                assert!(result.is_ok() || i < 3, "{kind} {i}: {result:?}");
            }
            let rows = query(&place.session().await, "SELECT video_id FROM history.video__raw").await;
            for i in 3..WRITERS {
                for round in [0, 1] {
                    let id = json!(format!("w{i}-{round}"));
                    let count = rows.iter().filter(|row| row["video_id"] == id).count();
                    assert_eq!(count, 1, "{kind}: {id}");
                }
            }
            let gone = rows.iter().filter(|row| row["video_id"] == "w0-9").count();
            assert_eq!(gone, usize::from(results[0].is_err()), "{kind}: {:?}", results[0]);
        }
    });
}
