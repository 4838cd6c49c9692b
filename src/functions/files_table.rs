//! The table behind `files()`: a listing made when it is read, with content hashes where they are asked for.

use std::fmt;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use datafusion::arrow::array::{
    ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;

use super::files_disk::{self, Disk};
use super::files_found::{Content, Found, FoundAt};
use super::files_objects::{self, Objects};
use crate::boxed::{self, BoxFuture};
use crate::columns::timestamp;
use crate::config::redact;
use crate::session::Extension;

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
#[derive(Debug)]
pub(super) struct FilesTable {
    location: String,
    place: Place,
    extension: Weak<Extension>,
    schema: SchemaRef,
}

/// Where the files are.
#[derive(Debug, Clone)]
enum Place {
    Disk(Disk),
    Objects(Arc<Objects>),
}

impl FilesTable {
    /// The files at a folder, a file, or a pattern; with columns that need a file's bytes if they are asked for.
    pub(super) fn try_new(
        location: &str,
        content_hash: bool,
        content: bool,
        extension: &Weak<Extension>,
    ) -> Result<Self> {
        let place = match Disk::of(location)? {
            Some(disk) => Place::Disk(disk),
            None => Place::Objects(Arc::new(Objects::try_new(location, extension)?)),
        };
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
        let (location, extension) = (location.to_owned(), Weak::clone(extension));
        Ok(Self { location, place, extension, schema: Arc::new(Schema::new(fields)) })
    }

    /// Where the session reads the files: an application may have put something in the place of the whole disk.
    fn source(&self, state: &dyn Session) -> Result<Source> {
        let disk = match &self.place {
            Place::Objects(objects) => {
                return Ok(Source::Objects(Arc::clone(objects), objects.store(state)?));
            }
            Place::Disk(disk) => disk,
        };
        let root = ListingTableUrl::parse("file:///")?;
        let store =
            state.runtime_env().object_store(&root).map_err(|_| files_objects::unlisted(root.scheme()))?;
        if Disk::is(store.as_ref()) {
            return Ok(Source::Disk(disk.clone()));
        }
        Ok(Source::Objects(Arc::new(Objects::try_new(&self.location, &self.extension)?), store))
    }
}

#[async_trait]
impl TableProvider for FilesTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    boxed::scan!(planned);
}

impl FilesTable {
    /// The plan of a scan.
    fn planned<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let all: Vec<usize> = (0..self.schema.fields().len()).collect();
            let columns = projection.unwrap_or(&all).clone();
            let schema = Arc::new(self.schema.project(&columns)?);
            let source = self.source(state)?;
            let listing = Listing { location: redact(&self.location), source, schema: Arc::clone(&schema) };
            let partition: Arc<dyn PartitionStream> = Arc::new(listing);
            StreamingTable::try_new(schema, vec![partition])?.scan(state, None, filters, limit).await
        })
    }
}

/// What files are read from.
#[derive(Debug, Clone)]
enum Source {
    Disk(Disk),
    Objects(Arc<Objects>, Arc<dyn ObjectStore>),
}

impl Source {
    async fn list(&self) -> Result<Vec<Found>> {
        match self {
            Source::Disk(disk) => disk.list().await,
            Source::Objects(objects, store) => objects.list(store).await,
        }
    }

    /// Reads a file once; `None` if it is gone.
    async fn read(&self, file: &Found, keep: bool) -> Result<Option<Content>> {
        match (self, &file.at) {
            (Source::Objects(_, store), FoundAt::Object(path)) => {
                files_objects::read(store, path, keep).await
            }
            (_, FoundAt::Disk(path)) => files_disk::read(path.clone(), keep).await,
            (Source::Disk(_), FoundAt::Object(_)) => Ok(None),
        }
    }
}

/// One reading of the location.
struct Listing {
    location: String,
    source: Source,
    /// The columns that are asked for; files are only read if their hash is.
    schema: SchemaRef,
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listing({})", self.location)
    }
}

impl PartitionStream for Listing {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (source, schema) = (self.source.clone(), Arc::clone(&self.schema));
        let stream = futures::stream::once(async move {
            let files = source.list().await?;
            Ok::<_, DataFusionError>(batches(source, schema, files))
        })
        .try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream))
    }
}

fn batches(
    source: Source,
    schema: SchemaRef,
    files: Vec<Found>,
) -> impl futures::Stream<Item = Result<RecordBatch>> {
    let wants_content = schema.field_with_name(CONTENT).is_ok();
    let wants_bytes = wants_content || schema.field_with_name(CONTENT_HASH).is_ok();
    futures::stream::iter(files)
        .map(move |file| {
            let source = source.clone();
            async move {
                let content = match wants_bytes {
                    true => source.read(&file, wants_content).await?,
                    false => Some(Content::default()),
                };
                // A file that went away since the listing is not there.
                Ok(content.map(|content| (file, content)))
            }
        })
        .buffered(CONCURRENT_READS)
        .try_filter_map(|file| futures::future::ready(Ok(file)))
        .try_chunks(BATCH)
        .map_err(|error| error.1)
        .map(move |files: Result<Vec<(Found, Content)>>| batch(&schema, &files?))
}

fn batch(schema: &SchemaRef, files: &[(Found, Content)]) -> Result<RecordBatch> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| -> ArrayRef {
            match field.name().as_str() {
                PATH => Arc::new(StringArray::from_iter_values(files.iter().map(|(file, _)| &file.shown))),
                SIZE => Arc::new(Int64Array::from_iter_values(
                    files.iter().map(|(file, _)| i64::try_from(file.size).unwrap_or(i64::MAX)),
                )),
                LAST_MODIFIED => Arc::new(
                    TimestampMicrosecondArray::from_iter_values(
                        files.iter().map(|(file, _)| file.modified.timestamp_micros()),
                    )
                    .with_timezone("UTC"),
                ),
                E_TAG => {
                    Arc::new(StringArray::from_iter(files.iter().map(|(file, _)| file.e_tag.as_deref())))
                }
                CONTENT_HASH => {
                    Arc::new(StringArray::from_iter_values(files.iter().map(|(_, content)| &content.hash)))
                }
                _ => {
                    Arc::new(StringArray::from_iter(files.iter().map(|(_, content)| content.text.as_deref())))
                }
            }
        })
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(files.len()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}
