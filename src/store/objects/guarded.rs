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
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::Place;
use super::said::{clear, uncertain};

/// How often a put of which the answer was lost is tried again; each try has the client's own retries.
const TRIES: u32 = 4;

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
                Ok(None) | Err(_) => return Err(uncertain(&self.place, self.clear(error))),
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
        self.inner.put_opts(location, payload, options).await.map_err(|error| self.clear(error))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.inner.put_multipart_opts(location, options).await;
        let upload = upload.map_err(|error| self.clear(error))?;
        Ok(Box::new(GuardedUpload { upload, place: self.place.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let found = self.inner.get_opts(location, options).await.map_err(|error| self.clear(error))?;
        let payload = match found.payload {
            GetResultPayload::Stream(bytes) => {
                let place = self.place.clone();
                GetResultPayload::Stream(bytes.map_err(move |error| clear(&place, error)).boxed())
            }
            other => other,
        };
        Ok(GetResult { payload, ..found })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await.map_err(|error| self.clear(error))
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let place = self.place.clone();
        self.inner.delete_stream(locations).map_err(move |error| clear(&place, error)).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let place = self.place.clone();
        self.inner.list(prefix).map_err(move |error| clear(&place, error)).boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let place = self.place.clone();
        self.inner.list_with_offset(prefix, offset).map_err(move |error| clear(&place, error)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await.map_err(|error| self.clear(error))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await.map_err(|error| self.clear(error))
    }
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
