//! The provenance of expected rows: per field a hash of its code version and its parents' data versions.

use datafusion::functions::core::expr_fn::{coalesce, named_struct};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};

use super::parents::plain;
use super::{IncrementInputs, internal};
use crate::columns::{DATA_VERSION, DATA_VERSION_BY_FIELD, PROVENANCE, PROVENANCE_BY_FIELD};
use crate::error::Result;
use crate::hash::{SEPARATOR, hash_expr};
use crate::model::{FeaturePlan, FieldPlan};

/// The provenance of one field of an expected row.
fn field_provenance(inputs: &IncrementInputs, field: &FieldPlan) -> Expr {
    // Constants that stand side by side are one part: the separator between them is constant, too.
    let mut text = format!("{}{SEPARATOR}{}", field.key, field.code_version);
    let mut parts = Vec::new();
    for parent_field in &field.parents {
        // After a value the hash function itself puts the separator in.
        if !text.is_empty() {
            text.push_str(SEPARATOR);
        }
        text.push_str(&parent_field.name);
        let parent = &inputs.plan.parents[parent_field.parent];
        if inputs.parents[parent_field.parent].is_none() {
            // An optional parent that has no table at all is missing for every sample.
            text.push_str(SEPARATOR);
            continue;
        }
        let version = plain(internal::parent_version(parent_field.parent, &parent_field.field.struct_key()));
        parts.push(lit(std::mem::take(&mut text)));
        parts.push(if parent.dep.optional { coalesce(vec![version, lit("")]) } else { version });
    }
    if !text.is_empty() {
        parts.push(lit(text));
    }
    hash_expr(inputs.settings, parts)
}

/// The sample's version from its fields' versions, in the order of sorted struct keys.
fn sample_provenance(inputs: &IncrementInputs, keys: &[String]) -> Expr {
    let mut sorted: Vec<&String> = keys.iter().collect();
    sorted.sort();
    hash_expr(inputs.settings, sorted.into_iter().map(|key| plain(internal::field(key))))
}

/// The feature's struct keys in the order of the spec.
pub(crate) fn field_keys(plan: &FeaturePlan) -> Vec<String> {
    plan.fields.iter().map(|field| field.key.struct_key()).collect()
}

/// Adds one provenance column per field, `keep` being the columns that stay.
pub(crate) fn with_field_provenances(
    builder: LogicalPlanBuilder,
    inputs: &IncrementInputs,
    keep: &[String],
) -> Result<LogicalPlanBuilder> {
    let mut exprs: Vec<Expr> = keep.iter().map(plain).collect();
    for field in &inputs.plan.fields {
        exprs.push(field_provenance(inputs, field).alias(internal::field(&field.key.struct_key())));
    }
    Ok(builder.project(exprs)?)
}

/// Puts the fields' provenances together as the four version columns, `keep` being the columns that stay.
pub(crate) fn with_versions(
    builder: LogicalPlanBuilder,
    inputs: &IncrementInputs,
    keep: &[String],
    data_version_by_field: Option<Expr>,
) -> Result<LogicalPlanBuilder> {
    let keys = field_keys(&inputs.plan);
    let by_field =
        named_struct(keys.iter().flat_map(|key| [lit(key.as_str()), plain(internal::field(key))]).collect());
    let sample = sample_provenance(inputs, &keys);
    let mut versions: Vec<Expr> = builder.schema().fields().iter().map(|f| plain(f.name())).collect();
    versions.push(by_field.alias(PROVENANCE_BY_FIELD));
    versions.push(sample.alias(PROVENANCE));
    // The data versions repeat the provenance: computed once, in a projection of its own.
    let mut exprs: Vec<Expr> = keep.iter().map(plain).collect();
    exprs.push(plain(PROVENANCE_BY_FIELD));
    exprs.push(plain(PROVENANCE));
    exprs.push(
        data_version_by_field.unwrap_or_else(|| plain(PROVENANCE_BY_FIELD)).alias(DATA_VERSION_BY_FIELD),
    );
    exprs.push(plain(PROVENANCE).alias(DATA_VERSION));
    Ok(builder.project(versions)?.project(exprs)?)
}
