//! Carrying out the statements.

use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::dialect::GenericDialect;

use super::describe;
use super::{CreateFeature, FeatureStatement, Kind, print};
use crate::catalog::{FEATURES_SCHEMA, SYSTEM_SCHEMA};
use crate::error::{MetaxyError, Result};
use crate::model::{
    External, FeatureDefinition, FeatureGraph, FeatureKey, FeatureSpec, FieldDeps, Origin, check_project_name,
};
use crate::session::MetaxySession;
use crate::session::statement::{MetaxyStatement, parse};
use crate::store::Store;
use crate::update::check_filter;

/// What a `CREATE FEATURE` defines.
fn defined(statements: &[MetaxyStatement]) -> Option<(&FeatureSpec, Option<&External>, Option<&str>)> {
    let [MetaxyStatement::Feature(statement)] = statements else { return None };
    let Kind::Create(create) = &statement.0 else { return None };
    Some((&create.spec, create.external.as_ref(), create.project.as_deref()))
}

impl MetaxySession {
    /// Carries out a statement about features; definitions change at once. `None` when there is nothing to show.
    pub(in crate::session) async fn run_feature_statement(
        &self,
        statement: FeatureStatement,
    ) -> Result<Option<LogicalPlan>> {
        let config = self.context().copied_config();
        let store = self.extension().store_or_default(None, &config.options().catalog.default_catalog)?;
        match statement.0 {
            Kind::Create(create) => {
                self.create_feature(&store, *create).await?;
                Ok(None)
            }
            Kind::Drop { name, if_exists } => {
                let graph = store.graph().await?;
                let key = match graph.lookup(&name) {
                    Ok(definition) => definition.key().clone(),
                    Err(_) if if_exists => return Ok(None),
                    Err(error) => return Err(error),
                };
                self.extension().forget_in(&store, &key).await?;
                Ok(None)
            }
            Kind::Describe(name) => {
                let graph = store.graph().await?;
                let batch = describe::describe(&graph, graph.lookup(&name)?)?;
                Ok(Some(self.context().read_batch(batch)?.into_unoptimized_plan()))
            }
            Kind::ShowCreate(name) => {
                let graph = store.graph().await?;
                let definition = graph.lookup(&name)?;
                let sql = print::create(definition, &self.extension().own_project(&store));
                let plain = parse(&sql, &GenericDialect {})?;
                if !self.parse(&sql).is_ok_and(|own| defined(&own) == defined(&plain)) {
                    let (key, dialect) = (definition.key(), config.options().sql_parser.dialect);
                    return Err(MetaxyError::Invalid(format!(
                        "feature {key} can't be shown as a statement of the SQL dialect {dialect}, which reads its texts or \
                         names in another way; SET datafusion.sql_parser.dialect = 'generic' for one"
                    )));
                }
                let batch = describe::rows(
                    ["feature", "definition"],
                    &[[Some(definition.key().to_string()), Some(sql)]],
                )?;
                Ok(Some(self.context().read_batch(batch)?.into_unoptimized_plan()))
            }
            Kind::Show { like } => self.show_features(&store, like).await.map(Some),
        }
    }

    async fn create_feature(&self, store: &Arc<Store>, create: CreateFeature) -> Result<()> {
        let graph = store.graph().await?;
        let project = match &create.project {
            Some(project) => {
                check_project_name(project)?;
                project.clone()
            }
            None => self.extension().own_project(store),
        };
        let CreateFeature { existing, name, mut spec, external, .. } = create;
        if !name.contains('/') {
            spec.key = meant(&graph, spec.key);
        }
        with_known_parents(&mut spec, &graph);
        spec.validate()?;
        check_filters(&spec)?;
        self.check_session_tables(&spec)?;
        let definition = match external {
            Some(external) => FeatureDefinition::external(spec, project, external, Origin::Statement),
            None => FeatureDefinition::declared(spec, project, Origin::Statement),
        };
        self.extension().define_in(store, definition, existing).await?;
        Ok(())
    }

    /// A feature must not hide a table or view of the session.
    fn check_session_tables(&self, spec: &FeatureSpec) -> Result<()> {
        let table = spec.table_name();
        for name in self.extension().store_names() {
            let Some(schema) =
                self.context().catalog(name).and_then(|catalog| catalog.schema(FEATURES_SCHEMA))
            else {
                continue;
            };
            let graph = self.extension().store(name).ok().and_then(|store| store.known_graph());
            if schema.table_exist(&table) && graph.is_none_or(|graph| graph.lookup(&table).is_err()) {
                return Err(MetaxyError::Invalid(format!(
                    "feature {}: {table} is the name of a table or view of this session; DROP it first, or give the \
                     feature another name",
                    spec.key
                )));
            }
        }
        Ok(())
    }

    async fn show_features(&self, store: &Store, like: Option<String>) -> Result<LogicalPlan> {
        let like = like
            .map_or_else(String::new, |like| format!(" WHERE feature LIKE '{}'", like.replace('\'', "''")));
        let sql = format!(
            "SELECT feature, project, feature_version, id_columns, fields, parents, defined_in FROM {}.{SYSTEM_SCHEMA}.features{like} \
             ORDER BY feature",
            quoted(store.name())
        );
        Ok(self.context().state().create_logical_plan(&sql).await?)
    }
}

/// A filter in quotes is a text until it is used, and that may be much later.
fn check_filters(spec: &FeatureSpec) -> Result<()> {
    for dep in &spec.deps {
        for text in dep.filters.iter().flatten() {
            check_filter(text).map_err(|reason| MetaxyError::Spec {
                feature: spec.key.to_string(),
                reason: format!("filter {text:?} on parent {}: {reason}", dep.feature),
            })?;
        }
    }
    Ok(())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The feature that a key means which may have been guessed from a table name.
fn meant(graph: &FeatureGraph, key: FeatureKey) -> FeatureKey {
    match graph.get(&key) {
        Some(_) => key,
        None => graph.lookup(&key.table_name()).map_or(key, |known| known.key().clone()),
    }
}

/// Replaces what was guessed from table names by the keys of the features that have these tables.
fn with_known_parents(spec: &mut FeatureSpec, graph: &FeatureGraph) {
    for dep in &mut spec.deps {
        dep.feature = meant(graph, dep.feature.clone());
    }
    for field in &mut spec.fields {
        if let FieldDeps::List(deps) = &mut field.deps {
            for dep in deps {
                dep.feature = meant(graph, dep.feature.clone());
            }
        }
    }
}
