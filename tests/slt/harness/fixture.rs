//! What a trial starts with: a folder of its own, stores in it, and a session over them.

use datafusion_metaxy::config::{Config, Environment};
use datafusion_metaxy::error::{MetaxyError, Result};
use datafusion_metaxy::session::{MetaxySession, SessionOptions};
use tempfile::TempDir;

/// The URL of the database for trials over PostgreSQL.
pub fn postgres() -> Option<String> {
    std::env::var("METAXY_TEST_POSTGRES").ok().filter(|url| !url.is_empty())
}

/// The folder of the test files.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/slt");

/// How stores hash that don't say it.
const DEFAULT_HASH: &str = "xxhash32";

/// The stores of one trial: `main` is the default one, `other` hashes with md5. `branch` falls back to `prod`, which
/// falls back to `archive`; `strict` must not fall back to `prod`.
pub struct Fixture {
    folder: TempDir,
    store: &'static str,
    executor: &'static str,
    /// The prefix of the stores in the bucket, and the options to reach them, for stores in a bucket.
    bucket: Option<(String, String)>,
}

/// The S3 server of the tests, if there is one.
pub fn endpoint() -> Option<String> {
    std::env::var("METAXY_TEST_S3").ok()
}

impl Fixture {
    pub fn new(store: &'static str, executor: &'static str) -> Result<Self, String> {
        let folder = TempDir::with_prefix("metaxy-slt-").map_err(|error| error.to_string())?;
        Ok(Self { folder, store, executor, bucket: None })
    }

    /// As [`new`](Self::new), with the stores below a prefix of their own in the bucket that the tests have.
    pub fn in_bucket(store: &'static str, executor: &'static str) -> Result<Self, String> {
        let endpoint = endpoint().ok_or("METAXY_TEST_S3 is the endpoint that tests/s3/start.sh prints")?;
        let options = format!(
            "{{ AWS_ENDPOINT_URL = {endpoint:?}, AWS_ALLOW_HTTP = \"true\", AWS_REGION = \"us-east-1\", \
             AWS_ACCESS_KEY_ID = \"metaxy-test\", AWS_SECRET_ACCESS_KEY = \"metaxy-test-secret\" }}"
        );
        let root = format!("s3://metaxy-test/{}", uuid::Uuid::new_v4());
        Ok(Self { bucket: Some((root, options)), ..Self::new(store, executor)? })
    }

    /// The labels of `onlyif` and `skipif`.
    pub fn labels(&self) -> Vec<String> {
        let mut labels = vec![self.store.to_owned(), format!("engine_{}", self.executor)];
        labels.extend(self.bucket.iter().map(|_| "s3".to_owned()));
        labels.push(self.hash().to_owned());
        labels
    }

    /// How all stores but `other` hash. A database that is to compute increments has to know the hash.
    pub fn hash(&self) -> &'static str {
        match (self.store, self.executor) {
            ("postgresql", "native") => "md5",
            _ => DEFAULT_HASH,
        }
    }

    /// Opens a session with the features of a folder below [`ROOT`], under `METAXY_*` variables.
    pub async fn session(&self, features: &str, env: &Environment) -> Result<MetaxySession> {
        let file = self.folder.path().join("metaxy.toml");
        std::fs::write(&file, self.config(features)).map_err(|e| MetaxyError::Config(e.to_string()))?;
        let config = Config::load(Some(&file), self.folder.path(), env)?;
        MetaxySession::open(config, SessionOptions::default()).await
    }

    fn config(&self, features: &str) -> String {
        let (store, folder) = (self.store, self.folder.path().display());
        // A database can't compute over the rows of a fallback store, which would be an error if it were asked for.
        let executor = match (store, self.executor) {
            ("postgresql", "native") => "auto",
            (_, executor) => executor,
        };
        let place = |name: &str| match (store, &self.bucket) {
            (_, Some((root, options))) => {
                format!("root_path = \"{root}/{name}\", storage_options = {options}, ")
            }
            ("memory", None) => String::new(),
            ("postgresql", None) => {
                // The folder's name is this trial's alone.
                let trial = self.folder.path().file_name().unwrap_or_default().display();
                let url = postgres().unwrap_or_default();
                format!(
                    "connection_string = \"{url}\", schema = \"{trial} {name}\", auto_create_tables = true, "
                )
            }
            _ => format!("root_path = \"{folder}/{name}\", "),
        };
        let hash = self.hash();
        // What is not said has to be the default.
        let chain =
            if hash == DEFAULT_HASH { String::new() } else { format!("hash_algorithm = \"{hash}\", ") };
        let (main, other) = (place("main"), place("other"));
        let (branch, prod, archive, strict) =
            (place("branch"), place("prod"), place("archive"), place("strict"));
        format!(
            r#"
            project = "slt"
            store = "main"
            stores.main = {{ type = "{store}", config = {{ {main}hash_algorithm = "{hash}" }} }}
            stores.other = {{ type = "{store}", config = {{ {other}hash_algorithm = "md5" }} }}
            stores.branch = {{ type = "{store}", config = {{ {branch}{chain}fallback_stores = ["prod"] }} }}
            stores.prod = {{ type = "{store}", config = {{ {prod}{chain}fallback_stores = ["archive"] }} }}
            stores.archive = {{ type = "{store}", config = {{ {archive}hash_algorithm = "{hash}" }} }}
            stores.strict = {{ type = "{store}", config = {{ {strict}{chain}fallback_stores = ["prod", "archive"] }} }}
            ext.datafusion.stores.strict.fallback = "forbid"
            ext.datafusion.engine = "{executor}"
            ext.datafusion.features = ["{ROOT}/{features}/*.toml"]
            "#
        )
    }
}
