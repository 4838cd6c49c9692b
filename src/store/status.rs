//! How much of a feature is computed: how many of its samples are new, stale, orphaned or up to date.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::error::DataFusionError;
use datafusion::functions_aggregate::expr_fn::{count, sum};
use datafusion::logical_expr::{Expr, cast as cast_to, ident, lit};
use datafusion::prelude::SessionContext;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};

use super::search::has_rows;
use super::{Store, watched};
use crate::columns::INCREMENT;
use crate::error::{MetaxyError, Result};
use crate::model::FeatureKey;
use crate::update::{IncrementInputs, IncrementOptions, increment};

/// Features that are looked at at the same time: each of them reads tables of its own.
const AT_A_TIME: usize = 4;

/// What a store has of a feature, compared with what there should be.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureStatus {
    /// The feature.
    pub feature: FeatureKey,
    /// Whether the feature has no parents.
    pub is_root: bool,
    /// Whether there is any row, be it a deleted one, of the feature's current version.
    pub exists: bool,
    /// Samples that are stored: live, at the feature's current version.
    pub stored: u64,
    /// The fallback store that these are in, if it isn't this one; only a root without samples is counted there.
    pub fallback: Option<String>,
    /// What the comparison with the parents, or with given samples, has found; `None` for a root whose samples were
    /// not given, and for a feature with a parent without data.
    pub samples: Option<SampleCounts>,
    /// A parent that is needed and has no data, if there is one.
    pub missing_parent: Option<FeatureKey>,
}

/// How many samples are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SampleCounts {
    /// Samples without a stored row; with many rows of a parent for one sample, that is one.
    pub new: u64,
    /// Samples whose stored row was computed from something else.
    pub stale: u64,
    /// Stored rows whose sample is gone.
    pub orphaned: u64,
    /// Samples that wait for a parent to be recomputed.
    pub pending: u64,
    /// Samples that need nothing; with filters, those of them that meet these.
    pub up_to_date: u64,
    /// The share of distinct input units that are not new, from 0 to 1, with filters of the new ones and of those that
    /// meet them; `None` when there are none.
    pub progress: Option<f64>,
}

impl FeatureStatus {
    /// Whether there is nothing to do: the feature has data, and no sample is known to be new, stale or orphaned. For
    /// pending samples there will be, but not yet.
    pub fn is_in_sync(&self) -> bool {
        let settled = |counts: SampleCounts| counts.new + counts.stale + counts.orphaned == 0;
        self.exists && self.missing_parent.is_none() && self.samples.is_none_or(settled)
    }
}

impl Store {
    /// The status of a feature. That something has no data yet is part of the answer, not an error.
    ///
    /// `options` are those of the increment: a root needs its samples there to be compared with anything. Samples that
    /// don't meet filters are counted nowhere.
    ///
    /// # Errors
    /// An unknown feature or one whose definition can't be used, a table that can't be read, and all that
    /// [`resolve_update`](Self::resolve_update) refuses.
    pub async fn status(
        self: &Arc<Self>,
        context: &SessionContext,
        feature: &str,
        options: &IncrementOptions,
    ) -> Result<FeatureStatus> {
        if self.once.is_none() {
            return Box::pin(self.opened_once().status(context, feature, options)).await;
        }
        let definition = self.feature(feature).await?;
        let plan = self.graph().await?.plan(definition.key())?;
        let table = self.own_table(&definition).await?;
        let stored = self.open(definition.key()).await?;
        let mut status = FeatureStatus {
            feature: definition.key().clone(),
            is_root: plan.is_root(),
            exists: has_rows(stored.as_ref(), &plan.feature_version).await?,
            stored: 0,
            fallback: None,
            samples: None,
            missing_parent: None,
        };
        if table.exists() {
            status.stored = context.read_table(Arc::new(table))?.count().await? as u64;
        }
        if status.is_root && options.samples.is_none() {
            let shown = self.current_table(&definition).await?;
            if let Some(fallback) = shown.search().and_then(super::search::Search::fallback) {
                status.fallback = Some(fallback.to_owned());
                status.exists = true;
                status.stored = context.read_table(Arc::new(shown))?.count().await? as u64;
            }
            return Ok(status);
        }
        let inputs = match self.inputs(definition.key(), options.samples.is_some()).await {
            Ok(inputs) => inputs,
            Err(MetaxyError::FeatureNotFound { feature, .. }) => {
                status.missing_parent = Some(FeatureKey::parse(&feature)?);
                return Ok(status);
            }
            Err(error) => return Err(error),
        };
        if options.samples.is_none() && inputs.parents.iter().all(Option::is_none) {
            // They are all optional, and there is nothing to compare with.
            status.missing_parent = inputs.plan.parents.first().map(|parent| parent.dep.feature.clone());
            return Ok(status);
        }
        status.samples = Some(self.sample_counts(context, &inputs, options).await?);
        Ok(status)
    }

    /// The status of several features, in their order; what can't be said of one is an error of that one alone.
    ///
    /// Every table is opened once, and a few features are looked at at the same time. `options` are those of single
    /// features; the others have the default ones.
    pub async fn statuses(
        self: &Arc<Self>,
        context: &SessionContext,
        features: &[FeatureKey],
        options: &HashMap<FeatureKey, IncrementOptions>,
    ) -> Vec<Result<FeatureStatus>> {
        let look = &if self.once.is_some() { Arc::clone(self) } else { self.opened_once() };
        let default = &IncrementOptions::default();
        let mut checks: Vec<BoxFuture<'_, Result<FeatureStatus>>> = Vec::new();
        for feature in features {
            let options = options.get(feature).unwrap_or(default);
            checks.push(async move { look.status(context, &feature.to_string(), options).await }.boxed());
        }
        futures::stream::iter(checks).buffered(AT_A_TIME).collect().await
    }

    async fn sample_counts(
        &self,
        context: &SessionContext,
        inputs: &IncrementInputs,
        options: &IncrementOptions,
    ) -> Result<SampleCounts> {
        let options = self.with_session(context, options);
        let is_filtered = !options.target_filters.is_empty()
            || !options.global_filters.is_empty()
            || options.filters.contains_key(inputs.plan.feature.key());
        let all = IncrementOptions { include_pending: false, ..options.clone() };
        let all = match is_filtered {
            // Whether a stored row meets the filters, only the comparison knows: here every row that does is stale.
            true => IncrementOptions { skip_comparison: false, stale_when: vec![lit(true)], ..all },
            false => IncrementOptions { skip_comparison: true, ..all },
        };
        let changed = IncrementOptions { skip_comparison: false, include_pending: true, ..options };
        let all = self.counted(context, inputs, &all).await?;
        let (fresh, stored) = (all.of("new"), all.of("stale"));
        let (samples, units) = (fresh.samples + stored.samples, fresh.units + stored.units);
        let changed = self.counted(context, inputs, &changed).await?;
        let (new, stale) = (changed.of("new"), changed.of("stale"));
        let progress = (units > 0).then(|| 1.0 - new.units as f64 / units as f64);
        Ok(SampleCounts {
            new: new.samples,
            stale: stale.samples,
            // These are stored rows, each of a sample of its own.
            orphaned: changed.of("orphaned").rows,
            pending: changed.of("pending").rows,
            up_to_date: samples.saturating_sub(new.samples + stale.samples),
            progress,
        })
    }

    /// How many rows, samples and distinct units an increment has of each kind, in one pass.
    ///
    /// A sample is what the feature's ids tell apart, as far as the increment has them; a unit is what is compared. Of an
    /// aggregated parent all rows of a group are in the increment, and are one sample.
    async fn counted(
        &self,
        context: &SessionContext,
        inputs: &IncrementInputs,
        options: &IncrementOptions,
    ) -> Result<Counts> {
        const ROWS: &str = "__metaxy_rows";
        const SAMPLES: &str = "__metaxy_samples";
        const UNITS: &str = "__metaxy_units";
        let kind = || ident(INCREMENT);
        let compared = &inputs.plan.comparison_columns;
        let unit = || std::iter::once(kind()).chain(compared.iter().map(ident)).collect::<Vec<Expr>>();
        let whole = |name: &str| cast_to(ident(name), DataType::Int64).alias(name);
        let frame = self.frame(context, increment(inputs, options)?)?;
        let others = inputs
            .plan
            .feature
            .spec
            .id_columns
            .iter()
            .filter(|id| !compared.contains(id) && frame.schema().has_column_with_unqualified_name(id));
        let others: Vec<Expr> = others.map(ident).collect();
        let rows = || sum(ident(ROWS)).alias(ROWS);
        let mut counts = match others.is_empty() {
            // What is compared is the sample.
            true => frame
                .aggregate(unit(), vec![count(lit(1)).alias(ROWS)])?
                .aggregate(vec![kind()], vec![rows(), count(lit(1)).alias(SAMPLES)])?
                .with_column(UNITS, ident(SAMPLES))?,
            false => frame
                .aggregate([unit(), others].concat(), vec![count(lit(1)).alias(ROWS)])?
                .aggregate(unit(), vec![rows(), count(lit(1)).alias(SAMPLES)])?
                .aggregate(
                    vec![kind()],
                    vec![rows(), sum(ident(SAMPLES)).alias(SAMPLES), count(lit(1)).alias(UNITS)],
                )?,
        };
        counts = counts.select(vec![kind(), whole(ROWS), whole(SAMPLES), whole(UNITS)])?;
        let mut found = HashMap::new();
        let mut counts = watched(format!("comparing {}", inputs.plan.feature.key()), counts).await?;
        while let Some(batch) = counts.try_next().await? {
            let kinds = cast(batch.column(0), &DataType::Utf8).map_err(DataFusionError::from)?;
            let [rows, samples, units] =
                [1, 2, 3].map(|i| batch.column(i).as_primitive::<Int64Type>().values());
            for (i, kind) in kinds.as_string::<i32>().iter().enumerate() {
                let count = Count {
                    rows: rows[i].unsigned_abs(),
                    samples: samples[i].unsigned_abs(),
                    units: units[i].unsigned_abs(),
                };
                found.insert(kind.unwrap_or_default().to_owned(), count);
            }
        }
        Ok(Counts(found))
    }
}

/// Counts by the kind of a sample.
struct Counts(HashMap<String, Count>);

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    rows: u64,
    samples: u64,
    units: u64,
}

impl Counts {
    fn of(&self, kind: &str) -> Count {
        self.0.get(kind).copied().unwrap_or_default()
    }
}
