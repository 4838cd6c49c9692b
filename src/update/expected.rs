//! What samples there should be, and with which provenance: the parents joined, or the caller's samples.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, JoinType};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast, lit, when};

use super::parents::{ParentRows, has_columns, parent_rows, plain, version_of};
use super::provenance::{field_keys, with_field_provenances, with_versions};
use super::{IncrementInputs, IncrementOptions, internal};
use crate::columns::{DATA_VERSION_BY_FIELD, PROVENANCE_BY_FIELD, is_reserved};
use crate::error::{MetaxyError, Result};

/// Expected rows: comparison columns, user columns, the four version columns, and a pass column if `filtered`.
pub(crate) struct Expected {
    pub plan: LogicalPlan,
    pub keys: Vec<String>,
    pub user_columns: Vec<String>,
    pub filtered: bool,
}

/// Builds the expected rows.
pub(crate) fn expected(inputs: &IncrementInputs, options: &IncrementOptions) -> Result<Expected> {
    match &options.samples {
        Some(samples) => from_samples(inputs, samples, options),
        None if inputs.plan.is_root() => Err(MetaxyError::Invalid(format!(
            "feature {} is a root: its samples come from you, as in \
             resolve_update('{0}', (SELECT …, named_struct(…) AS {PROVENANCE_BY_FIELD} FROM …))",
            inputs.plan.feature.spec.key
        ))),
        None => from_parents(inputs, options),
    }
}

fn from_parents(inputs: &IncrementInputs, options: &IncrementOptions) -> Result<Expected> {
    let keys = inputs.plan.comparison_columns.clone();
    let mut required = Vec::new();
    let mut optional = Vec::new();
    for index in 0..inputs.plan.parents.len() {
        if let Some(rows) = parent_rows(inputs, options, index)? {
            let list = if inputs.plan.parents[index].dep.optional { &mut optional } else { &mut required };
            list.push((index, rows));
        }
    }
    check_shared(inputs, required.iter().chain(&optional))?;
    let all_optional = required.is_empty();
    let mut joined: Option<Joined> = None;
    for (_, rows) in required {
        joined = Some(match joined {
            None => Joined::new(rows, &keys, inputs)?,
            Some(left) => left.join(rows, &keys, JoinType::Inner, inputs)?,
        });
    }
    let optional_join = if all_optional { JoinType::Full } else { JoinType::Left };
    for (_, rows) in optional {
        joined = Some(match joined {
            None => Joined::new(rows, &keys, inputs)?,
            Some(left) => left.join(rows, &keys, optional_join, inputs)?,
        });
    }
    let Some(joined) = joined else {
        return Err(MetaxyError::FeatureNotFound {
            feature: inputs.plan.feature.spec.key.to_string(),
            stores: vec!["any of its parents' tables".into()],
            reason: "all its parents are optional, and none has been written".into(),
        });
    };
    let mut keep: Vec<String> = keys.clone();
    keep.extend(joined.user_columns.iter().cloned());
    let filtered = !joined.passes.is_empty();
    let mut builder = LogicalPlanBuilder::from(joined.plan);
    if filtered {
        let mut exprs: Vec<Expr> = builder.schema().fields().iter().map(|f| plain(f.name())).collect();
        // An optional parent that is missing has not failed its filter.
        let pass = joined.passes.iter().map(|p| coalesce(vec![plain(p), lit(true)])).reduce(Expr::and);
        exprs.extend(pass.map(|pass| pass.alias(internal::PASS)));
        builder = builder.project(exprs)?;
        keep.push(internal::PASS.to_owned());
    }
    builder = with_field_provenances(builder, inputs, &keep)?;
    builder = with_versions(builder, inputs, &keep, None)?;
    Ok(Expected { plan: builder.build()?, keys, user_columns: joined.user_columns, filtered })
}

/// Columns that two parents share, other than those they are joined on, must be renamed or left out.
fn check_shared<'a>(
    inputs: &IncrementInputs,
    parents: impl Iterator<Item = &'a (usize, ParentRows)>,
) -> Result<()> {
    let mut owners: Vec<(&str, usize)> = Vec::new();
    for (index, rows) in parents {
        for column in &rows.user_columns {
            if inputs.plan.comparison_columns.contains(column) {
                continue;
            }
            if let Some((_, other)) = owners.iter().find(|(name, _)| name == column) {
                let key = |i: usize| &inputs.plan.parents[i].dep.feature;
                return Err(MetaxyError::Spec {
                    feature: inputs.plan.feature.spec.key.to_string(),
                    reason: format!(
                        "parents {} and {} both have a column {column:?}; rename it or leave it out with select",
                        key(*other),
                        key(*index)
                    ),
                });
            }
            owners.push((column, *index));
        }
    }
    Ok(())
}

/// Parents joined so far, under unqualified names.
struct Joined {
    plan: LogicalPlan,
    user_columns: Vec<String>,
    passes: Vec<String>,
}

impl Joined {
    fn new(rows: ParentRows, keys: &[String], inputs: &IncrementInputs) -> Result<Self> {
        let names: Vec<String> = rows.plan.schema().fields().iter().map(|f| f.name().clone()).collect();
        if let Some(missing) = keys.iter().find(|key| !names.contains(key)) {
            return Err(no_key(inputs, missing));
        }
        Ok(Self {
            passes: passes(&names),
            user_columns: rows.user_columns.into_iter().filter(|c| !keys.contains(c)).collect(),
            plan: rows.plan,
        })
    }

    fn join(
        self,
        rows: ParentRows,
        keys: &[String],
        kind: JoinType,
        inputs: &IncrementInputs,
    ) -> Result<Self> {
        let right = Joined::new(rows, keys, inputs)?;
        let (left_plan, right_plan) = same_key_types(self.plan, right.plan, keys)?;
        let names =
            |plan: &LogicalPlan| plan.schema().fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
        let (left_names, right_names) = (names(&left_plan), names(&right_plan));
        let right_key = |key: &String| format!("__metaxy_right_{key}");
        let renamed: Vec<Expr> = right_names
            .iter()
            .map(|name| if keys.contains(name) { plain(name).alias(right_key(name)) } else { plain(name) })
            .collect();
        let right_plan = LogicalPlanBuilder::from(right_plan).project(renamed)?.build()?;
        let left_on: Vec<Column> = keys.iter().map(Column::new_unqualified).collect();
        let right_on: Vec<Column> = keys.iter().map(|k| Column::new_unqualified(right_key(k))).collect();
        let mut exprs = Vec::new();
        for name in &left_names {
            let both = keys.contains(name) && kind == JoinType::Full;
            exprs.push(if both {
                coalesce(vec![plain(name), plain(right_key(name))]).alias(name)
            } else {
                plain(name)
            });
        }
        exprs.extend(right_names.iter().filter(|name| !keys.contains(name)).map(plain));
        let plan = LogicalPlanBuilder::from(left_plan)
            .join(right_plan, kind, (left_on, right_on), None)?
            .project(exprs)?
            .build()?;
        let mut user_columns = self.user_columns;
        user_columns.extend(right.user_columns);
        Ok(Self { passes: passes(&names(&plan)), user_columns, plan })
    }
}

fn passes(names: &[String]) -> Vec<String> {
    names.iter().filter(|name| name.starts_with(internal::PASS)).cloned().collect()
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

/// Gives the keys of both sides the types in which they can be compared without loss.
pub(crate) fn same_key_types(
    left: LogicalPlan,
    right: LogicalPlan,
    keys: &[String],
) -> Result<(LogicalPlan, LogicalPlan)> {
    let type_of = |plan: &LogicalPlan, key: &str| -> Result<DataType> {
        Ok(plan.schema().field_with_unqualified_name(key)?.data_type().clone())
    };
    let mut common = Vec::new();
    for key in keys {
        let (a, b) = (type_of(&left, key)?, type_of(&right, key)?);
        let shared = if a == b { Some(a.clone()) } else { comparison_coercion(&a, &b) };
        let Some(shared) = shared else {
            let reason = format!("id column {key:?} is {a} on one side and {b} on the other");
            return Err(MetaxyError::Invalid(reason));
        };
        common.push((key, shared));
    }
    let cast_keys = |plan: LogicalPlan| -> Result<LogicalPlan> {
        let target = |name: &String| common.iter().find(|(key, _)| *key == name).map(|(_, t)| t);
        let fields = plan.schema().fields();
        if fields.iter().all(|f| target(f.name()).is_none_or(|t| t == f.data_type())) {
            return Ok(plan);
        }
        let exprs: Vec<Expr> = fields
            .iter()
            .map(|field| match target(field.name()) {
                Some(target) if target != field.data_type() => {
                    cast(plain(field.name()), target.clone()).alias(field.name())
                }
                _ => plain(field.name()),
            })
            .collect();
        Ok(LogicalPlanBuilder::from(plan).project(exprs)?.build()?)
    };
    Ok((cast_keys(left)?, cast_keys(right)?))
}

fn from_samples(
    inputs: &IncrementInputs,
    samples: &LogicalPlan,
    options: &IncrementOptions,
) -> Result<Expected> {
    let feature = &inputs.plan.feature.spec;
    let keys = inputs.plan.comparison_columns.clone();
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
    let field_names = field_keys(&inputs.plan);
    check_members(by_field.data_type(), &field_names).map_err(&refuse)?;
    let user_columns: Vec<String> = schema
        .fields()
        .iter()
        .map(|f| f.name())
        .filter(|name| !is_reserved(name) && !keys.contains(name))
        .cloned()
        .collect();
    let mut keep = keys.clone();
    keep.extend(user_columns.iter().cloned());
    let column = |name: &str| -> Result<Expr> {
        Ok(Expr::Column(Column::from(schema.qualified_field_with_unqualified_name(name)?)))
    };
    let mut exprs = keep.iter().map(|n| Ok(column(n)?.alias(n))).collect::<Result<Vec<_>>>()?;
    for key in &field_names {
        let version = version_of(column(PROVENANCE_BY_FIELD)?, by_field.data_type(), key);
        exprs.push(cast(version, DataType::Utf8).alias(internal::field(key)));
    }
    let own = options.filters.get(&feature.key).into_iter().flatten();
    let conditions = options
        .global_filters
        .iter()
        .chain(own)
        .filter(|f| has_columns(f, samples.schema().inner()))
        .cloned();
    let pass = conjunction(conditions.collect::<Vec<_>>());
    let filtered = pass.is_some();
    if let Some(pass) = pass {
        exprs.push(coalesce(vec![pass, lit(false)]).alias(internal::PASS));
        keep.push(internal::PASS.to_owned());
    }
    let given = has(DATA_VERSION_BY_FIELD);
    if given {
        exprs.push(column(DATA_VERSION_BY_FIELD)?.alias(DATA_VERSION_BY_FIELD));
    }
    let builder = LogicalPlanBuilder::from(samples.clone()).project(exprs)?;
    let overridden = if given {
        let mut members = Vec::new();
        let column = plain(DATA_VERSION_BY_FIELD);
        let data_type = column.get_type(builder.schema())?;
        for key in &field_names {
            members.push(lit(key.as_str()));
            let version = cast(version_of(column.clone(), &data_type, key), DataType::Utf8);
            members.push(when(column.clone().is_null(), plain(internal::field(key))).otherwise(version)?);
        }
        Some(datafusion::functions::core::expr_fn::named_struct(members))
    } else {
        None
    };
    let builder = with_versions(builder, inputs, &keep, overridden)?;
    Ok(Expected { plan: builder.build()?, keys, user_columns, filtered })
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
