//! The table behind `files()`: a listing made when it is read, with content hashes where they are asked for.

use std::fmt;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::arrow::array::{
    ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, plan_err};
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::{StreamExt, TryStreamExt};
use glob::{MatchOptions, Pattern};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};
use url::Url;

use crate::columns::timestamp;
use crate::config::redact;
use crate::error::MetaxyError;
use crate::session::Extension;
use crate::store::objects::{Provider, Remote, said};

/// Files that are read at the same time to be hashed.
const CONCURRENT_READS: usize = 8;
/// Rows of one batch.
const BATCH: usize = 8192;

const PATH: &str = "path";
const SIZE: &str = "size";
const LAST_MODIFIED: &str = "last_modified";
const E_TAG: &str = "e_tag";
const CONTENT_HASH: &str = "content_hash";
const CONTENT: &str = "content";

/// The files at a location.
#[derive(Debug, Clone)]
pub(super) struct FilesTable {
    url: ListingTableUrl,
    /// The bucket, for a URL of one.
    bucket: Option<Remote>,
    /// What was typed before the first part of the path that varies; listed paths start with it.
    shown_prefix: String,
    /// The rest of what was typed, if it has wildcards.
    pattern: Option<Pattern>,
    schema: SchemaRef,
}

impl FilesTable {
    /// The files at a folder, a file, or a pattern; with columns that need a file's bytes if they are asked for.
    pub(super) fn try_new(
        location: &str,
        content_hash: bool,
        content: bool,
        extension: &Weak<Extension>,
    ) -> Result<Self> {
        let is_url = location.contains("://");
        if !is_url && !location.contains(['*', '?', '[']) && !std::path::Path::new(location).exists() {
            return plan_err!("files: there is no file or folder {location}");
        }
        let shown_prefix = shown_prefix(location, is_url);
        // In a URL, DataFusion takes a wildcard for a part of a name.
        let listed = if is_url && location.contains(['*', '[']) { &shown_prefix } else { location };
        let url = ListingTableUrl::parse(listed)?;
        let bucket = bucket(&url, extension)?;
        let mut fields = vec![
            Field::new(PATH, DataType::Utf8, false),
            Field::new(SIZE, DataType::Int64, false),
            Field::new(LAST_MODIFIED, timestamp(), false),
            Field::new(E_TAG, DataType::Utf8, true),
        ];
        if content_hash {
            fields.push(Field::new(CONTENT_HASH, DataType::Utf8, false));
        }
        if content {
            fields.push(Field::new(CONTENT, DataType::Utf8, true));
        }
        let pattern = match location.strip_prefix(&shown_prefix) {
            Some(rest) if rest.contains(['*', '?', '[']) => Some(Pattern::new(rest).map_err(|error| {
                MetaxyError::Invalid(format!("files: pattern {}: {error}", redact(location)))
            })?),
            _ => None,
        };
        Ok(Self { url, bucket, shown_prefix, pattern, schema: Arc::new(Schema::new(fields)) })
    }

    /// The object store of the location: that of a store's bucket or of the environment, else one that the session has.
    fn object_store(&self, state: &dyn Session) -> Result<Arc<dyn ObjectStore>> {
        let known = state.runtime_env().object_store(&self.url);
        match (&self.bucket, known) {
            (Some(bucket), _) => Ok(Arc::clone(&bucket.store)),
            (None, Ok(store)) => Ok(store),
            (None, Err(_)) => {
                let reason = format!("files: {}:// can't be listed by this session", self.url.scheme());
                Err(MetaxyError::Invalid(reason).into())
            }
        }
    }
}

/// The bucket of a location, reached with the options of a store that is in it.
fn bucket(location: &ListingTableUrl, extension: &Weak<Extension>) -> Result<Option<Remote>> {
    let url: &Url = location.as_ref();
    if Provider::of(url.scheme()).is_none() {
        return Ok(None);
    }
    let options = extension.upgrade().map(|extension| extension.storage_options(url)).unwrap_or_default();
    let connected = Remote::connect(None, url, &options);
    Ok(Some(connected.map_err(|reason| MetaxyError::Invalid(format!("files: {reason}")))?))
}

/// The part of a location up to the last `/` before its first wildcard; a folder's name ends with `/`.
fn shown_prefix(location: &str, is_url: bool) -> String {
    let fixed = &location[..location.find(['*', '?', '[']).unwrap_or(location.len())];
    if fixed.len() == location.len() {
        let is_folder = location.ends_with('/') || (!is_url && std::path::Path::new(location).is_dir());
        if is_folder {
            return format!("{}/", location.trim_end_matches('/'));
        }
    }
    fixed.rfind('/').map_or_else(String::new, |slash| fixed[..=slash].to_owned())
}

#[async_trait]
impl TableProvider for FilesTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let columns = projection.unwrap_or(&all).clone();
        let schema = Arc::new(self.schema.project(&columns)?);
        let store = self.object_store(state)?;
        let listing = Listing { table: self.clone(), store, schema: Arc::clone(&schema) };
        let partition: Arc<dyn PartitionStream> = Arc::new(listing);
        StreamingTable::try_new(schema, vec![partition])?.scan(state, None, filters, limit).await
    }
}

/// One reading of the location.
struct Listing {
    table: FilesTable,
    store: Arc<dyn ObjectStore>,
    /// The columns that are asked for; files are only read if their hash is.
    schema: SchemaRef,
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listing({})", self.table.url)
    }
}

impl PartitionStream for Listing {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (table, store, schema) = (self.table.clone(), Arc::clone(&self.store), Arc::clone(&self.schema));
        let stream = futures::stream::once(async move {
            let files = list(&table, &store).await?;
            Ok::<_, DataFusionError>(batches(table, store, schema, files))
        })
        .try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream))
    }
}

/// All files at the location in the order of their paths.
async fn list(table: &FilesTable, store: &Arc<dyn ObjectStore>) -> Result<Vec<ObjectMeta>> {
    let url = &table.url;
    let mut files: Vec<ObjectMeta> = if url.is_collection() || url.get_glob().is_some() {
        match store.list(Some(url.prefix())).try_collect().await {
            Ok(files) => files,
            Err(error) => return Err(unlisted(table, error).await),
        }
    } else {
        vec![store.head(url.prefix()).await.map_err(store_error)?]
    };
    if let Some(pattern) = &table.pattern {
        // As in a shell: `*` stays within a folder, `**` goes through folders.
        let options = MatchOptions { require_literal_separator: true, ..MatchOptions::default() };
        files.retain(|file| pattern.matches_with(&rest(url, file), options));
    }
    files.sort_by(|a, b| a.location.cmp(&b.location));
    Ok(files)
}

/// The part of a file's path below the location's fixed part.
fn rest(url: &ListingTableUrl, file: &ObjectMeta) -> String {
    url.strip_prefix(&file.location).map(|parts| parts.collect::<Vec<_>>().join("/")).unwrap_or_default()
}

fn store_error(error: object_store::Error) -> DataFusionError {
    if let Some(reason) = said(&error) {
        return MetaxyError::Invalid(format!("files: {reason}")).into();
    }
    DataFusionError::ObjectStore(Box::new(error))
}

/// Why the files can't be listed: a name that is no text comes without its file in the error of the object store.
async fn unlisted(table: &FilesTable, error: object_store::Error) -> DataFusionError {
    if table.url.scheme() != "file" {
        return store_error(error);
    }
    let root = if table.shown_prefix.is_empty() { "." } else { &table.shown_prefix };
    let root = std::path::PathBuf::from(root);
    match tokio::task::spawn_blocking(move || nameless(&root)).await {
        Ok(Some(file)) => {
            MetaxyError::Invalid(format!("files: the name of {file:?} is no text in UTF-8; rename it")).into()
        }
        _ => store_error(error),
    }
}

/// A file or folder below this one whose name is no text.
fn nameless(folder: &std::path::Path) -> Option<std::path::PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            if entry.file_name().to_str().is_none() {
                return Some(entry.path());
            }
            // Links may lead in circles.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    None
}

/// A listed file, and of its bytes what was asked for.
struct Listed {
    meta: ObjectMeta,
    hash: String,
    /// `None` where the bytes are no text.
    content: Option<String>,
}

fn batches(
    table: FilesTable,
    store: Arc<dyn ObjectStore>,
    schema: SchemaRef,
    files: Vec<ObjectMeta>,
) -> impl futures::Stream<Item = Result<RecordBatch>> {
    let wants_hash = schema.field_with_name(CONTENT_HASH).is_ok();
    let wants_content = schema.field_with_name(CONTENT).is_ok();
    futures::stream::iter(files)
        .map(move |meta| {
            let store = Arc::clone(&store);
            async move {
                if wants_hash || wants_content {
                    read(&store, meta, wants_content).await
                } else {
                    Ok(Some(Listed { meta, hash: String::new(), content: None }))
                }
            }
        })
        .buffered(CONCURRENT_READS)
        // A file that went away since the listing is not there.
        .try_filter_map(|file| futures::future::ready(Ok(file)))
        .try_chunks(BATCH)
        .map_err(|error| error.1)
        .map(move |files: Result<Vec<Listed>>| batch(&table, &schema, &files?))
}

/// Reads a file once; `None` if it is gone. The hash is SHA-256 in lower-case hexadecimal digits.
async fn read(store: &Arc<dyn ObjectStore>, meta: ObjectMeta, keep: bool) -> Result<Option<Listed>> {
    let mut bytes = match store.get(&meta.location).await {
        Ok(found) => found.into_stream(),
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(store_error(error)),
    };
    let mut hasher = Sha256::new();
    let mut kept = Vec::new();
    while let Some(chunk) = bytes.try_next().await.map_err(store_error)? {
        hasher.update(&chunk);
        if keep {
            kept.extend_from_slice(&chunk);
        }
    }
    let hash = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let content = if keep { String::from_utf8(kept).ok() } else { None };
    Ok(Some(Listed { meta, hash, content }))
}

fn batch(table: &FilesTable, schema: &SchemaRef, files: &[Listed]) -> Result<RecordBatch> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| -> ArrayRef {
            match field.name().as_str() {
                PATH => Arc::new(StringArray::from_iter_values(files.iter().map(|f| shown(table, &f.meta)))),
                SIZE => Arc::new(Int64Array::from_iter_values(
                    files.iter().map(|f| i64::try_from(f.meta.size).unwrap_or(i64::MAX)),
                )),
                LAST_MODIFIED => Arc::new(
                    TimestampMicrosecondArray::from_iter_values(
                        files.iter().map(|f| DateTime::<Utc>::timestamp_micros(&f.meta.last_modified)),
                    )
                    .with_timezone("UTC"),
                ),
                E_TAG => Arc::new(StringArray::from_iter(files.iter().map(|f| f.meta.e_tag.as_deref()))),
                CONTENT_HASH => Arc::new(StringArray::from_iter_values(files.iter().map(|f| &f.hash))),
                _ => Arc::new(StringArray::from_iter(files.iter().map(|f| f.content.as_deref()))),
            }
        })
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(files.len()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// A file's path as the user would type it: what was typed, then the rest.
fn shown(table: &FilesTable, file: &ObjectMeta) -> String {
    let rest = rest(&table.url, file);
    // Nothing is left when a single file was named.
    let rest = if rest.is_empty() { file.location.filename().unwrap_or_default() } else { &rest };
    format!("{}{rest}", table.shown_prefix)
}

#[cfg(test)]
mod tests {
    use super::shown_prefix;

    #[test]
    fn listed_paths_start_like_the_location() {
        assert_eq!(shown_prefix("photos/**/*.jpg", false), "photos/");
        assert_eq!(shown_prefix("*.rs", false), "");
        assert_eq!(shown_prefix("s3://bucket/a/*.jpg", true), "s3://bucket/a/");
        assert_eq!(shown_prefix("s3://bucket/a/", true), "s3://bucket/a/");
        assert_eq!(shown_prefix("/data/one.jpg", false), "/data/");
    }
}
