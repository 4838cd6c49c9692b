//! Object stores: S3, Azure and Google Cloud, by the URL of a store's root and its `storage_options`.
//!
//! What the options do not say is taken from the environment. Every request goes through [`Guarded`], which knows what
//! a lost answer means for a write and says in one line what went wrong. [`Remembering`] makes none for what was read of a
//! log before.

mod connect;
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
mod environment;
mod guarded;
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
mod listings;
mod options;
mod remembered;
mod said;

use std::sync::{Arc, LazyLock};

use datafusion::execution::object_store::ObjectStoreUrl;
use object_store::ObjectStore;
use sha2::{Digest, Sha256};
use url::Url;

use crate::config::Secret;
use guarded::Guarded;
use options::Options;
pub(crate) use options::unknown_options;
pub(crate) use remembered::Now;
use remembered::Remembering;
pub(crate) use said::{Said, find as find_said, said};

/// Who keeps the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    S3,
    Azure,
    Google,
}

impl Provider {
    /// The provider that a URL's scheme names.
    pub(crate) fn of(scheme: &str) -> Option<Self> {
        match scheme {
            "s3" | "s3a" => Some(Self::S3),
            "az" | "azure" | "abfs" | "abfss" | "adl" => Some(Self::Azure),
            "gs" => Some(Self::Google),
            _ => None,
        }
    }

    /// Its name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::S3 => "S3",
            Self::Azure => "Azure",
            Self::Google => "Google Cloud Storage",
        }
    }

    /// The feature of this crate that it needs.
    #[cfg(not(all(feature = "s3", feature = "azure", feature = "gcs")))]
    fn feature(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Azure => "azure",
            Self::Google => "gcs",
        }
    }

    /// What it calls the place that objects are in.
    fn place(self) -> &'static str {
        match self {
            Self::Azure => "container",
            _ => "bucket",
        }
    }
}

/// A bucket, and how it is reached.
#[derive(Clone)]
pub(crate) struct Remote {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The root under a scheme of its own, with a slash at its end. Sessions know object stores by scheme and host, and
    /// two stores may reach one bucket with different credentials.
    root: Url,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remote({})", self.store)
    }
}

impl Remote {
    /// The bucket of a URL, by the options, then the environment. Nothing is asked of it yet.
    ///
    /// # Errors
    /// A provider that this build does not have, or options that can't be used; without their values.
    pub(crate) fn connect(
        store: Option<&str>,
        root: &Url,
        given: &[(String, Secret)],
    ) -> Result<Self, String> {
        let store_name = store.map(str::to_owned);
        let Some(provider) = Provider::of(root.scheme()) else {
            return Err(format!(
                "{}:// is not supported; known are local folders, s3://, az://, abfss:// and gs://",
                root.scheme()
            ));
        };
        // The user of such a URL is the container.
        let has_user = !root.username().is_empty() && !matches!(root.scheme(), "abfs" | "abfss");
        if has_user || root.password().is_some() || root.query().is_some() || root.fragment().is_some() {
            return Err("a URL with credentials or a query is not read; put the credentials into \
                        storage_options or the environment"
                .into());
        }
        let options = Options::read(provider, given)?;
        let store = connect::connect(provider, root, &options)?;
        let shown = Place { store: store_name, provider, url: bucket(root) };
        let store = Arc::new(Remembering::new(Arc::new(Guarded::new(store, shown))));
        let scheme = format!("{}-{}", root.scheme(), identity(root, given));
        let root = format!("{scheme}{}", root.as_str().strip_prefix(root.scheme()).unwrap_or_default());
        let root = Url::parse(&root).map_err(|error| error.to_string())?;
        Ok(Self { store, root })
    }

    /// The root under a scheme of its own.
    pub(crate) fn root(&self) -> &Url {
        &self.root
    }

    /// The name under which a session knows the bucket.
    pub(crate) fn session_url(&self) -> Result<ObjectStoreUrl, String> {
        ObjectStoreUrl::parse(bucket(&self.root)).map_err(|error| error.strip_backtrace())
    }
}

/// What a message says of a bucket.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The store that it belongs to.
    store: Option<String>,
    provider: Provider,
    /// Scheme and bucket.
    url: String,
}

fn bucket(url: &Url) -> String {
    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    match url.username() {
        "" => format!("{}://{host}", url.scheme()),
        container => format!("{}://{container}@{host}", url.scheme()),
    }
}

/// The same for the same root and options in this process, and nothing that would tell them.
fn identity(root: &Url, options: &[(String, Secret)]) -> String {
    static SALT: LazyLock<uuid::Uuid> = LazyLock::new(uuid::Uuid::new_v4);
    let mut hasher = Sha256::new();
    hasher.update(SALT.as_bytes());
    hasher.update(root.as_str());
    let mut options: Vec<_> = options.iter().map(|(key, value)| (key.as_str(), value.expose())).collect();
    options.sort_unstable();
    for (key, value) in options {
        for text in [key, value] {
            hasher.update(text.len().to_le_bytes());
            hasher.update(text);
        }
    }
    hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &[(&str, &str)]) -> Vec<(String, Secret)> {
        list.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(*value))).collect()
    }

    #[cfg(feature = "s3")]
    #[test]
    fn two_stores_on_one_bucket_with_other_credentials_do_not_mix() {
        let url = Url::parse("s3://bucket/a/").unwrap();
        let connect = |id: &str| {
            let given = options(&[("aws_access_key_id", id), ("aws_secret_access_key", "s3cr3t")]);
            Remote::connect(None, &url, &given).unwrap()
        };
        let (ada, again, bob) = (connect("ada"), connect("ada"), connect("bob"));
        assert_eq!(ada.session_url().unwrap(), again.session_url().unwrap());
        assert_ne!(ada.session_url().unwrap(), bob.session_url().unwrap());
        assert!(ada.root().as_str().ends_with("://bucket/a/"), "{}", ada.root());
        let shown = format!("{ada:?} {:?}", ada.store);
        assert!(!shown.contains("s3cr3t") && shown.contains("s3://bucket"), "{shown}");
    }

    #[test]
    fn credentials_in_a_url_are_refused_and_not_repeated() {
        for url in ["s3://ada:hunter2@bucket/a/", "s3://bucket/a/?sig=hunter2"] {
            let error = Remote::connect(None, &Url::parse(url).unwrap(), &[]).unwrap_err();
            assert!(error.contains("storage_options") && !error.contains("hunter2"), "{error}");
        }
        let error = Remote::connect(None, &Url::parse("ftp://host/a/").unwrap(), &[]).unwrap_err();
        assert!(error.contains("ftp:// is not supported"), "{error}");
    }
}
