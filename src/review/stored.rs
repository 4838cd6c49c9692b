//! The feature's own rows, as reasons need them: hashes of versions, by key.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use futures::StreamExt;

use super::lookup::{KeyNumbers, Lookups};
use super::reason::StoredRow;
use crate::columns::{FEATURE_VERSION, PROVENANCE, PROVENANCE_BY_FIELD};
use crate::model::FeatureSpec;
use crate::update::Reasons;
use crate::update::internal::{STALE, field};

/// The stored rows at the current feature version.
pub(super) struct StoredRows {
    rows: HashMap<u128, Vec<StoredRow>>,
    _reservation: MemoryReservation,
}

impl StoredRows {
    pub(super) async fn look_up(
        reasons: &Reasons,
        lookups: &Lookups,
        keys: &KeyNumbers,
        context: &Arc<TaskContext>,
    ) -> Result<Self> {
        let reservation = MemoryConsumer::new("ReviewExec[stored]").register(context.memory_pool());
        let mut rows: HashMap<u128, Vec<StoredRow>> = HashMap::new();
        let width = size_of::<u128>() + size_of::<StoredRow>() + size_of::<u64>() * reasons.fields.len();
        if let Some(input) = reasons.stored {
            let mut batches = lookups.rows(input, context).await?;
            while let Some(batch) = batches.next().await.transpose()? {
                reservation.try_grow(2 * width * batch.num_rows())?;
                let fields = fields(&batch, reasons, keys)?;
                let samples = numbers(&texts(&batch, PROVENANCE)?, keys);
                let flags = (0..reasons.stale_when.len())
                    .map(|i| Ok(cast(named(&batch, &format!("{STALE}{i}"))?, &DataType::Boolean)?))
                    .collect::<Result<Vec<ArrayRef>>>()?;
                for (row, key) in keys.of_first(&batch)?.into_iter().enumerate() {
                    rows.entry(key).or_default().push(StoredRow {
                        fields: fields.iter().map(|field| field[row]).collect(),
                        sample: samples[row],
                        flags: flags.iter().map(|flag| flag.as_boolean().value(row)).collect(),
                    });
                }
            }
        }
        Ok(Self { rows, _reservation: reservation })
    }

    pub(super) fn of(&self, key: u128) -> &[StoredRow] {
        self.rows.get(&key).map_or(&[], Vec::as_slice)
    }
}

/// Rows at other feature versions, of samples without any row at the current one.
pub(super) struct EarlierRows {
    rows: HashMap<u128, (usize, Vec<u64>)>,
    versions: Vec<String>,
    past: HashMap<String, FeatureSpec>,
    _reservation: MemoryReservation,
}

impl EarlierRows {
    pub(super) async fn look_up(
        reasons: &Reasons,
        lookups: &Lookups,
        keys: &KeyNumbers,
        context: &Arc<TaskContext>,
    ) -> Result<Self> {
        let reservation = MemoryConsumer::new("ReviewExec[earlier]").register(context.memory_pool());
        let mut earlier = Self {
            rows: HashMap::new(),
            versions: Vec::new(),
            past: HashMap::new(),
            _reservation: reservation,
        };
        if let Some(input) = reasons.earlier {
            let mut batches = lookups.rows(input, context).await?;
            while let Some(batch) = batches.next().await.transpose()? {
                earlier.add(&batch, reasons, keys)?;
            }
        }
        if let (Some(past), false) = (&reasons.past, earlier.rows.is_empty()) {
            let mut batches = lookups.of(past, context).await?;
            while let Some(batch) = batches.next().await.transpose()? {
                let (versions, specs) = (texts(&batch, FEATURE_VERSION)?, texts(&batch, "feature_spec")?);
                // What can't be read is as good as not recorded.
                let specs = versions.iter().zip(specs.iter()).filter_map(|(version, spec)| {
                    Some((version?.to_owned(), FeatureSpec::from_json(spec?).ok()?))
                });
                earlier.past.extend(specs);
            }
        }
        Ok(earlier)
    }

    fn add(&mut self, batch: &RecordBatch, reasons: &Reasons, keys: &KeyNumbers) -> Result<()> {
        let width = size_of::<(u128, usize, Vec<u64>)>() + size_of::<u64>() * reasons.fields.len();
        self._reservation.try_grow(2 * width * batch.num_rows())?;
        let fields = fields(batch, reasons, keys)?;
        let versions = texts(batch, FEATURE_VERSION)?;
        for (row, key) in keys.of_first(batch)?.into_iter().enumerate() {
            let version = if versions.is_null(row) { "" } else { versions.value(row) };
            let known = self.versions.iter().position(|known| known == version);
            let number = known.unwrap_or_else(|| {
                self.versions.push(version.to_owned());
                self.versions.len() - 1
            });
            self.rows.insert(key, (number, fields.iter().map(|field| field[row]).collect()));
        }
        Ok(())
    }

    /// The feature version of a key's row, its fields, and the spec of that version.
    pub(super) fn of(&self, key: u128) -> Option<(&str, &[u64], Option<&FeatureSpec>)> {
        let (version, fields) = self.rows.get(&key)?;
        let version = self.versions[*version].as_str();
        Some((version, fields, self.past.get(version)))
    }
}

/// The expected versions of an increment's rows: each field's, then the sample's.
pub(super) fn expected(
    batch: &RecordBatch,
    reasons: &Reasons,
    keys: &KeyNumbers,
) -> Result<(Vec<Vec<u64>>, Vec<u64>)> {
    let by_field = named(batch, PROVENANCE_BY_FIELD)?;
    let by_field = by_field.as_struct();
    let member = |name: &str| -> Result<Vec<u64>> {
        let member = by_field.column_by_name(name);
        let member = member.ok_or_else(|| internal_datafusion_err!("increment: no field {name}"))?;
        let member = cast(member, &DataType::Utf8)?;
        let member = member.as_string::<i32>();
        let nulls = NullBuffer::union(member.nulls(), by_field.nulls());
        let texts = StringArray::new(member.offsets().clone(), member.values().clone(), nulls);
        Ok(numbers(&texts, keys))
    };
    let fields = reasons.fields.iter().map(|field| member(&field.struct_key)).collect::<Result<_>>()?;
    Ok((fields, numbers(&texts(batch, PROVENANCE)?, keys)))
}

/// Each field's provenance.
fn fields(batch: &RecordBatch, reasons: &Reasons, keys: &KeyNumbers) -> Result<Vec<Vec<u64>>> {
    reasons.fields.iter().map(|f| Ok(numbers(&texts(batch, &field(&f.struct_key))?, keys))).collect()
}

fn numbers(texts: &StringArray, keys: &KeyNumbers) -> Vec<u64> {
    texts.iter().map(|text| keys.version(text)).collect()
}

fn named<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| internal_datafusion_err!("increment: no column {name}"))
}

fn texts(batch: &RecordBatch, name: &str) -> Result<StringArray> {
    Ok(cast(named(batch, name)?, &DataType::Utf8)?.as_string::<i32>().clone())
}
