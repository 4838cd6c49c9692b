//! The `metaxy_*` system columns: their names, Arrow types and who writes them.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};

/// Struct (or map) of field key to provenance; given with the rows of a root feature, computed for others.
pub const PROVENANCE_BY_FIELD: &str = "metaxy_provenance_by_field";
/// Hash of the fields' provenances; written by the store.
pub const PROVENANCE: &str = "metaxy_provenance";
/// Struct (or map) of field key to data version; the provenance unless the user overrides it.
pub const DATA_VERSION_BY_FIELD: &str = "metaxy_data_version_by_field";
/// Hash of the fields' data versions; written by the store.
pub const DATA_VERSION: &str = "metaxy_data_version";
/// Version of the feature's definition at the write; written by the store.
pub const FEATURE_VERSION: &str = "metaxy_feature_version";
/// Version of the project's definitions at the write; written by the store.
pub const PROJECT_VERSION: &str = "metaxy_project_version";
/// When the sample was first made; kept if the written rows have it.
pub const CREATED_AT: &str = "metaxy_created_at";
/// The time of the write, the same for all its rows.
pub const UPDATED_AT: &str = "metaxy_updated_at";
/// When the sample was deleted, NULL for a live one.
pub const DELETED_AT: &str = "metaxy_deleted_at";
/// The caller's run id, or NULL.
pub const MATERIALIZATION_ID: &str = "metaxy_materialization_id";

/// The outcome of an increment: `new`, `stale` or `orphaned`. Never stored.
pub const INCREMENT: &str = "metaxy_increment";

/// Why a sample is in an increment, in words; only where the increment is asked to explain itself. Never stored.
pub const REASON: &str = "metaxy_reason";

/// Hidden column of a stored table: orders rows that were written at the same time.
///
/// File modification time, then file path, then row position, folded into one number.
pub const ROW_ORDER: &str = "__metaxy_row_order";

/// Hidden column of a feature's table: TRUE in rows that are live at an older feature version, of samples that have no
/// row at the current one.
pub(crate) const WAITING: &str = "__metaxy_waiting";

/// Start of the names of hidden columns that hold one field's data version; see [`field_version`].
const FIELD_VERSION: &str = "__metaxy_version_";

/// Hidden column of a feature's table: the data version of the field with this struct key.
///
/// A child that depends on one field of many needs no more than this of the versions column.
pub fn field_version(struct_key: &str) -> String {
    format!("{FIELD_VERSION}{struct_key}")
}

/// Whether a column belongs to Metaxy, stored or hidden, rather than to the user.
pub fn is_reserved(name: &str) -> bool {
    name.starts_with("metaxy_") || name.starts_with("__metaxy_")
}

/// The four columns that carry versions, in the order in which relations show them.
pub const VERSION_COLUMNS: [&str; 4] = [PROVENANCE_BY_FIELD, PROVENANCE, DATA_VERSION_BY_FIELD, DATA_VERSION];

/// All stored system columns in the order in which a new table gets them.
pub const SYSTEM_COLUMNS: [&str; 10] = [
    PROVENANCE_BY_FIELD,
    PROVENANCE,
    DATA_VERSION_BY_FIELD,
    DATA_VERSION,
    FEATURE_VERSION,
    PROJECT_VERSION,
    CREATED_AT,
    UPDATED_AT,
    DELETED_AT,
    MATERIALIZATION_ID,
];

/// The columns that, with the ids, tell one row of a sample's history from another.
pub(crate) const ROW_IDENTITY: [&str; 8] = [
    FEATURE_VERSION,
    PROJECT_VERSION,
    PROVENANCE,
    DATA_VERSION,
    CREATED_AT,
    UPDATED_AT,
    DELETED_AT,
    MATERIALIZATION_ID,
];

/// Whether `name` is a stored system column.
pub fn is_system(name: &str) -> bool {
    SYSTEM_COLUMNS.contains(&name)
}

/// The type of the three time columns: microseconds in UTC.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The system columns that do not depend on the feature's fields.
///
/// Empty for an unknown name and for the two `*_by_field` columns.
pub fn scalar_type(name: &str) -> Option<DataType> {
    match name {
        CREATED_AT | UPDATED_AT | DELETED_AT => Some(timestamp()),
        PROVENANCE | DATA_VERSION | FEATURE_VERSION | PROJECT_VERSION | MATERIALIZATION_ID => {
            Some(DataType::Utf8)
        }
        _ => None,
    }
}

/// The struct type of a `*_by_field` column with these struct keys.
pub fn versions_struct<'a>(keys: impl IntoIterator<Item = &'a str>) -> DataType {
    DataType::Struct(
        keys.into_iter().map(|key| Arc::new(Field::new(key, DataType::Utf8, true)) as FieldRef).collect(),
    )
}
