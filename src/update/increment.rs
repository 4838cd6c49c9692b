//! The whole increment: expected rows, to be compared once with the stored ones.

use std::sync::Arc;

use datafusion::logical_expr::{Extension, LogicalPlan};

use super::current::current;
use super::description::{Description, ExpectedInput, FieldRecipe, given, recipes};
use super::executor::{Executor, choose};
use super::keys::same_key_types;
use super::node::Increment;
use super::parents::{has_columns, parent_rows};
use super::review::review;
use super::samples::sample_rows;
use super::{IncrementInputs, IncrementOptions};
use crate::columns::PROVENANCE_BY_FIELD;
use crate::error::{MetaxyError, Result};

/// The plan of `resolve_update`.
///
/// Its columns: `metaxy_increment`, the comparison columns, the expected side's user columns, then provenance and
/// data versions. Orphaned rows fill those names from the stored row where name and type match. The plan needs
/// an optimizer rule to run, which the session's extension and [`Store`](crate::store::Store) bring along.
///
/// # Errors
/// A root feature without samples, samples without ids or versions, a column that two parents share, a spec that
/// names a column which its parent lacks, an engine that can't do what was asked for.
pub fn increment(inputs: &IncrementInputs, options: &IncrementOptions) -> Result<LogicalPlan> {
    check_global_filters(inputs, options)?;
    let executor = executor(inputs, options)?;
    let Expected { mut plans, inputs: expected, fields, overridden } = expected(inputs, options)?;
    let keys = inputs.plan.comparison_columns.clone();
    let stored = match &inputs.current {
        Some(provider) if !options.skip_comparison => {
            let user_columns: Vec<(&LogicalPlan, &String)> = plans
                .iter()
                .zip(&expected)
                .flat_map(|(plan, input)| input.user_columns.iter().map(move |column| (plan, column)))
                .collect();
            Some(current(inputs, options, &keys, &user_columns, provider)?)
        }
        _ => None,
    };
    let mut current = stored.map(|(plan, description)| {
        plans.push(plan);
        description
    });
    let review = review(inputs, options, current.is_some(), &mut plans)?;
    let (mut plans, lossy) = same_key_types(plans, &keys)?;
    if let Some(shard) = options.shard {
        plans = plans.into_iter().map(|plan| shard.of(plan, &keys)).collect::<Result<_>>()?;
    }
    if let (Some(current), Some(true)) = (&mut current, lossy.get(expected.len())) {
        current.unique = false;
    }
    let expected = expected
        .into_iter()
        .zip(lossy)
        .map(|(input, lossy)| ExpectedInput { unique: input.unique && !lossy, ..input })
        .collect();
    let description = Description {
        feature: inputs.plan.feature.key().clone(),
        keys,
        expected,
        fields,
        overridden,
        settings: inputs.settings,
        current,
        executor,
        review,
    };
    let node = Increment::try_new(plans, description)?;
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}

fn executor(inputs: &IncrementInputs, options: &IncrementOptions) -> Result<Executor> {
    let parents = inputs.plan.parents.iter().zip(&inputs.fallbacks);
    let fallback = parents
        .filter(|_| options.samples.is_none())
        .find_map(|(parent, store)| Some((&parent.dep.feature, store.as_deref()?)));
    choose(options.engine, options.session, &inputs.engine, fallback)
}

/// The expected side.
pub(crate) struct Expected {
    pub plans: Vec<LogicalPlan>,
    pub inputs: Vec<ExpectedInput>,
    pub fields: Vec<FieldRecipe>,
    pub overridden: bool,
}

fn expected(inputs: &IncrementInputs, options: &IncrementOptions) -> Result<Expected> {
    match &options.samples {
        Some(samples) => {
            let (plan, input, overridden) = sample_rows(inputs, samples, options)?;
            Ok(Expected { plans: vec![plan], inputs: vec![input], fields: given(&inputs.plan), overridden })
        }
        None if inputs.plan.is_root() => Err(MetaxyError::Invalid(format!(
            "feature {} is a root: its samples come from you, as in \
             resolve_update('{0}', (SELECT …, named_struct(…) AS {PROVENANCE_BY_FIELD} FROM …))",
            inputs.plan.feature.spec.key
        ))),
        None => from_parents(inputs, options),
    }
}

fn from_parents(inputs: &IncrementInputs, options: &IncrementOptions) -> Result<Expected> {
    let keys = &inputs.plan.comparison_columns;
    let mut plans = Vec::new();
    let mut expected: Vec<ExpectedInput> = Vec::new();
    let present = inputs.present_parents();
    for &index in &present {
        let Some((plan, mut input)) = parent_rows(inputs, options, index)? else { continue };
        if let Some(missing) = keys.iter().find(|key| !input.user_columns.contains(key)) {
            return Err(no_key(inputs, missing));
        }
        input.user_columns.retain(|column| !keys.contains(column));
        for (other, &earlier) in expected.iter().zip(&present) {
            if let Some(column) = input.user_columns.iter().find(|c| other.user_columns.contains(c)) {
                return Err(shared_column(inputs, column, earlier, index));
            }
        }
        plans.push(plan);
        expected.push(input);
    }
    if plans.is_empty() {
        return Err(MetaxyError::FeatureNotFound {
            feature: inputs.plan.feature.spec.key.to_string(),
            stores: vec!["any of its parents' tables".into()],
            reason: "all its parents are optional, and none has been written".into(),
        });
    }
    Ok(Expected { plans, inputs: expected, fields: recipes(inputs), overridden: false })
}

fn shared_column(inputs: &IncrementInputs, column: &str, first: usize, second: usize) -> MetaxyError {
    let key = |i: usize| &inputs.plan.parents[i].dep.feature;
    MetaxyError::Spec {
        feature: inputs.plan.feature.spec.key.to_string(),
        reason: format!(
            "parents {} and {} both have a column {column:?}; rename it or leave it out with select",
            key(first),
            key(second)
        ),
    }
}

fn no_key(inputs: &IncrementInputs, column: &str) -> MetaxyError {
    MetaxyError::Spec {
        feature: inputs.plan.feature.spec.key.to_string(),
        reason: format!(
            "its parents have no id column in common, and not all of them have its own id column {column:?}; \
             rename columns or say what the lineage is on"
        ),
    }
}

/// A condition for all tables has to apply to at least one, or it would narrow nothing.
fn check_global_filters(inputs: &IncrementInputs, options: &IncrementOptions) -> Result<()> {
    let tables = inputs.parents.iter().flatten().chain(&inputs.current).map(|table| table.schema());
    let samples = options.samples.as_ref().map(|plan| Arc::clone(plan.schema().inner()));
    let schemas: Vec<_> = tables.chain(samples).collect();
    match options.global_filters.iter().find(|f| !schemas.iter().any(|schema| has_columns(f, schema))) {
        None => Ok(()),
        Some(filter) => Err(MetaxyError::Invalid(format!(
            "global_filters: no table has all the columns of {filter}; give one condition per table with filters"
        ))),
    }
}
