//! The operator: collects its inputs, works out the answer once, and gives it out in as many partitions as asked for.

use std::fmt::{self, Formatter};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::runtime::JoinSet;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, internal_datafusion_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::future::{BoxFuture, FutureExt, Shared};
use futures::{StreamExt, TryStreamExt};

use super::answer::{Answer, Answered};
use super::collect::{Collected, collect, finished, latest_by_key};
use super::follow::Follow;
use super::input::Input;
use super::late::{Chosen, Inputs, Late, is_most, keys_of};
use super::plan::Plan;
use super::resolve::resolve;
use crate::update::Description;

/// Of so few samples, what orphaned ones show is read when it is known that there are any.
const FEW: usize = 4096;

/// What runs instead when the inputs do not fit into memory.
#[derive(Clone)]
pub(crate) struct Streaming {
    /// The same answer from operators that can spill, in as many partitions.
    pub plan: Arc<dyn ExecutionPlan>,
    /// Tells the user.
    pub notice: Arc<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for Streaming {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streaming").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// What is asked of the executor.
pub(crate) struct Question {
    pub description: Arc<Description>,
    /// The columns that are asked for, and such as [`Follow`] needs.
    pub schema: SchemaRef,
    /// How many of the columns are asked for.
    pub shown: usize,
    /// The columns of the first of two steps, and the inputs of the second.
    pub late: Option<(SchemaRef, Arc<Inputs>)>,
    pub follow: Option<Follow>,
    pub streaming: Option<Streaming>,
    /// Whether there are so few rows that what their versions are made of can be kept until it is known which of them
    /// count: then others need not be hashed.
    pub few: bool,
}

type Outcome = Result<Reserved, Arc<DataFusionError>>;
type Running = Shared<BoxFuture<'static, Outcome>>;

/// The in-memory executor as an operator. Its inputs are what [`Input::plan`] reads.
#[derive(Debug)]
pub(crate) struct InMemoryExec {
    plan: Arc<Plan>,
    inputs: Vec<Input>,
    late: Option<Late>,
    follow: Option<Follow>,
    /// How many of the columns are asked for; others are there for [`Follow`].
    shown: usize,
    streaming: Option<Streaming>,
    /// The work, shared by all partitions of the output, and how many of them have asked for it.
    running: Mutex<(Option<Running>, usize)>,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

impl InMemoryExec {
    /// The increment's columns in `schema`, from inputs that have the columns of
    /// [`needed_columns`](super::needed_columns).
    ///
    /// With `late`, these inputs have what is needed for its schema, the keys, and what it plans has the columns of
    /// `schema`. With `follow`, `schema` has the keys, whether they are asked for or not; and if earlier ones are known,
    /// these inputs have the other keys that are to be compared.
    pub(crate) fn try_new(asked: Question, inputs: Vec<Input>, partitions: usize) -> Result<Self> {
        let Question { description, schema, shown, late, follow, streaming, few } = asked;
        let output = schema.project(&(0..shown).collect::<Vec<_>>())?;
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::new(output)),
            Partitioning::UnknownPartitioning(partitions.max(1)),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        let mut plan = Plan::try_new(Arc::clone(&description), schema)?;
        let mut later = None;
        if let Some((keys, inputs)) = late {
            let whole = std::mem::replace(&mut plan, Plan::try_new(description, keys)?);
            later = Some(Late { plan: Arc::new(whole), inputs });
        }
        if few && inputs.first().is_some_and(|input| input.latest.is_some()) {
            plan.hashed_when_read = false;
        }
        let (plan, late) = (Arc::new(plan), later);
        Ok(Self {
            plan,
            inputs,
            late,
            follow,
            shown,
            streaming,
            running: Mutex::default(),
            metrics: ExecutionPlanMetricsSet::new(),
            properties: Arc::new(properties),
        })
    }

    fn partitions(&self) -> usize {
        self.properties.partitioning.partition_count()
    }

    fn start(&self, context: &Arc<TaskContext>) -> Running {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let work = match &running.0 {
            Some(work) => work.clone(),
            None => {
                let (late, follow) = (self.late.clone(), self.follow.clone());
                let work =
                    run(Arc::clone(&self.plan), self.inputs.clone(), late, follow, Arc::clone(context));
                work.map(|outcome| outcome.map_err(Arc::new)).boxed().shared()
            }
        };
        running.1 += 1;
        // The last one takes the work along, so that memory is free when the streams are done.
        let last = running.1 == self.partitions();
        *running = if last { (None, 0) } else { (Some(work.clone()), running.1) };
        work
    }
}

type Reserved = Arc<(Answer, MemoryReservation)>;

/// Works the answer out: in one step, in two, or for what has changed.
async fn run(
    plan: Arc<Plan>,
    inputs: Vec<Input>,
    late: Option<Late>,
    follow: Option<Follow>,
    context: Arc<TaskContext>,
) -> Result<Reserved> {
    if let (Some(Late { plan, inputs: of_keys }), Some(follow)) = (&late, &follow)
        && let Some(known) = &follow.known
    {
        let keys = follow.changed(known, &inputs, &context).await?;
        if keys.num_rows() == 0 {
            (follow.found)(keys);
            return nothing(Arc::clone(plan), Collected::nothing(plan.layouts.len()).into(), &context);
        }
        let read = async |orphans| {
            let chosen = Chosen { keys: Some(keys.columns().to_vec()), orphans };
            run_once(Arc::clone(plan), of_keys(chosen).await?, Arc::clone(&context)).await
        };
        // Of few samples hardly ever is one an orphan, and what it shows lies in many places; to read twice costs little.
        let all = !plan.shows_stored || keys.num_rows() > FEW;
        let mut answer = read(all).await?;
        if !all && answer.0.has_orphans() {
            drop(answer);
            answer = read(true).await?;
        }
        (follow.found)(keys_of(&answer.0, &follow.keys)?);
        return Ok(answer);
    }
    let first = run_once(plan, inputs, Arc::clone(&context)).await?;
    let few = !is_most(&first.0);
    let Some(Late { plan, inputs }) = late else {
        if let Some(follow) = follow.filter(|_| few) {
            (follow.found)(keys_of(&first.0, &follow.keys)?);
        }
        return Ok(first);
    };
    let keys = if few { Some(keys_of(&first.0, &first.0.schema())?) } else { None };
    if let (Some(follow), Some(keys)) = (&follow, &keys) {
        (follow.found)(keys.clone());
    }
    if first.0.rows() == 0 {
        return nothing(plan, first.0.collected(), &context);
    }
    let keys = keys.map(|keys| keys.columns().to_vec());
    let orphans = first.0.has_orphans();
    // Its memory is needed now.
    drop(first);
    let shows = plan.shows_stored;
    let read = async |orphans| {
        let chosen = Chosen { keys: keys.clone(), orphans };
        run_once(Arc::clone(&plan), inputs(chosen).await?, Arc::clone(&context)).await
    };
    let answer = read(orphans || !shows).await?;
    // Somebody may have deleted a row between the two steps.
    if orphans || !shows || !answer.0.has_orphans() {
        return Ok(answer);
    }
    drop(answer);
    read(true).await
}

/// An answer without rows.
fn nothing(plan: Arc<Plan>, collected: Arc<Collected>, context: &Arc<TaskContext>) -> Result<Reserved> {
    let reservation = MemoryConsumer::new("IncrementExec[answer]").register(context.memory_pool());
    Ok(Arc::new((Answer::empty(plan, collected)?, reservation)))
}

/// Reads, divides and compares.
async fn run_once(plan: Arc<Plan>, inputs: Vec<Input>, context: Arc<TaskContext>) -> Result<Reserved> {
    let cores = context.session_config().target_partitions().max(1);
    let (collected, gathered) = collect(&plan, &inputs, &context).await?;
    let collected = Arc::new(collected);
    let gathered = Arc::new(latest_by_key(&collected, &inputs, &plan, gathered).await?);
    let parts = gathered.parts();
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks: JoinSet<Result<Vec<(usize, Answered)>>> = JoinSet::new();
    let reservation = MemoryConsumer::new("IncrementExec[answer]").register(context.memory_pool());
    let reservation = Arc::new(reservation);
    for _ in 0..cores.min(parts) {
        let (plan, collected, gathered) = (Arc::clone(&plan), Arc::clone(&collected), Arc::clone(&gathered));
        let (next, reservation) = (Arc::clone(&next), Arc::clone(&reservation));
        tasks.spawn(async move {
            let mut found = Vec::new();
            loop {
                let part_number = next.fetch_add(1, Ordering::Relaxed);
                if part_number >= parts {
                    return Ok(found);
                }
                let part = resolve(&plan, &collected, &gathered, part_number);
                reservation.try_grow(part.size())?;
                found.push((part_number, part));
                // A statement that is cancelled stops here.
                tokio::task::yield_now().await;
            }
        });
    }
    let mut found = Vec::new();
    while let Some(done) = tasks.join_next().await {
        match finished(done) {
            Ok(done) => found.extend(done),
            Err(error) => {
                tasks.shutdown().await;
                return Err(error);
            }
        }
    }
    found.sort_by_key(|(partition, _)| *partition);
    let found = found.into_iter().map(|(_, found)| found).collect();
    let reservation = Arc::into_inner(reservation)
        .ok_or_else(|| internal_datafusion_err!("increment: a task still runs"))?;
    Ok(Arc::new((Answer::try_new(plan, collected, found)?, reservation)))
}

impl DisplayAs for InMemoryExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        self.plan.description.explain(t, f)?;
        if let Some(Follow { said, known, .. }) = &self.follow {
            match t {
                DisplayFormatType::TreeRender => write!(f, "\ncompared={said}")?,
                _ => write!(f, ", compared={said}")?,
            }
            if known.is_some() {
                return Ok(());
            }
        }
        let Some(late) = &self.late else { return Ok(()) };
        let columns = late.columns(&self.plan).join(", ");
        match t {
            DisplayFormatType::TreeRender => write!(f, "\nlate={columns}"),
            _ => write!(f, ", late=[{columns}]"),
        }
    }
}

impl ExecutionPlan for InMemoryExec {
    fn name(&self) -> &'static str {
        "IncrementExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().map(|input| &input.plan).collect()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; self.inputs.len()]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let inputs = self.inputs.iter().zip(children).map(|(input, plan)| input.over(plan)).collect();
        Ok(Arc::new(Self {
            plan: Arc::clone(&self.plan),
            inputs,
            late: self.late.clone(),
            follow: self.follow.clone(),
            shown: self.shown,
            streaming: self.streaming.clone(),
            running: Mutex::default(),
            metrics: ExecutionPlanMetricsSet::new(),
            properties: Arc::clone(&self.properties),
        }))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let running = self.start(&context);
        let (partitions, batch_size) = (self.partitions(), context.session_config().batch_size());
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let streaming = self.streaming.clone();
        let feature = self.plan.description.feature.to_string();
        let shown: Vec<usize> = (0..self.shown).collect();
        let stream = async move {
            let answer = match running.await {
                Ok(answer) => answer,
                Err(error) => return instead(error, streaming, &feature, partition, context),
            };
            let pieces = answer.0.pieces(batch_size);
            // Neighbours stay together: an answer that is in order is written in order.
            let from = |partition: usize| pieces.len() * partition / partitions;
            let own = pieces[from(partition)..from(partition + 1)].to_vec();
            let batches = futures::stream::iter(own).map(move |(part, rows)| {
                let _timer = metrics.elapsed_compute().timer();
                let batch = answer.0.batch(part, rows)?.project(&shown)?;
                metrics.record_output(batch.num_rows());
                Ok(batch)
            });
            Ok(batches.boxed())
        };
        let stream = futures::stream::once(stream).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The streaming plan in place of inputs that did not fit into memory; any other error is passed on.
fn instead(
    error: Arc<DataFusionError>,
    streaming: Option<Streaming>,
    feature: &str,
    partition: usize,
    context: Arc<TaskContext>,
) -> Result<futures::stream::BoxStream<'static, Result<RecordBatch>>> {
    let exhausted = matches!(error.find_root(), DataFusionError::ResourcesExhausted(_));
    match streaming {
        Some(Streaming { plan, notice }) if exhausted => {
            notice(&format!(
                "the increment of {feature} does not fit into the memory limit; the streaming plan computes it"
            ));
            Ok(plan.execute(partition, context)?.boxed())
        }
        _ if exhausted => Err(DataFusionError::ResourcesExhausted(format!(
            "the increment of {feature} does not fit into memory; leave the engine to 'auto', which streams it then, \
             or raise the memory limit ({})",
            error.find_root().strip_backtrace()
        ))),
        _ => Err(DataFusionError::Shared(error)),
    }
}
