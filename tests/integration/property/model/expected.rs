//! The samples that there should be: the parents joined, or the samples that the question brings.

use datafusion_metaxy::columns::{DATA_VERSION_BY_FIELD, PROVENANCE_BY_FIELD};
use datafusion_metaxy::model::FeatureSpec;

use super::fields::field_inputs;
use super::history::all_members;
use super::parents::{Parent, input_columns, parent_rows};
use super::{Refusal, Tables, hash, sample_version};
use crate::property::case::{Case, Feature, Question, Samples};
use crate::property::predicate::Predicate;
use crate::property::value::{Row, Type, Value, Versions, cell, cells};

/// What there should be.
pub(super) struct Expected {
    pub keys: Vec<String>,
    /// The other user columns.
    pub columns: Vec<(String, Type)>,
    pub rows: Vec<ExpectedRow>,
}

pub(super) struct ExpectedRow {
    pub values: Row,
    pub provenance_by_field: Versions,
    pub provenance: Option<String>,
    pub data_version_by_field: Versions,
    pub data_version: Option<String>,
    pub passes: bool,
}

/// The columns on which parents are joined and stored rows are compared.
pub fn comparison_columns(feature: &FeatureSpec, parents: &[&FeatureSpec]) -> Vec<String> {
    let inputs: Vec<Vec<String>> = feature
        .deps
        .iter()
        .zip(parents)
        .map(|(dep, parent)| input_columns(dep, parent, &feature.id_columns))
        .collect();
    let Some(first) = inputs.first() else { return feature.id_columns.clone() };
    let shared: Vec<String> =
        first.iter().filter(|column| inputs.iter().all(|input| input.contains(column))).cloned().collect();
    if shared.is_empty() { feature.id_columns.clone() } else { shared }
}

pub(super) fn expected(
    case: &Case,
    tables: &Tables,
    feature: &Feature,
    question: &Question,
    older: bool,
) -> Result<Expected, Refusal> {
    let parents: Vec<&FeatureSpec> = specs(case, feature);
    let keys = comparison_columns(&feature.spec, &parents);
    match &question.samples {
        Some(samples) => from_samples(case, feature, question, samples, keys),
        None => from_parents(case, tables, feature, question, keys, older),
    }
}

pub(super) fn specs<'a>(case: &'a Case, feature: &Feature) -> Vec<&'a FeatureSpec> {
    feature.spec.deps.iter().map(|dep| &case.features[case.index(&dep.feature.to_string())].spec).collect()
}

/// The conditions of a question on one feature's own columns; those for all tables where they apply.
pub(super) fn conditions<'a>(
    case: &Case,
    question: &'a Question,
    feature: &str,
    has_all: impl Fn(&[&str]) -> bool,
) -> Vec<&'a Predicate> {
    let own = question.filters.iter().filter(|(f, _)| case.features[*f].key() == feature).map(|(_, p)| p);
    let global = question.global.iter().filter(|p| has_all(&p.columns()));
    own.chain(global).collect()
}

/// A joined row: its columns and, per parent, the versions of that parent's row.
#[derive(Clone)]
struct Joined {
    values: Row,
    versions: Vec<Option<Versions>>,
    passes: bool,
}

fn from_parents(
    case: &Case,
    tables: &Tables,
    feature: &Feature,
    question: &Question,
    keys: Vec<String>,
    older: bool,
) -> Result<Expected, Refusal> {
    let deps = &feature.spec.deps;
    let mut parents: Vec<(usize, Parent)> = Vec::new();
    for (index, dep) in deps.iter().enumerate() {
        let key = dep.feature.to_string();
        let Some(table) = tables.get(&key) else {
            if dep.optional {
                continue;
            }
            return Err(format!("required parent {key} has no table"));
        };
        let conditions = conditions(case, question, &key, |columns| table.has_all(columns));
        parents.push((index, parent_rows(case, table, feature, index, &conditions, older)?));
    }
    let mut columns: Vec<(String, Type)> = Vec::new();
    for (_, parent) in &parents {
        for key in &keys {
            if !parent.columns.iter().any(|(name, _)| name == key) {
                return Err(format!("a parent lacks the key {key}"));
            }
        }
        for (name, column_type) in parent.columns.iter().filter(|(name, _)| !keys.contains(name)) {
            if columns.iter().any(|(other, _)| other == name) {
                return Err(format!("two parents have a column {name}"));
            }
            columns.push((name.clone(), *column_type));
        }
    }
    // Inner joins of the required parents, then left joins of the others; full joins if none is required.
    parents.sort_by_key(|(index, _)| deps[*index].optional);
    let all_optional = parents.iter().all(|(index, _)| deps[*index].optional);
    let mut joined: Option<Vec<Joined>> = None;
    for (index, parent) in &parents {
        let rows = single(*index, parent, deps.len());
        joined = Some(match joined {
            None => rows,
            Some(left) => join(left, rows, &keys, deps[*index].optional, all_optional),
        });
    }
    let Some(joined) = joined else { return Err("no parent has a table".into()) };
    let rows = joined.into_iter().map(|row| versioned(case, feature, row)).collect();
    Ok(Expected { keys, columns, rows })
}

fn single(index: usize, parent: &Parent, count: usize) -> Vec<Joined> {
    let row = |row: &super::parents::ParentRow| {
        let mut versions = vec![None; count];
        versions[index] = Some(row.versions.clone());
        Joined { values: row.values.clone(), versions, passes: row.passes }
    };
    parent.rows.iter().map(row).collect()
}

/// Rows whose keys are equal, NULL being equal to nothing; `keep_left` and `keep_right` keep rows without a partner.
fn join(
    left: Vec<Joined>,
    right: Vec<Joined>,
    keys: &[String],
    keep_left: bool,
    keep_right: bool,
) -> Vec<Joined> {
    let mut rows = Vec::new();
    let mut met = vec![false; right.len()];
    for row in left {
        let key = cells(&row.values, keys);
        let mut alone = true;
        for (other, met) in right.iter().zip(&mut met) {
            if key.contains(&Value::Null) || key != cells(&other.values, keys) {
                continue;
            }
            (alone, *met) = (false, true);
            let mut both = row.clone();
            both.values.extend(other.values.clone());
            for (versions, theirs) in both.versions.iter_mut().zip(&other.versions) {
                *versions = versions.take().or_else(|| theirs.clone());
            }
            both.passes &= other.passes;
            rows.push(both);
        }
        if alone && keep_left {
            rows.push(row);
        }
    }
    if keep_right {
        rows.extend(right.into_iter().zip(met).filter(|(_, met)| !met).map(|(row, _)| row));
    }
    rows
}

/// A joined row with its provenance.
fn versioned(case: &Case, feature: &Feature, row: Joined) -> ExpectedRow {
    let mut by_field = Versions::new();
    for field in field_inputs(&feature.spec, &specs(case, feature)) {
        let mut parts = Some(vec![field.key.clone(), field.code_version.clone()]);
        for (name, parent, member) in &field.parents {
            let version = row.versions[*parent].as_ref().and_then(|v| v.get(member).cloned().flatten());
            let version = match version {
                None if feature.spec.deps[*parent].optional => Some(String::new()),
                version => version,
            };
            parts = parts.zip(version).map(|(mut parts, version)| {
                parts.extend([name.clone(), version]);
                parts
            });
        }
        let version =
            parts.map(|parts| hash(case.settings, &parts.iter().map(String::as_str).collect::<Vec<_>>()));
        by_field.insert(field.member, version);
    }
    let provenance = sample_version(case.settings, &by_field);
    ExpectedRow {
        values: row.values,
        provenance_by_field: by_field.clone(),
        provenance: provenance.clone(),
        data_version_by_field: by_field,
        data_version: provenance,
        passes: row.passes,
    }
}

fn from_samples(
    case: &Case,
    feature: &Feature,
    question: &Question,
    samples: &Samples,
    keys: Vec<String>,
) -> Result<Expected, Refusal> {
    let has = |name: &str| samples.columns.iter().any(|(column, _)| column == name);
    if let Some(missing) = keys.iter().chain(&feature.spec.id_columns).find(|name| !has(name)) {
        return Err(format!("samples lack {missing}"));
    }
    let conditions = conditions(case, question, &feature.key(), |columns| columns.iter().all(|c| has(c)));
    if let Some(condition) = conditions.iter().find(|p| !p.columns().iter().all(|c| has(c))) {
        return Err(format!("samples lack the columns of {condition}"));
    }
    let members = feature.members();
    let rows = samples
        .rows
        .iter()
        .map(|row| {
            let provenance = all_members(&cell(row, PROVENANCE_BY_FIELD), &members);
            let versions = match cell(row, DATA_VERSION_BY_FIELD) {
                Value::Null => provenance.clone(),
                given => all_members(&given, &members),
            };
            ExpectedRow {
                values: samples.columns.iter().map(|(name, _)| (name.clone(), cell(row, name))).collect(),
                provenance: sample_version(case.settings, &provenance),
                provenance_by_field: provenance,
                data_version: sample_version(case.settings, &versions),
                data_version_by_field: versions,
                passes: conditions.iter().all(|condition| condition.holds(row)),
            }
        })
        .collect();
    let columns = samples.columns.iter().filter(|(name, _)| !keys.contains(name)).cloned().collect();
    Ok(Expected { keys, columns, rows })
}
