//! What stores in Azure and in Google Cloud have to do alike, over a real server of each.
//!
//! The tests of S3 go further. These are about what each protocol does in its own way: conditional puts, listings that
//! begin at a name, uploads in parts, deletes.

use std::sync::Arc;
use std::time::Duration;

use datafusion_metaxy::config::{Secret, StoreConfig};
use datafusion_metaxy::session::MetaxySession;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use serde_json::json;

use crate::concurrency::{FEATURES, PAIR, WRITERS, all_at_once, check_rows, insert};
use crate::conformance::{CASES, Case, read, resolve};
use crate::support::{self, Project, column, files_below, only, query, run, try_query};

/// The container or bucket that the servers have.
pub const BUCKET: &str = "metaxy-test";
/// The kinds of stores that can be in one.
const KINDS: [&str; 2] = ["delta", "parquet"];

/// A container or bucket, and how it is reached.
pub struct Bucket {
    /// Where stores are: scheme and name, without a slash at the end.
    pub url: &'static str,
    pub options: Vec<(&'static str, String)>,
    /// The same without anything of ours in between.
    pub client: Arc<dyn ObjectStore>,
}

impl Bucket {
    /// The options as an inline table, some of them with other values.
    fn table(&self, other: &[(&str, &str)]) -> String {
        let ours = self.options.iter().map(|(key, value)| (*key, value.as_str()));
        let ours = ours.filter(|(key, _)| !other.iter().any(|(name, _)| name == key));
        // Short pauses between retries.
        let pauses = [("backoff_config.init_backoff", "5ms"), ("backoff_config.max_backoff", "20ms")];
        let all = ours.chain(pauses).chain(other.iter().copied());
        let pairs: Vec<String> = all.map(|(key, value)| format!("{key:?} = {value:?}")).collect();
        format!("{{ {} }}", pairs.join(", "))
    }
}

/// A project whose store is in the bucket, below a prefix of its own.
pub struct Place {
    pub project: Project,
    pub root: String,
    prefix: String,
    kind: &'static str,
    bucket: Bucket,
}

impl Place {
    pub fn new(kind: &'static str, features: &str, bucket: Bucket) -> Self {
        let prefix = uuid::Uuid::new_v4().to_string();
        let root = format!("{}/{prefix}", bucket.url);
        let project = Project::of_kind(kind, features, "", "");
        let place = Self { project, root, prefix, kind, bucket };
        place.reach(&[]);
        place
    }

    /// The store has these options in place of those of the bucket; an empty one is as good as none.
    pub fn reach(&self, other: &[(&str, &str)]) {
        self.configure(&self.root, other);
    }

    /// As [`reach`](Self::reach), with another root.
    pub fn configure(&self, root: &str, other: &[(&str, &str)]) {
        let (kind, options) = (self.kind, self.bucket.table(other));
        let store = format!(
            "[stores.dev]\ntype = {kind:?}\n[stores.dev.config]\nroot_path = {root:?}\nstorage_options = {options}\n"
        );
        let rest = "[ext.datafusion]\nfeatures = [\"features*.toml\"]\n";
        self.project.write("metaxy.toml", &format!("store = \"dev\"\nproject = \"test\"\n{store}\n{rest}"));
    }

    pub async fn session(&self) -> MetaxySession {
        self.project.session().await
    }

    /// All objects of the store, in the order of their names below its prefix.
    async fn found(&self) -> Vec<(String, ObjectMeta)> {
        let prefix = Path::from(self.prefix.as_str());
        let found: Vec<ObjectMeta> = self.bucket.client.list(Some(&prefix)).try_collect().await.unwrap();
        let name = |meta: &ObjectMeta| {
            meta.location.as_ref().strip_prefix(&format!("{prefix}/")).unwrap().to_owned()
        };
        let mut found: Vec<_> = found.into_iter().map(|meta| (name(&meta), meta)).collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    async fn objects(&self) -> Vec<String> {
        self.found().await.into_iter().map(|(name, _)| name).collect()
    }

    /// Puts an object below the prefix.
    pub async fn put(&self, name: &str, bytes: Vec<u8>) {
        let path = Path::parse(format!("{}/{name}", self.prefix)).unwrap();
        self.bucket.client.put(&path, bytes.into()).await.unwrap();
    }

    /// Fails unless opening or reading the store fails, in one line that names the store, has these words and no secret.
    pub async fn says(&self, words: &[&str], secrets: &[&str]) {
        let error = match self.project.try_session().await {
            Ok(session) => match try_query(&session, "SELECT * FROM video__raw").await {
                Ok(rows) => panic!("should have failed, but gave {rows:?}"),
                Err(error) => error,
            },
            Err(error) => error,
        };
        let text = support::one_line(&error);
        assert!(text.contains("store dev"), "{text}");
        for secret in secrets {
            assert!(!text.contains(secret), "{text}");
        }
        for words in words {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}

/// A store of each kind.
fn places(features: &str, bucket: fn() -> Bucket) -> Vec<Place> {
    KINDS.into_iter().map(|kind| Place::new(kind, features, bucket())).collect()
}

/// Eight writers at once lose nothing, and leave nothing behind.
pub fn writers(bucket: fn() -> Bucket) {
    run(async move {
        for place in places(FEATURES, bucket) {
            let kind = place.kind;
            for result in all_at_once(&place.project, |i| vec![insert(i, 0), insert(i, 1)]).await {
                assert_eq!(only(&result.unwrap()), json!(1), "{kind}");
            }
            check_rows(&place.project, 2).await;
            let objects = place.objects().await;
            let is_commit = |name: &&String| match kind {
                "delta" => name.contains("/_delta_log/") && name.ends_with(".json"),
                _ => name.starts_with("video/raw.parquet/0"),
            };
            assert_eq!(objects.iter().filter(is_commit).count(), 2 * WRITERS, "{kind}: {objects:#?}");
            // Checkpoints of the log are Parquet files too.
            let is_data = |name: &&String| name.ends_with(".parquet") && !name.contains("/_delta_log/");
            assert_eq!(objects.iter().filter(is_data).count(), 2 * WRITERS, "{kind}: {objects:#?}");
        }
    });
}

/// Of eight equal writes under one key, one counts.
pub fn write_keys(bucket: fn() -> Bucket) {
    run(async move {
        for place in places(FEATURES, bucket) {
            let write = |_| vec!["SET metaxy.write_key = 'once'".to_owned(), insert(0, 0)];
            for result in all_at_once(&place.project, write).await {
                result.unwrap();
            }
            let rows = query(&place.session().await, "SELECT count(*) FROM history.video__raw").await;
            assert_eq!(only(&rows), json!(1), "{}", place.kind);
        }
    });
}

/// Writes videos, each with the hash of its data.
async fn write_videos(place: &Place, values: &str) {
    let sql = format!(
        "INSERT INTO video__raw SELECT video_id, named_struct('default', hash) AS metaxy_provenance_by_field \
         FROM (VALUES {values}) AS listing(video_id, hash)"
    );
    query(&place.session().await, &sql).await;
}

/// What is to be done for the crops, as a new session sees it.
async fn increment(place: &Place) -> Vec<String> {
    let sql = "SELECT metaxy_increment, video_id FROM resolve_update('video/crop') ORDER BY video_id";
    let rows = query(&place.session().await, sql).await;
    let text = |row: &serde_json::Value, name: &str| row[name].as_str().unwrap().to_owned();
    rows.iter().map(|row| format!("{} {}", text(row, "metaxy_increment"), text(row, "video_id"))).collect()
}

/// An increment follows writes, changes, deletes and rewrites of a parent and its child.
pub fn increments(bucket: fn() -> Bucket) {
    run(async move {
        for place in places(PAIR, bucket) {
            let kind = place.kind;
            let compute = "INSERT INTO video__crop SELECT * FROM resolve_update('video/crop') \
                           WHERE metaxy_increment <> 'orphaned'";
            let nothing: [&str; 0] = [];
            write_videos(&place, "('a', '1'), ('b', '1'), ('c', '1')").await;
            assert_eq!(increment(&place).await, ["new a", "new b", "new c"], "{kind}");
            query(&place.session().await, compute).await;
            assert_eq!(increment(&place).await, nothing, "{kind}");
            write_videos(&place, "('b', '2'), ('d', '1')").await;
            query(&place.session().await, "DELETE FROM video__raw WHERE video_id = 'c'").await;
            let due = ["stale b", "orphaned c", "new d"];
            assert_eq!(increment(&place).await, due, "{kind}");
            query(&place.session().await, "CALL optimize('video/raw')").await;
            assert_eq!(increment(&place).await, due, "{kind}");
            query(&place.session().await, compute).await;
            assert_eq!(increment(&place).await, ["orphaned c"], "{kind}");
            query(&place.session().await, "DELETE FROM video__crop WHERE video_id = 'c'").await;
            assert_eq!(increment(&place).await, nothing, "{kind}");
            query(&place.session().await, "DELETE FROM history.video__raw WHERE video_id = 'd'").await;
            assert_eq!(increment(&place).await, ["orphaned d"], "{kind}");
        }
    });
}

/// The golden cases read and resolve from the bucket as from a folder.
pub fn golden_cases(bucket: fn() -> Bucket) {
    run(async move {
        for name in CASES {
            let case = Case::open_at(name, async move |folder: &std::path::Path, store: &mut StoreConfig| {
                let bucket = bucket();
                let prefix = uuid::Uuid::new_v4();
                store.root_path = Some(format!("{}/{prefix}", bucket.url));
                for (key, value) in &bucket.options {
                    store.storage_options.insert((*key).to_owned(), Secret::new(value.as_str()));
                }
                for file in files_below(folder) {
                    let path = Path::parse(format!("{prefix}/{file}")).unwrap();
                    let bytes = std::fs::read(folder.join(&file)).unwrap();
                    bucket.client.put(&path, bytes.into()).await.unwrap();
                }
            })
            .await;
            read(&case).await;
            resolve(&case).await;
        }
    });
}

/// A write that is too large for one request is there as a whole.
pub fn large_writes(bucket: fn() -> Bucket) {
    const ROWS: u32 = 300_000;
    run(async move {
        for place in places(FEATURES, bucket) {
            let kind = place.kind;
            // Rows that hardly compress: about 64 bytes each.
            let insert = format!(
                "INSERT INTO video__raw SELECT 'v' || value AS video_id, sha256('a' || value) AS a, \
                 sha256('b' || value) AS b, named_struct('default', 'x') AS metaxy_provenance_by_field \
                 FROM range(0, {ROWS})"
            );
            assert_eq!(only(&query(&place.session().await, &insert).await), json!(ROWS), "{kind}");
            let largest = place.found().await.iter().map(|(_, meta)| meta.size).max().unwrap();
            assert!(largest > 10 << 20, "{kind}: {largest} bytes fit into one request");
            // A delete writes the large file anew.
            let delete = "DELETE FROM history.video__raw WHERE video_id = 'v1000'";
            query(&place.session().await, delete).await;
            let count = query(&place.session().await, "SELECT count(*) FROM history.video__raw").await;
            assert_eq!(only(&count), json!(ROWS - 1), "{kind}");
            let objects = place.objects().await;
            assert!(!objects.iter().any(|name| name.contains("_staging")), "{kind}: {objects:#?}");
        }
    });
}

/// Vacuum lists the bucket and removes what nobody needs.
pub fn vacuum(bucket: fn() -> Bucket) {
    run(async move {
        for place in places(FEATURES, bucket) {
            let kind = place.kind;
            let session = place.session().await;
            for i in 0..3 {
                query(&session, &insert(i, 0)).await;
            }
            query(&session, "CALL optimize('video/raw')").await;
            let stray = if kind == "delta" { "part-stray.parquet" } else { "_staging/stray.parquet" };
            place.put(&format!("video/raw.{kind}/{stray}"), b"not much".to_vec()).await;
            // Modification times in a bucket are whole seconds.
            tokio::time::sleep(Duration::from_millis(1100)).await;
            let before = place.objects().await;
            let vacuum = "CALL vacuum('video/raw', retain => '0', allow_short_retention => true)";
            let gone = column(&query(&session, vacuum).await, "file");
            // A Parquet store has removed what it replaced. A file that nobody has ever named may be one that is being
            // written.
            let replaced = if kind == "delta" { 3 } else { 0 };
            assert_eq!(gone.len(), replaced, "{kind}: {gone:?}");
            assert!(!gone.contains(&json!(format!("video/raw.{kind}/{stray}"))), "{kind}: {gone:?}");
            let mut after = place.objects().await;
            after.extend(gone.iter().map(|file| file.as_str().unwrap().to_owned()));
            after.sort();
            assert_eq!(after, before, "{kind}: what is gone is what was said");
            assert_eq!(query(&place.session().await, "SELECT * FROM video__raw").await.len(), 3, "{kind}");
        }
    });
}

/// `files()` lists the bucket of a store with its options, and with those of the environment where there is no store.
pub fn files(bucket: fn() -> Bucket, environment: fn() -> Vec<(&'static str, String)>) {
    run(async move {
        let place = Place::new("delta", FEATURES, bucket());
        for name in ["photos/a.jpg", "photos/deep/b.jpg", "photos/c.txt"] {
            place.put(name, name.as_bytes().to_vec()).await;
        }
        let session = place.session().await;
        let at = format!("{}/photos", place.root);
        let sql =
            format!("SELECT path, size, content_hash FROM files('{at}/**/*.jpg', content_hash => true)");
        let rows = query(&session, &sql).await;
        assert_eq!(column(&rows, "path"), [format!("{at}/a.jpg"), format!("{at}/deep/b.jpg")]);
        assert_eq!(rows[0]["size"], 12);
        assert_eq!(rows[0]["content_hash"].as_str().unwrap().len(), 64);
        assert_eq!(query(&session, &format!("SELECT * FROM files('{at}/*')")).await.len(), 2);

        let project = Project::new(FEATURES);
        let sql = format!("SELECT size FROM files('{at}/*.jpg')");
        let cli = project.cli().args(["-q", "--format", "csv", "-c", &sql]);
        let cli = environment().iter().fold(cli, |cli, (name, value)| cli.env(name, value));
        let ran = cli.run();
        assert_eq!(ran.stdout.trim(), "size\n12", "{}", ran.stderr);
    });
}
