//! An object store whose writes are known to have happened or not, and whose errors say what to do.
//!
//! A conditional put decides which writer is first, and its answer can get lost: the client asks again and hears that
//! the object is there already, or hears nothing at all. So whoever is refused looks at what is there. If that is what
//! was to be put, the put has got through; every commit carries names or numbers that no other writer draws. If nothing
//! is there, the put is tried again, which is safe, since only one of the two can get through.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};

use super::Place;
use super::said::{clear, uncertain};

/// How often a request of which the answer was lost or broken off is made; each has the client's own retries.
const TRIES: u32 = 4;
/// How many objects are removed at the same time.
const DELETES_AT_ONCE: usize = 16;
/// Largest object that is read whole before any of it is passed on, so that it can be read again.
const READ_WHOLE: u64 = 8 * 1024 * 1024;

/// A store with clear errors and certain writes.
pub(super) struct Guarded {
    inner: Arc<dyn ObjectStore>,
    place: Place,
}

impl Guarded {
    pub(super) fn new(inner: Arc<dyn ObjectStore>, place: Place) -> Self {
        Self { inner, place }
    }

    fn clear(&self, error: Error) -> Error {
        clear(&self.place, error)
    }

    /// Makes a request that may be made twice, again if its answer was broken off.
    async fn again<T, F: Future<Output = Result<T>>>(&self, request: impl Fn() -> F) -> Result<T> {
        let mut pause = Duration::from_millis(20);
        for _ in 1..TRIES {
            match request().await {
                Err(error) if is_broken_off(&error) => {}
                outcome => return outcome.map_err(|error| self.clear(error)),
            }
            tokio::time::sleep(pause).await;
            pause *= 4;
        }
        request().await.map_err(|error| self.clear(error))
    }

    /// An object, or a part of it; what is small is there as a whole.
    async fn read(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let found = self.inner.get_opts(location, options).await?;
        let GetResultPayload::Stream(bytes) = found.payload else { return Ok(found) };
        let payload = if found.range.end - found.range.start <= READ_WHOLE {
            let parts: Vec<Bytes> = bytes.try_collect().await?;
            futures::stream::iter(parts.into_iter().map(Ok)).boxed()
        } else {
            let place = self.place.clone();
            bytes.map_err(move |error| clear(&place, error)).boxed()
        };
        Ok(GetResult { payload: GetResultPayload::Stream(payload), ..found })
    }

    /// A listing, begun again if its first answer was broken off.
    fn listing(
        &self,
        begin: impl Fn(&dyn ObjectStore) -> BoxStream<'static, Result<ObjectMeta>> + Send + Sync + 'static,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let guarded = Self { inner: Arc::clone(&self.inner), place: self.place.clone() };
        let place = self.place.clone();
        let listed = async move {
            let (begin, inner) = (&begin, guarded.inner.as_ref());
            let first = || async move {
                let mut listed = begin(inner).fuse();
                match listed.next().await {
                    Some(Err(error)) => Err(error),
                    first => Ok(futures::stream::iter(first).chain(listed)),
                }
            };
            guarded.again(first).await
        };
        futures::stream::once(listed).try_flatten().map_err(move |error| clear(&place, error)).boxed()
    }

    /// Puts an object where none is, or says that another one is there.
    async fn create(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let mut pause = Duration::from_millis(50);
        let mut tried = 1;
        loop {
            let error = match self.inner.put_opts(location, payload.clone(), options.clone()).await {
                Ok(put) => return Ok(put),
                Err(error) => error,
            };
            let is_refused = matches!(error, Error::AlreadyExists { .. } | Error::Precondition { .. });
            let is_open = is_refused || matches!(error, Error::Generic { .. } | Error::JoinError { .. });
            if !is_open {
                return Err(self.clear(error));
            }
            match self.compare(location, &payload).await {
                Ok(Some(Ok(put))) => return Ok(put),
                Ok(Some(Err(()))) => {
                    let source = Box::new(error);
                    return Err(Error::AlreadyExists { path: location.to_string(), source });
                }
                // Nothing is there: the put is lost, or still under way, or another one was and has failed.
                Ok(None) if tried < TRIES => {}
                Ok(None) | Err(_) => return Err(uncertain(&self.place, &self.clear(error))),
            }
            tokio::time::sleep(pause).await;
            pause *= 4;
            tried += 1;
        }
    }

    /// Whether these bytes are at that place; `None` if nothing is.
    async fn compare(
        &self,
        location: &Path,
        payload: &PutPayload,
    ) -> Result<Option<std::result::Result<PutResult, ()>>> {
        let found = match self.inner.get(location).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if found.meta.size != payload.content_length() as u64 {
            return Ok(Some(Err(())));
        }
        let put = PutResult { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
        let bytes = found.bytes().await?;
        let mut rest = bytes.as_ref();
        for part in payload.iter() {
            match rest.strip_prefix(part.as_ref()) {
                Some(after) => rest = after,
                None => return Ok(Some(Err(()))),
            }
        }
        Ok(Some(Ok(put)))
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guarded({})", self.place.url)
    }
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place.url)
    }
}

#[async_trait]
impl ObjectStore for Guarded {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if matches!(options.mode, PutMode::Create) {
            return self.create(location, payload, options).await;
        }
        self.again(|| self.inner.put_opts(location, payload.clone(), options.clone())).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.again(|| self.inner.put_multipart_opts(location, options.clone())).await?;
        Ok(Box::new(GuardedUpload { upload, place: self.place.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.again(|| self.read(location, options.clone())).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.again(|| self.inner.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let guarded = Arc::new(Self { inner: Arc::clone(&self.inner), place: self.place.clone() });
        let delete = move |location: Result<Path>| {
            let guarded = Arc::clone(&guarded);
            async move {
                let location = location?;
                match guarded.again(|| guarded.inner.delete(&location)).await {
                    // It is what was wanted: the first answer may have been lost. S3 makes no difference.
                    Ok(()) | Err(Error::NotFound { .. }) => Ok(location),
                    Err(error) => Err(error),
                }
            }
        };
        locations.map(delete).buffered(DELETES_AT_ONCE).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned();
        self.listing(move |store| store.list(prefix.as_ref()))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (prefix, offset) = (prefix.cloned(), offset.clone());
        let after = offset.clone();
        // There are servers that don't know where a listing may begin.
        let is_after = move |meta: &ObjectMeta| futures::future::ready(meta.location > after);
        self.listing(move |store| store.list_with_offset(prefix.as_ref(), &offset))
            .try_filter(is_after)
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.again(|| self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        if matches!(options.mode, CopyMode::Create) {
            return self.inner.copy_opts(from, to, options).await.map_err(|error| self.clear(error));
        }
        self.again(|| self.inner.copy_opts(from, to, options.clone())).await
    }
}

/// Whether an answer has ended before its end, of which the client doesn't know that the request may be made again.
fn is_broken_off(error: &Error) -> bool {
    let Error::Generic { .. } = error else { return false };
    let text = error.to_string();
    // "after 3 retries, max_retries: 10"
    let number = |before: &str, after: &str| {
        text.split_once(before)?.1.split_once(after)?.0.trim().parse::<u64>().ok()
    };
    let is_exhausted = match (number(", after ", " retries"), number("max_retries:", ",")) {
        (Some(retries), Some(most)) => retries >= most,
        _ => false,
    };
    !is_exhausted && !text.contains("Server returned")
}

/// An upload in parts with clear errors. Nothing of it is seen before it is complete.
#[derive(Debug)]
struct GuardedUpload {
    upload: Box<dyn MultipartUpload>,
    place: Place,
}

#[async_trait]
impl MultipartUpload for GuardedUpload {
    fn put_part(&mut self, data: PutPayload) -> object_store::UploadPart {
        let (part, place) = (self.upload.put_part(data), self.place.clone());
        Box::pin(async move { part.await.map_err(|error| clear(&place, error)) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let completed = self.upload.complete().await;
        completed.map_err(|error| clear(&self.place, error))
    }

    async fn abort(&mut self) -> Result<()> {
        let aborted = self.upload.abort().await;
        aborted.map_err(|error| clear(&self.place, error))
    }
}
