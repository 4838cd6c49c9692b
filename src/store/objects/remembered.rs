//! An object store that reads what is in the log of a Delta table once.
//!
//! The library that reads a log begins anew with each look at a table, and an INSERT looks at it several times. Commits and
//! checkpoints are written once, so what was read of them can be kept. But a table can be removed and made anew: what a
//! listing says of another size or tag is read again. Every look begins with such a listing.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// Largest object that is kept.
const LARGEST: u64 = 8 * 1024 * 1024;
/// Bytes that are kept in all.
const MOST: u64 = 64 * 1024 * 1024;
/// Objects of which something is known.
const MOST_OBJECTS: usize = 1 << 16;
/// How often an object is read whose size is another one than the listing has said.
const TRIES: usize = 3;

/// Whoever puts this into the extensions of a request hears what is there now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now;

/// A store that keeps what it has read of logs.
pub(super) struct Remembering {
    inner: Arc<dyn ObjectStore>,
    known: Arc<Mutex<Known>>,
}

/// The size and the tag of an object.
type Listed = (u64, Option<String>);

/// What is known of objects that are written once.
#[derive(Debug, Default)]
struct Known {
    objects: HashMap<Path, Object>,
    bytes: u64,
}

#[derive(Debug)]
struct Object {
    size: u64,
    e_tag: Option<String>,
    read: Option<(ObjectMeta, Bytes)>,
}

impl Known {
    /// What a listing says.
    fn listed(&mut self, meta: &ObjectMeta) {
        if !is_written_once(&meta.location) {
            return;
        }
        let is_same =
            |object: &Object| object.size == meta.size && object.e_tag == meta.e_tag && meta.e_tag.is_some();
        if self.objects.get(&meta.location).is_some_and(is_same) {
            return;
        }
        self.forget(&meta.location);
        if self.objects.len() >= MOST_OBJECTS {
            *self = Self::default();
        }
        let object = Object { size: meta.size, e_tag: meta.e_tag.clone(), read: None };
        self.objects.insert(meta.location.clone(), object);
    }

    /// What was read while `before` was what listings had said: if they say something else by now, it was another object.
    /// Without a tag nobody can tell.
    fn read(&mut self, before: Option<&Listed>, meta: &ObjectMeta, bytes: &Bytes) {
        let location = &meta.location;
        if meta.e_tag.is_none() || self.said_of(location).as_ref() != before {
            return;
        }
        let size = bytes.len() as u64;
        self.forget(location);
        if self.bytes + size > MOST || self.objects.len() >= MOST_OBJECTS {
            *self = Self::default();
        }
        self.bytes += size;
        let read = Some((meta.clone(), bytes.clone()));
        self.objects.insert(location.clone(), Object { size, e_tag: meta.e_tag.clone(), read });
    }

    /// What listings have said of an object.
    fn said_of(&self, location: &Path) -> Option<Listed> {
        self.objects.get(location).map(|object| (object.size, object.e_tag.clone()))
    }

    fn forget(&mut self, location: &Path) {
        if let Some(Object { read: Some((_, bytes)), .. }) = self.objects.remove(location) {
            self.bytes -= bytes.len() as u64;
        }
    }
}

/// Whether an object is a commit or a checkpoint.
fn is_written_once(location: &Path) -> bool {
    let mut parts = location.parts().rev();
    let (Some(name), Some(folder)) = (parts.next(), parts.next()) else { return false };
    let name = name.as_ref();
    let is_numbered = name.len() > 20 && name.as_bytes()[..20].iter().all(u8::is_ascii_digit);
    folder.as_ref() == "_delta_log"
        && is_numbered
        && (&name[20..] == ".json" || name[20..].starts_with(".checkpoint.") && name.ends_with(".parquet"))
}

impl Remembering {
    pub(super) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, known: Arc::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object that is written once; `None` for any other, and for one that is too large.
    async fn remembered(&self, location: &Path, now: bool) -> Result<Option<(ObjectMeta, Bytes)>> {
        if !is_written_once(location) {
            return Ok(None);
        }
        let mut tries = 0;
        loop {
            let before = {
                let known = self.known();
                if let Some(Object { read: Some(read), .. }) = known.objects.get(location)
                    && !now
                {
                    return Ok(Some(read.clone()));
                }
                known.said_of(location)
            };
            let listed = before.as_ref().map(|(size, _)| *size);
            if listed.is_some_and(|size| size > LARGEST) {
                return Ok(None);
            }
            let found = self.inner.get(location).await?;
            if found.meta.size > LARGEST {
                return Ok(None);
            }
            let meta = found.meta.clone();
            let bytes = found.bytes().await?;
            let size = bytes.len() as u64;
            tries += 1;
            // Nothing of a log is empty.
            let expected = listed.filter(|_| !now).unwrap_or(size);
            if size > 0 && size == expected {
                self.known().read(before.as_ref(), &meta, &bytes);
                return Ok(Some((meta, bytes)));
            }
            if tries == TRIES {
                let listed = listed.map_or_else(String::new, |listed| format!(", of {listed} listed"));
                let source = format!("the server sent {size} bytes of {location}{listed}; try again").into();
                return Err(Error::Generic { store: "log", source });
            }
        }
    }

    fn noting(
        &self,
        listing: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let known = Arc::clone(&self.known);
        let note = move |meta: &ObjectMeta| known.lock().unwrap_or_else(PoisonError::into_inner).listed(meta);
        listing.inspect_ok(note).boxed()
    }
}

/// Whether an object is asked for as it is, whatever else is known of it.
fn is_plain(options: &GetOptions) -> bool {
    options.if_match.is_none()
        && options.if_none_match.is_none()
        && options.if_modified_since.is_none()
        && options.if_unmodified_since.is_none()
        && options.version.is_none()
        && !options.head
}

/// A part of an object; `None` if it doesn't have all of it.
fn part(bytes: &Bytes, range: &Range<u64>) -> Option<Bytes> {
    let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
    (start <= end && end <= bytes.len()).then(|| bytes.slice(start..end))
}

impl fmt::Debug for Remembering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.inner, f)
    }
}

impl fmt::Display for Remembering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[async_trait]
impl ObjectStore for Remembering {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.known().forget(location);
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.known().forget(location);
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let now = options.extensions.get::<Now>().is_some();
        if is_plain(&options)
            && let Some((meta, bytes)) = self.remembered(location, now).await?
        {
            let all = 0..bytes.len() as u64;
            let range = options.range.as_ref().map_or(Some(all), |range| range.as_range(meta.size).ok());
            // What is beyond its end is for the store to refuse.
            if let Some(range) = range
                && let Some(bytes) = part(&bytes, &range)
            {
                let payload = GetResultPayload::Stream(futures::stream::iter([Ok(bytes)]).boxed());
                return Ok(GetResult { payload, meta, range, attributes: Default::default() });
            }
        }
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if let Some((_, bytes)) = self.remembered(location, false).await? {
            let parts: Option<Vec<Bytes>> = ranges.iter().map(|range| part(&bytes, range)).collect();
            if let Some(parts) = parts {
                return Ok(parts);
            }
        }
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let known = Arc::clone(&self.known);
        let forget = move |location: &Path| {
            known.lock().unwrap_or_else(PoisonError::into_inner).forget(location);
        };
        self.inner.delete_stream(locations.inspect_ok(forget).boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.noting(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.noting(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let listed = self.inner.list_with_delimiter(prefix).await?;
        let mut known = self.known();
        listed.objects.iter().for_each(|meta| known.listed(meta));
        drop(known);
        Ok(listed)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.known().forget(to);
        self.inner.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    fn commit(version: u64) -> Path {
        Path::from(format!("t/_delta_log/{version:020}.json"))
    }

    async fn text(store: &dyn ObjectStore, location: &Path) -> String {
        let bytes = store.get(location).await.unwrap().bytes().await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    async fn list(store: &dyn ObjectStore) {
        let _: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
    }

    #[test]
    fn commits_and_checkpoints_are_written_once() {
        for (name, expected) in [
            ("t/_delta_log/00000000000000000000.json", true),
            ("_delta_log/00000000000000000010.checkpoint.parquet", true),
            ("t/_delta_log/00000000000000000010.checkpoint.0000000001.0000000002.parquet", true),
            ("t/_delta_log/_last_checkpoint", false),
            ("t/_delta_log/_commit_0b7e.json.tmp", false),
            ("t/00000000000000000000.json", false),
            ("t/part-0.parquet", false),
        ] {
            assert_eq!(is_written_once(&Path::from(name)), expected, "{name}");
        }
    }

    #[tokio::test]
    async fn what_was_read_is_kept_until_a_listing_says_otherwise() {
        let bucket: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let store = Remembering::new(Arc::clone(&bucket));
        bucket.put(&commit(0), "first".into()).await.unwrap();
        list(&store).await;
        assert_eq!(text(&store, &commit(0)).await, "first");
        // The table is made anew by somebody else.
        bucket.put(&commit(0), "other".into()).await.unwrap();
        assert_eq!(text(&store, &commit(0)).await, "first");
        let mut now = GetOptions::default();
        now.extensions.insert(Now);
        let fresh = store.get_opts(&commit(0), now).await.unwrap().bytes().await.unwrap();
        assert_eq!(fresh.as_ref(), b"other");
        bucket.put(&commit(0), "third".into()).await.unwrap();
        list(&store).await;
        assert_eq!(text(&store, &commit(0)).await, "third");
        assert_eq!(store.get_ranges(&commit(0), &[1..3, 0..5]).await.unwrap(), ["hi", "third"]);
        store.delete(&commit(0)).await.unwrap();
        assert!(matches!(store.get(&commit(0)).await, Err(Error::NotFound { .. })));
    }

    #[tokio::test]
    async fn other_objects_are_read_each_time() {
        let bucket: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let store = Remembering::new(Arc::clone(&bucket));
        let last = Path::from("t/_delta_log/_last_checkpoint");
        for version in ["1", "2"] {
            bucket.put(&last, version.into()).await.unwrap();
            assert_eq!(text(&store, &last).await, version);
        }
    }

    #[tokio::test]
    async fn nothing_is_no_commit() {
        let bucket: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let store = Remembering::new(Arc::clone(&bucket));
        bucket.put(&commit(1), "".into()).await.unwrap();
        let error = store.get(&commit(1)).await.unwrap_err().to_string();
        assert!(error.contains("0 bytes") && error.contains("00000000000000000001.json"), "{error}");
        // Nor is a part of one: it could end between two lines.
        bucket.put(&commit(2), "one\ntwo\n".into()).await.unwrap();
        list(&store).await;
        bucket.put(&commit(2), "one\n".into()).await.unwrap();
        let error = store.get(&commit(2)).await.unwrap_err().to_string();
        assert!(error.contains("4 bytes") && error.contains("8 listed"), "{error}");
    }

    #[test]
    fn what_was_under_way_when_a_table_was_made_anew_is_not_kept() {
        let mut known = Known::default();
        let meta = |size: u64, e_tag: Option<&str>| ObjectMeta {
            location: commit(3),
            last_modified: chrono::Utc::now(),
            size,
            e_tag: e_tag.map(str::to_owned),
            version: None,
        };
        let is_kept =
            |known: &Known| known.objects.get(&commit(3)).is_some_and(|object| object.read.is_some());
        known.listed(&meta(5, Some("a")));
        let before = known.said_of(&commit(3));
        known.listed(&meta(5, Some("b")));
        known.read(before.as_ref(), &meta(5, Some("a")), &Bytes::from_static(b"first"));
        assert!(!is_kept(&known));
        let before = known.said_of(&commit(3));
        known.read(before.as_ref(), &meta(5, None), &Bytes::from_static(b"other"));
        assert!(!is_kept(&known));
        known.read(before.as_ref(), &meta(5, Some("b")), &Bytes::from_static(b"other"));
        assert!(is_kept(&known));
        // A listing without tags can't say that it is still the same.
        known.listed(&meta(5, None));
        assert!(!is_kept(&known));
    }

    #[test]
    fn what_is_kept_has_an_end() {
        let mut known = Known::default();
        let bytes = Bytes::from(vec![0; 4 * 1024 * 1024]);
        for version in 0..100 {
            let location = commit(version);
            let size = bytes.len() as u64;
            let meta = ObjectMeta {
                location,
                last_modified: chrono::Utc::now(),
                size,
                e_tag: Some(version.to_string()),
                version: None,
            };
            known.read(None, &meta, &bytes);
            assert!(known.bytes <= MOST && known.bytes == known.objects.len() as u64 * size);
        }
    }
}
