//! The Python packages deltalake and polars read what we write into a bucket, and we read what they write.

use serde_json::json;

use super::{BUCKET, InBucket, KEY, KINDS, SECRET, endpoint};
use crate::concurrency::{FEATURES, insert};
use crate::python::python;
use crate::support::{column, query, repository, run};

#[test]
#[ignore = "needs METAXY_TEST_S3 and METAXY_TEST_PYTHON: .ci/run sets them"]
fn python_reads_our_tables_in_a_bucket_and_we_read_what_python_appends() {
    run(async {
        for kind in KINDS {
            let place = InBucket::new(kind, FEATURES);
            query(&place.session().await, &insert(1, 0)).await;
            let script = repository("tests/s3/append.py").display().to_string();
            let table = format!("s3://{BUCKET}/{}/video/raw.{kind}", place.prefix);
            let args = [script.as_str(), kind, &table, &endpoint(), KEY, SECRET];
            let printed = tokio::task::spawn_blocking({
                let args = args.map(str::to_owned);
                move || python(&args.each_ref().map(String::as_str))
            });
            assert_eq!(printed.await.unwrap().trim(), r#"["w1-0"]"#, "{kind}");
            query(&place.session().await, &insert(2, 0)).await;
            let rows =
                query(&place.session().await, "SELECT video_id FROM video__raw ORDER BY video_id").await;
            assert_eq!(column(&rows, "video_id"), [json!("python"), json!("w1-0"), json!("w2-0")], "{kind}");
        }
    });
}
