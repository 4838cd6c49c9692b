//! `resolve_update(feature, …)`: the increment of a feature as a relation.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::planner::RelationPlannerContext;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{self, TableFactor};

use super::RESOLVE_UPDATE;
use super::arguments::{Arguments, as_text};
use crate::config::EnginePreference;
use crate::config::options::MetaxyOptions;
use crate::error::MetaxyError;
use crate::model::FeatureKey;
use crate::session::Extension;
use crate::update::{IncrementInputs, IncrementOptions, Shard, increment};

/// The parameters that are true or false.
const FLAGS: [&str; 4] = ["skip_comparison", "prefer_native", "include_pending", "explain"];

/// The parameters, in the order of positional arguments.
pub(super) const PARAMETERS: &[&str] = &[
    "feature",
    "samples",
    "filters",
    "global_filters",
    "target_filters",
    "stale_when",
    "engine",
    "store",
    "skip_comparison",
    "prefer_native",
    "shard",
    "include_pending",
    "explain",
];

/// Whether the arguments of a call are such as it takes; what they name is not looked up.
pub(crate) fn check(args: Vec<ast::FunctionArg>) -> Result<()> {
    let arguments = Arguments::parse(RESOLVE_UPDATE, args, PARAMETERS)?;
    arguments.required_text("feature")?;
    arguments.text("store")?;
    for parameter in FLAGS {
        arguments.flag(parameter)?;
    }
    engine(&arguments)?;
    shard(&arguments)?;
    Ok(())
}

pub(super) fn plan(
    extension: &Weak<Extension>,
    arguments: &Arguments,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    let Some(extension) = extension.upgrade() else {
        return plan_err!("resolve_update: the stores of this session are closed");
    };
    let feature = arguments.required_text("feature")?;
    let options = context.context_provider().options();
    let session = session_engine(options);
    let default = options.catalog.default_catalog.clone();
    let leaf_pushdown = options.optimizer.enable_leaf_expression_pushdown;
    let store = extension.store_or_default(arguments.text("store")?.as_deref(), &default)?;
    let inputs = extension.known_inputs(&store, &feature, arguments.get("samples").is_some())?;
    let mut increment_options = IncrementOptions {
        samples: samples(arguments, context)?,
        skip_comparison: arguments.flag("skip_comparison")?,
        shard: shard(arguments)?,
        include_pending: arguments.flag("include_pending")?,
        explain: arguments.flag("explain")?,
        engine: engine(arguments)?,
        session,
        ..IncrementOptions::default()
    };
    Tables::new(&inputs, increment_options.samples.as_ref()).conditions(
        arguments,
        context,
        &mut increment_options,
    )?;
    let plan = increment(&inputs, &increment_options)?;
    if leaf_pushdown {
        return Ok(plan);
    }
    // Under a name, as a table has one: columns of a subquery are not taken for the increment's. Where DataFusion
    // moves leaf expressions, a name makes it lose track of them.
    LogicalPlanBuilder::from(plan).alias(RESOLVE_UPDATE)?.build()
}

fn engine(arguments: &Arguments) -> Result<EnginePreference> {
    let engine = match arguments.text("engine")? {
        Some(name) => {
            Some(name.parse().map_err(|error| MetaxyError::Invalid(format!("resolve_update: {error}")))?)
        }
        None => None,
    };
    let prefer_native = match arguments.get("prefer_native") {
        Some(_) => Some(arguments.flag("prefer_native")?),
        None => None,
    };
    Ok(EnginePreference { engine, prefer_native })
}

fn shard(arguments: &Arguments) -> Result<Option<Shard>> {
    let Some(text) = arguments.text("shard")? else { return Ok(None) };
    let wrong = |error: MetaxyError| MetaxyError::Invalid(format!("resolve_update: {error}"));
    Ok(Some(text.parse::<Shard>().map_err(wrong)?))
}

/// What the session says about executors.
fn session_engine(options: &ConfigOptions) -> EnginePreference {
    options.extensions.get::<MetaxyOptions>().map(MetaxyOptions::engine_preference).unwrap_or_default()
}

fn samples(arguments: &Arguments, context: &mut dyn RelationPlannerContext) -> Result<Option<LogicalPlan>> {
    match arguments.get("samples") {
        None => Ok(None),
        Some(ast::Expr::Subquery(query)) => {
            let relation = TableFactor::Derived {
                lateral: false,
                subquery: query.clone(),
                alias: None,
                sample: None,
            };
            Ok(Some(context.plan(relation)?))
        }
        Some(other) if as_text(other).is_some() => Err(MetaxyError::Invalid(format!(
            "resolve_update: this session can't look up {other} here; give samples as a query: (SELECT * FROM {other})"
        ))
        .into()),
        Some(other) => Err(arguments.wrong("samples", "a table, a view or a query in parentheses", other)),
    }
}

/// The tables that conditions can speak of.
struct Tables<'a> {
    inputs: &'a IncrementInputs,
    /// Each parent's and the feature's own columns, where there is a table.
    schemas: HashMap<FeatureKey, Option<Vec<FieldRef>>>,
}

impl<'a> Tables<'a> {
    fn new(inputs: &'a IncrementInputs, samples: Option<&LogicalPlan>) -> Self {
        let mut schemas = HashMap::new();
        for (parent, provider) in inputs.plan.parents.iter().zip(&inputs.parents) {
            let fields = provider.as_ref().map(|p| p.schema().fields().iter().cloned().collect());
            schemas.insert(parent.dep.feature.clone(), fields);
        }
        let stored = inputs.current.as_ref().map(|p| p.schema());
        let stored = stored.iter().flat_map(|schema| schema.fields());
        let given = samples.into_iter().flat_map(|plan| plan.schema().fields());
        let mut own: Vec<FieldRef> = Vec::new();
        for field in stored.chain(given) {
            if own.iter().all(|known| known.name() != field.name()) {
                own.push(Arc::clone(field));
            }
        }
        schemas.insert(inputs.plan.feature.key().clone(), (!own.is_empty()).then_some(own));
        Self { inputs, schemas }
    }

    fn conditions(
        &self,
        arguments: &Arguments,
        context: &mut dyn RelationPlannerContext,
        options: &mut IncrementOptions,
    ) -> Result<()> {
        let own = self.inputs.plan.feature.key();
        if let Some(filters) = arguments.get("filters") {
            let ast::Expr::Map(map) = filters else {
                return Err(arguments.wrong("filters", "MAP {'feature/key': condition, …}", filters));
            };
            for entry in &map.entries {
                let (key, fields) = self.table(arguments, &entry.key)?;
                if let Some(fields) = fields {
                    let condition = condition(context, &entry.value, fields)?;
                    options.filters.entry(key).or_default().push(condition);
                }
            }
        }
        if let Some(filter) = arguments.get("global_filters") {
            options.global_filters.push(condition(context, filter, &self.all_fields())?);
        }
        let stored = self.schemas.get(own).and_then(Option::as_ref);
        for (parameter, list) in
            [("target_filters", &mut options.target_filters), ("stale_when", &mut options.stale_when)]
        {
            // Nothing stored, nothing to look at.
            if let (Some(filter), Some(fields)) = (arguments.get(parameter), stored) {
                list.push(condition(context, filter, fields)?);
            }
        }
        Ok(())
    }

    fn table(&self, arguments: &Arguments, key: &ast::Expr) -> Result<(FeatureKey, Option<&Vec<FieldRef>>)> {
        let Some(text) = as_text(key) else {
            return Err(arguments.wrong("a key of filters", "a feature key as a string", key));
        };
        let found = self.schemas.iter().find(|(key, _)| key.to_string() == text || key.table_name() == text);
        match found {
            Some((key, fields)) => Ok((key.clone(), fields.as_ref())),
            None => {
                let mut known: Vec<String> = self.schemas.keys().map(ToString::to_string).collect();
                known.sort();
                Err(MetaxyError::Invalid(format!(
                    "resolve_update: filters speak of {text}, which is neither feature {} nor a parent of it; \
                     there are {}",
                    self.inputs.plan.feature.key(),
                    known.join(", ")
                ))
                .into())
            }
        }
    }

    /// All columns of all tables, each name once.
    fn all_fields(&self) -> Vec<FieldRef> {
        let mut all: Vec<FieldRef> = Vec::new();
        for field in self.schemas.values().flatten().flatten() {
            if all.iter().all(|known| known.name() != field.name()) {
                all.push(Arc::clone(field));
            }
        }
        all
    }
}

fn condition(
    context: &mut dyn RelationPlannerContext,
    expr: &ast::Expr,
    fields: &[FieldRef],
) -> Result<Expr> {
    let schema = DFSchema::from_unqualified_fields(fields.to_vec().into(), HashMap::new())?;
    let condition = context.sql_to_expr(expr.clone(), &schema)?;
    let refuse = |reason: &str| -> Result<Expr> {
        Err(MetaxyError::Invalid(format!("resolve_update: condition {expr} {reason}")).into())
    };
    if condition
        .exists(|e| Ok(matches!(e, Expr::InSubquery(_) | Expr::Exists(_) | Expr::ScalarSubquery(_))))?
    {
        return refuse("has a subquery, which is not supported here; filter the result instead");
    }
    match condition.get_type(&schema)? {
        DataType::Boolean | DataType::Null => Ok(condition),
        other => refuse(&format!("is {other}, not a boolean")),
    }
}
