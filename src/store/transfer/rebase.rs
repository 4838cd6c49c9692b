//! Giving rows of one feature version the versions that they have under another definition of the feature.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::dataframe::DataFrame;
use datafusion::functions::core::expr_fn::{coalesce, named_struct};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlanBuilder, Operator, ident, lit, when};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;

use super::again;
use super::recorded::Recorded;
use crate::columns::{CREATED_AT, DATA_VERSION_BY_FIELD, PROVENANCE_BY_FIELD, is_reserved};
use crate::error::{MetaxyError, Result};
use crate::store::view::{Others, View};
use crate::store::{Basis, EventType, FeatureTable, Samples, Store, WriteOptions, WriteReport, watched};
use crate::update::{IncrementOptions, version_of};

/// The versions that the target graph gives a sample.
const REBASED: &str = "__metaxy_rebased";

impl Store {
    /// Writes rows that were computed under another definition of a feature as rows of feature version `to` (`None`:
    /// the current one), without computing them again. See [`rebased`](Self::rebased) for what becomes of them.
    ///
    /// # Errors
    /// As [`rebased`](Self::rebased) and [`write`](Self::write).
    pub async fn rebase(
        self: &Arc<Self>,
        context: &SessionContext,
        feature: &str,
        rows: DataFrame,
        to: Option<&str>,
        options: &WriteOptions,
    ) -> Result<WriteReport> {
        let definition = self.feature(feature).await?;
        self.check_project(&definition, &options.scope)?;
        let target = self.at_version(feature, to).await?;
        let work =
            Recorded::start(self, &definition.project, EventType::RebaseStarted, Some(&definition)).await;
        let mut attempt = 1;
        let outcome = loop {
            let outcome = target.rebase_once(context, feature, rows.clone(), options).await;
            if !again(&outcome, attempt) {
                break outcome;
            }
            attempt += 1;
        };
        let rows = outcome.as_ref().map(|report| report.rows);
        work.end(EventType::RebaseCompleted, EventType::RebaseFailed, rows).await;
        outcome
    }

    /// What [`rebase`](Self::rebase) would write: the given rows with the provenance that the parents give them under
    /// feature version `to`. User columns, creation times and overridden data versions stay. A sample without
    /// parents there drops out, and so does one that has a row at that version already, so that nothing newer is
    /// covered up and a repeated rebase adds nothing.
    ///
    /// # Errors
    /// A root feature, whose versions nobody can work out; a feature version that was never pushed; rows without ids
    /// or versions.
    pub async fn rebased(
        self: &Arc<Self>,
        context: &SessionContext,
        feature: &str,
        rows: DataFrame,
        to: Option<&str>,
    ) -> Result<DataFrame> {
        self.at_version(feature, to).await?.with_new_versions(context, feature, rows).await
    }

    async fn rebase_once(
        self: &Arc<Self>,
        context: &SessionContext,
        feature: &str,
        rows: DataFrame,
        options: &WriteOptions,
    ) -> Result<WriteReport> {
        let definition = self.feature(feature).await?;
        let read_at = self.backend.state(definition.key()).await?;
        let rows = self.with_new_versions(context, feature, rows).await?;
        let samples = Some(Samples::new(&definition.spec.id_columns));
        let basis = Basis { state: read_at, samples };
        let rows = watched(format!("rebasing {}", definition.key()), rows).await?;
        self.write_rows_at(&definition, rows, options, Some(basis)).await
    }

    /// The latest live row of each sample at a feature version, of this store only.
    pub(crate) async fn rows_at_version(
        self: &Arc<Self>,
        context: &SessionContext,
        feature: &str,
        version: &str,
    ) -> Result<DataFrame> {
        let definition = self.feature(feature).await?;
        let Some(stored) = self.open(definition.key()).await? else {
            return Err(self.not_found(definition.key()));
        };
        let view = View::current(version.to_owned());
        let table = FeatureTable::new(Arc::clone(self), definition, Some(stored), view);
        Ok(context.read_table(Arc::new(table))?)
    }

    /// This store with the features as they were when the feature had this version.
    async fn at_version(self: &Arc<Self>, feature: &str, version: Option<&str>) -> Result<Arc<Self>> {
        let graph = self.graph().await?;
        let definition = graph.lookup(feature)?;
        let current = graph.feature_version(definition.key())?;
        let Some(version) = version.filter(|version| *version != current) else {
            return Ok(Arc::clone(self));
        };
        let (project, key) = (&definition.project, definition.key());
        let pushed = self.project_versions().await?;
        for past in pushed.iter().rev().filter(|past| past.project == *project) {
            let graph = self.load_graph(project, &past.version).await?;
            if graph.feature_version(key).is_ok_and(|found| found == version) {
                return Ok(self.with_graph(Arc::new(graph)));
            }
        }
        Err(MetaxyError::Invalid(format!(
            "feature {key}: version {version} is neither the current one, {current}, nor was it ever pushed to store {}",
            self.name()
        )))
    }

    async fn with_new_versions(
        self: &Arc<Self>,
        context: &SessionContext,
        feature: &str,
        rows: DataFrame,
    ) -> Result<DataFrame> {
        let definition = self.feature(feature).await?;
        let key = definition.key();
        let refuse = |reason: String| MetaxyError::Write { feature: key.to_string(), reason };
        if definition.spec.deps.is_empty() {
            return Err(refuse(
                "a root feature can't be rebased: its versions come with its samples; write them again"
                    .into(),
            ));
        }
        let given = rows.schema().as_arrow().clone();
        let ids = &definition.spec.id_columns;
        for name in ids.iter().map(String::as_str).chain([PROVENANCE_BY_FIELD]) {
            if given.field_with_name(name).is_err() {
                return Err(refuse(format!("rows to rebase need column {name}")));
            }
        }
        let options = IncrementOptions { skip_comparison: true, ..IncrementOptions::default() };
        let expected = self.resolve_update(context, feature, &options).await?;
        let shared: Vec<&String> =
            ids.iter().filter(|id| expected.schema().has_column_with_unqualified_name(id)).collect();
        let names = |label: &str| -> Vec<Column> {
            (0..shared.len()).map(|i| Column::new_unqualified(format!("__metaxy_{label}{i}"))).collect()
        };
        let keys = |label: &'static str| {
            shared.iter().enumerate().map(move |(i, id)| ident(*id).alias(format!("__metaxy_{label}{i}")))
        };
        let mut columns: Vec<Expr> = keys("expected").collect();
        // Members are taken out of structs first of all: DataFusion 55 takes columns of different inputs for the same
        // when it moves `column['member']` below a join.
        let fields: Vec<String> = definition.spec.fields.iter().map(|field| field.key.struct_key()).collect();
        let new = |field: usize| format!("{REBASED}{field}");
        let kept_version = |field: usize| format!("__metaxy_kept{field}");
        let data_type =
            expected.schema().field_with_unqualified_name(PROVENANCE_BY_FIELD)?.data_type().clone();
        columns.extend(
            fields
                .iter()
                .enumerate()
                .map(|(i, key)| version_of(ident(PROVENANCE_BY_FIELD), &data_type, key).alias(new(i))),
        );
        // Rows of an aggregated group share their versions.
        let expected = expected.select(columns)?.distinct()?.into_unoptimized_plan();
        let kept = |name: &str| name == CREATED_AT || !is_reserved(name);
        let user = || given.fields().iter().filter(|f| kept(f.name())).map(|f| ident(f.name()));
        let mut columns: Vec<Expr> = user().chain(keys("given")).collect();
        for (i, key) in fields.iter().enumerate() {
            columns.push(overridden(&given, key)?.alias(kept_version(i)));
        }
        let joined = LogicalPlanBuilder::from(rows.into_unoptimized_plan()).project(columns)?.join_detailed(
            expected,
            JoinType::Inner,
            (names("given"), names("expected")),
            None,
            NullEquality::NullEqualsNull,
        )?;
        let joined = match self.open(key).await? {
            None => joined,
            Some(stored) => {
                let version = Some(self.graph().await?.feature_version(key)?);
                let view = View {
                    feature_version: version,
                    sample_history: true,
                    deleted: true,
                    others: Others::Hidden,
                };
                let own = FeatureTable::new(Arc::clone(self), Arc::clone(&definition), Some(stored), view);
                let name = |i: usize| format!("__metaxy_own{i}");
                let own = context.read_table(Arc::new(own))?.select(
                    ids.iter().enumerate().map(|(i, id)| ident(id).alias(name(i))).collect::<Vec<_>>(),
                )?;
                joined.join_detailed(
                    own.into_unoptimized_plan(),
                    JoinType::LeftAnti,
                    (
                        ids.iter().map(Column::new_unqualified).collect::<Vec<_>>(),
                        (0..ids.len()).map(|i| Column::new_unqualified(name(i))).collect(),
                    ),
                    None,
                    NullEquality::NullEqualsNull,
                )?
            }
        };
        let mut result: Vec<Expr> = user().collect();
        let members = |value: &dyn Fn(usize) -> Expr| -> Vec<Expr> {
            fields.iter().enumerate().flat_map(|(i, key)| [lit(key.clone()), value(i)]).collect()
        };
        result.push(named_struct(members(&|i| ident(new(i)))).alias(PROVENANCE_BY_FIELD));
        let versions = members(&|i| coalesce(vec![ident(kept_version(i)), ident(new(i))]));
        result.push(named_struct(versions).alias(DATA_VERSION_BY_FIELD));
        let mut state = context.state();
        state.config_mut().options_mut().optimizer.enable_leaf_expression_pushdown = false;
        Ok(DataFrame::new(state, joined.project(result)?.build()?))
    }
}

/// A field's data version where a user has set it to another than the provenance, else NULL.
fn overridden(given: &Schema, key: &str) -> Result<Expr> {
    let of = |name: &str| {
        let data_type = given.field_with_name(name).map(|field| field.data_type().clone()).ok()?;
        Some(version_of(ident(name), &data_type, key))
    };
    let nothing = lit(ScalarValue::Utf8(None));
    Ok(match (of(DATA_VERSION_BY_FIELD), of(PROVENANCE_BY_FIELD)) {
        (Some(version), Some(provenance)) => {
            let same = Expr::BinaryExpr(BinaryExpr::new(
                Box::new(version.clone()),
                Operator::IsNotDistinctFrom,
                Box::new(provenance),
            ));
            when(same, nothing).otherwise(version)?
        }
        _ => nothing,
    })
}
