//! Writes that are too large for one request.

use serde_json::json;

use super::proxy::{Fault, Proxy};
use super::{InBucket, KEY, KINDS, SECRET, endpoint};
use crate::concurrency::FEATURES;
use crate::support::{self, only, query, run};

/// Rows that hardly compress: about 64 bytes each.
fn insert(first: u32, rows: u32) -> String {
    format!(
        "INSERT INTO video__raw SELECT 'v' || value AS video_id, sha256('a' || value) AS a, sha256('b' || value) AS b, \
         named_struct('default', 'x') AS metaxy_provenance_by_field FROM range({first}, {})",
        first + rows
    )
}

const ROWS: u32 = 300_000;

#[test]
#[ignore = "needs METAXY_TEST_S3: .ci/run sets it"]
fn a_large_write_is_visible_at_once_and_whole() {
    run(async {
        for kind in KINDS {
            let proxy = Proxy::start(&endpoint()).await;
            let place = InBucket::new(kind, FEATURES);
            place.reach(&proxy.endpoint, KEY, SECRET, "");
            let session = place.session().await;
            query(&session, &insert(0, 10)).await;
            proxy.take();
            assert_eq!(only(&query(&session, &insert(10, ROWS)).await), json!(ROWS), "{kind}");
            let parts = proxy.take().iter().filter(|request| request.target.contains("partNumber=")).count();
            assert!(parts > 1, "{kind}: {parts} parts");
            query(&session, &insert(10 + ROWS, 10)).await;
            let count = query(&place.session().await, "SELECT count(*) FROM history.video__raw").await;
            assert_eq!(only(&count), json!(ROWS + 20), "{kind}");
            // A delete writes the large file anew.
            query(&session, "DELETE FROM history.video__raw WHERE video_id = 'v1000'").await;
            let count = query(&place.session().await, "SELECT count(*) FROM history.video__raw").await;
            assert_eq!(only(&count), json!(ROWS + 19), "{kind}");
            assert!(!place.objects().await.iter().any(|name| name.contains("_staging")), "{kind}");
        }
    });
}

#[test]
#[ignore = "needs METAXY_TEST_S3: .ci/run sets it"]
fn a_large_write_that_breaks_off_is_not_seen() {
    run(async {
        for kind in KINDS {
            let proxy = Proxy::start(&endpoint()).await;
            let place = InBucket::new(kind, FEATURES);
            place.reach(&proxy.endpoint, KEY, SECRET, "max_retries = \"1\"");
            let session = place.session().await;
            query(&session, &insert(0, 10)).await;
            let before = place.objects().await;
            proxy.choose(|request| request.target.contains("partNumber=2").then_some(Fault::Error));
            let text = support::error(&session, &insert(10, ROWS)).await;
            assert!(text.contains("InternalError"), "{text}");
            proxy.heal();
            assert_eq!(place.objects().await, before, "{kind}");
        }
    });
}
