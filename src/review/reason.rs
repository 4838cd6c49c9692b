//! Reasons in words. They say what is known, and no more.
//!
//! Versions are numbers here: 0 is NULL, equal versions have equal numbers. A stored row keeps the hash of each field,
//! not what went into it. Equal hashes prove that all parent fields behind a field are what they were, which narrows down
//! what can have changed behind another.

use std::collections::BTreeSet;

use super::known::Presence;
use crate::model::{FeatureSpec, FieldDeps, FieldSelection, FieldSpec};
use crate::update::{ReasonField, Reasons, Review, ReviewedParent};

/// A stored row: the provenance of each field, that of the sample, and which staleness predicates hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredRow {
    pub fields: Vec<u64>,
    pub sample: u64,
    pub flags: Vec<bool>,
}

/// A field's stored provenance beside the expected one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Same,
    Differs,
    NotStored,
    /// Nothing is expected: a parent has no version.
    Unknown,
}

fn statuses(expected: &[u64], stored: &[&[u64]]) -> Vec<Status> {
    let status = |(field, &expected): (usize, &u64)| {
        let mut rows = stored.iter().map(|row| row.get(field).copied().unwrap_or_default());
        match expected {
            0 => Status::Unknown,
            _ if rows.clone().any(|version| version == 0) => Status::NotStored,
            _ if rows.any(|version| version != expected) => Status::Differs,
            _ => Status::Same,
        }
    };
    expected.iter().enumerate().map(status).collect()
}

/// Why a sample is stale: `sample` is its expected version, `stored` its rows.
pub(super) fn stale(reasons: &Reasons, expected: &[u64], sample: u64, stored: &[StoredRow]) -> String {
    let rows: Vec<&[u64]> = stored.iter().map(|row| row.fields.as_slice()).collect();
    let statuses = statuses(expected, &rows);
    let mut clauses = Vec::new();
    let differs = |row: &&StoredRow| row.fields != expected || row.sample != sample || row.sample == 0;
    let count = stored.iter().filter(differs).count();
    if count > 0 && count < stored.len() {
        clauses.push(format!("{count} of {} stored rows", stored.len()));
    }
    let proven = proven(reasons, &statuses);
    let certain = certain(reasons, &statuses, &proven);
    for (field, status) in reasons.fields.iter().zip(&statuses) {
        clauses.extend(match status {
            Status::Same => None,
            Status::Unknown => Some(without_version(reasons, field, expected)),
            Status::NotStored => Some(format!("{}: no provenance is stored", field.name)),
            Status::Differs => Some(data_changed(field, &proven, &certain)),
        });
    }
    if statuses.iter().all(|status| *status == Status::Same) {
        if stored.iter().any(|row| row.sample == 0) {
            clauses.push("no provenance is stored for the sample".to_owned());
        } else if stored.iter().any(|row| row.sample != sample) {
            clauses.push("the stored provenance of the sample is not that of its fields".to_owned());
        }
    }
    for (number, condition) in reasons.stale_when.iter().enumerate() {
        if stored.iter().any(|row| row.flags.get(number) == Some(&true)) {
            clauses.push(format!("stale_when: {condition}"));
        }
    }
    if clauses.is_empty() { "the stored row has changed meanwhile".to_owned() } else { clauses.join("; ") }
}

/// The parent fields that are known not to have changed, since a field that depends on them hasn't.
fn proven<'a>(reasons: &'a Reasons, statuses: &[Status]) -> BTreeSet<&'a str> {
    let same = reasons.fields.iter().zip(statuses).filter(|(_, status)| **status == Status::Same);
    same.flat_map(|(field, _)| &field.parents).map(|parent| parent.name.as_str()).collect()
}

/// The parent fields that must have changed, each being all that can have changed behind a field.
fn certain<'a>(reasons: &'a Reasons, statuses: &[Status], proven: &BTreeSet<&str>) -> BTreeSet<&'a str> {
    let differ = reasons.fields.iter().zip(statuses).filter(|(_, status)| **status == Status::Differs);
    let only = differ.filter_map(|(field, _)| match suspects(field, proven).as_slice() {
        [only] => Some(*only),
        _ => None,
    });
    only.collect()
}

/// What can have changed behind a field.
fn suspects<'a>(field: &'a ReasonField, proven: &BTreeSet<&str>) -> Vec<&'a str> {
    field.parents.iter().map(|parent| parent.name.as_str()).filter(|name| !proven.contains(name)).collect()
}

/// The definitions being the same, only data can have changed.
fn data_changed(field: &ReasonField, proven: &BTreeSet<&str>, certain: &BTreeSet<&str>) -> String {
    let name = &field.name;
    let suspects = suspects(field, proven);
    let (sure, others): (Vec<&str>, Vec<&str>) =
        suspects.iter().partition(|suspect| suspects.len() == 1 || certain.contains(**suspect));
    match (sure.as_slice(), others.as_slice()) {
        ([], []) if field.parents.is_empty() => format!("{name}: data changed"),
        ([], []) => format!("{name}: what is stored was not computed from its parents"),
        ([], others) => format!("{name}: data of one or more of {} changed", others.join(", ")),
        (sure, []) => format!("{name}: data of {} changed", sure.join(", ")),
        (sure, others) => {
            format!("{name}: data of {} changed, perhaps also of {}", sure.join(", "), others.join(", "))
        }
    }
}

/// A field that has no provenance, since a required parent field has no version.
fn without_version(reasons: &Reasons, field: &ReasonField, expected: &[u64]) -> String {
    let name = &field.name;
    let known = reasons.fields.iter().zip(expected).filter(|(_, version)| **version != 0);
    let known: BTreeSet<&str> =
        known.flat_map(|(field, _)| &field.parents).map(|parent| parent.name.as_str()).collect();
    let suspects: Vec<&str> = field
        .parents
        .iter()
        .filter(|parent| parent.can_be_null && !known.contains(parent.name.as_str()))
        .map(|parent| parent.name.as_str())
        .collect();
    match suspects.as_slice() {
        [] => format!("{name}: no provenance is given"),
        [only] => format!("{name}: {only} has no data version"),
        several => format!("{name}: one or more of {} have no data version", several.join(", ")),
    }
}

/// Why a sample is new that has no stored row at any version.
pub(super) fn new(reasons: &Reasons, expected: &[u64]) -> String {
    let head = if reasons.compared { "no stored row" } else { "stored rows were not looked at" };
    with_unknown(reasons, expected, vec![head.to_owned()])
}

fn with_unknown(reasons: &Reasons, expected: &[u64], mut clauses: Vec<String>) -> String {
    let unknown = reasons.fields.iter().zip(expected).filter(|(_, version)| **version == 0);
    clauses.extend(unknown.map(|(field, _)| without_version(reasons, field, expected)));
    clauses.join("; ")
}

/// Why a sample is new that has a row at another version of the feature: the definition has changed since. `past` is
/// the feature's spec at that version, if it was recorded.
pub(super) fn redefined(
    reasons: &Reasons,
    expected: &[u64],
    version: &str,
    earlier: &[u64],
    past: Option<&FeatureSpec>,
) -> String {
    let own_changed =
        past.is_none_or(|past| past.fields != reasons.spec.fields || past.deps != reasons.spec.deps);
    let what = if own_changed { "the definition" } else { "the definition of a parent" };
    let mut clauses = vec![format!("{what} changed since feature version {version}")];
    let statuses = statuses(expected, &[earlier]);
    let proven = proven(reasons, &statuses);
    for (field, status) in reasons.fields.iter().zip(&statuses) {
        let own = |spec: &'_ FeatureSpec| {
            spec.fields.iter().find(|f| f.key.struct_key() == field.struct_key).cloned()
        };
        let was = past.map(own);
        clauses.extend(match status {
            Status::Same | Status::Unknown => None,
            _ if was == Some(None) => Some(format!("{}: a new field", field.name)),
            Status::NotStored => Some(format!("{}: no provenance is stored", field.name)),
            Status::Differs => Some(changed(reasons, field, was.flatten().as_ref(), past, &proven)),
        });
    }
    let gone = past.iter().flat_map(|past| &past.fields).map(|field| field.key.to_string());
    let gone = gone.filter(|name| reasons.fields.iter().all(|field| field.name != *name));
    clauses.extend(gone.map(|name| format!("{name}: no longer a field")));
    if statuses.iter().all(|status| *status == Status::Same) {
        clauses.push("every field has the provenance that it had".to_owned());
    }
    with_unknown(reasons, expected, clauses)
}

/// A field whose provenance is another one under another definition.
fn changed(
    reasons: &Reasons,
    field: &ReasonField,
    was: Option<&FieldSpec>,
    past: Option<&FeatureSpec>,
    proven: &BTreeSet<&str>,
) -> String {
    let name = &field.name;
    let all_proven = field.parents.iter().all(|parent| proven.contains(parent.name.as_str()));
    let Some(was) = was else {
        // With the data being the same, it can only be the definition.
        let what = if all_proven && !field.parents.is_empty() { "code" } else { "code or data" };
        return format!("{name}: {what} changed");
    };
    if was.code_version != field.code_version {
        return format!("{name}: code changed from {:?} to {:?}", was.code_version, field.code_version);
    }
    let now = reasons.spec.fields.iter().find(|f| f.key.struct_key() == field.struct_key);
    let same_deps = now.is_some_and(|now| now.deps == was.deps)
        && past.is_some_and(|past| past.deps == reasons.spec.deps);
    if !same_deps {
        return format!("{name}: what it is computed from changed");
    }
    if field.parents.is_empty() || names_parent_fields(was) {
        return data_changed(field, proven, &BTreeSet::new());
    }
    // Which parent fields there are depends on the parents' definitions, too.
    let suspects = suspects(field, proven).join(", ");
    format!("{name}: fields of its parents, or their data, changed ({suspects})")
}

/// Whether a field says which fields of its parents it is computed from.
fn names_parent_fields(field: &FieldSpec) -> bool {
    match &field.deps {
        FieldDeps::All => false,
        FieldDeps::List(deps) => {
            !deps.is_empty() && deps.iter().all(|dep| matches!(dep.fields, FieldSelection::Keys(_)))
        }
    }
}

/// Why nothing is expected of a stored sample: what each parent has of it, in the order of the review.
pub(super) fn orphaned(review: &Review, given: bool, presence: &[Presence]) -> String {
    if given {
        return "not among the samples".to_owned();
    }
    let gone =
        decisive(review, presence).filter(|(_, presence)| *presence == Presence::Gone).map(|(parent, _)| {
            let filters = if parent.filtered { " that meets the filters of the spec" } else { "" };
            format!("{} has no live row{filters}", parent.feature)
        });
    let gone: Vec<String> = gone.collect();
    if gone.is_empty() {
        "a key is NULL, and parents are not joined on that".to_owned()
    } else {
        gone.join("; ")
    }
}

/// What a sample waits for.
pub(super) fn pending(review: &Review, presence: &[Presence]) -> String {
    let waits = decisive(review, presence).filter(|(_, presence)| *presence == Presence::Waits);
    let waits: Vec<String> =
        waits.map(|(parent, _)| format!("{} is not recomputed yet", parent.feature)).collect();
    if waits.is_empty() { "its parents have been recomputed meanwhile".to_owned() } else { waits.join("; ") }
}

fn decisive<'a>(
    review: &'a Review,
    presence: &'a [Presence],
) -> impl Iterator<Item = (&'a ReviewedParent, Presence)> {
    let own: Vec<usize> = review.decisive().map(|parent| parent.standing).collect();
    let parents = review.parents.iter().zip(presence.iter().copied());
    parents.filter(move |(parent, _)| own.contains(&parent.standing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::ReasonParentField;

    /// Fields `a` of p.x, `b` of p.x and p.y, `c` of p.y and p.z.
    fn reasons() -> Reasons {
        let spec = |code: &str| {
            FeatureSpec::from_json(&format!(
                r#"{{"key": "f", "id_columns": ["id"], "deps": [{{"feature": "p"}}], "fields": [
                    {{"key": "a", "code_version": "{code}", "deps": [{{"feature": "p", "fields": ["x"]}}]}},
                    {{"key": "b", "code_version": "1", "deps": [{{"feature": "p", "fields": ["x", "y"]}}]}},
                    {{"key": "c", "code_version": "1", "deps": [{{"feature": "p", "fields": ["y", "z"]}}]}}]}}"#
            ))
            .unwrap()
        };
        let spec = spec("2");
        let field = |key: &str, code: &str, parents: &[&str]| ReasonField {
            name: key.to_owned(),
            struct_key: key.to_owned(),
            code_version: code.to_owned(),
            parents: parents
                .iter()
                .map(|name| ReasonParentField { name: format!("p.{name}"), can_be_null: true })
                .collect(),
        };
        Reasons {
            spec,
            fields: vec![field("a", "2", &["x"]), field("b", "1", &["x", "y"]), field("c", "1", &["y", "z"])],
            given: false,
            compared: true,
            stored: None,
            stale_when: vec!["status = 'failed'".to_owned(), "n > 1".to_owned()],
            earlier: None,
            past: None,
        }
    }

    fn row(fields: [u64; 3], sample: u64) -> StoredRow {
        StoredRow { fields: fields.to_vec(), sample, flags: vec![false, false] }
    }

    fn why(expected: [u64; 3], stored: &[StoredRow]) -> String {
        stale(&reasons(), &expected, 9, stored)
    }

    #[test]
    fn parent_fields_are_named_as_far_as_they_are_known() {
        assert_eq!(
            why([1, 2, 3], &[row([7, 2, 3], 8)]),
            "a: what is stored was not computed from its parents"
        );
        // b has not changed, so neither has p.y.
        assert_eq!(why([1, 2, 3], &[row([1, 2, 7], 8)]), "c: data of p.z changed");
        assert_eq!(
            why([1, 2, 3], &[row([1, 7, 3], 8)]),
            "b: what is stored was not computed from its parents"
        );
        assert_eq!(
            why([1, 2, 3], &[row([1, 7, 7], 8)]),
            "b: data of p.y changed; c: data of p.y changed, perhaps also of p.z"
        );
        assert_eq!(why([1, 2, 3], &[row([7, 7, 3], 8)]), "a: data of p.x changed; b: data of p.x changed");
    }

    #[test]
    fn what_is_null_is_said() {
        assert_eq!(why([0, 2, 3], &[row([1, 2, 3], 8)]), "a: no provenance is given");
        assert_eq!(why([1, 2, 0], &[row([1, 2, 3], 8)]), "c: p.z has no data version");
        assert_eq!(
            why([1, 0, 0], &[row([1, 2, 3], 8)]),
            "b: p.y has no data version; c: one or more of p.y, p.z have no data version"
        );
        assert_eq!(why([1, 2, 3], &[row([1, 0, 3], 0)]), "b: no provenance is stored");
        assert_eq!(why([1, 2, 3], &[row([1, 2, 3], 0)]), "no provenance is stored for the sample");
        assert_eq!(
            why([1, 2, 3], &[row([1, 2, 3], 8)]),
            "the stored provenance of the sample is not that of its fields"
        );
        assert_eq!(new(&reasons(), &[1, 2, 0]), "no stored row; c: p.z has no data version");
        assert_eq!(
            new(&Reasons { compared: false, ..reasons() }, &[1, 2, 3]),
            "stored rows were not looked at"
        );
    }

    #[test]
    fn predicates_and_rows_are_counted() {
        let up_to_date = row([1, 2, 3], 9);
        let flagged = StoredRow { flags: vec![true, false], ..up_to_date.clone() };
        assert_eq!(why([1, 2, 3], std::slice::from_ref(&flagged)), "stale_when: status = 'failed'");
        assert_eq!(
            why([1, 2, 3], &[up_to_date.clone(), row([1, 2, 7], 8)]),
            "1 of 2 stored rows; c: data of p.z changed"
        );
        assert_eq!(
            why([1, 2, 3], &[row([1, 2, 7], 8), flagged]),
            "1 of 2 stored rows; c: data of p.z changed; stale_when: status = 'failed'"
        );
        assert_eq!(why([1, 2, 3], &[up_to_date]), "the stored row has changed meanwhile");
    }

    #[test]
    fn parents_that_are_gone_or_late_are_named() {
        use crate::model::FeatureKey;
        use Presence::{Current, Gone, Waits};

        let parent = |key: &str, optional: bool, standing: usize| ReviewedParent {
            feature: FeatureKey::parse(key).unwrap(),
            optional,
            filtered: key == "b",
            older: None,
            standing,
            pass: None,
        };
        let review = |parents: Vec<ReviewedParent>| Review { include_pending: true, parents, reasons: None };
        let both = review(vec![parent("a", false, 1), parent("b", false, 2), parent("c", true, 3)]);
        assert_eq!(orphaned(&both, false, &[Gone, Current, Gone]), "a has no live row");
        assert_eq!(
            orphaned(&both, false, &[Gone, Gone, Gone]),
            "a has no live row; b has no live row that meets the filters of the spec"
        );
        assert_eq!(
            orphaned(&both, false, &[Current, Current, Gone]),
            "a key is NULL, and parents are not joined on that"
        );
        assert_eq!(orphaned(&both, true, &[]), "not among the samples");
        assert_eq!(pending(&both, &[Waits, Current, Waits]), "a is not recomputed yet");
        assert_eq!(pending(&both, &[Waits, Waits, Gone]), "a is not recomputed yet; b is not recomputed yet");
        assert_eq!(pending(&both, &[Current, Current, Gone]), "its parents have been recomputed meanwhile");
        let any = review(vec![parent("a", true, 1), parent("c", true, 2)]);
        assert_eq!(pending(&any, &[Gone, Waits]), "c is not recomputed yet");
        assert_eq!(orphaned(&any, false, &[Gone, Gone]), "a has no live row; c has no live row");
    }

    #[test]
    fn a_definition_that_changed_says_where() {
        let reasons = reasons();
        let now = reasons.spec.clone();
        let why = |expected: [u64; 3], earlier: [u64; 3], past: Option<&FeatureSpec>| {
            redefined(&reasons, &expected, "v0", &earlier, past)
        };
        let mut past = now.clone();
        past.fields[0].code_version = "1".to_owned();
        assert_eq!(
            why([1, 2, 3], [7, 2, 3], Some(&past)),
            "the definition changed since feature version v0; a: code changed from \"1\" to \"2\""
        );
        // Not recorded; b proves that p.x is what it was.
        assert_eq!(
            why([1, 2, 3], [7, 2, 3], None),
            "the definition changed since feature version v0; a: code changed"
        );
        assert_eq!(
            why([1, 2, 3], [7, 7, 3], None),
            "the definition changed since feature version v0; a: code or data changed; b: code or data changed"
        );
        assert_eq!(
            why([1, 2, 3], [1, 2, 7], Some(&now)),
            "the definition of a parent changed since feature version v0; c: data of p.z changed"
        );
        assert_eq!(
            why([1, 2, 3], [1, 2, 3], Some(&now)),
            "the definition of a parent changed since feature version v0; every field has the provenance that it had"
        );
        let mut past = now.clone();
        past.fields.remove(2);
        past.fields[0].key = crate::model::FieldKey::parse("old").unwrap();
        assert_eq!(
            why([1, 2, 3], [0, 2, 0], Some(&past)),
            "the definition changed since feature version v0; a: a new field; c: a new field; old: no longer a field"
        );
        let mut past = now;
        past.fields[1].deps = FieldDeps::All;
        assert_eq!(
            why([1, 2, 3], [1, 7, 3], Some(&past)),
            "the definition changed since feature version v0; b: what it is computed from changed"
        );
    }
}
