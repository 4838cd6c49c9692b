//! Parquet files that are written but not yet part of a Delta table.

use std::num::NonZeroU64;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use delta_kernel::table_properties::DataSkippingNumIndexedCols;
use deltalake::kernel::Add;
use deltalake::operations::write::writer::{DeltaWriter, WriterConfig};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;

use super::WriteTime;
use super::delta_files::{DeltaFiles, discard};
use super::increasing::Increasing;
use super::stamp::{read_back, stamped};
use crate::columns::SYSTEM_COLUMNS;
use crate::error::Result;

/// Rows of a row group: few enough for several processors to read a file, and for statistics to leave out most of it.
const GROUP_ROWS: usize = 128 * 1024;
/// User columns that get statistics besides the ids; Delta's own default is 32 columns in all.
const USER_STATISTICS: usize = 24;

/// How large files get.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileSize {
    /// A file is closed when it has about this many bytes.
    bytes: Option<NonZeroU64>,
}

impl FileSize {
    /// For rows as they come.
    const WRITTEN: Self = Self { bytes: NonZeroU64::new(512 * 1024 * 1024) };

    /// For rows that are sorted by their ids.
    pub(crate) fn clustered(bytes: u64) -> Self {
        Self { bytes: NonZeroU64::new(bytes) }
    }
}

/// Files in the table's folder that no log entry names yet.
pub(crate) struct Stage {
    store: Arc<dyn ObjectStore>,
    schema: SchemaRef,
    id_columns: Vec<String>,
    increasing: Increasing,
    files: Vec<Add>,
    rows: u64,
    time: DateTime<Utc>,
    column: WriteTime,
    size: FileSize,
}

impl Stage {
    /// Writes all rows; on an error nothing stays behind. `before` is asked before the first file is begun.
    pub(crate) async fn write(
        store: Arc<dyn ObjectStore>,
        schema: SchemaRef,
        id_columns: Vec<String>,
        time: (WriteTime, DateTime<Utc>),
        rows: BoxStream<'static, Result<RecordBatch>>,
        before: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<Self> {
        Self::write_files(store, schema, id_columns, time, rows, before, FileSize::WRITTEN).await
    }

    /// As [`write`](Self::write), with files of another size; their names are in the order of the rows.
    pub(crate) async fn write_files(
        store: Arc<dyn ObjectStore>,
        schema: SchemaRef,
        id_columns: Vec<String>,
        (column, time): (WriteTime, DateTime<Utc>),
        mut rows: BoxStream<'static, Result<RecordBatch>>,
        before: &(dyn Fn() -> Result<()> + Sync),
        size: FileSize,
    ) -> Result<Self> {
        let increasing = Increasing::new(id_columns.clone());
        let mut stage =
            Self { store, schema, id_columns, increasing, files: Vec::new(), rows: 0, time, column, size };
        let mut writing: Option<DeltaFiles> = None;
        while let Some(batch) = rows.next().await {
            let added = match batch {
                Ok(batch) if batch.num_rows() == 0 => continue,
                Ok(batch) => stage.add(batch, &mut writing, before).await,
                Err(error) => Err(error),
            };
            if let Err(error) = added {
                if let Some(writing) = writing {
                    writing.abandon().await;
                }
                return Err(error);
            }
        }
        if let Some(writing) = writing {
            stage.files = writing.close().await?;
            stage.increasing.tag(&mut stage.files);
        }
        Ok(stage)
    }

    async fn add(
        &mut self,
        batch: RecordBatch,
        writing: &mut Option<DeltaFiles>,
        before: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        self.increasing.add(&batch);
        let batch = stamped(&batch, self.column, self.time.timestamp_micros())?;
        let writing = match writing {
            Some(writing) => writing,
            None => {
                before()?;
                writing.insert(DeltaFiles::begin(self.writer(), Arc::clone(&self.store)))
            }
        };
        writing.add(batch).await
    }

    /// How many rows are staged.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether the staged rows have to be stamped again to be later than this time.
    pub(crate) fn is_too_early(&self, latest: i64) -> bool {
        self.column != WriteTime::Kept && self.time.timestamp_micros() <= latest
    }

    /// The staged files as log entries.
    pub(crate) fn files(&self) -> &[Add] {
        &self.files
    }

    /// The staged columns.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Writes the staged rows again with a later time; the query that made them is not run again.
    pub(crate) async fn restamp(self, time: DateTime<Utc>) -> Result<Self> {
        let files = self.files.clone();
        let store = Arc::clone(&self.store);
        let rows = futures::stream::iter(files)
            .then(move |file| read_back(Arc::clone(&store), Path::from(file.path)))
            .try_flatten()
            .boxed();
        let restamped = Self::write(
            Arc::clone(&self.store),
            Arc::clone(&self.schema),
            self.id_columns.clone(),
            (self.column, time),
            rows,
            &|| Ok(()),
        )
        .await?;
        self.discard().await;
        Ok(restamped)
    }

    /// Removes the staged files. A file that can't be removed is harmless: no log entry names it.
    pub(crate) async fn discard(self) {
        discard(&self.store, &self.files).await;
    }

    fn writer(&self) -> DeltaWriter {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .build();
        let config = WriterConfig::new(
            Arc::clone(&self.schema),
            Vec::new(),
            Some(properties),
            self.size.bytes,
            None,
            DataSkippingNumIndexedCols::NumColumns(0),
            // The writer parses these names as SQL.
            Some(
                self.statistics_columns()
                    .iter()
                    .map(|name| format!("\"{}\"", name.replace('"', "\"\"")))
                    .collect(),
            ),
        );
        DeltaWriter::new(Arc::clone(&self.store), config)
    }

    /// Ids, system columns and the first user columns: what prunes files and bounds times.
    fn statistics_columns(&self) -> Vec<String> {
        let plain = |data_type: &DataType| !data_type.is_nested() && *data_type != DataType::Binary;
        let mut columns = self.id_columns.clone();
        let mut user = 0;
        for field in self.schema.fields().iter().filter(|f| plain(f.data_type())) {
            if columns.contains(field.name()) {
                continue;
            }
            if SYSTEM_COLUMNS.contains(&field.name().as_str()) {
                columns.push(field.name().clone());
            } else if user < USER_STATISTICS {
                user += 1;
                columns.push(field.name().clone());
            }
        }
        columns
    }
}
