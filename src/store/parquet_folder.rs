//! The folder of a feature in a Parquet store: its data files in their order, and the settings beside them.
//!
//! ```text
//! a/b/c.parquet/
//!     _metaxy.json                    hash settings, made before the first file and never changed
//!     00000000000000000001.parquet    one file per write; a writer takes the next free number
//!     00000000000000000002.metaxy-1.parquet    a file that has taken the place of the second one
//!     _staging/                       files that are being written
//! ```
//!
//! A hard delete or a compaction replaces several files at once; how, stands in
//! [`parquet_manifest`](super::parquet_manifest).

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::parquet::file::metadata::PageIndexPolicy;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use super::TableState;
use super::delta_schema::merge;
use super::objects::said;
use super::parquet_footer::Footer;
use super::parquet_manifest::{Added, Manifest, Place};
use crate::error::{MetaxyError, Result, one_line};

/// The folder of files that are being written.
pub(crate) const STAGING: &str = "_staging";
/// Digits of a file's number.
const DIGITS: usize = 20;
/// Between a file's name and how often others have taken its place.
const GENERATION: &str = ".metaxy-";
/// How often files are listed again because one of them has come or gone since.
const LISTINGS: usize = 50;
/// How many footers are read at the same time.
const AT_ONCE: usize = 16;
/// Bytes at the end of a file that are fetched at first, to have the footer in one request.
const FOOTER_GUESS: usize = 64 * 1024;

/// The object store, and what is known of its files.
#[derive(Clone)]
pub(crate) struct Objects {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The store's name in a session.
    pub(crate) url: ObjectStoreUrl,
    /// Whether the files are objects in a bucket: nothing is renamed or linked there, and a copy replaces what is there.
    pub(crate) is_remote: bool,
    pub(crate) footers: Arc<FileMetadataCache>,
}

impl Objects {
    /// Opens files for reading, with the footers that are known.
    pub(crate) fn reader(&self) -> CachedParquetFileReaderFactory {
        CachedParquetFileReaderFactory::new(Arc::clone(&self.store), Arc::clone(&self.footers))
    }
}

/// A feature's folder.
#[derive(Clone)]
pub(crate) struct ParquetFolder {
    store_name: String,
    table: String,
    pub(crate) objects: Objects,
    path: Path,
}

impl std::fmt::Debug for ParquetFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ParquetFolder({})", self.path)
    }
}

impl ParquetFolder {
    /// `table` is the path for messages, `path` that in the object store.
    pub(crate) fn new(store_name: &str, table: String, objects: Objects, path: Path) -> Self {
        Self { store_name: store_name.to_owned(), table, objects, path }
    }

    /// Where the folder is in the object store.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A new name for a file that is being written.
    pub(crate) fn staged(&self) -> Path {
        self.in_staging(&format!("{}.parquet", uuid::Uuid::new_v4()))
    }

    /// An error of the object store about a file of the folder, or about the folder itself if `file` is empty.
    pub(crate) fn failed(&self, file: &str, error: &object_store::Error) -> MetaxyError {
        self.error(file, &said(error).unwrap_or_else(|| error.to_string()))
    }

    /// An error about a file of the folder, or about the folder itself if `file` is empty.
    pub(crate) fn error(&self, file: &str, reason: &str) -> MetaxyError {
        let slash = if file.is_empty() { "" } else { "/" };
        let reason = format!("{}{slash}{file}: {}", self.table, one_line(reason));
        MetaxyError::Store { store: self.store_name.clone(), reason }
    }

    /// The error of a read whose file has gone meanwhile.
    pub(crate) fn overtaken(&self, file: &str, reason: &str) -> MetaxyError {
        MetaxyError::Overtaken {
            store: self.store_name.clone(),
            reason: format!("{}/{file}: {reason}", self.table),
        }
    }

    /// Lists the data files and reads their footers, as far as they are not known yet.
    pub(crate) async fn files(&self) -> Result<Files> {
        let mut before = Listing::default();
        for _ in 0..LISTINGS {
            let (listed, superseded) = self.list().await?;
            let footers = futures::stream::iter(listed.iter().cloned());
            let read = footers.map(|meta| self.data_file(meta)).buffered(AT_ONCE).try_collect().await;
            match read {
                Ok(files) => {
                    if let Some(view) = self.consistent(files, superseded, &mut before).await? {
                        return self.with_schema(view);
                    }
                }
                // Has another file just taken the place of one of these?
                Err(error) if !self.is_any_gone(&listed).await => return Err(error),
                Err(_) => {}
            }
        }
        if let Some(missing) = before.missing {
            return Err(self.error(&missing, "the file is missing; put a copy in its place"));
        }
        Err(self.error("", &format!("its files changed {LISTINGS} times while they were listed; try again")))
    }

    /// The files as they were at one moment of the listing; `None` if they have to be listed again.
    ///
    /// A listing is no snapshot: it may show one part of a replacement and not the other. So it counts only if nothing
    /// has appeared after its last number, and if the manifest in it is not younger than the listing itself: the one
    /// before that could then have been settled in the middle of it.
    async fn consistent(
        &self,
        mut files: Vec<DataFile>,
        superseded: Vec<Path>,
        before: &mut Listing,
    ) -> Result<Option<View>> {
        before.missing = None;
        let decides = |file: &&DataFile| file.manifest.is_some() && file.number().is_some();
        let latest = files.iter().filter(decides).max_by_key(|file| file.number());
        let (number, manifest) = match latest {
            Some(file) => (file.number(), file.manifest.clone().unwrap_or_default()),
            None => (None, Manifest::default()),
        };
        if std::mem::replace(&mut before.manifest, number) != number && number.is_some() {
            return Ok(None);
        }
        if !files.is_empty()
            && let Some(next) = next_number(&files)
            && !self.is_gone(&self.at(&numbered(next))).await
        {
            return Ok(None);
        }
        let mut view = View { superseded, added: manifest.added, ..View::default() };
        for added in &view.added {
            if files.iter().any(|file| file.name == added.name) {
                continue;
            }
            let staged = match self.objects.store.head(&self.in_staging(&added.staged)).await {
                Ok(staged) => staged,
                // It has its name by now, or is lost.
                Err(object_store::Error::NotFound { .. }) => {
                    before.missing = Some(added.name.clone());
                    return Ok(None);
                }
                Err(error) => return Err(self.failed(&added.name, &error)),
            };
            let path = staged.location.clone();
            match self.data_file(staged).await {
                Ok(file) => files.push(file.named(&added.name)),
                // It got its name between two requests.
                Err(_) if self.is_gone(&path).await => return Ok(None),
                Err(error) => return Err(error),
            }
            view.unsettled.push(added.clone());
        }
        let (gone, mut files): (Vec<DataFile>, Vec<DataFile>) =
            files.into_iter().partition(|file| manifest.replaced.contains(&file.name));
        view.superseded.extend(gone.into_iter().map(|file| file.meta.location));
        files.sort_by(|a, b| a.place.cmp(&b.place));
        view.files = files;
        Ok(Some(view))
    }

    /// Whether the file is not there any more.
    pub(crate) async fn is_gone(&self, path: &Path) -> bool {
        matches!(self.objects.store.head(path).await, Err(object_store::Error::NotFound { .. }))
    }

    async fn is_any_gone(&self, files: &[ObjectMeta]) -> bool {
        for file in files {
            match self.objects.store.head(&file.location).await {
                Ok(_) => {}
                Err(object_store::Error::NotFound { .. }) => return true,
                // There is nobody to ask.
                Err(_) => return false,
            }
        }
        false
    }

    /// The data files, and those that others with the same number have replaced.
    async fn list(&self) -> Result<(Vec<ObjectMeta>, Vec<Path>)> {
        let listed = self.objects.store.list_with_delimiter(Some(&self.path)).await;
        let listed = listed.map_err(|error| self.failed("", &error))?;
        let mut found: Vec<ObjectMeta> = listed.objects.into_iter().filter(is_data).collect();
        let superseded = superseded(&found);
        found.retain(|meta| !superseded.contains(&meta.location));
        Ok((found, superseded))
    }

    fn with_schema(&self, view: View) -> Result<Files> {
        let mut schema = Schema::empty();
        for file in &view.files {
            let merged = merge(&schema, file.footer.schema());
            let merged = merged.map_err(|reason| {
                let reason = format!("{reason}'s other files; remove the file, or write it with their types");
                self.error(file.name(), &reason)
            })?;
            schema = merged.unwrap_or(schema);
        }
        let View { files, superseded, added, unsettled } = view;
        Ok(Files { files, schema, superseded, added, unsettled })
    }

    async fn data_file(&self, meta: ObjectMeta) -> Result<DataFile> {
        let read = DFParquetMetadata::new(self.objects.store.as_ref(), &meta)
            .with_metadata_size_hint(Some(FOOTER_GUESS))
            .with_file_metadata_cache(Some(Arc::clone(&self.objects.footers)))
            .with_page_index_policy(Some(PageIndexPolicy::Skip))
            .fetch_metadata()
            .await;
        let footer = read.and_then(Footer::try_new).map_err(|error| {
            let name = meta.location.filename().unwrap_or_default();
            if let Some(reason) = said(&error) {
                return self.error(name, &reason);
            }
            let reason = format!("not a Parquet file that can be read: {}", error.strip_backtrace());
            self.error(name, &reason)
        })?;
        let own = || -> datafusion::common::Result<_> {
            Ok((footer.place()?, footer.manifest()?, footer.write_keys()?))
        };
        let (place, manifest, write_keys) = own().map_err(|error| {
            self.error(meta.location.filename().unwrap_or_default(), &error.strip_backtrace())
        })?;
        let name = meta.location.filename().unwrap_or_default().to_owned();
        let place = place.unwrap_or_else(|| Place::of(meta.last_modified, &name));
        Ok(DataFile { name, place, manifest, write_keys, meta, footer: Arc::new(footer) })
    }

    /// Makes a complete file the data file of this number; `false` when another file has it.
    pub(crate) async fn publish(&self, staged: &Path, number: u64) -> Result<bool> {
        let name = numbered(number);
        match self.objects.store.copy_if_not_exists(staged, &self.at(&name)).await {
            Ok(()) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(self.failed(&name, &error)),
        }
    }

    /// Puts the data file of this number; `false` when another file has it.
    pub(crate) async fn put(&self, bytes: PutPayload, number: u64) -> Result<bool> {
        let name = numbered(number);
        match self.objects.store.put_opts(&self.at(&name), bytes, PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(self.failed(&name, &error)),
        }
    }
}

/// Files that others put there count too; hidden ones and those in deeper folders do not.
fn is_data(meta: &ObjectMeta) -> bool {
    let name = meta.location.filename().unwrap_or_default();
    name.ends_with(".parquet") && !name.starts_with(['_', '.'])
}

/// The name of the data file of this number.
fn numbered(number: u64) -> String {
    format!("{number:0DIGITS$}.parquet")
}

/// The number after the greatest one.
fn next_number(files: &[DataFile]) -> Option<u64> {
    files.iter().filter_map(DataFile::number).max().unwrap_or_default().checked_add(1)
}

/// A data file's name without what replacements have added, and how many have.
fn generation(name: &str) -> (&str, u64) {
    let stem = name.strip_suffix(".parquet").unwrap_or(name);
    let split = stem.rsplit_once(GENERATION).and_then(|(stem, digits)| Some((stem, digits.parse().ok()?)));
    split.unwrap_or((stem, 0))
}

/// The files of which a later generation is there.
fn superseded(files: &[ObjectMeta]) -> Vec<Path> {
    let names = || files.iter().map(|meta| generation(meta.location.filename().unwrap_or_default()));
    let mut latest: HashMap<&str, u64> = HashMap::new();
    for (stem, generation) in names() {
        let known = latest.entry(stem).or_default();
        *known = generation.max(*known);
    }
    files
        .iter()
        .zip(names())
        .filter(|(_, (stem, generation))| latest.get(stem).is_some_and(|latest| generation < latest))
        .map(|(meta, _)| meta.location.clone())
        .collect()
}

/// What the listing before this one has shown.
#[derive(Default)]
struct Listing {
    /// The number of the latest manifest.
    manifest: Option<u64>,
    /// A file that a manifest names and that is nowhere.
    missing: Option<String>,
}

/// The files that count at one moment, and what is still to be done about others.
#[derive(Default)]
struct View {
    files: Vec<DataFile>,
    superseded: Vec<Path>,
    added: Vec<Added>,
    unsettled: Vec<Added>,
}

/// The data files of a folder in their order: by modification time, then by name, or in the place of the files that they
/// have replaced.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) files: Vec<DataFile>,
    schema: Schema,
    /// Files that others have replaced, and that are not removed yet.
    superseded: Vec<Path>,
    /// What came with the latest manifest, and what of it is still in the staging folder.
    added: Vec<Added>,
    unsettled: Vec<Added>,
}

/// A data file.
#[derive(Debug, Clone)]
pub(crate) struct DataFile {
    pub(crate) meta: ObjectMeta,
    pub(crate) footer: Arc<Footer>,
    /// The name that it has, or gets, among the data files.
    name: String,
    place: Place,
    manifest: Option<Manifest>,
    write_keys: Vec<String>,
}

impl DataFile {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its place in the order of files.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The keys of the writes whose rows are, or were, in it.
    pub(crate) fn write_keys(&self) -> &[String] {
        &self.write_keys
    }

    fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// The name of a file that takes this one's place.
    pub(crate) fn successor(&self) -> String {
        let (stem, generation) = generation(self.name());
        format!("{stem}{GENERATION}{}.parquet", generation + 1)
    }

    /// The number of a file of ours.
    fn number(&self) -> Option<u64> {
        let (digits, _) = generation(self.name());
        if digits.len() == DIGITS { digits.parse().ok() } else { None }
    }
}

impl Files {
    /// Files that have been replaced and are to be removed.
    pub(crate) fn superseded(&self) -> &[Path] {
        &self.superseded
    }

    /// What came with the latest manifest.
    pub(crate) fn added(&self) -> &[Added] {
        &self.added
    }

    /// What of it is still to get its name.
    pub(crate) fn unsettled(&self) -> &[Added] {
        &self.unsettled
    }

    /// Some neighbouring files, with the columns of all.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        Self {
            files: self.files.get(range).unwrap_or_default().to_vec(),
            schema: self.schema.clone(),
            superseded: Vec::new(),
            added: Vec::new(),
            unsettled: Vec::new(),
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// All columns and struct members that any file has.
    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// What changes with every file that comes or goes.
    pub(crate) fn state(&self) -> TableState {
        let names: Vec<&str> = self.files.iter().map(DataFile::name).collect();
        TableState::new(names.join("/"))
    }

    /// Whether a file of this name is there and not superseded.
    pub(crate) fn has_file(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.name() == name)
    }

    /// Whether a write with this key is among the files.
    pub(crate) fn has_key(&self, key: Option<&str>) -> bool {
        key.is_some_and(|key| self.files.iter().any(|file| file.write_keys.iter().any(|known| known == key)))
    }

    /// The number after the greatest one.
    pub(crate) fn next_number(&self) -> Option<u64> {
        next_number(&self.files)
    }

    /// The greatest time that the footers tell, and whether all of them tell one.
    pub(crate) fn latest_time(&self) -> (Option<i64>, bool) {
        let mut latest = None;
        let mut known = true;
        for file in &self.files {
            match file.footer.latest_time() {
                Some(time) => latest = latest.max(time),
                None => known = false,
            }
        }
        (latest, known)
    }

    /// A stored provenance, if a footer has one.
    pub(crate) fn sample_version(&self) -> Option<String> {
        self.files.iter().find_map(|file| file.footer.sample_version())
    }
}
