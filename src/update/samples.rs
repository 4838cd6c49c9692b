//! Samples that the caller gives, as the expected side of an increment.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::Column;
use datafusion::functions::core::expr_fn::{coalesce, named_struct};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit, when};

use super::description::ExpectedInput;
use super::parents::{has_columns, plain, version_of};
use super::{IncrementInputs, IncrementOptions, internal};
use crate::columns::{DATA_VERSION_BY_FIELD, PROVENANCE_BY_FIELD, is_reserved};
use crate::error::{MetaxyError, Result};
use crate::hash::{HashSettings, hash_expr};

/// The samples under unqualified names, what they are, and whether they bring data versions of their own.
pub(crate) fn sample_rows(
    inputs: &IncrementInputs,
    samples: &LogicalPlan,
    options: &IncrementOptions,
) -> Result<(LogicalPlan, ExpectedInput, bool)> {
    let feature = &inputs.plan.feature.spec;
    let keys = &inputs.plan.comparison_columns;
    let schema = samples.schema();
    let has = |name: &str| schema.field_with_unqualified_name(name).is_ok();
    let refuse =
        |reason: String| MetaxyError::Invalid(format!("samples of feature {}: {reason}", feature.key));
    for id in keys.iter().chain(&feature.id_columns) {
        if !has(id) {
            return Err(refuse(format!("column {id:?} is missing")));
        }
    }
    let Ok(by_field) = schema.field_with_unqualified_name(PROVENANCE_BY_FIELD) else {
        return Err(refuse(format!(
            "column {PROVENANCE_BY_FIELD} is missing; it has one version per field, for example \
             named_struct('{}', content_hash)",
            inputs.plan.fields.first().map_or_else(String::new, |f| f.key.struct_key())
        )));
    };
    let fields: Vec<String> = inputs.plan.fields.iter().map(|field| field.key.struct_key()).collect();
    check_members(by_field.data_type(), &fields).map_err(&refuse)?;
    let column = |name: &str| -> Result<Expr> {
        Ok(Expr::Column(Column::from(schema.qualified_field_with_unqualified_name(name)?)))
    };
    let user_columns: Vec<String> = schema
        .fields()
        .iter()
        .map(|f| f.name())
        .filter(|name| !is_reserved(name) && !keys.contains(name))
        .cloned()
        .collect();
    let mut keep: Vec<String> = keys.iter().chain(&user_columns).cloned().collect();
    let mut exprs = keep.iter().map(|n| Ok(column(n)?.alias(n))).collect::<Result<Vec<_>>>()?;
    for key in &fields {
        let version = version_of(column(PROVENANCE_BY_FIELD)?, by_field.data_type(), key);
        keep.push(internal::field(key));
        exprs.push(cast(version, DataType::Utf8).alias(internal::field(key)));
    }
    let own = options.filters.get(&feature.key).into_iter().flatten();
    let conditions: Vec<Expr> = options
        .global_filters
        .iter()
        .chain(own)
        .filter(|f| has_columns(f, samples.schema().inner()))
        .cloned()
        .collect();
    let pass = conjunction(conditions);
    if let Some(pass) = &pass {
        exprs.push(coalesce(vec![pass.clone(), lit(false)]).alias(internal::PASS));
        keep.push(internal::PASS.to_owned());
    }
    let overridden = has(DATA_VERSION_BY_FIELD);
    if overridden {
        let given = schema.field_with_unqualified_name(DATA_VERSION_BY_FIELD)?.data_type();
        exprs.push(column(DATA_VERSION_BY_FIELD)?.is_null().alias(NOT_GIVEN));
        for key in &fields {
            let version = cast(version_of(column(DATA_VERSION_BY_FIELD)?, given, key), DataType::Utf8);
            exprs.push(version.alias(member(key)));
        }
    }
    let mut builder = LogicalPlanBuilder::from(samples.clone()).project(exprs)?;
    if overridden {
        builder = overriding(builder, &keep, &fields, inputs.settings)?;
    }
    let input = ExpectedInput {
        optional: false,
        user_columns,
        pass: pass.map(|_| internal::PASS.to_owned()),
        versions: Vec::new(),
        aggregation: None,
        unique: false,
    };
    Ok((builder.build()?, input, overridden))
}

/// Whether a sample has no data versions of its own.
const NOT_GIVEN: &str = "__metaxy_data_versions_not_given";

/// A data version of a sample.
fn member(key: &str) -> String {
    format!("{}_{key}", internal::DATA_VERSIONS)
}

/// Adds the data versions, by field and of the sample: the given ones, in rows without any the provenance.
fn overriding(
    samples: LogicalPlanBuilder,
    keep: &[String],
    fields: &[String],
    settings: HashSettings,
) -> Result<LogicalPlanBuilder> {
    let mut exprs: Vec<Expr> = keep.iter().map(plain).collect();
    for key in fields {
        let version = when(plain(NOT_GIVEN), plain(internal::field(key))).otherwise(plain(member(key)))?;
        exprs.push(version.alias(member(key)));
    }
    let by_field =
        named_struct(fields.iter().flat_map(|key| [lit(key.as_str()), plain(member(key))]).collect());
    let mut sorted: Vec<&String> = fields.iter().collect();
    sorted.sort();
    let sample = hash_expr(settings, sorted.into_iter().map(|key| plain(member(key))));
    let versions = [by_field.alias(internal::DATA_VERSIONS), sample.alias(internal::DATA_VERSION)];
    let with_versions: Vec<Expr> = keep.iter().map(plain).chain(versions).collect();
    Ok(samples.project(exprs)?.project(with_versions)?)
}

fn check_members(data_type: &DataType, keys: &[String]) -> Result<(), String> {
    let DataType::Struct(fields) = data_type else {
        return match data_type {
            DataType::Map(_, _) => Ok(()),
            other => Err(format!("column {PROVENANCE_BY_FIELD} is {other}; it must be a struct or a map")),
        };
    };
    let given: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
    let complete = keys.iter().all(|k| given.contains(&k.as_str())) && given.len() == keys.len();
    if complete {
        return Ok(());
    }
    Err(format!(
        "column {PROVENANCE_BY_FIELD} has the fields {}; the feature's fields are {}",
        given.join(", "),
        keys.join(", ")
    ))
}
