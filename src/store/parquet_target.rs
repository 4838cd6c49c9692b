//! Where the bytes of a Parquet file go while it is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use datafusion::parquet::arrow::async_writer::AsyncFileWriter;
use datafusion::parquet::errors::Result;
use futures::future::BoxFuture;
use object_store::PutPayload;
use object_store::buffered::BufWriter;
use object_store::path::Path;

use super::parquet_folder::Objects;

/// Largest file that is kept until it is complete, to be put in one request.
const LARGEST_KEPT: usize = 8 * 1024 * 1024;

/// The bytes of a file: uploaded as they come, or kept as long as they are few.
///
/// A local file is written as the bytes come. In a bucket, a small file is put where it belongs in one request, which
/// fails if another one is there; a large one is uploaded in parts, which can't be made to fail everywhere.
pub(crate) struct Target {
    objects: Objects,
    path: Path,
    kept: Vec<Bytes>,
    size: usize,
    upload: Option<BufWriter>,
    course: Arc<Course>,
}

/// What its writer and its target know of a file.
#[derive(Default)]
pub(crate) struct Course {
    has_upload: AtomicBool,
    keeps_rest: AtomicBool,
}

impl Course {
    /// Whether bytes were uploaded.
    pub(crate) fn has_upload(&self) -> bool {
        self.has_upload.load(Ordering::Relaxed)
    }

    /// From here on, what is not being uploaded is kept, however much it is.
    pub(crate) fn keep_rest(&self) {
        self.keeps_rest.store(true, Ordering::Relaxed);
    }
}

impl Target {
    pub(crate) fn new(objects: Objects, path: Path, course: Arc<Course>) -> Self {
        let mut target = Self { objects, path, kept: Vec::new(), size: 0, upload: None, course };
        if !target.objects.is_remote {
            target.upload = Some(target.begin());
        }
        target
    }

    fn begin(&self) -> BufWriter {
        self.course.has_upload.store(true, Ordering::Relaxed);
        BufWriter::new(Arc::clone(&self.objects.store), self.path.clone())
    }

    /// The bytes that were kept, all of them; `None` if they were uploaded.
    pub(crate) fn kept(self) -> Option<PutPayload> {
        if self.upload.is_some() { None } else { Some(self.kept.into_iter().collect()) }
    }

    /// Gives the upload up.
    pub(crate) async fn abort(self) -> object_store::Result<()> {
        match self.upload {
            Some(mut upload) => upload.abort().await,
            None => Ok(()),
        }
    }
}

impl AsyncFileWriter for Target {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.size += bytes.len();
            if let Some(upload) = &mut self.upload {
                return Ok(upload.put(bytes).await?);
            }
            self.kept.push(bytes);
            if self.size > LARGEST_KEPT && !self.course.keeps_rest.load(Ordering::Relaxed) {
                let mut upload = self.begin();
                for bytes in self.kept.drain(..) {
                    upload.put(bytes).await?;
                }
                self.upload = Some(upload);
            }
            Ok(())
        })
    }

    fn complete(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            match &mut self.upload {
                Some(upload) => AsyncFileWriter::complete(upload).await,
                None => Ok(()),
            }
        })
    }
}
