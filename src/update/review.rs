//! What is decided of rows once they are classified: whether a sample without a parent is gone or waits for one, and
//! why a sample is in the answer.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::logical_expr::{LogicalPlan, lit};

use super::parents::{Rows, filtered_rows, plain};
use super::reasons::{Reasons, reasons};
use super::{IncrementInputs, IncrementOptions};
use crate::columns::WAITING;
use crate::error::Result;
use crate::model::FeatureKey;

/// What is looked up for rows that a comparison has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Review {
    /// Whether samples that wait are shown.
    pub include_pending: bool,
    /// The parents that have a table. None if nothing is orphaned, or if no orphan could wait and nobody asks for reasons.
    pub parents: Vec<ReviewedParent>,
    /// What reasons are made of, if they are asked for.
    pub reasons: Option<Reasons>,
}

/// A parent, whose rows are read only if there is anything to be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReviewedParent {
    pub feature: FeatureKey,
    pub optional: bool,
    /// Whether the spec has filters on it.
    pub filtered: bool,
    /// The input with the keys of all rows at other versions; `None` if there can't be any.
    pub older: Option<usize>,
    /// The input with the keys of rows that are live at the current version or, where there is none, at another:
    /// [`WAITING`] is TRUE in these.
    pub standing: usize,
    /// The column of these rows that says whether they pass the caller's filters, if there are any.
    pub pass: Option<String>,
}

impl Review {
    /// The parents without which there is no sample: the required ones or, if there are none, any.
    pub(crate) fn decisive(&self) -> impl Iterator<Item = &ReviewedParent> {
        let all_optional = self.parents.iter().all(|parent| parent.optional);
        self.parents.iter().filter(move |parent| all_optional || !parent.optional)
    }

    /// Whether a sample could wait for a parent.
    fn has_older(&self) -> bool {
        self.decisive().any(|parent| parent.older.is_some())
    }
}

/// What has to be looked up, with the inputs for it appended to `plans`. `compared` says whether there is a stored side.
pub(super) fn review(
    inputs: &IncrementInputs,
    options: &IncrementOptions,
    compared: bool,
    plans: &mut Vec<LogicalPlan>,
) -> Result<Option<Review>> {
    let mut review = Review { include_pending: options.include_pending, parents: Vec::new(), reasons: None };
    if options.samples.is_none() && compared {
        let before = plans.len();
        review.parents = parents(inputs, options, plans)?;
        if !review.has_older() && !options.explain {
            review.parents.clear();
            plans.truncate(before);
        }
    }
    if options.explain {
        review.reasons = Some(reasons(inputs, options, compared, plans)?);
    }
    Ok((!review.parents.is_empty() || review.reasons.is_some()).then_some(review))
}

fn parents(
    inputs: &IncrementInputs,
    options: &IncrementOptions,
    plans: &mut Vec<LogicalPlan>,
) -> Result<Vec<ReviewedParent>> {
    let mut input = |plan| {
        plans.push(plan);
        plans.len() - 1
    };
    let mut parents = Vec::new();
    for index in inputs.present_parents() {
        let dep = &inputs.plan.parents[index].dep;
        let standing = inputs.standing.get(index).and_then(Option::as_ref);
        let rows = standing.map(|standing| &standing.rows).or(inputs.parents[index].as_ref());
        let Some(rows) = rows else { continue };
        let older = match standing {
            Some(standing) => Some(input(keys(inputs, options, index, &standing.older)?)),
            None => None,
        };
        let (plan, pass) = standing_rows(inputs, options, index, rows)?;
        parents.push(ReviewedParent {
            feature: dep.feature.clone(),
            optional: dep.optional,
            filtered: dep.filters.iter().flatten().next().is_some(),
            older,
            standing: input(plan),
            pass,
        });
    }
    Ok(parents)
}

/// The keys of all rows that `provider` has of a parent.
fn keys(
    inputs: &IncrementInputs,
    options: &IncrementOptions,
    index: usize,
    provider: &Arc<dyn TableProvider>,
) -> Result<LogicalPlan> {
    let Rows { builder, .. } = filtered_rows(inputs, options, index, provider)?;
    Ok(builder.project(inputs.plan.comparison_columns.iter().map(plain))?.build()?)
}

/// Keys, whether the row waits, and whether it passes the caller's filters.
fn standing_rows(
    inputs: &IncrementInputs,
    options: &IncrementOptions,
    index: usize,
    provider: &Arc<dyn TableProvider>,
) -> Result<(LogicalPlan, Option<String>)> {
    let Rows { builder, pass, .. } = filtered_rows(inputs, options, index, provider)?;
    let mut exprs: Vec<_> = inputs.plan.comparison_columns.iter().map(plain).collect();
    exprs.push(match builder.schema().field_with_unqualified_name(WAITING) {
        Ok(_) => plain(WAITING),
        Err(_) => lit(false).alias(WAITING),
    });
    exprs.extend(pass.iter().map(plain));
    Ok((builder.project(exprs)?.build()?, pass))
}
