//! Planning parts of a query while the query itself is being planned.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, plan_datafusion_err};
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::MemoryLimit;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::ensure_requirements::EnsureRequirements;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning};

use crate::config::IncrementalResolve;
use crate::config::options::MetaxyOptions;
use crate::operators::GroupWindowExec;

/// Plans with the settings and the planner of a session.
pub(super) struct Planner {
    /// The session without its physical optimizer, which sees the whole plan later. Only what makes a plan valid is
    /// done at once: a sort-merge join, say, wants its inputs sorted and partitioned alike.
    state: SessionState,
    physical_rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>>,
    limited: bool,
    /// The limit, if it is known.
    bytes: Option<usize>,
    /// Whether nobody goes over the plans later.
    is_alone: bool,
}

/// Memory that a row takes at most while keys are compared, of rows that are compared a range at a time; with what the
/// query asks for it may be more, and then there is the plan that spills.
const ROW_BYTES: usize = 256;
/// Rows of a range at least: of fewer, each costs more to plan than to compare.
const FEWEST_ROWS: u64 = 64 * 1024;

impl Planner {
    pub(super) fn new(session: &dyn Session) -> Result<Self> {
        let Some(state) = session.as_any().downcast_ref::<SessionState>() else {
            return Err(plan_datafusion_err!(
                "increments can only be planned in a SessionState of DataFusion"
            ));
        };
        let mut config = state.config().clone();
        // DataFusion 55 takes columns of different inputs for the same when it moves `column['member']` about.
        config.options_mut().optimizer.enable_leaf_expression_pushdown = false;
        let limit = session.runtime_env().memory_pool.memory_limit();
        Ok(Self {
            physical_rules: state.physical_optimizers().to_vec(),
            state: SessionStateBuilder::new_from_existing(state.clone())
                .with_config(config)
                .with_physical_optimizer_rules(vec![Arc::new(EnsureRequirements::new())])
                .build(),
            limited: !matches!(limit, MemoryLimit::Infinite),
            bytes: if let MemoryLimit::Finite(bytes) = limit { Some(bytes) } else { None },
            is_alone: false,
        })
    }

    /// Whether queries of the session may only use so much memory.
    pub(super) fn is_limited(&self) -> bool {
        self.limited
    }

    /// How many rows of large tables are compared at once.
    pub(super) fn rows_at_once(&self) -> u64 {
        let rows = self.options().rows_at_once;
        let fit = self.bytes.map(|bytes| (bytes / self.partitions().max(1) / ROW_BYTES) as u64);
        fit.map_or(rows, |fit| rows.min(fit.max(FEWEST_ROWS)))
    }

    fn options(&self) -> MetaxyOptions {
        self.state.config_options().extensions.get::<MetaxyOptions>().cloned().unwrap_or_default()
    }

    /// Plans queries for themselves, each in one partition.
    pub(super) fn alone(&self) -> Self {
        let state = self.aside();
        let config = state.config().clone().with_target_partitions(1);
        Self {
            state: SessionStateBuilder::new_from_existing(state).with_config(config).build(),
            physical_rules: self.physical_rules.clone(),
            limited: self.limited,
            bytes: self.bytes,
            is_alone: true,
        }
    }

    /// What the session says about going on from earlier increments.
    pub(super) fn incremental_resolve(&self) -> IncrementalResolve {
        self.options().incremental_resolve
    }

    /// The session's time zone, on which casts depend.
    pub(super) fn time_zone(&self) -> String {
        self.state.config_options().execution.time_zone.clone().unwrap_or_default()
    }

    /// In how many partitions the session works.
    pub(super) fn partitions(&self) -> usize {
        self.state.config().target_partitions()
    }

    /// A part of the query, for the session's physical optimizer to go over.
    pub(super) async fn part(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        self.state.create_physical_plan(plan).await
    }

    /// The native plan of an increment. Under a memory limit it has operators that spill.
    pub(super) async fn native(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        if self.limited { self.spilling(plan).await } else { self.part(plan).await }
    }

    /// A plan for itself, not to be gone over by anybody else, in as many partitions as asked for.
    pub(super) async fn streaming(
        &self,
        plan: &LogicalPlan,
        partitions: usize,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut plan = self.spilling(plan).await?;
        for rule in self.physical_rules.iter().filter(|_| !self.is_alone) {
            plan = rule.optimize(plan, self.state.config_options())?;
        }
        if plan.output_partitioning().partition_count() == partitions {
            return Ok(plan);
        }
        if partitions == 1 {
            return Ok(Arc::new(CoalescePartitionsExec::new(plan)));
        }
        Ok(Arc::new(RepartitionExec::try_new(plan, Partitioning::RoundRobinBatch(partitions))?))
    }

    /// Hash joins and window operators hold their input in memory: sort-merge joins and windows over one group at a
    /// time take their place.
    async fn spilling(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        let mut config = self.state.config().clone();
        config.options_mut().optimizer.prefer_hash_join = false;
        // DataFusion plans sort-merge joins only where it could work in several partitions.
        let partitions = config.target_partitions().max(2);
        let config = config.with_target_partitions(partitions).with_repartition_joins(true);
        let state = SessionStateBuilder::new_from_existing(self.state.clone()).with_config(config).build();
        let plan = state.create_physical_plan(plan).await?;
        Ok(plan.transform_up(|node| Ok(Transformed::yes(GroupWindowExec::in_place_of(node))))?.data)
    }

    /// The session as it plans queries for themselves, beside the one that is planned here.
    pub(super) fn aside(&self) -> SessionState {
        SessionStateBuilder::new_from_existing(self.state.clone())
            .with_physical_optimizer_rules(self.physical_rules.clone())
            .build()
    }

    /// The rows of a plan that meet a condition.
    pub(super) fn filtered(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        condition: Expr,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = DFSchema::try_from(plan.schema().as_ref().clone())?;
        let condition = self.state.create_physical_expr(condition, &schema)?;
        Ok(Arc::new(FilterExec::try_new(condition, plan)?))
    }
}
