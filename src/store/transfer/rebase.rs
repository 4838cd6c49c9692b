//! Giving rows of one feature version the versions that they have under another definition of the feature.

use std::sync::{Arc, RwLock};

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::dataframe::DataFrame;
use datafusion::functions::core::expr_fn::named_struct;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlanBuilder, Operator, ident, lit, when};
use datafusion::prelude::SessionContext;

use crate::columns::{CREATED_AT, DATA_VERSION_BY_FIELD, INCREMENT, PROVENANCE_BY_FIELD, is_reserved};
use crate::error::{MetaxyError, Result};
use crate::model::FeatureGraph;
use crate::store::table::View;
use crate::store::{FeatureTable, Store, WriteOptions, WriteReport};
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
        let rows = target.with_new_versions(context, feature, rows).await?;
        let definition = target.feature(feature).await?;
        target.write_rows(&definition, rows.execute_stream().await?, options).await
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

    /// This store with the features as they were when the feature had this version.
    async fn at_version(self: &Arc<Self>, feature: &str, version: Option<&str>) -> Result<Arc<Self>> {
        let graph = self.graph().await?;
        let definition = graph.lookup(feature)?;
        let current = graph.feature_version(definition.key())?;
        match version {
            Some(version) if version != current => Err(MetaxyError::Invalid(format!(
                "feature {}: version {version} is not the current one, {current}",
                definition.key()
            ))),
            _ => Ok(Arc::clone(self)),
        }
    }

    /// This store with other definitions of its features.
    #[allow(dead_code, reason = "see at_version")]
    fn with_graph(&self, graph: Arc<FeatureGraph>) -> Arc<Self> {
        let mut store = self.clone();
        store.set_graph(Arc::new(RwLock::new(Some(graph))));
        Arc::new(store)
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
        columns.push(ident(PROVENANCE_BY_FIELD).alias(REBASED));
        // Rows of an aggregated group share their versions.
        let expected = expected.select(columns)?.distinct()?.into_unoptimized_plan();
        let all: Vec<Expr> = given.fields().iter().map(|field| ident(field.name())).collect();
        let joined = LogicalPlanBuilder::from(rows.into_unoptimized_plan())
            .project(all.into_iter().chain(keys("given")).collect::<Vec<_>>())?
            .join_detailed(
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
                let view = View { feature_version: version, sample_history: true, deleted: true };
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
        let kept = |name: &str| name == CREATED_AT || (!is_reserved(name) && name != INCREMENT);
        let mut result: Vec<Expr> =
            given.fields().iter().filter(|f| kept(f.name())).map(|f| ident(f.name())).collect();
        result.push(ident(REBASED).alias(PROVENANCE_BY_FIELD));
        let new_type = joined.schema().field_with_unqualified_name(REBASED)?.data_type().clone();
        let type_of = |name: &str| given.field_with_name(name).map(|field| field.data_type().clone()).ok();
        let mut members = Vec::new();
        for field in &definition.spec.fields {
            let key = field.key.struct_key();
            let of = |name: &str, data_type: &DataType| version_of(ident(name), data_type, &key);
            let new = of(REBASED, &new_type);
            let value = match (type_of(DATA_VERSION_BY_FIELD), type_of(PROVENANCE_BY_FIELD)) {
                (Some(versions), Some(provenances)) => {
                    let version = of(DATA_VERSION_BY_FIELD, &versions);
                    let provenance = of(PROVENANCE_BY_FIELD, &provenances);
                    let differs = Expr::BinaryExpr(BinaryExpr::new(
                        Box::new(version.clone()),
                        Operator::IsDistinctFrom,
                        Box::new(provenance),
                    ));
                    when(differs.and(version.clone().is_not_null()), version).otherwise(new)?
                }
                _ => new,
            };
            members.extend([lit(key.clone()), value]);
        }
        result.push(named_struct(members).alias(DATA_VERSION_BY_FIELD));
        Ok(DataFrame::new(context.state(), joined.project(result)?.build()?))
    }
}
