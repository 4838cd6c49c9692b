//! A Parquet file that is written but not yet among the data files of its folder.

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
use object_store::ObjectStoreExt;
use object_store::buffered::BufWriter;
use object_store::path::Path;

use super::WriteTime;
use super::parquet_folder::{ParquetFolder, STAGING};
use super::parquet_footer::{LATEST_TIME, WRITE_KEY};
use super::stamp::{read_back, stamped};
use crate::columns::{DELETED_AT, UPDATED_AT};
use crate::error::{MetaxyError, Result};

/// A row group is closed when it has about this many bytes: it is kept in memory until then.
const GROUP_SIZE: usize = 64 * 1024 * 1024;

/// A complete file in the staging folder.
pub(crate) struct Stage {
    folder: ParquetFolder,
    schema: SchemaRef,
    write_key: Option<String>,
    path: Path,
    rows: u64,
    time: DateTime<Utc>,
    column: WriteTime,
}

impl Stage {
    /// Writes all rows, or nothing when there are none; on an error nothing stays behind.
    ///
    /// `before` is asked before the file is begun.
    pub(crate) async fn write(
        folder: ParquetFolder,
        schema: SchemaRef,
        write_key: Option<String>,
        (column, time): (WriteTime, DateTime<Utc>),
        rows: BoxStream<'static, Result<RecordBatch>>,
        before: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<Option<Self>> {
        let stage = Self { path: folder.staged(), folder, schema, write_key, rows: 0, time, column };
        stage.fill(None, rows, before).await
    }

    /// As [`write`](Self::write), but there is a file even if there are no rows.
    pub(crate) async fn write_file(
        folder: ParquetFolder,
        schema: SchemaRef,
        write_key: Option<String>,
        (column, time): (WriteTime, DateTime<Utc>),
        rows: BoxStream<'static, Result<RecordBatch>>,
        before: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<Self> {
        before()?;
        let stage = Self { path: folder.staged(), folder, schema, write_key, rows: 0, time, column };
        let open = Open::new(&stage).map_err(|error| stage.error(&error))?;
        let missing = stage.folder.error(STAGING, "the file is missing");
        stage.fill(Some(open), rows, before).await?.ok_or(missing)
    }

    async fn fill(
        self,
        open: Option<Open>,
        mut rows: BoxStream<'static, Result<RecordBatch>>,
        before: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<Option<Self>> {
        let (mut stage, mut open) = (self, open);
        while let Some(batch) = rows.next().await {
            let written = match batch {
                Ok(batch) if batch.num_rows() == 0 => continue,
                Ok(batch) => stage.add(&mut open, &batch, before).await,
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                if let Some(open) = open {
                    open.abort().await;
                }
                return Err(error);
            }
        }
        let Some(open) = open else {
            return Ok(None);
        };
        match stage.close(open).await {
            Ok(()) => Ok(Some(stage)),
            Err(error) => {
                stage.discard().await;
                Err(error)
            }
        }
    }

    async fn add(
        &mut self,
        open: &mut Option<Open>,
        batch: &RecordBatch,
        before: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<()> {
        let batch = stamped(batch, self.column, self.time.timestamp_micros())?;
        let open = match open {
            Some(open) => open,
            None => {
                before()?;
                let begun = Open::new(self).map_err(|error| self.error(&error))?;
                open.insert(begun)
            }
        };
        self.rows += batch.num_rows() as u64;
        open.latest = open.latest.max(latest(&batch));
        open.write(&batch).await.map_err(|error| self.error(&error))
    }

    async fn close(&self, mut open: Open) -> Result<()> {
        let pairs =
            [(LATEST_TIME, open.latest.map(|time| time.to_string())), (WRITE_KEY, self.write_key.clone())];
        for (key, value) in pairs {
            if value.is_some() {
                open.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
            }
        }
        open.writer.close().await.map(drop).map_err(|error| self.error(&error))
    }

    /// How many rows are staged.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
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
        self.folder.publish(&self.path, number).await
    }

    /// Makes the file the data file of this name; `false` when there is one.
    pub(crate) async fn publish_as(&self, name: &str) -> Result<bool> {
        self.folder.publish_as(&self.path, name).await
    }

    /// Writes the staged rows again with a later time; the query that made them is not run again.
    pub(crate) async fn restamp(&mut self, time: DateTime<Utc>) -> Result<()> {
        let rows = read_back(self.folder.objects.store.clone(), self.path.clone()).await?;
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
        match self.folder.objects.store.delete(&self.path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => log::debug!("staged file {} stays behind: {error}", self.path),
        }
    }

    fn error(&self, error: &ParquetError) -> MetaxyError {
        self.folder.error(STAGING, &error.to_string())
    }
}

/// A file that is being written.
struct Open {
    writer: AsyncArrowWriter<BufWriter>,
    latest: Option<i64>,
}

impl Open {
    fn new(stage: &Stage) -> std::result::Result<Self, ParquetError> {
        let target = BufWriter::new(stage.folder.objects.store.clone(), stage.path.clone());
        let properties =
            WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
        let writer = AsyncArrowWriter::try_new(target, stage.schema.clone(), Some(properties))?;
        Ok(Self { writer, latest: None })
    }

    async fn write(&mut self, batch: &RecordBatch) -> std::result::Result<(), ParquetError> {
        self.writer.write(batch).await?;
        if self.writer.in_progress_size() > GROUP_SIZE {
            self.writer.flush().await?;
        }
        Ok(())
    }

    async fn abort(self) {
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
