//! What the footer of a Parquet file tells without its data: columns, write keys, greatest time, a version, and which
//! files it takes the place of.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, TimeUnit};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::parquet::arrow::parquet_to_arrow_schema;
use datafusion::parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use datafusion::parquet::file::statistics::Statistics;
use serde::de::DeserializeOwned;

use super::parquet_manifest::{Manifest, Place};
use crate::columns::{DELETED_AT, PROVENANCE, UPDATED_AT};
use crate::types::storable;

/// Key of a file's metadata that holds the caller's key for the write.
pub(crate) const WRITE_KEY: &str = "metaxy.write_key";
/// Key of a file's metadata that holds the keys of all writes whose rows were in the files that it replaces.
pub(crate) const WRITE_KEYS: &str = "metaxy.write_keys";
/// Key of a file's metadata that holds the place in the order of files that it has taken over.
pub(crate) const PLACE: &str = "metaxy.in_place_of";
/// Key of a file's metadata that holds what else became visible with it, and what ceased to be.
pub(crate) const MANIFEST: &str = "metaxy.replaces";
/// Key of a file's metadata that holds a name that no other file has.
pub(crate) const FILE_ID: &str = "metaxy.file";
/// Key of a file's metadata that holds its greatest time, in microseconds.
pub(crate) const LATEST_TIME: &str = "metaxy.latest_time";

/// The footer of a data file.
#[derive(Debug)]
pub(crate) struct Footer {
    metadata: Arc<ParquetMetaData>,
    schema: Schema,
}

impl Footer {
    /// Takes the columns from the footer, in the types in which they are read.
    ///
    /// # Errors
    /// A type that Arrow does not know.
    pub(crate) fn try_new(metadata: Arc<ParquetMetaData>) -> Result<Self> {
        let file = metadata.file_metadata();
        let stored = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata())?;
        // A column of NULLs without a type says as much as no column.
        let typed = stored.fields().iter().filter(|field| *field.data_type() != DataType::Null);
        let schema = Schema::new(typed.map(readable).collect::<Fields>());
        Ok(Self { metadata, schema })
    }

    /// The columns.
    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The keys of the writes whose rows are, or were, in the file.
    pub(crate) fn write_keys(&self) -> Result<Vec<String>> {
        let kept: Option<Vec<String>> = self.json(WRITE_KEYS)?;
        let own = self.value(WRITE_KEY).map(str::to_owned);
        Ok(kept.into_iter().flatten().chain(own).collect())
    }

    /// The place among the files that this one has taken over.
    pub(crate) fn place(&self) -> Result<Option<Place>> {
        self.json(PLACE)
    }

    /// What became visible, and ceased to be, with this file.
    pub(crate) fn manifest(&self) -> Result<Option<Manifest>> {
        self.json(MANIFEST)
    }

    fn json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let parse = |text| {
            serde_json::from_str(text)
                .map_err(|error| exec_datafusion_err!("its entry {key} is broken: {error}"))
        };
        self.value(key).map(parse).transpose()
    }

    /// The greatest `metaxy_updated_at` or `metaxy_deleted_at` in microseconds: as we wrote it down, else as the
    /// statistics bound it. `Some(None)` when the file has no times, `None` when the footer does not tell.
    pub(crate) fn latest_time(&self) -> Option<Option<i64>> {
        if let Some(time) = self.value(LATEST_TIME).and_then(|text| text.parse().ok()) {
            return Some(Some(time));
        }
        let mut latest = None;
        for column in [UPDATED_AT, DELETED_AT] {
            for group in self.metadata.row_groups() {
                latest = latest.max(self.bound(group, column)?);
            }
        }
        Some(latest)
    }

    /// A stored provenance, if the statistics have one.
    pub(crate) fn sample_version(&self) -> Option<String> {
        self.metadata.row_groups().iter().find_map(|group| match statistics(group, PROVENANCE)?? {
            // A cut value is shorter than any version.
            Statistics::ByteArray(values) if values.min_is_exact() => {
                values.min_opt()?.as_utf8().ok().map(str::to_owned)
            }
            _ => None,
        })
    }

    fn value(&self, key: &str) -> Option<&str> {
        let pairs = self.metadata.file_metadata().key_value_metadata()?;
        pairs.iter().find(|pair| pair.key == key)?.value.as_deref()
    }

    fn bound(&self, group: &RowGroupMetaData, column: &str) -> Option<Option<i64>> {
        let Some(statistics) = statistics(group, column) else {
            return Some(None);
        };
        let statistics = statistics?;
        if statistics.null_count_opt().and_then(|count| i64::try_from(count).ok()) == Some(group.num_rows()) {
            return Some(None);
        }
        let file = self.metadata.file_metadata();
        let stored = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata()).ok()?;
        match (statistics, stored.field_with_name(column).ok()?.data_type()) {
            (Statistics::Int64(values), DataType::Timestamp(unit, _)) => Some(Some(match unit {
                TimeUnit::Second => values.max_opt()?.checked_mul(1_000_000)?,
                TimeUnit::Millisecond => values.max_opt()?.checked_mul(1000)?,
                TimeUnit::Microsecond => *values.max_opt()?,
                TimeUnit::Nanosecond => values.max_opt()?.div_euclid(1000),
            })),
            _ => None,
        }
    }
}

/// The statistics of a column at the top, `Some(None)` if there are none, `None` if there is no such column.
fn statistics<'a>(group: &'a RowGroupMetaData, column: &str) -> Option<Option<&'a Statistics>> {
    let found = group.columns().iter().find(|chunk| chunk.column_path().parts() == [column])?;
    Some(found.statistics())
}

/// A column as it is read: in a type that can be stored, and NULL where a file lacks it.
fn readable(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), nullable(&storable(field.data_type())), true))
}

fn nullable(data_type: &DataType) -> DataType {
    let inner = |field: &FieldRef| Arc::new(Field::new(field.name(), nullable(field.data_type()), true));
    match data_type {
        DataType::Struct(members) => DataType::Struct(members.iter().map(inner).collect()),
        DataType::List(item) => DataType::List(inner(item)),
        other => other.clone(),
    }
}
