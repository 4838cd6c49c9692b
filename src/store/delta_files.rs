//! Writing the Parquet files of a Delta table in a task of its own, which a cancelled caller doesn't tear down.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::error::DataFusionError;
use deltalake::DeltaTableError;
use deltalake::kernel::Add;
use deltalake::operations::write::writer::DeltaWriter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::sync::{mpsc, oneshot};

use super::unfinished::to_the_end;
use crate::error::{MetaxyError, Result};

/// Files that are being written. Dropped before it is closed, it leaves none behind.
pub(super) struct DeltaFiles {
    pieces: mpsc::Sender<Piece>,
    /// What comes of it, until that was asked for.
    files: Option<oneshot::Receiver<Result<Vec<Add>>>>,
}

/// What the task is told. When it is told nothing any more, nobody wants the files.
enum Piece {
    Rows(RecordBatch),
    End,
}

impl DeltaFiles {
    /// Begins to write with this writer, into this store.
    pub(super) fn begin(writer: DeltaWriter, store: Arc<dyn ObjectStore>) -> Self {
        // One batch is encoded while the next one is made.
        let (pieces, told) = mpsc::channel(1);
        let (done, files) = oneshot::channel();
        to_the_end(async move {
            let Some(outcome) = Box::pin(write(writer, told)).await else { return };
            // Whoever was to get them has gone meanwhile.
            if let Err(Ok(files)) = done.send(outcome) {
                discard(&store, &files).await;
            }
        });
        Self { pieces, files: Some(files) }
    }

    /// Adds rows.
    ///
    /// # Errors
    /// Rows, these or earlier ones, that could not be written; then nothing stays behind.
    pub(super) async fn add(&mut self, rows: RecordBatch) -> Result<()> {
        if self.pieces.send(Piece::Rows(rows)).await.is_ok() {
            return Ok(());
        }
        match self.end().await {
            Err(error) => Err(error),
            Ok(_) => Err(stopped()),
        }
    }

    /// The complete files.
    ///
    /// # Errors
    /// Rows that could not be written; then nothing stays behind.
    pub(super) async fn close(mut self) -> Result<Vec<Add>> {
        // If this fails, the reason comes out below.
        let _ = self.pieces.send(Piece::End).await;
        self.end().await
    }

    /// Gives the files up, and waits until nothing is left of them.
    pub(super) async fn abandon(self) {
        let Self { pieces, files } = self;
        drop(pieces);
        if let Some(files) = files {
            // There are none.
            let _ = files.await;
        }
    }

    async fn end(&mut self) -> Result<Vec<Add>> {
        match self.files.take() {
            Some(files) => files.await.unwrap_or_else(|_| Err(stopped())),
            None => Err(stopped()),
        }
    }
}

/// Writes what comes; `None` if the end never does.
async fn write(mut writer: DeltaWriter, mut told: mpsc::Receiver<Piece>) -> Option<Result<Vec<Add>>> {
    loop {
        let written = match told.recv().await {
            Some(Piece::Rows(rows)) => writer.write(&rows).await,
            Some(Piece::End) => return Some(writer.close().await.map_err(delta)),
            None => {
                abort(writer).await;
                return None;
            }
        };
        if let Err(error) = written {
            abort(writer).await;
            return Some(Err(delta(error)));
        }
    }
}

async fn abort(writer: DeltaWriter) {
    if let Err(error) = writer.abort().await {
        log::debug!("a part of a staged file stays behind: {error}");
    }
}

/// Removes files that no log entry names. One that can't be removed is harmless.
pub(super) async fn discard(store: &Arc<dyn ObjectStore>, files: &[Add]) {
    for file in files {
        if let Err(error) = store.delete(&Path::from(file.path.as_str())).await {
            log::debug!("staged file {} stays behind: {error}", file.path);
        }
    }
}

fn delta(error: DeltaTableError) -> MetaxyError {
    DataFusionError::from(error).into()
}

fn stopped() -> MetaxyError {
    MetaxyError::Invalid("the task that writes files has stopped".to_owned())
}
