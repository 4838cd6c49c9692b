//! Parents before children, or the cycle that makes it impossible.

use std::collections::{BTreeMap, BTreeSet};

use super::key::FeatureKey;
use super::spec::FeatureSpec;
use crate::error::{MetaxyError, Result};

/// The keys with every parent before its children, and by key where that leaves a choice.
///
/// Parents that aren't among the specs are left out of account. The error shows the path of a cycle.
pub(super) fn topological(specs: &BTreeMap<&FeatureKey, &FeatureSpec>) -> Result<Vec<FeatureKey>> {
    let mut waiting: BTreeMap<&FeatureKey, usize> = BTreeMap::new();
    let mut children: BTreeMap<&FeatureKey, Vec<&FeatureKey>> = BTreeMap::new();
    let mut ready = BTreeSet::new();
    for (&key, spec) in specs {
        let known = spec.deps.iter().map(|dep| &dep.feature).filter(|parent| specs.contains_key(parent));
        let mut count = 0;
        for parent in known {
            children.entry(parent).or_default().push(key);
            count += 1;
        }
        if count == 0 {
            ready.insert(key);
        } else {
            waiting.insert(key, count);
        }
    }
    let mut order = Vec::with_capacity(specs.len());
    while let Some(key) = ready.pop_first() {
        order.push(key.clone());
        for child in children.remove(key).unwrap_or_default() {
            if let Some(count) = waiting.get_mut(child) {
                *count -= 1;
                if *count == 0 {
                    waiting.remove(child);
                    ready.insert(child);
                }
            }
        }
    }
    if waiting.is_empty() { Ok(order) } else { Err(cycle(specs, &waiting)) }
}

/// Whoever still waits has a parent that waits, so going from parent to parent must come back somewhere.
fn cycle(specs: &BTreeMap<&FeatureKey, &FeatureSpec>, waiting: &BTreeMap<&FeatureKey, usize>) -> MetaxyError {
    let mut path: Vec<&FeatureKey> = Vec::new();
    let mut next = waiting.keys().next().copied();
    while let Some(key) = next {
        if let Some(start) = path.iter().position(|&seen| seen == key) {
            path.drain(..start);
            break;
        }
        path.push(key);
        let parents = specs.get(key).into_iter().flat_map(|spec| &spec.deps);
        next = parents.map(|dep| &dep.feature).filter(|parent| waiting.contains_key(parent)).min();
    }
    // The same cycle is always told from the same place.
    let first = path.iter().enumerate().min_by_key(|(_, key)| **key).map_or(0, |(index, _)| index);
    path.rotate_left(first);
    path.extend(path.first().copied());
    let path: Vec<String> = path.into_iter().map(ToString::to_string).collect();
    MetaxyError::Graph(format!("features depend on each other in a circle: {}", path.join(" -> ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sort(edges: &[(&str, &[&str])]) -> Result<String> {
        let specs: Vec<FeatureSpec> = edges
            .iter()
            .map(|(key, parents)| {
                let spec = FeatureSpec::builder(*key).id_columns(["x"]);
                parents.iter().fold(spec, |spec, parent| spec.dep(*parent)).build().unwrap()
            })
            .collect();
        let order = topological(&specs.iter().map(|spec| (&spec.key, spec)).collect())?;
        Ok(order.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn parents_first_then_by_key() {
        let order = sort(&[("a", &["z", "y"]), ("b", &[]), ("y", &["z"]), ("z", &[]), ("c", &["unknown"])]);
        assert_eq!(order.unwrap(), "b c z y a");
    }

    #[test]
    fn cycles_show_their_path() {
        let error = sort(&[("a", &["d"]), ("d", &["c", "r"]), ("c", &["b"]), ("b", &["d"]), ("r", &[])]);
        assert!(error.unwrap_err().to_string().ends_with("in a circle: b -> d -> c -> b"));
        assert!(sort(&[("a", &["a"])]).unwrap_err().to_string().ends_with("a -> a"));
    }
}
