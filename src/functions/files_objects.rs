//! Files in object stores: buckets, and whatever else a session has under a URL.

use std::sync::{Arc, Weak};

use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::error::DataFusionError;
use futures::TryStreamExt;
use glob::Pattern;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use url::Url;

use super::files_found::{Content, Digesting, Found, FoundAt, MATCHING};
use crate::config::redact;
use crate::error::MetaxyError;
use crate::session::Extension;
use crate::store::objects::{Provider, Remote, said};

/// A place in an object store.
#[derive(Debug, Clone)]
pub(super) struct Objects {
    url: ListingTableUrl,
    /// The bucket, for a URL of one.
    bucket: Option<Remote>,
    /// What was typed before the first part of the path that varies; listed paths start with it.
    shown_prefix: String,
    /// The rest of what was typed, if it has wildcards.
    pattern: Option<Pattern>,
}

impl Objects {
    /// The files at a folder, a file, or a pattern.
    pub(super) fn try_new(location: &str, extension: &Weak<Extension>) -> Result<Self> {
        let is_url = location.contains("://");
        let shown_prefix = shown_prefix(location, is_url);
        // In a URL, DataFusion takes a wildcard for a part of a name.
        let listed = if is_url && location.contains(['*', '[']) { &shown_prefix } else { location };
        let url = ListingTableUrl::parse(listed)?;
        let bucket = bucket(&url, extension)?;
        let pattern = match location.strip_prefix(&shown_prefix) {
            Some(rest) if rest.contains(['*', '?', '[']) => Some(Pattern::new(rest).map_err(|error| {
                MetaxyError::Invalid(format!("files: pattern {}: {error}", redact(location)))
            })?),
            _ => None,
        };
        Ok(Self { url, bucket, shown_prefix, pattern })
    }

    /// The object store of the location: that of a store's bucket or of the environment, else one that the session has.
    pub(super) fn store(&self, state: &dyn Session) -> Result<Arc<dyn ObjectStore>> {
        let known = state.runtime_env().object_store(&self.url);
        match (&self.bucket, known) {
            (Some(bucket), _) => Ok(Arc::clone(&bucket.store)),
            (None, Ok(store)) => Ok(store),
            (None, Err(_)) => Err(unlisted(self.url.scheme())),
        }
    }

    /// All files at the location in the order of their paths.
    pub(super) async fn list(&self, store: &Arc<dyn ObjectStore>) -> Result<Vec<Found>> {
        let url = &self.url;
        let mut files: Vec<ObjectMeta> = if url.is_collection() || url.get_glob().is_some() {
            store.list(Some(url.prefix())).try_collect().await.map_err(store_error)?
        } else {
            vec![store.head(url.prefix()).await.map_err(store_error)?]
        };
        if let Some(pattern) = &self.pattern {
            files.retain(|file| pattern.matches_with(&self.rest(file), MATCHING));
        }
        files.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(files.into_iter().map(|file| self.found(file)).collect())
    }

    /// The part of a file's path below the location's fixed part.
    fn rest(&self, file: &ObjectMeta) -> String {
        let parts = self.url.strip_prefix(&file.location);
        parts.map(|parts| parts.collect::<Vec<_>>().join("/")).unwrap_or_default()
    }

    /// A file with its path as the user would type it: what was typed, then the rest.
    fn found(&self, file: ObjectMeta) -> Found {
        let rest = self.rest(&file);
        // Nothing is left when a single file was named.
        let rest = if rest.is_empty() { file.location.filename().unwrap_or_default() } else { &rest };
        Found {
            shown: format!("{}{rest}", self.shown_prefix),
            size: file.size,
            modified: file.last_modified,
            e_tag: file.e_tag,
            at: FoundAt::Object(file.location),
        }
    }
}

/// Reads a file once; `None` if it is gone.
pub(super) async fn read(store: &Arc<dyn ObjectStore>, path: &Path, keep: bool) -> Result<Option<Content>> {
    let mut bytes = match store.get(path).await {
        Ok(found) => found.into_stream(),
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(store_error(error)),
    };
    let mut digesting = Digesting::new(keep);
    while let Some(chunk) = bytes.try_next().await.map_err(store_error)? {
        digesting.add(&chunk);
    }
    Ok(Some(digesting.finish()))
}

/// The error for a place that the session doesn't let anybody see.
pub(super) fn unlisted(scheme: &str) -> DataFusionError {
    MetaxyError::Invalid(format!("files: {scheme}:// can't be listed by this session")).into()
}

/// The bucket of a location, reached with the options of a store that is in it.
fn bucket(location: &ListingTableUrl, extension: &Weak<Extension>) -> Result<Option<Remote>> {
    let url: &Url = location.as_ref();
    if Provider::of(url.scheme()).is_none() {
        return Ok(None);
    }
    let options = extension.upgrade().map(|extension| extension.storage_options(url)).unwrap_or_default();
    let connected = Remote::connect(None, url, &options);
    Ok(Some(connected.map_err(|reason| MetaxyError::Invalid(format!("files: {reason}")))?))
}

/// The part of a location up to the last `/` before its first wildcard; a folder's name ends with `/`.
fn shown_prefix(location: &str, is_url: bool) -> String {
    let fixed = &location[..location.find(['*', '?', '[']).unwrap_or(location.len())];
    if fixed.len() == location.len() {
        let is_folder = location.ends_with('/') || (!is_url && std::path::Path::new(location).is_dir());
        if is_folder {
            return format!("{}/", location.trim_end_matches('/'));
        }
    }
    fixed.rfind('/').map_or_else(String::new, |slash| fixed[..=slash].to_owned())
}

fn store_error(error: object_store::Error) -> DataFusionError {
    if let Some(reason) = said(&error) {
        return MetaxyError::Invalid(format!("files: {reason}")).into();
    }
    DataFusionError::ObjectStore(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::shown_prefix;

    #[test]
    fn listed_paths_start_like_the_location() {
        assert_eq!(shown_prefix("photos/**/*.jpg", false), "photos/");
        assert_eq!(shown_prefix("*.rs", false), "");
        assert_eq!(shown_prefix("s3://bucket/a/*.jpg", true), "s3://bucket/a/");
        assert_eq!(shown_prefix("s3://bucket/a/", true), "s3://bucket/a/");
        assert_eq!(shown_prefix("/data/one.jpg", false), "/data/");
    }
}
