//! A server that fails, throttles and cuts connections: retries, then one clear error, and never a wrong answer.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::proxy::{Fault, Proxy};
use super::{InBucket, KEY, KINDS, SECRET, endpoint};
use crate::concurrency::{FEATURES, insert};
use crate::support::{self, column, query, run, try_query};

const IDS: &str = "SELECT video_id FROM history.video__raw ORDER BY video_id";

fn ids(rows: &[Value]) -> Vec<String> {
    column(rows, "video_id").iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

/// A store behind a proxy.
async fn behind(kind: &'static str, options: &str) -> (InBucket, Proxy) {
    let proxy = Proxy::start(&endpoint()).await;
    let place = InBucket::new(kind, FEATURES);
    place.reach(&proxy.endpoint, KEY, SECRET, options);
    (place, proxy)
}

#[test]
#[ignore = "needs METAXY_TEST_S3: .ci/run sets it"]
fn requests_that_fail_at_random_change_no_answer() {
    run(async {
        for (kind, seed) in KINDS.into_iter().flat_map(|kind| [1, 2, 3].map(|seed| (kind, seed))) {
            let (place, proxy) = behind(kind, "timeout = \"1s\", max_retries = \"8\"").await;
            let session = place.session().await;
            proxy.fail_at_random(20, seed);
            let mut sure = BTreeSet::new();
            let mut maybe = BTreeMap::new();
            for round in 0..6 {
                let id = format!("w{seed}-{round}");
                match try_query(&session, &insert(usize::try_from(seed).unwrap(), round)).await {
                    Ok(rows) => {
                        assert_eq!(support::only(&rows), json!(1));
                        sure.insert(id);
                    }
                    Err(error) => {
                        let text = support::one_line(&error);
                        assert!(text.contains("dev") && !text.contains(SECRET), "{text}");
                        maybe.insert(id, text);
                    }
                }
                if let Ok(rows) = try_query(&session, IDS).await {
                    let found: BTreeSet<String> = ids(&rows).into_iter().collect();
                    assert_eq!(found.len(), rows.len(), "{kind} {seed}: rows twice in {rows:?}");
                    assert!(found.is_superset(&sure), "{kind} {seed}: {found:?} lacks some of {sure:?}");
                }
            }
            assert!(proxy.faults() > 3, "{kind} {seed}: hardly anything failed");
            proxy.heal();
            let found = ids(&query(&place.session().await, IDS).await);
            let set: BTreeSet<String> = found.iter().cloned().collect();
            assert_eq!(found.len(), set.len(), "{kind} {seed}: rows twice in {found:?}");
            assert!(set.is_superset(&sure), "{kind} {seed}: {set:?} lacks some of {sure:?}");
            assert!(
                set.iter().all(|id| sure.contains(id) || maybe.contains_key(id)),
                "{kind} {seed}: {set:?}"
            );
            assert!(sure.len() >= 5, "{kind} {seed}: {maybe:#?} failed although there are retries");
        }
    });
}

#[test]
#[ignore = "needs METAXY_TEST_S3: .ci/run sets it"]
fn a_commit_whose_answer_is_lost_happens_once() {
    run(async {
        for kind in KINDS {
            for fault in [Fault::LostBehindError, Fault::Lost, Fault::Late, Fault::Half, Fault::Cut] {
                let (place, proxy) = behind(kind, "timeout = \"1s\"").await;
                let session = place.session().await;
                query(&session, &insert(1, 0)).await;
                let mut left = 1;
                proxy.choose(move |request| {
                    let is_commit = request.is_conditional && !request.target.contains("_metaxy.json");
                    if !is_commit || left == 0 {
                        return None;
                    }
                    left -= 1;
                    Some(fault)
                });
                let written = try_query(&session, &insert(2, 0)).await;
                assert_eq!(proxy.faults(), 1, "{kind} {fault:?}");
                assert_eq!(support::only(&written.unwrap()), json!(1), "{kind} {fault:?}");
                // What is late comes now.
                if fault == Fault::Late {
                    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
                }
                let found = ids(&query(&place.session().await, IDS).await);
                assert_eq!(found, ["w1-0", "w2-0"], "{kind} {fault:?}");
            }
        }
    });
}

#[test]
#[ignore = "needs METAXY_TEST_S3: .ci/run sets it"]
fn a_server_that_only_fails_is_one_clear_error_and_nothing_is_written() {
    run(async {
        for kind in KINDS {
            let (place, proxy) = behind(kind, "max_retries = \"2\"").await;
            let session = place.session().await;
            query(&session, &insert(1, 0)).await;
            let before = place.objects().await;
            proxy.choose(|_| Some(Fault::SlowDown));
            for sql in [insert(2, 0), IDS.to_owned(), "DELETE FROM history.video__raw".to_owned()] {
                let text = support::error(&session, &sql).await;
                assert!(text.contains("dev"), "{text}");
                let reason = "s3://metaxy-test: S3 failed: SlowDown: The proxy says so. (after 2 retries)";
                assert!(text.contains(reason), "{text}");
                assert!(!text.contains(SECRET), "{text}");
            }
            proxy.heal();
            assert_eq!(place.objects().await, before, "{kind}");
            assert_eq!(ids(&query(&session, IDS).await), ["w1-0"], "{kind}");
        }
    });
}

#[test]
#[ignore = "needs METAXY_TEST_S3: .ci/run sets it"]
fn only_the_commit_fails_and_no_row_is_seen() {
    run(async {
        for kind in KINDS {
            let (place, proxy) = behind(kind, "max_retries = \"1\"").await;
            let session = place.session().await;
            query(&session, &insert(1, 0)).await;
            proxy.choose(|request| {
                let is_commit = request.is_conditional && !request.target.contains("_metaxy.json");
                is_commit.then_some(Fault::Error)
            });
            let text = support::error(&session, &insert(2, 0)).await;
            assert!(text.contains("may have got through all the same"), "{text}");
            proxy.heal();
            assert_eq!(ids(&query(&place.session().await, IDS).await), ["w1-0"], "{kind}");
            query(&session, &insert(2, 0)).await;
            assert_eq!(ids(&query(&place.session().await, IDS).await), ["w1-0", "w2-0"], "{kind}");
        }
    });
}
