//! One parent's rows as an increment takes them: latest, renamed, filtered, selected, with its lineage applied.

use std::collections::BTreeMap;

use datafusion_metaxy::columns::DATA_VERSION_BY_FIELD;
use datafusion_metaxy::hash::HashSettings;
use datafusion_metaxy::model::{FeatureDep, FeatureSpec, Lineage};

use super::{CURRENT, OLDER, Refusal, Table, hash};
use crate::property::case::{Case, Feature};
use crate::property::predicate::Predicate;
use crate::property::value::{Row, Type, Value, Versions, cell, cells};

/// A parent's rows, ready to be joined.
pub(super) struct Parent {
    pub columns: Vec<(String, Type)>,
    pub rows: Vec<ParentRow>,
}

pub(super) struct ParentRow {
    /// User columns under their new names.
    pub values: Row,
    /// The data versions of the parent's fields.
    pub versions: Versions,
    /// Whether the row meets the filters of the question.
    pub passes: bool,
}

/// What a parent's column is called after the renames.
pub(super) fn renamed(dep: &FeatureDep, column: &str) -> String {
    dep.rename.as_ref().and_then(|rename| rename.get(column)).map_or(column, String::as_str).to_owned()
}

/// The columns that identify one unit of a parent's input.
pub(super) fn input_columns(dep: &FeatureDep, parent: &FeatureSpec, own_ids: &[String]) -> Vec<String> {
    match &dep.lineage {
        Lineage::Identity => parent.id_columns.iter().map(|id| renamed(dep, id)).collect(),
        Lineage::Aggregation { on: None } => own_ids.to_vec(),
        Lineage::Aggregation { on: Some(on) } | Lineage::Expansion { on, .. } => on.clone(),
    }
}

/// The rows of the parent that `feature` has at `index`; with `older` also those that are only live at an older
/// version.
pub(super) fn parent_rows(
    case: &Case,
    table: &Table,
    feature: &Feature,
    index: usize,
    conditions: &[&Predicate],
    older: bool,
) -> Result<Parent, Refusal> {
    let dep = &feature.spec.deps[index];
    let parent = &case.features[case.index(&dep.feature.to_string())].spec;
    for condition in conditions {
        if !table.has_all(&condition.columns()) {
            return Err(format!("filter {condition}: {} has no such column", parent.key));
        }
    }
    let columns: Vec<(String, Type)> =
        table.columns.iter().map(|(name, column_type)| (renamed(dep, name), *column_type)).collect();
    let has = |name: &str| columns.iter().any(|(column, _)| column == name);
    if (1..columns.len()).any(|i| columns[..i].iter().any(|(name, _)| *name == columns[i].0)) {
        return Err(format!("two columns of {} get one name", parent.key));
    }
    let inputs = input_columns(dep, parent, &feature.spec.id_columns);
    let mentioned = feature.filters[index].iter().flat_map(Predicate::columns);
    let needed = inputs.iter().map(String::as_str).chain(mentioned);
    let mut needed = needed.chain(dep.select.iter().flatten().map(String::as_str));
    if let Some(missing) = needed.find(|name| !has(name)) {
        return Err(format!("{} has no column {missing}", parent.key));
    }

    let mut stored = table.live(&parent.id_columns, CURRENT);
    if older {
        let known = table.known_ids(&parent.id_columns);
        let waiting = table.live(&parent.id_columns, OLDER);
        stored.extend(waiting.into_iter().filter(|row| !known.contains(&cells(row, &parent.id_columns))));
    }
    let mut rows: Vec<ParentRow> = stored
        .iter()
        .map(|row| ParentRow {
            values: table.columns.iter().map(|(name, _)| (renamed(dep, name), cell(row, name))).collect(),
            versions: cell(row, DATA_VERSION_BY_FIELD).members(),
            passes: conditions.iter().all(|condition| condition.holds(row)),
        })
        .filter(|row| feature.filters[index].iter().all(|filter| filter.holds(&row.values)))
        .collect();
    if let Lineage::Aggregation { .. } = dep.lineage {
        let order: Vec<String> = parent.id_columns.iter().map(|id| renamed(dep, id)).collect();
        aggregate(&mut rows, &inputs, &order, parent, case.settings);
    }
    let selected = |name: &String| {
        dep.select.as_ref().is_none_or(|select| select.contains(name)) || inputs.contains(name)
    };
    for row in &mut rows {
        row.values.retain(|name, _| selected(name));
    }
    Ok(Parent { columns: columns.into_iter().filter(|(name, _)| selected(name)).collect(), rows })
}

/// Gives every row the versions of its group.
fn aggregate(
    rows: &mut [ParentRow],
    on: &[String],
    order: &[String],
    parent: &FeatureSpec,
    settings: HashSettings,
) {
    let mut groups: BTreeMap<Vec<Value>, Vec<usize>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        groups.entry(cells(&row.values, on)).or_default().push(index);
    }
    for mut members in groups.into_values() {
        members.sort_by_key(|member| cells(&rows[*member].values, order));
        let mut versions = Versions::new();
        for field in &parent.fields {
            let key = field.key.struct_key();
            let known: Vec<&str> =
                members.iter().filter_map(|m| rows[*m].versions.get(&key)?.as_deref()).collect();
            versions.insert(key.clone(), Some(hash(settings, &known)));
        }
        for member in members {
            rows[member].versions = versions.clone();
        }
    }
}
