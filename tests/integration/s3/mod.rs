//! Stores in a bucket, over a real S3 server.
//!
//! Ignored by default: `METAXY_TEST_S3=$(tests/s3/start.sh) cargo test --test integration -- --ignored s3::`.
//! Another server works as well, if it has the bucket `metaxy-test` and takes the keys below.

mod answers;
mod clear;
mod faults;
mod large;
mod other_programs;
mod proxy;
mod requests;
mod writers;

use datafusion_metaxy::session::MetaxySession;
use futures::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::support::Project;

pub const KEY: &str = "metaxy-test";
pub const SECRET: &str = "metaxy-test-secret";
pub const BUCKET: &str = "metaxy-test";
/// The kinds of stores that can be in a bucket.
pub const KINDS: [&str; 2] = ["delta", "parquet"];

/// Where the server is.
pub fn endpoint() -> String {
    std::env::var("METAXY_TEST_S3").expect("METAXY_TEST_S3 is the endpoint that tests/s3/start.sh prints")
}

/// A project whose store is in the bucket, below a prefix of its own.
pub struct InBucket {
    pub project: Project,
    pub prefix: String,
    kind: &'static str,
}

impl InBucket {
    pub fn new(kind: &'static str, features: &str) -> Self {
        let project = Project::of_kind(kind, features, "", "");
        let prefix = uuid::Uuid::new_v4().to_string();
        let place = Self { project, prefix, kind };
        place.reach(&endpoint(), KEY, SECRET, "");
        place
    }

    /// The store is reached at this endpoint, with these keys and more options.
    pub fn reach(&self, endpoint: &str, key: &str, secret: &str, options: &str) {
        self.configure(&format!("s3://{BUCKET}/{}", self.prefix), endpoint, key, secret, options);
    }

    /// As [`reach`](Self::reach), with another root.
    pub fn configure(&self, root: &str, endpoint: &str, key: &str, secret: &str, options: &str) {
        let store = store("dev", self.kind, root, &storage_options(endpoint, key, secret, options));
        self.project.write(
            "metaxy.toml",
            &format!(
                "store = \"dev\"\nproject = \"test\"\n{store}\n[ext.datafusion]\nfeatures = [\"features*.toml\"]\n"
            ),
        );
    }

    pub async fn session(&self) -> MetaxySession {
        self.project.session().await
    }

    /// The names of all objects of the store, below its prefix.
    pub async fn objects(&self) -> Vec<String> {
        let prefix = Path::from(self.prefix.as_str());
        let found: Vec<_> = client().list(Some(&prefix)).try_collect().await.unwrap();
        let name = |path: &Path| path.as_ref().strip_prefix(&format!("{prefix}/")).unwrap().to_owned();
        let mut names: Vec<String> = found.iter().map(|meta| name(&meta.location)).collect();
        names.sort();
        names
    }

    /// Puts an object below the prefix.
    pub async fn put(&self, name: &str, bytes: Vec<u8>) {
        let path = Path::parse(format!("{}/{name}", self.prefix)).unwrap();
        client().put(&path, bytes.into()).await.unwrap();
    }
}

/// The table of a store in a configuration.
pub fn store(name: &str, kind: &str, root: &str, options: &str) -> String {
    format!(
        "[stores.{name}]\ntype = {kind:?}\n[stores.{name}.config]\nroot_path = {root:?}\nstorage_options = {options}\n"
    )
}

/// The options of a store, as the Python packages name them, with short pauses between retries.
pub fn storage_options(endpoint: &str, key: &str, secret: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { ", " };
    format!(
        "{{ AWS_ENDPOINT_URL = {endpoint:?}, AWS_ALLOW_HTTP = \"true\", AWS_ACCESS_KEY_ID = {key:?}, \
         aws_secret_access_key = {secret:?}, AWS_REGION = \"us-east-1\", \"backoff_config.init_backoff\" = \"5ms\", \
         \"backoff_config.max_backoff\" = \"20ms\"{comma}{more} }}"
    )
}

/// The bucket without anything of ours in between.
pub fn client() -> AmazonS3 {
    AmazonS3Builder::new()
        .with_endpoint(endpoint())
        .with_allow_http(true)
        .with_access_key_id(KEY)
        .with_secret_access_key(SECRET)
        .with_region("us-east-1")
        .with_bucket_name(BUCKET)
        .build()
        .unwrap()
}
