//! Optimize: small files become large ones whose rows are in the order of their ids, and old rows are folded.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use datafusion::arrow::array::{AsArray, BooleanArray};
use datafusion::arrow::datatypes::{DataType, UInt64Type};
use datafusion::logical_expr::{ColumnarValue, Expr, Volatility, col, create_udf, ident};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;

use super::fold::foldable;
use super::runs::{files, runs};
use super::targets::Target;
use crate::columns::ROW_ORDER;
use crate::error::{MetaxyError, Result};
use crate::model::FeatureKey;
use crate::store::row_order::{file_and_position, first_of_file};
use crate::store::snapshot::{Replacement, Rewrite, RewriteOutcome, TablePart};
use crate::store::transfer::stored_rows;
use crate::store::unfiltered::Unfiltered;
use crate::store::{Progress, Store, TableSnapshot, WriteScope, watched};

/// How large a file gets.
const FILE_SIZE: u64 = 128 * 1024 * 1024;
/// How often the work is done anew because another writer has come in between.
const ATTEMPTS: usize = 5;

/// Hears how far an optimize is.
pub type OnOptimizeProgress = Arc<dyn Fn(&OptimizeProgress) + Send + Sync>;

/// What is optimized, how, and for whom.
#[derive(Clone)]
pub struct OptimizeOptions {
    /// A file is closed when it has about so many bytes, 128 MiB by default; files of less than half are merged.
    pub file_size: u64,
    /// Writes large files anew, too, so that the rows of the whole table are in the order of their ids.
    pub full: bool,
    /// Drops rows that have been superseded, and samples that have been deleted, for longer than this. Without it, which is
    /// the default, every row stays.
    pub fold_older_than: Option<Duration>,
    /// Only says what would be done.
    pub dry_run: bool,
    /// For whom.
    pub scope: WriteScope,
    /// Is told of every batch of rows that was read.
    pub progress: Option<OnOptimizeProgress>,
}

impl Default for OptimizeOptions {
    fn default() -> Self {
        Self {
            file_size: FILE_SIZE,
            full: false,
            fold_older_than: None,
            dry_run: false,
            scope: WriteScope::default(),
            progress: None,
        }
    }
}

impl fmt::Debug for OptimizeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OptimizeOptions")
            .field("file_size", &self.file_size)
            .field("full", &self.full)
            .field("fold_older_than", &self.fold_older_than)
            .field("dry_run", &self.dry_run)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// How far an optimize is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptimizeProgress {
    /// The feature that is written anew.
    pub feature: FeatureKey,
    /// Rows of it that were written so far; they become visible together, at the end.
    pub rows: u64,
}

/// A feature that was optimized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptimizedFeature {
    /// The feature.
    pub feature: FeatureKey,
    /// How many files were written anew or, in a dry run, would be.
    pub files_before: u64,
    /// Their size.
    pub bytes_before: u64,
    /// How many files have taken their place; `None` in a dry run.
    pub files_after: Option<u64>,
    /// Their size; `None` in a dry run.
    pub bytes_after: Option<u64>,
    /// Rows that were dropped or, in a dry run, would be.
    pub rows_folded: u64,
}

impl Store {
    /// Writes small files of features anew as few large ones, with rows in the order of their ids, and drops old rows if
    /// [`fold_older_than`](OptimizeOptions::fold_older_than) says so. Increments are the same before and after.
    ///
    /// `features` are keys or table names; `None` means every feature of the caller's project and the store's own tables.
    /// Each table is done in one step: an error, a crash or a cancelled call leaves it as it was. Rows that others write
    /// meanwhile stay. The sort uses the context's memory pool, and spills where that is limited.
    ///
    /// # Errors
    /// An unknown feature, one of another project or without a table here, a table that only its own program can write anew,
    /// a store that can't be written, other writers that have changed the same files again and again.
    pub async fn optimize(
        self: &Arc<Self>,
        context: &SessionContext,
        features: Option<&[&str]>,
        options: &OptimizeOptions,
    ) -> Result<Vec<OptimizedFeature>> {
        let targets = self.upkeep_targets(features, &options.scope).await?;
        if options.file_size == 0 {
            return Err(MetaxyError::Invalid("optimize: files need a size of more than 0 bytes".into()));
        }
        let mut optimized = Vec::new();
        for target in targets {
            let mut attempt = 1;
            optimized.push(loop {
                match self.optimize_table(context, &target, options).await {
                    Err(MetaxyError::Changed { .. }) if attempt < ATTEMPTS => attempt += 1,
                    outcome => break outcome?,
                }
            });
        }
        Ok(optimized)
    }

    async fn optimize_table(
        &self,
        context: &SessionContext,
        target: &Target,
        options: &OptimizeOptions,
    ) -> Result<OptimizedFeature> {
        let mut report = OptimizedFeature {
            feature: target.key.clone(),
            files_before: 0,
            bytes_before: 0,
            files_after: (!options.dry_run).then_some(0),
            bytes_after: (!options.dry_run).then_some(0),
            rows_folded: 0,
        };
        // A store without files has nothing to be written anew.
        let Some(snapshot) = self.backend.snapshot(&target.key).await? else { return Ok(report) };
        let parts = snapshot.parts()?;
        if parts.is_empty() && !snapshot.drops_rows_in_place() {
            return Ok(report);
        }
        // One partition: rows are numbered, and written, one after the other.
        let mut config = SessionConfig::new();
        config.options_mut().execution = context.copied_config().options().execution.clone();
        let mut config = config.with_target_partitions(1);
        if let Some(progress) = Progress::of(context) {
            config.set_extension(progress);
        }
        let context = &SessionContext::new_with_config_rt(config, context.runtime_env());
        let gone = match (&target.definition, options.fold_older_than) {
            (Some(definition), Some(age)) => {
                foldable(self, definition, snapshot.as_ref(), context, age).await?
            }
            _ => Vec::new(),
        };
        if parts.is_empty() {
            report.rows_folded = gone.len() as u64;
            if !gone.is_empty() && !options.dry_run {
                snapshot.remove(&gone, None).await?;
            }
            return Ok(report);
        }
        let runs = runs(&parts, &touched(&parts, &gone), options.file_size, options.full);
        for run in &runs {
            report.files_before += files(&parts, run) as u64;
            report.bytes_before += parts[run.clone()].iter().map(|part| part.bytes).sum::<u64>();
        }
        report.rows_folded = gone.len() as u64;
        if runs.is_empty() || options.dry_run {
            return Ok(report);
        }
        let ids = target.definition.as_ref().map_or(&[] as &[String], |feature| &feature.spec.id_columns);
        let drops_rows = !gone.is_empty();
        let work = Anew {
            feature: &target.key,
            context,
            snapshot: snapshot.as_ref(),
            parts: &parts,
            gone: gone.into(),
            ids,
        };
        let written = Arc::new(AtomicU64::new(0));
        let mut replacements = Vec::new();
        for run in runs {
            let mut replacement = work.of(run).await?;
            if let Some(progress) = options.progress.clone() {
                let (feature, written) = (target.key.clone(), Arc::clone(&written));
                let tell = move |batch: &Result<datafusion::arrow::array::RecordBatch>| {
                    let rows = batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
                    let rows = written.fetch_add(rows, Ordering::Relaxed) + rows;
                    progress(&OptimizeProgress { feature: feature.clone(), rows });
                };
                replacement.rows = replacement.rows.inspect(tell).boxed();
            }
            replacements.push(replacement);
        }
        let (file_size, id_columns) = (options.file_size, ids.to_vec());
        let rewrite = Rewrite { replacements, file_size, id_columns, drops_rows };
        let RewriteOutcome { files, bytes } = snapshot.rewrite(rewrite).await?;
        Ok(OptimizedFeature { files_after: Some(files), bytes_after: Some(bytes), ..report })
    }
}

/// The parts with rows of these numbers.
fn touched(parts: &[TablePart], gone: &[u64]) -> BTreeSet<usize> {
    let part = |row: &u64| {
        let (file, _) = file_and_position(*row);
        parts.partition_point(|part| part.files.end <= file)
    };
    gone.iter().map(part).collect()
}

/// How parts are written anew.
struct Anew<'a> {
    feature: &'a FeatureKey,
    context: &'a SessionContext,
    snapshot: &'a dyn TableSnapshot,
    parts: &'a [TablePart],
    /// The numbers of the rows that are left out.
    gone: Arc<[u64]>,
    ids: &'a [String],
}

impl Anew<'_> {
    /// The rows of a run, in the order of their ids. Rows of one sample stay in the order in which they were: where they
    /// have the same time, it decides which of them is the latest.
    async fn of(&self, run: Range<usize>) -> Result<Replacement> {
        let rows = self.snapshot.rows_of(run.clone()).await?;
        let schema = rows.schema();
        let mut rows = self.context.read_table(Arc::new(Unfiltered(rows)))?;
        if !self.gone.is_empty() {
            rows = rows.filter(self.stays(self.parts[run.start].files.start))?;
        }
        let sortable =
            |id: &&String| schema.field_with_name(id).is_ok_and(|field| !field.data_type().is_nested());
        let ids = self.ids.iter().filter(sortable).map(ident);
        let order = ids.chain([ident(ROW_ORDER)]).map(|column| column.sort(true, true)).collect();
        let rows = rows.sort(order)?.drop_columns(&[ROW_ORDER])?;
        let rows = watched(format!("optimizing {}", self.feature), rows).await?;
        let (schema, rows) = stored_rows(rows, None);
        Ok(Replacement { parts: run, schema, rows })
    }

    /// Whether a row is not left out, where numbers begin with this file.
    fn stays(&self, first: usize) -> Expr {
        let (gone, base) = (Arc::clone(&self.gone), first_of_file(first));
        let stays = move |arguments: &[ColumnarValue]| {
            let numbers = ColumnarValue::values_to_arrays(arguments)?;
            let numbers = numbers[0].as_primitive::<UInt64Type>().values();
            let stays = |number: &u64| gone.binary_search(&(base + number)).is_err();
            Ok(ColumnarValue::Array(Arc::new(
                numbers.iter().map(|n| Some(stays(n))).collect::<BooleanArray>(),
            )))
        };
        let function = create_udf(
            "metaxy_stays",
            vec![DataType::UInt64],
            DataType::Boolean,
            Volatility::Volatile,
            Arc::new(stays),
        );
        function.call(vec![col(ROW_ORDER)])
    }
}
