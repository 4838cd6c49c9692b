//! The pages of a Delta table's files that may have rows of a few keys; no other is read.
//!
//! Conditions on ranges of values are compared with the statistics of pages by DataFusion. A set of keys that lie far apart
//! has no range that would leave anything out, so its pages are looked up here, and the scan is told which rows to read.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::Expr;
use datafusion::parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use datafusion::parquet::file::page_index::column_index::ColumnIndexMetaData;
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use object_store::ObjectMeta;
use object_store::path::Path;
use url::Url;

use super::delta_groups::FOOTER_GUESS;
use super::delta_paths::url_of_file;
use super::newest::Newest;
use crate::operators::few_keys;

/// Files whose indexes are read at the same time.
const AT_ONCE: usize = 16;
/// Of one key in so few rows, nearly every page has one.
const ROWS_OF_A_KEY: usize = 8;

/// Wanted values of a column, in their order.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) column: String,
    values: Values,
    null: bool,
}

#[derive(Debug, Clone)]
enum Values {
    Numbers(Vec<i64>),
    Texts(Vec<Vec<u8>>),
}

/// What is read of a file.
enum Pages {
    None,
    Rows(RowSelection),
}

impl Wanted {
    /// `None` for values whose order in files may be another one.
    fn of(column: &str, keys: &ArrayRef) -> Option<Self> {
        let values = if keys.data_type().is_signed_integer() {
            let keys = cast(keys, &DataType::Int64).ok()?;
            let mut numbers: Vec<i64> = keys.as_primitive::<Int64Type>().iter().flatten().collect();
            numbers.sort_unstable();
            Values::Numbers(numbers)
        } else if keys.data_type().is_string() {
            let keys = cast(keys, &DataType::Utf8View).ok()?;
            let texts = keys.as_string_view().iter().flatten();
            let mut texts: Vec<Vec<u8>> = texts.map(|text| text.as_bytes().to_vec()).collect();
            texts.sort_unstable();
            Values::Texts(texts)
        } else {
            return None;
        };
        Some(Self { column: column.to_owned(), values, null: keys.null_count() > 0 })
    }

    /// Asks no more for these values.
    pub(super) fn leave_out(&mut self, values: &ArrayRef) {
        let Some(others) = Self::of(&self.column, values) else { return };
        match (&mut self.values, others.values) {
            (Values::Numbers(own), Values::Numbers(others)) => {
                own.retain(|n| others.binary_search(n).is_err())
            }
            (Values::Texts(own), Values::Texts(others)) => {
                own.retain(|text| others.binary_search(text).is_err())
            }
            _ => return,
        }
        self.null &= !others.null;
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.null && self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        match &self.values {
            Values::Numbers(numbers) => numbers.len(),
            Values::Texts(texts) => texts.len(),
        }
    }

    /// Whether each page of a column may have one of the values; `None` if that isn't known.
    fn pages(&self, index: &ColumnIndexMetaData) -> Option<Vec<bool>> {
        let has: Box<dyn Fn(usize) -> Option<bool> + '_> = match (&self.values, index) {
            (Values::Numbers(numbers), ColumnIndexMetaData::INT32(own)) => Box::new(|page| {
                Some(is_any(numbers, &(*own.min_value(page)?).into(), &(*own.max_value(page)?).into()))
            }),
            (Values::Numbers(numbers), ColumnIndexMetaData::INT64(own)) => {
                Box::new(|page| Some(is_any(numbers, own.min_value(page)?, own.max_value(page)?)))
            }
            (Values::Texts(texts), ColumnIndexMetaData::BYTE_ARRAY(own)) => {
                Box::new(|page| Some(is_any(texts, own.min_value(page)?, own.max_value(page)?)))
            }
            _ => return None,
        };
        let has_null = |page| self.null && index.null_count(page).is_none_or(|nulls| nulls > 0);
        let pages = 0..usize::try_from(index.num_pages()).ok()?;
        // Pages of NULLs alone have no least value.
        Some(pages.map(|page| has_null(page) || has(page).unwrap_or(false)).collect())
    }

    /// Whether a file has so many rows that there may be pages without any of the values.
    fn are_few_of(&self, file: &PartitionedFile) -> bool {
        let rows = file.statistics.as_ref().and_then(|statistics| statistics.num_rows.get_value().copied());
        rows.is_none_or(|rows| rows > self.len().saturating_mul(ROWS_OF_A_KEY))
    }

    /// What may have one of the values; `None` if all has to be read.
    fn pages_of(&self, file: &ParquetMetaData) -> Option<Pages> {
        let columns = file.file_metadata().schema_descr().columns();
        let column = columns.iter().position(|own| own.path().parts() == [self.column.as_str()])?;
        let (values, places) = (file.column_index()?, file.offset_index()?);
        let mut selectors = Vec::new();
        for (group, metadata) in file.row_groups().iter().enumerate() {
            let rows = usize::try_from(metadata.num_rows()).ok()?;
            let pages = values.get(group)?.get(column).and_then(|index| self.pages(index));
            let places = places.get(group)?.get(column)?.page_locations();
            let Some(pages) = pages.filter(|pages| pages.len() == places.len()) else {
                selectors.push(RowSelector::select(rows));
                continue;
            };
            let starts = places.iter().map(|place| usize::try_from(place.first_row_index).ok());
            let mut starts = starts.collect::<Option<Vec<usize>>>()?;
            starts.push(rows);
            for (page, bounds) in pages.into_iter().zip(starts.windows(2)) {
                let rows = bounds[1].checked_sub(bounds[0])?;
                selectors.push(if page { RowSelector::select(rows) } else { RowSelector::skip(rows) });
            }
        }
        let selection = RowSelection::from(selectors);
        match (selection.selects_any(), selection.skipped_row_count()) {
            (false, _) => Some(Pages::None),
            (true, 0) => None,
            (true, _) => Some(Pages::Rows(selection)),
        }
    }
}

/// Whether a value is one of these or between them.
fn is_any<V: Borrow<B>, B: Ord + ?Sized>(values: &[V], low: &B, high: &B) -> bool {
    let first = values.partition_point(|value| value.borrow() < low);
    values.get(first).is_some_and(|value| value.borrow() <= high)
}

/// The values that one of the conditions asks for, if they can be looked up.
pub(super) fn wanted_by(conditions: &[Expr]) -> Option<Wanted> {
    conditions.iter().filter_map(few_keys).find_map(|(column, keys)| Wanted::of(column, keys))
}

/// The scan of a table without pages that have none of the wanted values; those that newer files have are wanted of them
/// alone.
///
/// What can't be looked up is read: a file that is broken is for the scan to tell.
pub(super) async fn only_pages_of(
    scan: Arc<dyn ExecutionPlan>,
    wanted: Wanted,
    newest: &[Newest],
    table: &Url,
    state: &dyn Session,
) -> Result<Arc<dyn ExecutionPlan>> {
    // What is wanted of the files of each generation, and last of all others.
    let mut wanted = vec![wanted];
    let mut places = HashMap::new();
    for (generation, newest) in newest.iter().enumerate() {
        for path in &newest.files {
            let url = url_of_file(table, path);
            let Ok(path) = Path::from_url_path(url.path()) else { return Ok(scan) };
            places.insert(path, generation);
        }
        let mut left = wanted[generation].clone();
        left.leave_out(&newest.ids);
        wanted.push(left);
    }
    let wanted_of = |file: &ObjectMeta| &wanted[places.get(&file.location).copied().unwrap_or(newest.len())];
    let mut files = Vec::new();
    scan.apply(|node| {
        if let Some((config, _)) = plain_scan(node) {
            let all = config.file_groups.iter().flat_map(|group| group.iter());
            let large = all.filter(|file| wanted_of(&file.object_meta).are_few_of(file));
            files.extend(large.map(|file| (config.object_store_url.clone(), file.object_meta.clone())));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let runtime = state.runtime_env();
    let (runtime, wanted_of) = (runtime.as_ref(), &wanted_of);
    let pages = |url: ObjectStoreUrl, file: ObjectMeta| async move {
        let wanted = wanted_of(&file);
        if wanted.is_empty() {
            return Some(Pages::None);
        }
        let store = runtime.object_store(&url).ok()?;
        // The scan finds the index where this puts it.
        let footer = DFParquetMetadata::new(store.as_ref(), &file)
            .with_metadata_size_hint(Some(FOOTER_GUESS))
            .with_file_metadata_cache(Some(runtime.cache_manager.get_file_metadata_cache()))
            .with_page_index_policy(Some(PageIndexPolicy::Optional));
        wanted.pages_of(footer.fetch_metadata().await.ok()?.as_ref())
    };
    let found = futures::stream::iter(files)
        .map(|(url, file)| async move { (file.location.clone(), pages(url, file).await) });
    let found: HashMap<Path, Option<Pages>> = found.buffer_unordered(AT_ONCE).collect().await;
    let chosen = |file: &PartitionedFile| match found.get(&file.object_meta.location) {
        Some(Some(Pages::Rows(rows))) => {
            Some(file.clone().with_extension(ParquetRowSelection::new(rows.clone())))
        }
        Some(Some(Pages::None)) => None,
        Some(None) | None => Some(file.clone()),
    };
    let changed = scan.transform_up(|node| {
        let Some((config, source)) = plain_scan(&node).filter(|_| !found.is_empty()) else {
            return Ok(Transformed::no(node));
        };
        let mut files = config.file_groups.iter().flat_map(|group| group.iter());
        let is_whole = |file: &PartitionedFile| matches!(found.get(&file.object_meta.location), Some(None));
        // The rows of a page come together: to look at each condition by itself would be to unpack the page once more.
        let by_row = files.any(is_whole) && source.table_parquet_options().global.pushdown_filters;
        let source = source.clone().with_pushdown_filters(by_row);
        let groups = config.file_groups.iter().map(|group| group.iter().filter_map(chosen).collect());
        let mut groups: Vec<FileGroup> = groups.collect();
        // Pieces of files would be put into empty ones, before those that they come after.
        groups.retain(|group: &FileGroup| !group.is_empty());
        if groups.is_empty() {
            groups.push(FileGroup::default());
        }
        let config = FileScanConfigBuilder::from(config.clone());
        let config = config.with_file_groups(groups).with_source(Arc::new(source)).build();
        Ok(Transformed::yes(DataSourceExec::from_data_source(config) as _))
    });
    Ok(changed?.data)
}

/// The scan of Parquet files whose rows are not counted while they are read.
fn plain_scan(node: &Arc<dyn ExecutionPlan>) -> Option<(&FileScanConfig, &ParquetSource)> {
    let (config, source) =
        node.downcast_ref::<DataSourceExec>()?.downcast_to_file_source::<ParquetSource>()?;
    source.table_schema().virtual_columns().is_empty().then_some((config, source))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int32Array, Int64Array, RecordBatch, StringArray, StringViewArray};
    use datafusion::parquet::arrow::ArrowWriter;
    use datafusion::parquet::file::metadata::ParquetMetaDataReader;
    use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};

    use super::*;

    /// A file with two values in a page, four pages in a row group.
    fn file(values: ArrayRef, statistics: EnabledStatistics) -> ParquetMetaData {
        let batch = RecordBatch::try_from_iter_with_nullable([("id", values, true)]).unwrap();
        let properties = WriterProperties::builder()
            .set_write_batch_size(2)
            .set_data_page_row_count_limit(2)
            .set_max_row_group_row_count(Some(8))
            .set_column_index_truncate_length(Some(4))
            .set_statistics_enabled(statistics)
            .build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        let bytes = bytes::Bytes::from(writer.into_inner().unwrap());
        let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
        reader.parse_and_finish(&bytes).unwrap()
    }

    /// The rows that are read, each as its number; `None` if all are.
    fn rows(file: &ParquetMetaData, wanted: &Wanted) -> Option<Vec<usize>> {
        match wanted.pages_of(file)? {
            Pages::None => Some(Vec::new()),
            Pages::Rows(selection) => {
                let mut at = 0;
                let mut rows = Vec::new();
                for selector in Vec::<RowSelector>::from(selection) {
                    if !selector.skip {
                        rows.extend(at..at + selector.row_count);
                    }
                    at += selector.row_count;
                }
                assert_eq!(at as i64, file.file_metadata().num_rows());
                Some(rows)
            }
        }
    }

    fn numbers(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
        Arc::new(values.into_iter().collect::<Int64Array>())
    }

    fn wanted(keys: &ArrayRef) -> Wanted {
        Wanted::of("id", keys).unwrap()
    }

    #[test]
    fn pages_with_a_wanted_value_are_read() {
        let ids = file(numbers((0..20).map(|n| Some(n * 10))), EnabledStatistics::Page);
        assert_eq!(rows(&ids, &wanted(&numbers([Some(30), Some(110)]))), Some(vec![2, 3, 10, 11]));
        // Between the values of a page, and between two pages.
        assert_eq!(rows(&ids, &wanted(&numbers([Some(25), Some(15), Some(1_000)]))), Some(vec![2, 3]));
        assert_eq!(rows(&ids, &wanted(&numbers([Some(15), Some(-1)]))), Some(vec![]));
        assert_eq!(rows(&ids, &wanted(&numbers((0..20).map(|n| Some(n * 10))))), None);
        let small: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3, 4]));
        assert_eq!(
            rows(&file(small, EnabledStatistics::Page), &wanted(&numbers([Some(4)]))),
            Some(vec![2, 3])
        );
    }

    #[test]
    fn a_wanted_null_is_looked_for() {
        let ids = || file(numbers([Some(1), Some(2), Some(3), None, None, None]), EnabledStatistics::Page);
        assert_eq!(rows(&ids(), &wanted(&numbers([Some(1), None]))), None);
        assert_eq!(rows(&ids(), &wanted(&numbers([None]))), Some(vec![2, 3, 4, 5]));
        assert_eq!(rows(&ids(), &wanted(&numbers([Some(3)]))), Some(vec![2, 3]));
    }

    #[test]
    fn texts_are_compared_by_what_is_kept_of_them() {
        let texts = ["sample-1", "sample-2", "sample-3", "sample-4", "übung", "日本"];
        let ids = || file(Arc::new(StringArray::from(texts.to_vec())), EnabledStatistics::Page);
        let keys = |keys: &[&str]| wanted(&(Arc::new(StringViewArray::from(keys.to_vec())) as ArrayRef));
        // The first four characters are the same.
        assert_eq!(rows(&ids(), &keys(&["sample-3"])), Some(vec![0, 1, 2, 3]));
        assert_eq!(rows(&ids(), &keys(&["日本"])), Some(vec![4, 5]));
        assert_eq!(rows(&ids(), &keys(&["a", "zz"])), Some(vec![]));
    }

    #[test]
    fn without_statistics_everything_is_read() {
        let ids = numbers((0..20).map(Some));
        assert_eq!(
            rows(&file(Arc::clone(&ids), EnabledStatistics::None), &wanted(&numbers([Some(3)]))),
            None
        );
        assert_eq!(rows(&file(ids, EnabledStatistics::Chunk), &wanted(&numbers([Some(3)]))), None);
        // A column of another kind, or of another name.
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["1", "2", "3", "4"]));
        let texts = file(texts, EnabledStatistics::Page);
        assert_eq!(rows(&texts, &wanted(&numbers([Some(3)]))), None);
        assert!(Wanted::of("other", &numbers([Some(3)])).unwrap().pages_of(&texts).is_none());
        let truths: ArrayRef = Arc::new(datafusion::arrow::array::BooleanArray::from(vec![true]));
        assert!(Wanted::of("id", &truths).is_none());
    }

    #[test]
    fn values_that_are_found_elsewhere_are_left_out() {
        let mut wanted = wanted(&numbers([Some(3), None, Some(1), Some(2)]));
        wanted.leave_out(&numbers([Some(2), Some(9)]));
        assert!(matches!(&wanted.values, Values::Numbers(left) if left == &[1, 3]) && wanted.null);
        wanted.leave_out(&numbers([None, Some(1), Some(3)]));
        assert!(wanted.is_empty());
    }
}
