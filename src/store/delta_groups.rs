//! Where the values of a column are in the files of a Delta table, as far as their footers say.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use datafusion::parquet::file::statistics::Statistics;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectMeta;

use super::delta::DeltaRows;
use super::increasing::Bound;

/// Files whose footers are read at most.
const FILES: usize = 1024;
/// Footers that are read at the same time.
const AT_ONCE: usize = 16;
/// A footer is most often found within so many bytes of a file's end.
pub(super) const FOOTER_GUESS: usize = 64 * 1024;

/// Rows that lie together in a file, and that can be read without the others.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    /// No value of the column is less.
    pub least: Bound,
    /// No value of the column is greater.
    pub greatest: Bound,
    pub rows: u64,
}

impl DeltaRows {
    /// The groups of all rows, by a column of texts or integers; `None` if a file doesn't say where its values are.
    ///
    /// # Errors
    /// A file that can't be read.
    pub(crate) async fn groups(&self, column: &str) -> Result<Option<Vec<Group>>> {
        if self.has_other_names()? {
            return Ok(None);
        }
        let files: Vec<ObjectMeta> =
            self.logged()?.iter().map(ObjectMeta::try_from).collect::<std::result::Result<_, _>>()?;
        if files.len() > FILES {
            return Ok(None);
        }
        let store = self.table.log_store().object_store(None);
        let footers = futures::stream::iter(files).map(|file| {
            let store = Arc::clone(&store);
            async move {
                let footer = DFParquetMetadata::new(store.as_ref(), &file)
                    .with_metadata_size_hint(Some(FOOTER_GUESS))
                    .with_page_index_policy(Some(PageIndexPolicy::Skip));
                footer.fetch_metadata().await
            }
        });
        let footers: Vec<Arc<ParquetMetaData>> = footers.buffered(AT_ONCE).try_collect().await?;
        let groups: Option<Vec<Vec<Group>>> =
            footers.iter().map(|footer| groups_of(footer, column)).collect();
        Ok(groups.map(|groups| groups.concat()))
    }
}

fn groups_of(footer: &ParquetMetaData, column: &str) -> Option<Vec<Group>> {
    let columns = footer.file_metadata().schema_descr().columns();
    let index = columns.iter().position(|own| own.path().parts() == [column])?;
    let groups = footer.row_groups().iter().filter(|group| group.num_rows() > 0);
    groups
        .map(|group| {
            let statistics = group.column(index).statistics()?;
            let (least, greatest) = bounds(statistics)?;
            Some(Group { least, greatest, rows: u64::try_from(group.num_rows()).ok()? })
        })
        .collect()
}

/// The least and the greatest value, or such as are less and greater.
fn bounds(statistics: &Statistics) -> Option<(Bound, Bound)> {
    // Where nobody said in what order, texts may be in another.
    if statistics.is_min_max_deprecated() {
        return None;
    }
    match statistics {
        Statistics::Int32(values) => {
            Some((Bound::Number((*values.min_opt()?).into()), Bound::Number((*values.max_opt()?).into())))
        }
        Statistics::Int64(values) => {
            Some((Bound::Number(*values.min_opt()?), Bound::Number(*values.max_opt()?)))
        }
        Statistics::ByteArray(values) => {
            let text =
                |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(|text| Bound::Text(text.to_owned()));
            Some((text(values.min_opt()?.data())?, text(values.max_opt()?.data())?))
        }
        _ => None,
    }
}
