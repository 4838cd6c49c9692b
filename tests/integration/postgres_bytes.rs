//! How much of a million samples leaves the database when nothing has changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::postgres_push::{Base, CROPS, THREE_VIDEOS, VIDEOS, execute, url};
use crate::support::{self, query};

/// A statement that gives a table a million rows whose versions are of two expressions over `i`.
fn million(table: &str, feature_version: &str, audio: &str, frames: &str) -> String {
    format!(
        "INSERT INTO push_bytes.{table} (video_id, size, metaxy_provenance_by_field, metaxy_provenance, \
         metaxy_data_version_by_field, metaxy_data_version, metaxy_feature_version, metaxy_updated_at) \
         SELECT 'sample-' || i, i, v, p, v, p, '{feature_version}', now() FROM (SELECT i, \
         jsonb_build_object('audio', {audio}, 'frames', {frames}) AS v, \
         substr(md5({audio} || '|' || {frames}), 1, 8) AS p FROM generate_series(1, 1000000) AS i) AS rows; \
         ANALYZE push_bytes.{table}"
    )
}

/// Passes connections on to the database and counts what comes back.
async fn counting_proxy() -> (String, Arc<AtomicU64>) {
    let target = url::Url::parse(&url()).unwrap();
    let address = format!("{}:{}", target.host_str().unwrap(), target.port().unwrap_or(5432));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut own = target.clone();
    own.set_host(Some("127.0.0.1")).unwrap();
    own.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
    let bytes = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&bytes);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&address).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
                let _ = to_server.shutdown().await;
            });
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                    counted.fetch_add(read as u64, Ordering::Relaxed);
                    if to_client.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (own.to_string(), bytes)
}

#[test]
#[ignore = "needs a PostgreSQL server: METAXY_TEST_POSTGRES"]
fn an_unchanged_feature_of_a_million_samples_fetches_a_few_kilobytes() {
    support::run(async {
        let (url, bytes) = counting_proxy().await;
        let base = Base::with("push_bytes", VIDEOS, "hash_algorithm = \"md5\"", &url).await;
        base.run(&[THREE_VIDEOS, CROPS, "DELETE FROM history.video", "DELETE FROM history.video__crop"])
            .await;
        let video = support::feature_version(&base.session, "video").await;
        execute(&million("video", &video, "'a' || i", "'f' || i")).await;
        let field = |name: &str, letter: char| {
            format!("substr(md5('{name}|__metaxy_initial__|video.{name}|{letter}' || i), 1, 8)")
        };
        let (audio, frames) = (field("audio", 'a'), field("frames", 'f'));
        let crop = support::feature_version(&base.session, "video/crop").await;
        execute(&million("video__crop", &crop, &audio, &frames)).await;
        for (sql, most) in [
            ("SELECT * FROM resolve_update('video/crop')", 20_000),
            ("SELECT metaxy_increment, count(*) FROM resolve_update('video/crop') GROUP BY 1", 20_000),
            ("SELECT count(*) FROM resolve_update('video/crop', skip_comparison => true)", 20_000),
        ] {
            let before = bytes.load(Ordering::Relaxed);
            let started = std::time::Instant::now();
            let rows = query(&base.session, sql).await;
            let fetched = bytes.load(Ordering::Relaxed) - before;
            println!("{sql}: {fetched} bytes, {:?}", started.elapsed());
            assert!(fetched < most, "{sql} fetched {fetched} bytes");
            if sql.starts_with("SELECT count") {
                assert_eq!(support::only(&rows), json!(1_000_000));
            } else {
                assert_eq!(rows, Vec::<Value>::new());
            }
        }
    });
}
