//! Files of a Parquet folder written anew, to take the place of others in one step.

use std::time::Duration;

use chrono::{DateTime, Utc};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;

use super::WriteTime;
use super::parquet_commit::{ATTEMPTS, LONGEST_PAUSE};
use super::parquet_folder::{DataFile, Files, ParquetFolder};
use super::parquet_large::{added, check_size, empty};
use super::parquet_manifest::{Manifest, Place};
use super::parquet_stage::{Marks, OpenStage, Stage};
use crate::error::{MetaxyError, Result};

/// Rows of a row group of a file that is clustered: few enough for statistics to leave out most of it.
const GROUP_ROWS: usize = 128 * 1024;

/// What of a folder must be as it was for a replacement to be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// The files that are replaced.
    Replaced,
    /// All files that there were: what goes was worked out from their rows. Others may have come.
    AllFiles,
    /// All files that there were, and no others: what is added was worked out from their rows.
    Unchanged,
}

/// Files that take the place of others; all but the last are complete.
pub(crate) struct Rewriting<'a> {
    folder: &'a ParquetFolder,
    replaced: Vec<&'a DataFile>,
    added: Vec<(Stage, String)>,
    open: Option<(OpenStage, Option<&'a DataFile>)>,
    spans: Vec<(&'a Place, &'a Place)>,
}

impl<'a> Rewriting<'a> {
    pub(crate) fn new(folder: &'a ParquetFolder, replaced: Vec<&'a DataFile>) -> Self {
        Self { folder, replaced, added: Vec::new(), open: None, spans: Vec::new() }
    }

    /// Says that rows move from any place between these two to any other: no other file may get in between.
    pub(crate) fn mixes(&mut self, first: &'a DataFile, last: &'a DataFile) {
        self.spans.push((first.place(), last.place()));
    }

    /// Completes the file that was begun last and begins another one: in the place of one of the replaced files, each of
    /// which can be chosen once, or at the end.
    pub(crate) async fn begin(
        &mut self,
        schema: &SchemaRef,
        time: (WriteTime, DateTime<Utc>),
        place: Option<&'a DataFile>,
        clustered: bool,
    ) -> Result<()> {
        self.complete().await?;
        let group = clustered.then_some(GROUP_ROWS);
        self.open = Some((OpenStage::begin(self.folder, schema, time, group)?, place));
        Ok(())
    }

    async fn complete(&mut self) -> Result<()> {
        match self.open.take() {
            // Nothing would be in it.
            Some((file, Some(_))) if file.rows() == 0 => file.abort().await,
            Some((file, Some(place))) => {
                let marks = Marks { place: Some(place.place().clone()), ..Marks::default() };
                self.add_file(file.finish(marks).await?, place.successor()).await?;
            }
            Some((file, None)) => {
                file.abort().await;
                return Err(self
                    .folder
                    .error("", "only the last of the files that are replaced can be a new one"));
            }
            None => {}
        }
        Ok(())
    }

    /// Takes a complete file. It has to be where the manifest says.
    async fn add_file(&mut self, mut stage: Stage, name: String) -> Result<()> {
        check_size(self.folder, &stage)?;
        stage.upload().await?;
        self.added.push((stage, name));
        Ok(())
    }

    /// Adds rows to the file that was begun last.
    pub(crate) async fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        match &mut self.open {
            Some((file, _)) => file.add(batch).await,
            None => Err(self.folder.error("", "no file was begun")),
        }
    }

    /// How large the file is that was begun last.
    pub(crate) fn bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |(file, _)| file.bytes())
    }

    /// Completes the last file, with which the others become visible.
    pub(crate) async fn finish(mut self) -> Result<Rewritten<'a>> {
        let Some((file, mut place)) = self.open.take() else {
            let error = self.folder.error("", "no file was begun");
            self.discard().await;
            return Err(error);
        };
        // A file that is too large for one conditional put can't be the one that makes the others visible.
        let mut last = Some(file);
        if self.folder.objects.is_remote && last.as_ref().is_some_and(OpenStage::has_upload) {
            let marks = Marks { place: place.map(|file| Place::clone(file.place())), ..Marks::default() };
            let added = match last.take() {
                Some(file) => file.finish(marks).await,
                None => return Err(self.folder.error("", "no file was begun")),
            };
            let outcome = match added {
                Ok(stage) => {
                    let name = place.map_or_else(|| stage.name().to_owned(), DataFile::successor);
                    self.add_file(stage, name).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                self.discard().await;
                return Err(error);
            }
            place = None;
        }
        let staged = |(stage, name): &(Stage, String)| added(stage, name.clone());
        let manifest = Manifest {
            replaced: self.replaced.iter().map(|file| file.name().to_owned()).collect(),
            added: self.added.iter().map(staged).collect(),
        };
        let marks = Marks {
            write_key: None,
            // A write whose rows are gone was done all the same.
            write_keys: self.replaced.iter().flat_map(|file| file.write_keys()).cloned().collect(),
            place: place.map(|file| Place::clone(file.place())),
            manifest: Some(manifest),
        };
        let last = match (last, self.added.last()) {
            (Some(file), _) => file.finish(marks).await,
            (None, Some((like, _))) => empty(self.folder, like, marks).await,
            (None, None) => Err(self.folder.error("", "no file was begun")),
        };
        match last {
            Ok(last) => {
                let Self { folder, replaced, added, spans, .. } = self;
                Ok(Rewritten { folder, replaced, added, last, spans })
            }
            Err(error) => {
                self.discard().await;
                Err(error)
            }
        }
    }

    /// Gives everything up.
    pub(crate) async fn discard(self) {
        if let Some((file, _)) = self.open {
            file.abort().await;
        }
        for (stage, _) in self.added {
            stage.discard().await;
        }
    }
}

/// Complete files, ready to take the place of others.
pub(crate) struct Rewritten<'a> {
    folder: &'a ParquetFolder,
    replaced: Vec<&'a DataFile>,
    added: Vec<(Stage, String)>,
    last: Stage,
    spans: Vec<(&'a Place, &'a Place)>,
}

impl Rewritten<'_> {
    /// The number of files, without one that has no rows, and their bytes.
    pub(crate) fn size(&self) -> (u64, u64) {
        let files =
            self.added.iter().map(|(stage, _)| stage).chain([&self.last]).filter(|stage| stage.rows() > 0);
        files.fold((0, 0), |(count, bytes), file| (count + 1, bytes + file.bytes()))
    }

    /// Makes the files visible in the place of the others, if what is needed of `before` still holds; if not, nothing has
    /// happened, and the error is that of `lost`.
    pub(crate) async fn commit(
        self,
        before: &Files,
        needs: Needs,
        lost: &(dyn Fn() -> MetaxyError + Sync),
    ) -> Result<()> {
        match self.publish(before, needs, lost).await {
            Ok(true) => {}
            Ok(false) => {
                self.discard().await;
                return Err(self
                    .folder
                    .error("", &format!("other writers won {ATTEMPTS} times in a row; try again")));
            }
            Err(Failure::Before(error)) => {
                self.discard().await;
                return Err(error);
            }
            // Perhaps it has happened all the same: the staged files have to stay.
            Err(Failure::Within(error)) => return Err(error),
        }
        let files = self.folder.files().await?;
        let settled = self.folder.settle(&files, true).await;
        self.last.discard().await;
        settled
    }

    async fn publish(
        &self,
        before: &Files,
        needs: Needs,
        lost: &(dyn Fn() -> MetaxyError + Sync),
    ) -> Result<bool, Failure> {
        let mut pause = Duration::from_millis(2);
        for _ in 0..ATTEMPTS {
            let files = self.folder.files().await.map_err(Failure::Before)?;
            self.folder.settle(&files, true).await.map_err(Failure::Before)?;
            let holds = match needs {
                Needs::Replaced => self.replaced.iter().all(|file| files.has_file(file.name())),
                Needs::AllFiles => before.files.iter().all(|file| files.has_file(file.name())),
                Needs::Unchanged => before.state() == files.state(),
            };
            // A clock may be behind that of others.
            let within = |file: &DataFile| self.spans.iter().any(|(a, b)| (*a..=*b).contains(&file.place()));
            let between = files.files.iter().any(|file| within(file) && !before.has_file(file.name()));
            if !holds || between {
                return Err(Failure::Before(lost()));
            }
            for (stage, _) in &self.added {
                if stage.is_gone().await {
                    let error = self.folder.error(stage.name(), "the staged file was removed; try again");
                    return Err(Failure::Before(error));
                }
            }
            let Some(number) = files.next_number() else {
                let error = self.folder.error("", "there is no number left for another file");
                return Err(Failure::Before(error));
            };
            if self.last.publish(number).await.map_err(Failure::Within)? {
                return Ok(true);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(false)
    }

    async fn discard(&self) {
        for stage in self.added.iter().map(|(stage, _)| stage).chain([&self.last]) {
            stage.remove().await;
        }
    }
}

/// Why nothing is known to have happened.
enum Failure {
    /// Nothing has.
    Before(MetaxyError),
    /// Something may have.
    Within(MetaxyError),
}
