//! How many requests an answer costs: none for each feature, and none for each file where a listing tells.

use super::proxy::{Proxy, Request};
use super::{InBucket, KEY, KINDS, SECRET, endpoint};
use crate::support::{query, run};

/// Fifty features, of which two have data.
fn features() -> String {
    let mut text = String::new();
    for i in 0..50 {
        text += &format!("[[feature]]\nkey = \"other/f{i}\"\nid_columns = [\"video_id\"]\n\n");
    }
    text += "[[feature]]\nkey = \"video/raw\"\nid_columns = [\"video_id\"]\n\n";
    text += "[[feature]]\nkey = \"video/crop\"\nid_columns = [\"video_id\"]\ndeps = [\"video/raw\"]\n";
    text
}

fn shown(requests: &[Request]) -> String {
    let lines: Vec<String> =
        requests.iter().map(|request| format!("{} {}", request.method, request.target)).collect();
    lines.join("\n")
}

#[test]
#[ignore = "needs METAXY_TEST_S3: .ci/run sets it"]
fn opening_and_resolving_cost_no_request_per_feature() {
    run(async {
        for kind in KINDS {
            let proxy = Proxy::start(&endpoint()).await;
            let place = InBucket::new(kind, &features());
            place.reach(&proxy.endpoint, KEY, SECRET, "");
            let session = place.session().await;
            query(
                &session,
                "INSERT INTO video__raw SELECT 'a' AS video_id, named_struct('default', 'x') AS \
                 metaxy_provenance_by_field",
            )
            .await;
            proxy.take();
            let session = place.session().await;
            let opened = proxy.take();
            assert!(opened.len() <= 6, "{kind}: opening costs {}\n{}", opened.len(), shown(&opened));
            let rows = query(&session, "SELECT * FROM resolve_update('video/crop')").await;
            assert_eq!(rows.len(), 1, "{kind}");
            let resolved = proxy.take();
            assert!(resolved.len() <= 24, "{kind}: resolving costs {}\n{}", resolved.len(), shown(&resolved));
        }
    });
}

#[test]
#[ignore = "needs METAXY_TEST_S3: .ci/run sets it"]
fn a_footer_is_read_once_however_often_a_table_is_opened() {
    run(async {
        let proxy = Proxy::start(&endpoint()).await;
        let place = InBucket::new("parquet", &features());
        place.reach(&proxy.endpoint, KEY, SECRET, "");
        let session = place.session().await;
        for i in 0..12 {
            let sql = format!(
                "INSERT INTO video__raw SELECT 'v{i}' AS video_id, named_struct('default', 'x') AS \
                 metaxy_provenance_by_field"
            );
            query(&session, &sql).await;
        }
        let session = place.session().await;
        let count = "SELECT count(*) FROM history.video__raw";
        query(&session, count).await;
        proxy.take();
        query(&session, count).await;
        let again = proxy.take();
        let footers = again.iter().filter(|request| request.target.contains(".parquet/0")).count();
        // One asks whether there is a file after the last one.
        assert!(footers <= 12 + 4, "{footers} of {}\n{}", again.len(), shown(&again));
    });
}

#[test]
#[ignore = "needs METAXY_TEST_S3: .ci/run sets it"]
fn a_log_is_read_once_and_a_file_in_two_requests() {
    run(async {
        let proxy = Proxy::start(&endpoint()).await;
        let place = InBucket::new("delta", &features());
        place.reach(&proxy.endpoint, KEY, SECRET, "");
        let insert = |name: &str| {
            format!(
                "INSERT INTO video__raw SELECT '{name}' AS video_id, named_struct('default', 'x') AS \
                 metaxy_provenance_by_field"
            )
        };
        let session = place.session().await;
        for i in 0..8 {
            query(&session, &insert(&format!("v{i}"))).await;
        }
        query(&session, "INSERT INTO video__crop SELECT * FROM resolve_update('video/crop')").await;
        query(&session, &insert("v8")).await;
        let session = place.session().await;
        proxy.take();
        let gets = |requests: &[Request], of: &str| {
            let gets = requests.iter().filter(|request| request.method == "GET");
            let mut names: Vec<String> = gets
                .filter_map(|request| {
                    let target = request.target.split('?').next().unwrap_or_default();
                    target.ends_with(of).then(|| target.to_owned())
                })
                .collect();
            names.sort();
            names
        };
        let resolved = "SELECT * FROM resolve_update('video/crop')";
        assert_eq!(query(&session, resolved).await.len(), 1);
        let first = proxy.take();
        let commits = gets(&first, ".json");
        // Nine of the parent, one of the child. Which commits are the newest ones is asked once more.
        assert!(commits.len() <= 10 + 4, "{}", shown(&first));
        let files = gets(&first, ".parquet");
        // One for the footer, one for the rows; then for the other columns of the sample that is new.
        assert!(files.len() <= 2 * 10 + 2, "{} requests of files\n{}", files.len(), shown(&first));
        // Then only what is new is read.
        query(&session, &insert("v9")).await;
        let insert = proxy.take();
        assert!(gets(&insert, ".json").len() <= 4, "{}", shown(&insert));
        assert!(insert.len() <= 32, "an INSERT costs {}\n{}", insert.len(), shown(&insert));
        assert_eq!(query(&session, resolved).await.len(), 2);
        let again = proxy.take();
        assert!(gets(&again, ".json").len() <= 6, "{}", shown(&again));
    });
}
