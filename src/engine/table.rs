//! An increment as a table: scanning it plans the executor.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, plan_datafusion_err};
use datafusion::datasource::source_as_provider;
use datafusion::execution::SessionState;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, TableType, lit,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use futures::FutureExt;

use super::chosen::{can_be_chosen, of_keys};
use super::followed::{Followed, least};
use super::native_exec::NativeExec;
use super::pinned::Pinned;
use super::planning::Planner;
use super::ranged_exec::RangedExec;
use super::ranges::Ranges;
use crate::boxed::{self, BoxFuture};
use crate::columns::{INCREMENT, REASON};
use crate::config::IncrementalResolve;
use crate::error::MetaxyError;
use crate::memory::{Follow, InMemoryExec, Input, Inputs, Question, Streaming, needed_columns};
use crate::records::Records;
use crate::review::{Lookups, ReviewExec, may_show};
use crate::store::{Asked, Earlier, FeatureTable, PushDown, Store};
use crate::update::internal::is_of_orphans;
use crate::update::{Description, Engine, Executor, Increment, native_plan, orphan_key, plain};

/// Stands for an increment from the optimizer on.
#[derive(Clone)]
pub(super) struct IncrementTable {
    increment: Increment,
    notice: Arc<dyn Fn(&str) + Send + Sync>,
    records: Arc<Records>,
}

impl fmt::Debug for IncrementTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IncrementTable({})", self.increment.description.feature)
    }
}

impl IncrementTable {
    pub(super) fn new(
        increment: Increment,
        notice: Arc<dyn Fn(&str) + Send + Sync>,
        records: Arc<Records>,
    ) -> Self {
        Self { increment, notice, records }
    }

    /// Columns of the increment, and such as only [`ReviewExec`] asks for.
    fn columns(&self, names: &[String]) -> Result<SchemaRef> {
        let all = self.schema();
        let field = |name: &String| {
            if let Ok(field) = all.field_with_name(name) {
                return Ok(field.clone());
            }
            let key = self.increment.description.keys.iter().find(|key| orphan_key(key) == *name);
            let key = key.ok_or_else(|| plan_datafusion_err!("an increment has no column {name}"))?;
            Ok(all.field_with_name(key)?.clone().with_name(name))
        };
        Ok(Arc::new(Schema::new(names.iter().map(field).collect::<Result<Vec<_>>>()?)))
    }

    /// Whether there is nothing to join and nothing to compare with: then the rows of the one input are hashed as they
    /// are read, and collecting them first would only cost time.
    fn is_one_pass(&self) -> bool {
        let description = &self.increment.description;
        let [input] = description.expected.as_slice() else { return false };
        description.current.is_none() && input.aggregation.is_none()
    }

    /// The increment as plain nodes, with these columns only.
    fn native(&self, columns: &[String]) -> Result<LogicalPlan> {
        let plan = native_plan(&self.increment)?;
        LogicalPlanBuilder::from(plan).project(columns.iter().map(plain).collect::<Vec<_>>())?.build()
    }

    async fn in_memory(&self, planner: &Planner, wanted: &[String]) -> Result<Arc<dyn ExecutionPlan>> {
        if self.is_one_pass() {
            let plan = planner.native(&self.native(wanted)?).await?;
            return Ok(Arc::new(NativeExec::new(plan, Arc::clone(&self.increment.description))));
        }
        let (choice, rows) = (planner.incremental_resolve(), planner.rows_at_once());
        let least = least(choice, rows);
        let Some(pinned) = Pinned::try_new(&self.increment, &planner.time_zone(), least).await? else {
            return self.compared(planner, wanted, None, false).await;
        };
        let held = Self { increment: pinned.increment.clone(), ..self.clone() };
        let followed = Followed::try_new(&pinned, choice, &self.records).await?;
        let follow = followed.as_ref().map(|followed| followed.follow.clone());
        let whole = held.compared(planner, wanted, followed, false).await?;
        if follow.as_ref().is_some_and(|follow| follow.known.is_some()) {
            return Ok(whole);
        }
        match pinned.ranges(rows).await? {
            Some(ranges) => Ok(Arc::new(held.ranged(planner, wanted, whole, pinned, ranges, follow))),
            None => Ok(whole),
        }
    }

    /// The in-memory executor over a range of keys after another; `whole` is what it does.
    fn ranged(
        &self,
        planner: &Planner,
        wanted: &[String],
        whole: Arc<dyn ExecutionPlan>,
        pinned: Pinned,
        ranges: Ranges,
        follow: Option<Follow>,
    ) -> RangedExec {
        let keys = &self.increment.description.keys;
        let mut read = wanted.to_vec();
        if follow.is_some() {
            read.extend(keys.iter().filter(|key| !wanted.contains(key)).cloned());
        }
        // Each range may not fit; that need be said once.
        let (notice, is_told) = (Arc::clone(&self.notice), AtomicBool::new(false));
        let notice = move |text: &str| {
            if !is_told.swap(true, Ordering::Relaxed) {
                notice(text);
            }
        };
        let table = Self { notice: Arc::new(notice), ..self.clone() };
        let (planner, cut) = (Arc::new(planner.alone()), ranges.clone());
        let pinned = Arc::new(pinned);
        let plan = move |range: usize| {
            let (planner, pinned, ranges) = (Arc::clone(&planner), Arc::clone(&pinned), ranges.clone());
            let (table, read) = (table.clone(), read.clone());
            async move {
                let part = Self { increment: pinned.of_range(&ranges, range)?, ..table };
                part.compared(&planner, &read, None, true).await
            }
            .boxed()
        };
        RangedExec::new(whole, cut, Arc::new(plan), follow)
    }

    /// The in-memory executor over the tables as they are. `few`: the rows are those of a range.
    async fn compared(
        &self,
        planner: &Planner,
        wanted: &[String],
        followed: Option<Followed>,
        few: bool,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let description = &self.increment.description;
        let mut read = wanted.to_vec();
        if followed.is_some() {
            read.extend(description.keys.iter().filter(|key| !wanted.contains(key)).cloned());
        }
        let is_known = followed.as_ref().is_some_and(|followed| followed.follow.known.is_some());
        let late = is_known || self.is_late(wanted)?;
        let late = match late {
            true => Some((self.columns(&description.keys)?, self.late(planner.aside(), &read))),
            false => None,
        };
        let mut inputs = Vec::new();
        match &followed {
            Some(Followed { written, .. }) if is_known => {
                for plan in written {
                    inputs.push(Input::whole(planner.part(plan).await?));
                }
            }
            _ => {
                let first = if late.is_some() { &description.keys } else { &read };
                for plan in reads(&self.increment, first)? {
                    inputs.push(Input::new(planner.part(&plan).await?));
                }
            }
        }
        let partitions = planner.partitions();
        let streaming = if planner.is_limited() && !description.executor.asked_for {
            let plan = planner.streaming(&self.native(wanted)?, partitions).await?;
            Some(Streaming { plan, notice: Arc::clone(&self.notice) })
        } else {
            None
        };
        let question = Question {
            description: Arc::clone(description),
            schema: self.columns(&read)?,
            shown: wanted.len(),
            late,
            follow: followed.map(|followed| followed.follow),
            streaming,
            few,
        };
        Ok(Arc::new(InMemoryExec::try_new(question, inputs, partitions)?))
    }

    /// Whether columns are worth a second step that reads them for the samples of the answer: where there is something to
    /// compare with, and the tables can be read twice.
    fn is_late(&self, wanted: &[String]) -> Result<bool> {
        let description = &self.increment.description;
        let only_answers = |name: &String| name != INCREMENT && !description.keys.contains(name);
        if description.current.is_none() || !wanted.iter().any(only_answers) {
            return Ok(false);
        }
        let sides = description.expected.len() + 1;
        let mut stored =
            self.increment.inputs.iter().take(sides).all(|input| can_be_chosen(input, &description.keys));
        for input in &self.increment.inputs {
            input.apply(|node| {
                stored &= match node {
                    LogicalPlan::TableScan(scan) => {
                        source_as_provider(&scan.source)?.downcast_ref::<FeatureTable>().is_some()
                    }
                    node => !node.expressions().iter().any(Expr::is_volatile),
                };
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(stored)
    }

    /// Plans the inputs with these columns.
    fn late(&self, state: SessionState, wanted: &[String]) -> Arc<Inputs> {
        let (increment, wanted) = (self.increment.clone(), wanted.to_vec());
        Arc::new(move |chosen| {
            let (increment, wanted, state) = (increment.clone(), wanted.clone(), state.clone());
            Box::pin(async move {
                let mut inputs = Vec::new();
                let mut plans = reads(&increment, &wanted)?;
                if let Some(stored) = plans.get_mut(increment.description.expected.len())
                    && !chosen.orphans
                {
                    *stored = without_orphans(stored)?;
                }
                for plan in plans {
                    let plan = match &chosen.keys {
                        Some(keys) => of_keys(plan, &increment.description.keys, keys)?,
                        None => plan,
                    };
                    inputs.push(Input::new(state.create_physical_plan(&plan).await?));
                }
                Ok(inputs)
            })
        })
    }

    /// By the store's own engine, or in memory if that is chosen or the engine can't.
    async fn in_store_or_memory(
        &self,
        planner: &Planner,
        wanted: &[String],
        asked: Rows<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let description = &self.increment.description;
        let executor = &description.executor;
        if executor.engine == Engine::Memory {
            return self.in_memory(planner, wanted).await;
        }
        match self.pushed(planner.incremental_resolve(), &self.columns(wanted)?, asked) {
            PushDown::Plan(plan) => Ok(Arc::new(NativeExec::new(plan, Arc::clone(description)))),
            PushDown::Unable(reason) if executor.asked_for => Err(MetaxyError::Invalid(format!(
                "{} can't be honoured for feature {}: {reason}; leave the engine to 'auto'",
                executor.reason, description.feature
            ))
            .into()),
            PushDown::Unable(reason) => {
                let executor = Executor { engine: Engine::Memory, reason, ..executor.clone() };
                let mut increment = self.increment.clone();
                increment.description = Arc::new(Description { executor, ..description.as_ref().clone() });
                Self { increment, ..self.clone() }.in_memory(planner, wanted).await
            }
        }
    }

    /// By the engine of the store that the increment is of.
    fn pushed(&self, choice: IncrementalResolve, schema: &SchemaRef, rows: Rows<'_>) -> PushDown {
        let increment = &self.increment;
        let Some(store) = increment.inputs.iter().find_map(store_of) else {
            return PushDown::Unable("samples come from the session".to_owned());
        };
        let earlier = (choice != IncrementalResolve::Never)
            .then_some(Earlier { records: &self.records, gain: choice == IncrementalResolve::Auto });
        store.push_down(&Asked { increment, schema, classes: rows.classes, limit: rows.limit, earlier })
    }

    /// The executor's plan for these columns.
    async fn executor(
        &self,
        planner: &Planner,
        wanted: &[String],
        asked: Rows<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let executor = &self.increment.description.executor;
        if executor.engine == Engine::Native && executor.compute.is_none() {
            let plan = planner.native(&self.native(wanted)?).await?;
            return Ok(Arc::new(NativeExec::new(plan, Arc::clone(&self.increment.description))));
        }
        let Some(volatile) = conjunction(self.increment.volatile.clone()) else {
            return self.in_store_or_memory(planner, wanted, asked).await;
        };
        // A condition that waited for the result may need columns that nobody else asks for.
        let mut read = wanted.to_vec();
        for column in volatile.column_refs() {
            if !read.contains(&column.name) {
                read.push(column.name.clone());
            }
        }
        let all = Rows { limit: None, ..asked };
        let plan = planner.filtered(self.in_store_or_memory(planner, &read, all).await?, volatile)?;
        let columns = wanted
            .iter()
            .enumerate()
            .map(|(i, name)| (Arc::new(Column::new(name, i)) as Arc<dyn PhysicalExpr>, name.clone()));
        Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Vec<_>>(), Arc::clone(&plan))?))
    }

    /// The classes, as executors know them, of which a query with these conditions can see rows.
    fn classes(&self, state: &dyn Session, filters: &[Expr]) -> Vec<&'static str> {
        let review = self.increment.description.review.as_ref();
        let pending = review.is_some_and(|review| review.include_pending);
        let shows = |class: &&'static str| {
            // What waits is an orphan until it is looked up.
            may_show(state, filters, class)
                || (*class == "orphaned" && pending && may_show(state, filters, "pending"))
        };
        ["new", "stale", "orphaned"].into_iter().filter(shows).collect()
    }

    /// Whether rows have to be looked at once more, for a query with these conditions.
    fn is_reviewed(&self, state: &dyn Session, filters: &[Expr], wanted: &[String]) -> bool {
        let Some(review) = &self.increment.description.review else { return false };
        if wanted.iter().any(|name| name == REASON) {
            return true;
        }
        may_show(state, filters, "orphaned")
            || (review.include_pending && may_show(state, filters, "pending"))
    }
}

/// The inputs, with what is needed of them for these columns of the increment.
fn reads(increment: &Increment, wanted: &[String]) -> Result<Vec<LogicalPlan>> {
    let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let columns = needed_columns(&increment.description, &names);
    let read = |(plan, columns): (&LogicalPlan, Vec<String>)| {
        LogicalPlanBuilder::from(plan.clone()).project(columns.iter().map(plain))?.build()
    };
    increment.inputs.iter().zip(columns).map(read).collect()
}

/// The stored rows without what only orphaned rows show of them.
fn without_orphans(plan: &LogicalPlan) -> Result<LogicalPlan> {
    let column = |field: &FieldRef| match is_of_orphans(field.name()) {
        true => Ok(lit(ScalarValue::try_new_null(field.data_type())?).alias(field.name())),
        false => Ok(plain(field.name())),
    };
    let columns = plan.schema().fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    LogicalPlanBuilder::from(plan.clone()).project(columns)?.build()
}

/// Which rows of an increment a query can see.
#[derive(Clone, Copy)]
struct Rows<'a> {
    classes: &'a [&'static str],
    limit: Option<usize>,
}

/// The store of the first feature that a plan reads.
fn store_of(plan: &LogicalPlan) -> Option<Arc<Store>> {
    let mut found = None;
    let visited = plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(provider) = source_as_provider(&scan.source)
            && let Some(table) = provider.downcast_ref::<FeatureTable>()
        {
            found = Some(Arc::clone(table.store()));
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    visited.ok().and(found)
}

#[async_trait]
impl TableProvider for IncrementTable {
    fn schema(&self) -> SchemaRef {
        use datafusion::logical_expr::UserDefinedLogicalNodeCore;

        Arc::clone(self.increment.schema().inner())
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    /// A condition on the class alone says whether there is anything to be looked up. It is applied above.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| {
            let columns = filter.column_refs();
            match !columns.is_empty() && columns.iter().all(|column| column.name == INCREMENT) {
                true if !filter.is_volatile() => TableProviderFilterPushDown::Inexact,
                _ => TableProviderFilterPushDown::Unsupported,
            }
        };
        Ok(filters.iter().map(support).collect())
    }

    boxed::scan!(planned);
}

impl IncrementTable {
    /// The plan of a scan.
    fn planned<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let planner = Planner::new(state)?;
            let all = self.schema();
            let schema = projection.map_or_else(|| Ok(Arc::clone(&all)), |p| all.project(p).map(Arc::new))?;
            let wanted: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
            let classes = self.classes(state, filters);
            let limit = limit.filter(|_| filters.is_empty());
            if !self.is_reviewed(state, filters, &wanted) {
                return self.executor(&planner, &wanted, Rows { classes: &classes, limit }).await;
            }
            let description = &self.increment.description;
            let needs = ReviewExec::needs(description, &wanted);
            let plan = self.executor(&planner, &needs, Rows { classes: &classes, limit: None }).await?;
            let lookups = Lookups::new(self.increment.inputs.clone(), planner.aside());
            Ok(Arc::new(ReviewExec::try_new(plan, Arc::clone(description), lookups, schema)?))
        })
    }
}
