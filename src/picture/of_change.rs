//! A picture of what has changed between two graphs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::of_graph::{code_version, feature, field, link, undefined};
use super::{Change, Feature, Field, Picture};
use crate::model::{FeatureDefinition, FeatureDep, FeatureGraph, FeatureKey, FieldSpec, Lineage, Origin};

impl Picture {
    /// A picture of both graphs: the later one, with what was removed from the earlier one.
    ///
    /// A feature counts as changed in itself when its fields, their code versions, or what they depend on read
    /// differently, and as changed by inheritance when only a parent's version makes its own another one. What is in
    /// a graph as removed from its project counts as gone, and is drawn only where something depends on it.
    pub fn of_change(before: &FeatureGraph, after: &FeatureGraph) -> Self {
        let mut picture = Picture { title: "Changes".to_owned(), compares: true, ..Picture::default() };
        let mut places: HashMap<FeatureKey, usize> = HashMap::new();
        for key in order(before, after) {
            let seen = match (present(before, after, &key), present(after, before, &key)) {
                (Some(old), Some(new)) => compared(before, old, after, new),
                (None, Some(new)) => whole(feature(after, new), Change::Added),
                (Some(old), None) => whole(feature(before, old), Change::Removed),
                (None, None) => match (before.get(&key), after.get(&key)) {
                    (_, Some(left)) => feature(after, left),
                    (Some(left), None) => feature(before, left),
                    (None, None) => undefined(&key),
                },
            };
            places.insert(key, picture.features.len());
            picture.features.push(seen);
        }
        for (key, child) in order(before, after).iter().filter_map(|key| Some((key, *places.get(key)?))) {
            let deps = |graph: &FeatureGraph, other: &FeatureGraph| {
                present(graph, other, key).map(|found| found.spec.deps.clone()).unwrap_or_default()
            };
            let (old, new) = (deps(before, after), deps(after, before));
            let find =
                |deps: &[FeatureDep], key: &FeatureKey| deps.iter().find(|dep| dep.feature == *key).cloned();
            let removed = old.iter().filter(|dep| find(&new, &dep.feature).is_none());
            for dep in new.iter().chain(removed) {
                let change = match (find(&old, &dep.feature), find(&new, &dep.feature)) {
                    (Some(old), Some(new)) if old == new => Change::Same,
                    (Some(_), Some(_)) => Change::Changed,
                    (None, _) => Change::Added,
                    (_, None) => Change::Removed,
                };
                if let Some(parent) = places.get(&dep.feature) {
                    picture.links.push(super::Link { change, ..link(dep, *parent, child) });
                }
            }
        }
        picture
    }

    /// Whether the two graphs differ in anything.
    pub fn has_changes(&self) -> bool {
        self.features.iter().any(|feature| feature.change != Change::Same)
            || self.links.iter().any(|link| link.change != Change::Same)
    }
}

fn is_removed(definition: &FeatureDefinition) -> bool {
    matches!(definition.origin, Origin::Removed(_))
}

/// A feature of a graph, unless it was removed from its project; what is removed in both graphs has not changed.
fn present<'a>(
    graph: &'a FeatureGraph,
    other: &FeatureGraph,
    key: &FeatureKey,
) -> Option<&'a Arc<FeatureDefinition>> {
    let is_left = || other.get(key).is_some_and(|definition| is_removed(definition));
    graph.get(key).filter(|definition| !is_removed(definition) || is_left())
}

/// The features of a graph, of removed ones those that others still depend on.
fn needed(graph: &FeatureGraph) -> HashSet<&FeatureKey> {
    let mut needed = HashSet::new();
    // Children come first this way round.
    for definition in graph.iter().rev() {
        if !is_removed(definition) || needed.contains(definition.key()) {
            needed.insert(definition.key());
            needed.extend(definition.spec.deps.iter().map(|dep| &dep.feature));
        }
    }
    needed
}

/// All keys of both graphs, parents before children where the graphs agree on that; first those of the later one.
fn order(before: &FeatureGraph, after: &FeatureGraph) -> Vec<FeatureKey> {
    let mut above: BTreeMap<&FeatureKey, BTreeSet<&FeatureKey>> = BTreeMap::new();
    // A circle over both graphs is possible (a parent that becomes the child), so the later graph has its way.
    for graph in [after, before] {
        let needed = needed(graph);
        for definition in graph.iter().filter(|definition| needed.contains(definition.key())) {
            let known = above.contains_key(definition.key());
            let parents = above.entry(definition.key()).or_default();
            if !known {
                parents.extend(definition.spec.deps.iter().map(|dep| &dep.feature));
            }
        }
    }
    let named: Vec<&FeatureKey> = above.values().flatten().copied().collect();
    for key in named {
        above.entry(key).or_default();
    }
    let mut order: Vec<FeatureKey> = Vec::new();
    let mut placed: BTreeSet<&FeatureKey> = BTreeSet::new();
    while placed.len() < above.len() {
        let ready = |(key, parents): &(&&FeatureKey, &BTreeSet<&FeatureKey>)| {
            !placed.contains(**key) && parents.is_subset(&placed)
        };
        // Of a circle that is left over, whichever comes first.
        let next = above.iter().find(ready).or_else(|| above.iter().find(|(key, _)| !placed.contains(**key)));
        let Some((key, _)) = next else { break };
        placed.insert(key);
        order.push((*key).clone());
    }
    order
}

/// A feature that is in one of the graphs only.
fn whole(mut feature: Feature, change: Change) -> Feature {
    feature.change = change;
    for field in &mut feature.fields {
        field.change = change;
    }
    feature
}

fn compared(
    before: &FeatureGraph,
    old: &FeatureDefinition,
    after: &FeatureGraph,
    new: &FeatureDefinition,
) -> Feature {
    let mut seen = feature(after, new);
    let key = new.key();
    let old_version = before.feature_version(key).ok();
    let remapped = remapped(old, new);
    seen.fields = Vec::new();
    for spec in &new.spec.fields {
        let after = field(after, new, spec);
        seen.fields.push(match old.spec.field(&spec.key) {
            None => Field { change: Change::Added, ..after },
            Some(was) => compared_field(field(before, old, was), was, after, spec, remapped),
        });
    }
    for gone in old.spec.fields.iter().filter(|was| new.spec.field(&was.key).is_none()) {
        seen.fields.push(Field { change: Change::Removed, ..field(before, old, gone) });
    }
    let own = seen.fields.iter().any(|field| !matches!(field.change, Change::Same | Change::Inherited));
    let another = old_version != seen.version;
    seen.reasons = reasons(old, new);
    let edited = own || !seen.reasons.is_empty() || old.schema != new.schema;
    seen.change = match (another, own) {
        (true, true) => Change::Changed,
        (true, false) => Change::Inherited,
        // Versions that nobody knows may well be others.
        (false, true) if seen.version.is_none() => Change::Changed,
        (false, _) if edited => Change::Edited,
        (false, _) => Change::Same,
    };
    if seen.change == Change::Inherited {
        seen.reasons.insert(0, through(before, after, new));
    } else if seen.change == Change::Edited && seen.reasons.is_empty() {
        seen.reasons.push("columns".to_owned());
    }
    if another {
        seen.previous_version = old_version;
    }
    seen
}

/// Whether fields that name no parent fields find theirs in another way than before.
fn remapped(old: &FeatureDefinition, new: &FeatureDefinition) -> bool {
    let mapping = |definition: &FeatureDefinition| -> BTreeMap<_, _> {
        let deps = definition.spec.deps.iter();
        deps.map(|dep| (dep.feature.clone(), format!("{:?}", dep.fields_mapping))).collect()
    };
    mapping(old) != mapping(new)
}

fn compared_field(before: Field, was: &FieldSpec, after: Field, is: &FieldSpec, remapped: bool) -> Field {
    let recoded = was.code_version != is.code_version;
    let rewired = (was.deps != is.deps || remapped) && before.parents != after.parents;
    let another = before.version != after.version;
    let change = match (recoded || rewired, another) {
        (true, _) => Change::Changed,
        (false, true) => Change::Inherited,
        (false, false) => Change::Same,
    };
    Field {
        previous_code_version: recoded.then(|| code_version(was)),
        previous_version: if another { before.version } else { None },
        change,
        ..after
    }
}

/// The parents whose new versions give the feature a new one.
fn through(before: &FeatureGraph, after: &FeatureGraph, new: &FeatureDefinition) -> String {
    let another = |dep: &&FeatureDep| {
        before.feature_version(&dep.feature).ok() != after.feature_version(&dep.feature).ok()
    };
    let parents: Vec<String> =
        new.spec.deps.iter().filter(another).map(|dep| dep.feature.to_string()).collect();
    if parents.is_empty() {
        "what is expected of it".to_owned()
    } else {
        format!("through {}", parents.join(", "))
    }
}

/// What reads differently in two definitions, fields aside.
fn reasons(old: &FeatureDefinition, new: &FeatureDefinition) -> Vec<String> {
    let mut reasons = Vec::new();
    for dep in &new.spec.deps {
        match old.spec.dep(&dep.feature) {
            None => reasons.push(format!("parent {} added", dep.feature)),
            Some(was) => reasons.extend(dep_reasons(was, dep)),
        }
    }
    let gone = old.spec.deps.iter().filter(|was| new.spec.dep(&was.feature).is_none());
    reasons.extend(gone.map(|was| format!("parent {} removed", was.feature)));
    if old.spec.id_columns != new.spec.id_columns {
        let (was, is) = (old.spec.id_columns.join(", "), new.spec.id_columns.join(", "));
        reasons.push(format!("id columns {was} → {is}"));
    }
    if old.project != new.project {
        reasons.push(format!("project {} → {}", old.project, new.project));
    }
    if old.spec.description != new.spec.description {
        reasons.push("description".to_owned());
    }
    if old.spec.metadata != new.spec.metadata {
        reasons.push("metadata".to_owned());
    }
    reasons
}

fn dep_reasons(was: &FeatureDep, is: &FeatureDep) -> Vec<String> {
    let mut what = Vec::new();
    if was.lineage != is.lineage {
        match (lineage(&was.lineage), lineage(&is.lineage)) {
            (was, is) if was == is => what.push(format!("lineage {is}, other columns")),
            (was, is) => what.push(format!("lineage {was} → {is}")),
        }
    }
    match (was.optional, is.optional) {
        (true, false) => what.push("no longer optional".to_owned()),
        (false, true) => what.push("optional now".to_owned()),
        _ => {}
    }
    for (differs, word) in [
        (was.filters != is.filters, "filters"),
        (was.rename != is.rename, "renames"),
        (was.select != is.select, "selected columns"),
        (was.fields_mapping != is.fields_mapping, "fields mapping"),
    ] {
        if differs {
            what.push(word.to_owned());
        }
    }
    what.into_iter().map(|what| format!("parent {}: {what}", is.feature)).collect()
}

fn lineage(lineage: &Lineage) -> &'static str {
    match lineage {
        Lineage::Identity => "1:1",
        Lineage::Aggregation { .. } => "N:1",
        Lineage::Expansion { .. } => "1:N",
    }
}

#[cfg(test)]
mod tests;
