//! A store of one's own: Arrow files in a folder. `cargo run --example own_store`.
//!
//! Each feature has a folder, each write adds one file to it, and a file's number is taken by one writer only.

use std::error::Error;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{
    ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt64Array, new_null_array,
};
use datafusion::arrow::compute::{CastOptions, max};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::arrow::ipc::{reader::FileReader, writer::FileWriter};
use datafusion::catalog::MemTable;
use datafusion::common::nested_struct::cast_column;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::prelude::SessionContext;
use datafusion_metaxy::columns::{DELETED_AT, ROW_ORDER, UPDATED_AT};
use datafusion_metaxy::error::{MetaxyError, Result};
use datafusion_metaxy::hash::{HashAlgorithm, HashSettings};
use datafusion_metaxy::model::{FeatureDefinition, FeatureKey, FeatureSpec, Origin};
use datafusion_metaxy::session::{Extension, MetaxySession, SessionContextExt};
use datafusion_metaxy::store::{Append, MetadataStore, Store, StoredTable, TableState, WriteTime};
use futures::{StreamExt, TryStreamExt};

/// Feature tables as folders of Arrow files, below this folder.
#[derive(Debug)]
pub struct ArrowFiles(pub PathBuf);

/// The rows of one write, with the key of the write in the metadata of the schema.
type Written = (SchemaRef, Vec<RecordBatch>);

impl ArrowFiles {
    /// All writes to a feature, in their order.
    fn writes(&self, feature: &FeatureKey) -> DataFusionResult<Vec<Written>> {
        let mut writes = Vec::new();
        loop {
            let file = match File::open(self.file(feature, writes.len())) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(writes),
                file => FileReader::try_new(file?, None)?,
            };
            writes.push((file.schema(), file.collect::<std::result::Result<_, _>>()?));
        }
    }

    fn file(&self, feature: &FeatureKey, number: usize) -> PathBuf {
        self.0.join(feature.table_name()).join(format!("{number:08}.arrow"))
    }
}

#[async_trait]
impl MetadataStore for ArrowFiles {
    fn kind(&self) -> &'static str {
        "arrow"
    }

    fn format(&self) -> &'static str {
        "Arrow files"
    }

    fn location(&self) -> String {
        self.0.display().to_string()
    }

    async fn open(&self, feature: &FeatureKey) -> Result<Option<StoredTable>> {
        let writes = self.writes(feature)?;
        if writes.is_empty() {
            return Ok(None);
        }
        let columns = merged(writes.iter().map(|(schema, _)| schema))?;
        let order = Arc::new(Field::new(ROW_ORDER, DataType::UInt64, false));
        let schema =
            Arc::new(Schema::new(columns.fields().iter().cloned().chain([order]).collect::<Fields>()));
        let mut next = 0;
        let mut rows = Vec::new();
        for batch in writes.iter().flat_map(|(_, batches)| batches) {
            // A later write may have brought columns and struct members.
            let widened = columns.fields().iter().map(|field| column(batch, field));
            let mut arrays = widened.collect::<DataFusionResult<Vec<_>>>()?;
            arrays.push(Arc::new(UInt64Array::from_iter_values(next..next + batch.num_rows() as u64)));
            next += batch.num_rows() as u64;
            rows.push(RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(DataFusionError::from)?);
        }
        let provider = Arc::new(MemTable::try_new(schema, vec![rows])?);
        Ok(Some(StoredTable { provider, recorded: None, sample_version: None }))
    }

    async fn state(&self, feature: &FeatureKey) -> Result<TableState> {
        let count = self.writes(feature)?.len();
        Ok(if count == 0 { TableState::default() } else { TableState::new(count.to_string()) })
    }

    async fn append(&self, feature: &FeatureKey, append: Append) -> Result<u64> {
        let Append { schema, rows, write_key, time, only_at, .. } = append;
        let batches: Vec<RecordBatch> = rows.try_collect().await?;
        let count: usize = batches.iter().map(RecordBatch::num_rows).sum();
        loop {
            let writes = self.writes(feature)?;
            let is_done = |(schema, _): &Written| schema.metadata().get("write_key") == write_key.as_ref();
            if count == 0 || (write_key.is_some() && writes.iter().any(is_done)) {
                return Ok(0);
            }
            if let Some(basis) = &only_at {
                // Files are never removed, so all that can have happened is that some came.
                let seen = basis.state.as_str().parse().unwrap_or(0);
                let added: Vec<_> =
                    writes.iter().skip(seen).flat_map(|(_, rows)| rows.clone()).map(Ok).collect();
                if writes.len() != seen && !basis.survives(futures::stream::iter(added).boxed()).await? {
                    return Err(MetaxyError::Changed { feature: feature.to_string() });
                }
            }
            merged(writes.iter().map(|(schema, _)| schema).chain([&schema]))?;
            let latest = writes.iter().flat_map(|(_, batches)| batches).filter_map(latest).max();
            let at = chrono::Utc::now().timestamp_micros().max(latest.map_or(i64::MIN, |latest| latest + 1));
            let key = write_key.iter().map(|key| ("write_key".to_owned(), key.clone())).collect();
            let schema = Arc::new(Schema::clone(&schema).with_metadata(key));
            let place = self.file(feature, writes.len());
            match publish(&place, &schema, &batches, (time, at)) {
                Ok(()) => return Ok(count as u64),
                Err(DataFusionError::IoError(error)) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Writes a file whole, then gives it its name, which fails if another writer has taken it.
fn publish(
    place: &Path,
    schema: &SchemaRef,
    batches: &[RecordBatch],
    (column, at): (WriteTime, i64),
) -> DataFusionResult<()> {
    fs::create_dir_all(place.parent().unwrap_or(place))?;
    let staged = place.with_file_name(format!(".{}", uuid::Uuid::new_v4()));
    let mut file = FileWriter::try_new(File::create(&staged)?, schema)?;
    for batch in batches {
        let mut columns = batch.columns().to_vec();
        if let Some(name) = column.column() {
            let times = TimestampMicrosecondArray::from_value(at, batch.num_rows());
            columns[schema.index_of(name)?] = Arc::new(times.with_timezone("UTC"));
        }
        file.write(&RecordBatch::try_new(Arc::clone(schema), columns)?)?;
    }
    file.finish()?;
    let linked = fs::hard_link(&staged, place);
    fs::remove_file(&staged)?;
    Ok(linked?)
}

/// All columns that any write has; a type that differs is an error.
fn merged<'a>(schemas: impl Iterator<Item = &'a SchemaRef>) -> DataFusionResult<Schema> {
    Ok(Schema::try_merge(schemas.map(|schema| Schema::new(schema.fields().clone())))?)
}

fn column(batch: &RecordBatch, field: &Field) -> DataFusionResult<ArrayRef> {
    match batch.column_by_name(field.name()) {
        Some(column) => cast_column(column, field.data_type(), &CastOptions::default()),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    }
}

/// The latest time that rows have.
fn latest(batch: &RecordBatch) -> Option<i64> {
    let times = [UPDATED_AT, DELETED_AT].into_iter().filter_map(|name| batch.column_by_name(name));
    times.filter_map(|times| max(times.as_primitive_opt::<TimestampMicrosecondType>()?)).max()
}

/// Writes photos, makes a thumbnail of one, and prints what is left to do.
#[tokio::main]
pub async fn main() -> std::result::Result<(), Box<dyn Error>> {
    let photo = FeatureSpec::builder("photo").id_columns(["path"]).build()?;
    let thumbnail = FeatureSpec::builder("photo/thumbnail").id_columns(["path"]).dep("photo").build()?;
    let features =
        [photo, thumbnail].map(|spec| FeatureDefinition::declared(spec, "photos", Origin::Session));
    let folder = tempfile::tempdir()?;
    let backend = Arc::new(ArrowFiles(folder.path().to_owned()));
    let store = Store::new("mine", backend, HashSettings::new(HashAlgorithm::XxHash64, 16)?, features.into());
    let context = SessionContext::new();
    let extension = Extension::from_stores([Arc::new(store.with_project("photos")?)])?;
    context.attach_metaxy(&extension).await?;
    let session = MetaxySession::attached(context, extension);
    for sql in [
        "INSERT INTO mine.features.photo SELECT column1 AS path, named_struct('default', column2) AS \
         metaxy_provenance_by_field FROM (VALUES ('a.jpg', 'h1'), ('b.jpg', 'h2'))",
        "INSERT INTO mine.features.photo__thumbnail SELECT * FROM resolve_update('photo/thumbnail') WHERE path = 'a.jpg'",
        "DELETE FROM mine.features.photo WHERE path = 'a.jpg'",
    ] {
        session.sql(sql).await?.collect().await?;
    }
    let todo = "SELECT metaxy_increment, path FROM resolve_update('photo/thumbnail') ORDER BY path";
    Ok(session.sql(todo).await?.show().await?)
}
