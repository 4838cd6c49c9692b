//! A Parquet file that is written but not yet among the data files of its folder.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::max;
use datafusion::arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::parquet::arrow::AsyncArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::KeyValue;
use datafusion::parquet::file::properties::WriterProperties;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use super::WriteTime;
use super::objects::said;
use super::parquet_folder::{ParquetFolder, STAGING};
use super::parquet_footer::{FILE_ID, LATEST_TIME, MANIFEST, PLACE, WRITE_KEY, WRITE_KEYS};
use super::parquet_manifest::{Manifest, Place};
use super::parquet_target::{Course, Target};
use super::stamp::{read_back, rows_of, stamped};
use crate::columns::{DELETED_AT, UPDATED_AT};
use crate::error::{MetaxyError, Result};

/// A row group is closed when it has about this many bytes: it is kept in memory until then.
const GROUP_SIZE: usize = 64 * 1024 * 1024;

/// A complete file in the staging folder, or on its way into a bucket.
pub(crate) struct Stage {
    folder: ParquetFolder,
    schema: SchemaRef,
    write_key: Option<String>,
    path: Path,
    /// The file itself, if it was small enough to be kept. Then nothing is in the staging folder.
    kept: Option<PutPayload>,
    rows: u64,
    bytes: u64,
    time: DateTime<Utc>,
    column: WriteTime,
}

/// What the footer of a file says besides its columns.
#[derive(Default)]
pub(crate) struct Marks {
    /// The key of the write.
    pub write_key: Option<String>,
    /// The keys of the writes whose files are replaced.
    pub write_keys: Vec<String>,
    /// Whose place the file takes.
    pub place: Option<Place>,
    /// What happens with its appearance.
    pub manifest: Option<Manifest>,
}

impl Marks {
    fn entries(&self) -> std::result::Result<Vec<(&'static str, String)>, serde_json::Error> {
        let mut entries = Vec::new();
        entries.extend(self.write_key.clone().map(|key| (WRITE_KEY, key)));
        if !self.write_keys.is_empty() {
            entries.push((WRITE_KEYS, serde_json::to_string(&self.write_keys)?));
        }
        if let Some(place) = &self.place {
            entries.push((PLACE, serde_json::to_string(place)?));
        }
        if let Some(manifest) = &self.manifest {
            entries.push((MANIFEST, serde_json::to_string(manifest)?));
        }
        Ok(entries)
    }
}

impl Stage {
    /// Writes all rows, or nothing when there are none; on an error nothing stays behind.
    ///
    /// `before` is asked before the file is begun.
    pub(crate) async fn write(
        folder: ParquetFolder,
        schema: SchemaRef,
        write_key: Option<String>,
        time: (WriteTime, DateTime<Utc>),
        mut rows: BoxStream<'static, Result<RecordBatch>>,
        before: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<Option<Self>> {
        let mut file: Option<OpenStage> = None;
        while let Some(batch) = rows.next().await {
            let written = match batch {
                Ok(batch) if batch.num_rows() == 0 => continue,
                Ok(batch) => match &mut file {
                    Some(file) => file.add(&batch).await,
                    None => {
                        before()?;
                        file.insert(OpenStage::begin(&folder, &schema, time, None)?).add(&batch).await
                    }
                },
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                if let Some(file) = file {
                    file.abort().await;
                }
                return Err(error);
            }
        }
        match file {
            Some(file) => Ok(Some(file.finish(Marks { write_key, ..Marks::default() }).await?)),
            None => Ok(None),
        }
    }

    /// How many rows are staged.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// How large the file is.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the file is too large for one request to put it where it belongs.
    pub(crate) fn is_large(&self) -> bool {
        self.folder.objects.is_remote && self.kept.is_none()
    }

    /// The file's name in the staging folder.
    pub(crate) fn name(&self) -> &str {
        self.path.filename().unwrap_or_default()
    }

    /// Whether the staged rows have to be stamped again to be later than this time.
    pub(crate) fn is_too_early(&self, latest: i64) -> bool {
        self.column != WriteTime::Kept && self.time.timestamp_micros() <= latest
    }

    /// The staged columns.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Makes the file the data file of this number; `false` when another writer was faster.
    pub(crate) async fn publish(&self, number: u64) -> Result<bool> {
        match &self.kept {
            Some(bytes) => self.folder.put(bytes.clone(), number).await,
            None => self.folder.publish(&self.path, number).await,
        }
    }

    /// Makes sure that the file is in the staging folder.
    pub(crate) async fn upload(&mut self) -> Result<()> {
        let Some(bytes) = self.kept.take() else { return Ok(()) };
        let put = self.folder.objects.store.put(&self.path, bytes).await;
        put.map(drop).map_err(|error| self.folder.failed(STAGING, &error))
    }

    /// Whether the file is gone, as after a day in which nobody has touched it.
    pub(crate) async fn is_gone(&self) -> bool {
        self.kept.is_none() && self.folder.is_gone(&self.path).await
    }

    /// Writes the staged rows again with a later time; the query that made them is not run again.
    pub(crate) async fn restamp(&mut self, time: DateTime<Utc>) -> Result<()> {
        let rows = match &self.kept {
            Some(bytes) => rows_of(bytes.clone().into())?,
            None => read_back(self.folder.objects.store.clone(), self.path.clone()).await?,
        };
        let (folder, schema) = (self.folder.clone(), self.schema.clone());
        let again =
            Self::write(folder, schema, self.write_key.clone(), (self.column, time), rows, &|| Ok(()))
                .await?;
        if let Some(again) = again {
            std::mem::replace(self, again).discard().await;
        }
        Ok(())
    }

    /// Removes the file from the staging folder; if it was published, the data file stays.
    ///
    /// A file that can't be removed is harmless: no reader looks there.
    pub(crate) async fn discard(self) {
        self.remove().await;
    }

    /// As [`discard`](Self::discard), for files that are held together.
    pub(crate) async fn remove(&self) {
        if self.kept.is_some() {
            return;
        }
        match self.folder.objects.store.delete(&self.path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => log::debug!("staged file {} stays behind: {error}", self.path),
        }
    }

    fn error(&self, error: &ParquetError) -> MetaxyError {
        self.folder.error(STAGING, &said(error).unwrap_or_else(|| error.to_string()))
    }
}

/// A file in the staging folder that rows are written to.
pub(crate) struct OpenStage {
    stage: Stage,
    writer: AsyncArrowWriter<Target>,
    course: Arc<Course>,
    latest: Option<i64>,
}

impl OpenStage {
    /// Begins a file of these columns, whose row groups have at most so many rows.
    pub(crate) fn begin(
        folder: &ParquetFolder,
        schema: &SchemaRef,
        (column, time): (WriteTime, DateTime<Utc>),
        group: Option<usize>,
    ) -> Result<Self> {
        let (folder, schema) = (folder.clone(), schema.clone());
        let path = folder.staged();
        let stage =
            Stage { folder, schema, write_key: None, path, kept: None, rows: 0, bytes: 0, time, column };
        let course = Arc::new(Course::default());
        let target = Target::new(stage.folder.objects.clone(), stage.path.clone(), Arc::clone(&course));
        let mut properties =
            WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default()));
        if group.is_some() {
            properties = properties.set_max_row_group_row_count(group);
        }
        let writer = AsyncArrowWriter::try_new(target, stage.schema.clone(), Some(properties.build()))
            .map_err(|error| stage.error(&error))?;
        Ok(Self { stage, writer, course, latest: None })
    }

    /// Adds rows.
    pub(crate) async fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = stamped(batch, self.stage.column, self.stage.time.timestamp_micros())?;
        self.stage.rows += batch.num_rows() as u64;
        self.latest = self.latest.max(latest(&batch));
        let mut written = self.writer.write(&batch).await;
        if written.is_ok() && self.writer.in_progress_size() > GROUP_SIZE {
            written = self.writer.flush().await;
        }
        written.map_err(|error| self.stage.error(&error))
    }

    /// How many rows it has.
    pub(crate) fn rows(&self) -> u64 {
        self.stage.rows
    }

    /// Whether bytes of it were uploaded.
    pub(crate) fn has_upload(&self) -> bool {
        self.course.has_upload()
    }

    /// How large it is so far, about.
    pub(crate) fn bytes(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    /// Completes the file; on an error nothing stays behind.
    pub(crate) async fn finish(mut self, marks: Marks) -> Result<Stage> {
        if marks.manifest.is_some() {
            self.course.keep_rest();
        }
        let entries =
            marks.entries().map_err(|error| self.stage.folder.error(STAGING, &error.to_string()))?;
        let latest = self.latest.map(|time| (LATEST_TIME, time.to_string()));
        // No other file has the same bytes.
        let id = self.stage.folder.objects.is_remote.then(|| (FILE_ID, self.stage.name().to_owned()));
        for (key, value) in entries.into_iter().chain(latest).chain(id) {
            self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        let closed = self.writer.finish().await;
        self.stage.bytes = self.writer.bytes_written() as u64;
        self.stage.write_key = marks.write_key;
        if let Err(error) = closed {
            let error = self.stage.error(&error);
            self.stage.discard().await;
            return Err(error);
        }
        self.stage.kept = self.writer.into_inner().kept();
        Ok(self.stage)
    }

    /// Gives the file up.
    pub(crate) async fn abort(self) {
        if let Err(error) = self.writer.into_inner().abort().await {
            log::debug!("a part of a staged file stays behind: {error}");
        }
    }
}

/// The greatest time in the rows.
fn latest(batch: &RecordBatch) -> Option<i64> {
    [UPDATED_AT, DELETED_AT]
        .into_iter()
        .filter_map(|name| max(batch.column_by_name(name)?.as_primitive_opt::<TimestampMicrosecondType>()?))
        .max()
}
