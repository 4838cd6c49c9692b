//! Parquet files that are written but not yet part of a Delta table.

use std::num::NonZeroU64;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use delta_kernel::table_properties::DataSkippingNumIndexedCols;
use deltalake::kernel::Add;
use deltalake::operations::write::writer::{DeltaWriter, WriterConfig};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;

use super::WriteTime;
use super::delta_files::{DeltaFiles, discard};
use super::delta_layout::{GROUP_ROWS, layout};
use super::runs::Runs;
use super::stamp::{read_back, stamped};
use crate::columns::SYSTEM_COLUMNS;
use crate::error::Result;

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
        // The rows of a write have each id once; of others the order may decide which is the latest.
        let several = column == WriteTime::Updated;
        let mut runs = Runs::new(id_columns.clone(), GROUP_ROWS, several);
        let mut stage = Self { store, schema, id_columns, files: Vec::new(), rows: 0, time, column, size };
        let mut writing = Vec::new();
        while let Some(batch) = rows.next().await {
            let added = match batch {
                Ok(batch) if batch.num_rows() == 0 => continue,
                Ok(batch) => stage.add(batch, &mut runs, &mut writing, before).await,
                Err(error) => Err(error),
            };
            if let Err(error) = added {
                abandon(writing).await;
                return Err(error);
            }
        }
        let mut files: Vec<Vec<Add>> = Vec::new();
        while !writing.is_empty() {
            match writing.remove(0).close().await {
                Ok(closed) => files.push(closed),
                Err(error) => {
                    abandon(writing).await;
                    discard(&stage.store, &files.concat()).await;
                    return Err(error);
                }
            }
        }
        runs.tag(&mut files);
        stage.files = files.concat();
        Ok(stage)
    }

    async fn add(
        &mut self,
        batch: RecordBatch,
        runs: &mut Runs,
        writing: &mut Vec<DeltaFiles>,
        before: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        let place = runs.place(&batch);
        let batch = stamped(&batch, self.column, self.time.timestamp_micros())?;
        if writing.is_empty() {
            before()?;
        }
        if place == writing.len() {
            writing.push(DeltaFiles::begin(self.writer(), Arc::clone(&self.store)));
        }
        writing[place].add(batch).await
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
        let config = WriterConfig::new(
            Arc::clone(&self.schema),
            Vec::new(),
            Some(layout(&self.schema, &self.id_columns)),
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

async fn abandon(files: Vec<DeltaFiles>) {
    for files in files {
        files.abandon().await;
    }
}
