//! How rows lie in the files of Delta tables that this crate writes: in pieces that are small enough to read a few samples
//! without the others, and large enough that whoever reads everything doesn't notice.

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};
use datafusion::parquet::schema::types::ColumnPath;

use crate::columns::{DATA_VERSION, DATA_VERSION_BY_FIELD, PROVENANCE, PROVENANCE_BY_FIELD};

/// Rows of a row group: few enough for several processors to read a file, and for statistics to leave out most of it.
pub(super) const GROUP_ROWS: usize = 128 * 1024;
/// Rows of a page: few enough for a sample to be read without many others, and enough for pages to cost nothing. Where
/// pages of all columns begin at the same rows, a sample is in one page of each.
const PAGE_ROWS: usize = 1024;
/// Bytes of a dictionary: whoever reads a page reads it, too.
const DICTIONARY_BYTES: usize = 64 * 1024;
/// Columns of one hash.
const HASHES: [&str; 2] = [PROVENANCE, DATA_VERSION];
/// Columns of a hash for each field.
const VERSIONS: [&str; 2] = [PROVENANCE_BY_FIELD, DATA_VERSION_BY_FIELD];

/// The layout of files with these columns.
pub(super) fn layout(schema: &Schema, id_columns: &[String]) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Chunk);
    // Pages are looked for by ids. Whoever looks has to read what is said of the pages of all columns.
    for id in id_columns {
        let id = ColumnPath::new(vec![id.clone()]);
        properties = properties.set_column_statistics_enabled(id, EnabledStatistics::Page);
    }
    // No value of these is there twice, as a rule.
    let single =
        id_columns.iter().filter(|_| id_columns.len() == 1).map(|id| ColumnPath::new(vec![id.clone()]));
    for path in hashes(schema).into_iter().chain(single) {
        properties = properties.set_column_dictionary_enabled(path, false);
    }
    properties.build()
}

/// The columns of hashes.
fn hashes(schema: &Schema) -> Vec<ColumnPath> {
    let mut paths = Vec::new();
    for field in schema.fields() {
        match field.data_type() {
            DataType::Struct(fields) if VERSIONS.contains(&field.name().as_str()) => {
                let parts = fields.iter().map(|own| vec![field.name().clone(), own.name().clone()]);
                paths.extend(parts.map(ColumnPath::new));
            }
            _ if HASHES.contains(&field.name().as_str()) => {
                paths.push(ColumnPath::from(field.name().as_str()));
            }
            _ => {}
        }
    }
    paths
}
