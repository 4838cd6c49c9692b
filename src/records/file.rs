//! Records as files: an Arrow file of the keys, its metadata the question and the moments, behind a checksum.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::reader::FileReader;
use datafusion::arrow::ipc::writer::FileWriter;
use xxhash_rust::xxh3::xxh3_128;

use super::{Record, name};

const QUESTION: &str = "question";
const MOMENTS: &str = "moments";
const ENDING: &str = "record";

/// The record of a question, if there is a file of it that is whole.
pub(super) fn read(folder: &Path, question: &str) -> Option<Record> {
    let content = fs::read(path(folder, question)).ok()?;
    let (checksum, content) = content.split_first_chunk::<16>()?;
    if xxh3_128(content).to_le_bytes() != *checksum {
        return None;
    }
    let reader = FileReader::try_new(io::Cursor::new(content), None).ok()?;
    let schema = reader.schema();
    if schema.metadata().get(QUESTION)? != question {
        return None;
    }
    let moments = serde_json::from_str(schema.metadata().get(MOMENTS)?).ok()?;
    let batches = reader.collect::<Result<Vec<_>, _>>().ok()?;
    let columns = concat_batches(&schema, &batches).ok()?.columns().to_vec();
    let plain = schema.as_ref().clone().with_metadata(HashMap::new());
    let keys = RecordBatch::try_new(plain.into(), columns).ok()?;
    Some(Record { question: question.to_owned(), moments, keys })
}

/// Writes a record for its owner's eyes alone. Of more than `most` files, the oldest go.
pub(super) fn write(folder: &Path, record: &Record, most: usize) -> io::Result<()> {
    let content = encoded(record).map_err(io::Error::other)?;
    make_private(folder)?;
    let target = path(folder, &record.question);
    // Readers see the earlier record or this one.
    let temporary = target.with_extension(format!("{}.tmp", uuid::Uuid::new_v4().simple()));
    let written = private_file(&temporary).and_then(|mut file| {
        file.write_all(&xxh3_128(&content).to_le_bytes())?;
        file.write_all(&content)
    });
    if let Err(error) = written.and_then(|()| fs::rename(&temporary, &target)) {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    forget_old(folder, most)
}

fn encoded(record: &Record) -> Result<Vec<u8>, ArrowError> {
    let moments = serde_json::to_string(&record.moments).map_err(|e| ArrowError::ExternalError(e.into()))?;
    let metadata = [(QUESTION.to_owned(), record.question.clone()), (MOMENTS.to_owned(), moments)];
    let schema = record.keys.schema().as_ref().clone().with_metadata(metadata.into());
    let mut content = Vec::new();
    let mut writer = FileWriter::try_new(&mut content, &schema)?;
    writer.write(&RecordBatch::clone(&record.keys).with_schema(schema.into())?)?;
    writer.finish()?;
    drop(writer);
    Ok(content)
}

fn path(folder: &Path, question: &str) -> PathBuf {
    folder.join(format!("{}.{ENDING}", name(question)))
}

#[cfg(unix)]
fn make_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn make_private(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

/// Removes the oldest files of the folder, and those that a crash has left half written.
fn forget_old(folder: &Path, most: usize) -> io::Result<()> {
    let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if let Ok(changed) = entry.metadata().and_then(|metadata| metadata.modified()) {
            files.push((changed, entry.path()));
        }
    }
    let is_record = |path: &Path| path.extension().is_some_and(|ending| ending == ENDING);
    let hour = std::time::Duration::from_secs(3600);
    for (changed, path) in files.iter().filter(|(_, path)| !is_record(path)) {
        if path.extension().is_some_and(|ending| ending == "tmp")
            && changed.elapsed().is_ok_and(|age| age > hour)
        {
            let _ = fs::remove_file(path);
        }
    }
    files.retain(|(_, path)| is_record(path));
    files.sort();
    for (_, path) in files.iter().take(files.len().saturating_sub(most)) {
        let _ = fs::remove_file(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::super::{Moment, Records};
    use super::*;

    fn record(question: &str, ids: Vec<Option<&str>>) -> Record {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ids.len() as i64));
        let keys: ArrayRef = Arc::new(StringArray::from(ids));
        let moment = Moment { table: "t".into(), version: 7, commit: "c".into() };
        let keys =
            RecordBatch::try_from_iter_with_nullable([("id", keys, true), ("n", numbers, true)]).unwrap();
        Record { question: question.into(), moments: vec![moment], keys }
    }

    #[test]
    fn what_is_written_is_read_by_others() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("made/when/needed");
        let written = record("which?", vec![Some("a"), None]);
        Records::in_folder(&folder).put(written.clone());
        let read = Records::in_folder(&folder);
        assert_eq!(read.get("which?").as_deref(), Some(&written));
        assert_eq!(read.get("which").as_deref(), None);
        // No keys are an answer too.
        Records::in_folder(&folder).put(record("which?", vec![]));
        assert_eq!(read.get("which?").as_deref(), Some(&record("which?", vec![])));
    }

    #[cfg(unix)]
    #[test]
    fn only_the_user_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("records");
        Records::in_folder(&folder).put(record("q", vec![Some("secret")]));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&path(&folder, "q")), 0o600);
    }

    #[test]
    fn damaged_files_are_no_records() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::in_folder(folder.path());
        records.put(record("q", vec![Some("a"), Some("b")]));
        let path = path(folder.path(), "q");
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut damaged = whole.clone();
            damaged[at] ^= 4;
            fs::write(&path, damaged).unwrap();
            assert_eq!(records.get("q"), None, "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(records.get("q"), None, "cut at {at}");
        }
        fs::write(&path, whole).unwrap();
        assert!(records.get("q").is_some());
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..5 {
            write(folder.path(), &record(&number.to_string(), vec![]), 3).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(15));
        }
        let kept: Vec<bool> = (0..5).map(|n| read(folder.path(), &n.to_string()).is_some()).collect();
        assert_eq!(kept, [false, false, true, true, true]);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        fs::write(&taken, "").unwrap();
        let records = Records::in_folder(taken.join("below"));
        records.put(record("q", vec![]));
        assert_eq!(records.get("q"), None);
    }
}
