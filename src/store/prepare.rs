//! Turns a caller's rows into the rows that are stored: columns by name, system columns added.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::error::DataFusionError;

use super::check::{Checks, PendingIncrement};
use super::versions::{join, sample_version, split, struct_keys};
use super::write::WriteOptions;
use crate::columns::*;
use crate::error::{MetaxyError, Result};
use crate::hash::HashSettings;
use crate::model::FeatureDefinition;
use crate::types::{fit, storable, type_name};

/// What a write stamps on every row.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    pub feature_version: String,
    pub project_version: String,
    pub now: DateTime<Utc>,
    pub settings: HashSettings,
    pub options: WriteOptions,
}

/// Prepares batch after batch; [`finish`](Self::finish) tells whether all of them may be committed.
pub(crate) struct Preparer {
    feature: String,
    stamp: Stamp,
    /// Struct keys of the feature's fields, in the spec's order.
    keys: Vec<String>,
    /// Source column and stored type of each user column.
    user: Vec<(usize, DataType)>,
    provenance: usize,
    data_version: Option<usize>,
    created_at: Option<usize>,
    schema: SchemaRef,
    checks: Checks,
}

impl Preparer {
    /// Checks the columns of `given` against the feature and the table it has (`stored`), before any row is read.
    pub(crate) fn try_new(
        definition: &FeatureDefinition,
        stamp: Stamp,
        given: &Schema,
        stored: Option<&Schema>,
    ) -> Result<Self> {
        let feature = definition.spec.key.to_string();
        let refuse = |reason: String| MetaxyError::Write { feature: feature.clone(), reason };
        for (i, field) in given.fields().iter().enumerate() {
            if let Some(other) =
                given.fields()[..i].iter().find(|o| o.name().eq_ignore_ascii_case(field.name()))
            {
                return Err(refuse(if other.name() == field.name() {
                    format!("column {:?} is there twice; give one of them another name", field.name())
                } else {
                    format!("columns {:?} and {:?} differ only in letter case", other.name(), field.name())
                }));
            }
        }
        let position = |name: &str| given.fields().iter().position(|f| f.name() == name);
        let missing: Vec<_> = definition
            .spec
            .id_columns
            .iter()
            .filter(|id| position(id).is_none())
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            return Err(refuse(format!(
                "id column {} is missing; columns are matched by name",
                missing.join(", ")
            )));
        }
        let keys: Vec<String> = definition.spec.fields.iter().map(|f| f.key.struct_key()).collect();
        let provenance = position(PROVENANCE_BY_FIELD).ok_or_else(|| {
            refuse(format!(
                "column {PROVENANCE_BY_FIELD} is missing; take it from resolve_update, or for a root feature give \
                 one version per field: named_struct('{}', …) AS {PROVENANCE_BY_FIELD}",
                keys.first().map_or("", String::as_str)
            ))
        })?;
        let data_version = position(DATA_VERSION_BY_FIELD);
        for index in [Some(provenance), data_version].into_iter().flatten() {
            check_keys(given.field(index), &keys).map_err(&refuse)?;
        }
        let mut fields = Vec::new();
        let mut user = Vec::new();
        for (index, field) in given.fields().iter().enumerate() {
            let name = field.name();
            if is_system(name) || name == INCREMENT || name == REASON || is_parent_version(name) {
                continue;
            }
            if name.starts_with("metaxy_") || name == ROW_ORDER {
                return Err(refuse(format!("column {name:?}: names that start with metaxy_ are reserved")));
            }
            let target =
                stored_type(field, stored.and_then(|s| s.field_with_name(name).ok())).map_err(&refuse)?;
            fields.push(Field::new(name, target.clone(), true));
            user.push((index, target));
        }
        for name in SYSTEM_COLUMNS {
            let target = match stored.and_then(|s| s.field_with_name(name).ok()) {
                Some(field) if matches!(field.data_type(), DataType::Map(_, _)) => {
                    storable(field.data_type())
                }
                _ => scalar_type(name).unwrap_or_else(|| versions_struct(keys.iter().map(String::as_str))),
            };
            fields.push(Field::new(name, target, true));
        }
        let checks = Checks::new(
            definition.spec.id_columns.clone(),
            definition.spec.id_columns.iter().filter_map(|id| position(id)).collect(),
        );
        Ok(Self {
            feature,
            keys,
            user,
            provenance,
            data_version,
            created_at: position(CREATED_AT),
            schema: Arc::new(Schema::new(fields)),
            checks: checks.with_increment(position(INCREMENT).map(PendingIncrement)),
            stamp,
        })
    }

    /// Columns and types of the prepared rows.
    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Prepares one batch; `None` once a row was refused, as then nothing will be written anyway.
    pub(crate) fn batch(&mut self, batch: &RecordBatch) -> Result<Option<RecordBatch>> {
        let stored_ids = self.stored_ids(batch)?;
        self.checks.rows(batch, &stored_ids)?;
        let provenances = split(batch.column(self.provenance), &self.keys)?;
        let ids = self.checks.ids(batch);
        if self.stamp.options.strict_versions {
            self.checks.versions(PROVENANCE_BY_FIELD, &self.keys, &provenances, None, &ids);
        }
        let versions = match self.data_version {
            None => provenances.clone(),
            Some(index) => {
                let column = batch.column(index);
                let given = split(column, &self.keys)?;
                if self.stamp.options.strict_versions {
                    self.checks.versions(DATA_VERSION_BY_FIELD, &self.keys, &given, column.nulls(), &ids);
                }
                given.iter().zip(&provenances).map(|(v, p)| fill(v, p, column)).collect()
            }
        };
        if self.checks.failed() {
            return Ok(None);
        }
        let settings = self.stamp.settings;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for (index, target) in &self.user {
            columns.push(self.convert(batch, *index, target)?);
        }
        let rows = batch.num_rows();
        for (name, field) in SYSTEM_COLUMNS.iter().zip(&self.schema.fields()[self.user.len()..]) {
            columns.push(match *name {
                PROVENANCE_BY_FIELD => join(&self.keys, &provenances, field.data_type())?,
                DATA_VERSION_BY_FIELD => join(&self.keys, &versions, field.data_type())?,
                PROVENANCE => Arc::new(sample_version(&self.keys, &provenances, settings)),
                DATA_VERSION => Arc::new(sample_version(&self.keys, &versions, settings)),
                FEATURE_VERSION => constant(Some(&self.stamp.feature_version), rows),
                PROJECT_VERSION => constant(Some(&self.stamp.project_version), rows),
                MATERIALIZATION_ID => constant(self.stamp.options.materialization_id.as_deref(), rows),
                CREATED_AT => self.created(batch)?,
                UPDATED_AT => times(self.stamp.now, rows),
                _ => new_null_array(field.data_type(), rows),
            });
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(DataFusionError::from)?;
        Ok(Some(batch))
    }

    /// Fails when any row was refused, with counts and examples of each kind.
    pub(crate) fn finish(&self) -> Result<()> {
        match self.checks.summary() {
            None => Ok(()),
            Some(reason) => Err(MetaxyError::Write { feature: self.feature.clone(), reason }),
        }
    }

    /// The ids as they are stored.
    fn stored_ids(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let indices = self.checks.id_indices().to_vec();
        indices
            .into_iter()
            .map(|index| {
                let target = self.user.iter().find(|(user, _)| *user == index).map(|(_, target)| target);
                match target {
                    Some(target) => self.convert(batch, index, target),
                    None => Ok(Arc::clone(batch.column(index))),
                }
            })
            .collect()
    }

    fn convert(&self, batch: &RecordBatch, index: usize, target: &DataType) -> Result<ArrayRef> {
        let column = batch.column(index);
        if column.data_type() == target {
            return Ok(Arc::clone(column));
        }
        // A value that does not fit (a large unsigned number) is an error, never a NULL.
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(column, target, &strict).map_err(|error| MetaxyError::Write {
            feature: self.feature.clone(),
            reason: format!("column {:?}: {error}", batch.schema().field(index).name()),
        })
    }

    fn created(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let now = times(self.stamp.now, batch.num_rows());
        let Some(index) = self.created_at else {
            return Ok(now);
        };
        let given = self.convert(batch, index, &timestamp())?;
        let micros = self.stamp.now.timestamp_micros();
        let filled: TimestampMicrosecondArray = given
            .as_primitive::<TimestampMicrosecondType>()
            .iter()
            .map(|t| Some(t.unwrap_or(micros)))
            .collect();
        Ok(Arc::new(filled.with_timezone("UTC")))
    }
}

fn times(at: DateTime<Utc>, rows: usize) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_value(at.timestamp_micros(), rows).with_timezone("UTC"))
}

fn constant(text: Option<&str>, rows: usize) -> ArrayRef {
    Arc::new(StringArray::from_iter(std::iter::repeat_n(text, rows)))
}

/// A row whose whole data version is NULL keeps its provenance.
fn fill(given: &StringArray, provenance: &StringArray, column: &ArrayRef) -> StringArray {
    (0..given.len())
        .map(|row| {
            let source = if column.is_null(row) { provenance } else { given };
            source.is_valid(row).then(|| source.value(row))
        })
        .collect()
}

/// Parents' version columns carry their parent's suffix; they explain an increment and are never stored.
fn is_parent_version(name: &str) -> bool {
    VERSION_COLUMNS.iter().any(|column| name.strip_prefix(column).is_some_and(|rest| rest.starts_with("__")))
}

fn check_keys(field: &Field, keys: &[String]) -> std::result::Result<(), String> {
    let given = match struct_keys(field.data_type()) {
        Ok(Some(given)) => given,
        Ok(None) => return Ok(()),
        Err(found) => {
            return Err(format!(
                "column {} is {found}; it must be a struct with the fields {}",
                field.name(),
                keys.join(", ")
            ));
        }
    };
    let missing: Vec<_> = keys.iter().filter(|k| !given.contains(&k.as_str())).map(String::as_str).collect();
    let unknown: Vec<_> = given.iter().filter(|g| !keys.iter().any(|k| k == *g)).copied().collect();
    if missing.is_empty() && unknown.is_empty() {
        return Ok(());
    }
    Err(format!(
        "column {} has the fields {}; the feature's fields are {}",
        field.name(),
        given.join(", "),
        keys.join(", ")
    ))
}

fn stored_type(given: &Field, stored: Option<&Field>) -> std::result::Result<DataType, String> {
    match stored {
        Some(stored) => fit(given.data_type(), stored.data_type()).ok_or_else(|| {
            format!(
                "column {:?} is {}, but {} in the table; CAST it or use another name",
                given.name(),
                type_name(given.data_type()),
                type_name(stored.data_type())
            )
        }),
        None if *given.data_type() == DataType::Null => {
            Err(format!("column {:?} is an untyped NULL; CAST it to the type it should have", given.name()))
        }
        None => Ok(storable(given.data_type())),
    }
}
