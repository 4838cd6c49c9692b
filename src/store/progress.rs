//! What long work tells whoever watches a session: how many rows so far, and of how many.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::dataframe::DataFrame;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionContext;
use futures::StreamExt;

use crate::error::Result;

/// The long work that is going on in a session, for a progress bar.
///
/// Set one as an extension of a session's [`SessionConfig`](datafusion::prelude::SessionConfig), and ask it
/// [`now`](Self::now) and then. In a session without one, work tells nobody, and nothing is counted.
#[derive(Debug, Default)]
pub struct Progress {
    works: Mutex<Vec<(u64, Work)>>,
    /// How many works there were.
    begun: AtomicU64,
}

/// How far the work of a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgressNow {
    /// What is done, for example `copying photo`.
    pub what: String,
    /// Rows that were read so far, by everything that is going on.
    pub rows: u64,
    /// Rows that are to be read, if that is known of everything; it may be an estimate.
    pub total: Option<u64>,
}

#[derive(Debug)]
struct Work {
    what: String,
    /// The plan that runs. The metrics of its leaves, which read, are the rows so far.
    plan: Arc<dyn ExecutionPlan>,
    total: Option<u64>,
}

impl Progress {
    /// What watches this session, if anything does.
    pub fn of(context: &SessionContext) -> Option<Arc<Self>> {
        context.state_ref().read().config().get_extension::<Self>()
    }

    /// What goes on at the moment; `None` when nothing does.
    pub fn now(&self) -> Option<ProgressNow> {
        let works = self.works();
        let (_, first) = works.first()?;
        let what = match works.iter().filter(|(_, work)| work.what != first.what).count() {
            0 => first.what.clone(),
            more => format!("{} and {more} more", first.what),
        };
        let rows = works.iter().map(|(_, work)| rows_read(&work.plan)).sum();
        let total = works.iter().map(|(_, work)| work.total).sum();
        Some(ProgressNow { what, rows, total })
    }

    /// Begins to watch a plan that is about to run, until the result is dropped.
    pub fn watch(self: &Arc<Self>, what: impl Into<String>, plan: Arc<dyn ExecutionPlan>) -> Watched {
        let total = rows_to_read(&plan);
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        self.works().push((number, Work { what: what.into(), plan, total }));
        Watched { progress: Arc::clone(self), number }
    }

    fn works(&self) -> MutexGuard<'_, Vec<(u64, Work)>> {
        self.works.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work that is watched for as long as this lives.
#[derive(Debug)]
pub struct Watched {
    progress: Arc<Progress>,
    number: u64,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.progress.works().retain(|(number, _)| *number != self.number);
    }
}

fn rows_read(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let children = plan.children();
    if children.is_empty() {
        return plan.metrics().and_then(|metrics| metrics.output_rows()).unwrap_or_default() as u64;
    }
    children.into_iter().map(rows_read).sum()
}

/// Rows of all leaves, if all of them know.
fn rows_to_read(plan: &Arc<dyn ExecutionPlan>) -> Option<u64> {
    let children = plan.children();
    if children.is_empty() {
        let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).ok()?;
        return statistics.num_rows.get_value().map(|rows| *rows as u64);
    }
    children.into_iter().map(rows_to_read).sum()
}

/// The rows of a query, watched as `what` until the last one is there.
///
/// # Errors
/// A query that can't be planned or started.
pub(crate) async fn watched(what: String, rows: DataFrame) -> Result<SendableRecordBatchStream> {
    let task = Arc::new(rows.task_ctx());
    Ok(start(what, rows.create_physical_plan().await?, task)?)
}

fn start(
    what: String,
    plan: Arc<dyn ExecutionPlan>,
    task: Arc<TaskContext>,
) -> datafusion::common::Result<SendableRecordBatchStream> {
    let progress = task.session_config().get_extension::<Progress>();
    let watched = progress.map(|progress| progress.watch(what, Arc::clone(&plan)));
    let rows = execute_stream(plan, task)?;
    let Some(watched) = watched else { return Ok(rows) };
    let schema = rows.schema();
    let rows = rows.inspect(move |_| {
        let _ = &watched;
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{ParquetReadOptions, SessionConfig};
    use futures::TryStreamExt;

    use super::*;

    fn session() -> (SessionContext, Arc<Progress>) {
        let progress = Arc::new(Progress::default());
        let config = SessionConfig::new().with_extension(Arc::clone(&progress)).with_batch_size(10);
        (SessionContext::new_with_config(config), progress)
    }

    #[tokio::test]
    async fn a_query_is_watched_from_its_start_to_its_last_row() {
        let (context, progress) = session();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.parquet").display().to_string();
        let write = format!("COPY (SELECT value FROM generate_series(1, 100)) TO '{file}'");
        context.sql(&write).await.unwrap().collect().await.unwrap();
        context.register_parquet("t", &file, ParquetReadOptions::default()).await.unwrap();
        assert_eq!(progress.now(), None);
        let frame = context.sql("SELECT * FROM t").await.unwrap();
        let mut rows = watched("reading".into(), frame).await.unwrap();
        let begun = ProgressNow { what: "reading".into(), rows: 0, total: Some(100) };
        assert_eq!(progress.now(), Some(begun));
        let (mut read, mut shown) = (0, 0);
        while let Some(batch) = rows.try_next().await.unwrap() {
            read += batch.num_rows() as u64;
            shown = progress.now().unwrap().rows;
            assert!(shown >= read);
        }
        assert_eq!((read, shown), (100, 100));
        drop(rows);
        assert_eq!(progress.now(), None);
    }

    #[tokio::test]
    async fn several_works_are_one_sum_whose_end_is_known_if_all_are() {
        let (context, progress) = session();
        context.sql("CREATE TABLE t AS SELECT value FROM generate_series(1, 100)").await.unwrap();
        let plan = context.table("t").await.unwrap().create_physical_plan().await.unwrap();
        let first = progress.watch("copying a", Arc::clone(&plan));
        let second = progress.watch("copying a", plan);
        let now = progress.now().unwrap();
        assert_eq!((now.what.as_str(), now.total), ("copying a", Some(200)));
        let unknown = context.sql("SELECT * FROM generate_series(1, 10)").await.unwrap();
        let third = progress.watch("copying b", unknown.create_physical_plan().await.unwrap());
        let now = progress.now().unwrap();
        assert_eq!((now.what.as_str(), now.total), ("copying a and 1 more", None));
        drop((first, second));
        assert_eq!(progress.now().unwrap().what, "copying b");
        drop(third);
        assert_eq!(progress.now(), None);
    }
}
