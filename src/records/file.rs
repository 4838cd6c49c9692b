//! Records as files that their owner alone can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Record;
use super::encoding::{decode, encode, name};

const ENDING: &str = "record";

/// The record of a question, if there is a file of it that is whole.
pub(super) fn read(folder: &Path, question: &str) -> Option<Record> {
    decode(&fs::read(path(folder, question)).ok()?, question)
}

/// Writes a record for its owner's eyes alone. Of more than `most` files, the oldest go.
pub(super) fn write(folder: &Path, record: &Record, most: usize) -> io::Result<()> {
    let content = encode(record).map_err(io::Error::other)?;
    make_private(folder)?;
    let target = path(folder, &record.question);
    // Readers see the earlier record or this one.
    let temporary = target.with_extension(format!("{}.tmp", uuid::Uuid::new_v4().simple()));
    let written = private_file(&temporary).and_then(|mut file| file.write_all(&content));
    if let Err(error) = written.and_then(|()| fs::rename(&temporary, &target)) {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    forget_old(folder, most)
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

    use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

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
