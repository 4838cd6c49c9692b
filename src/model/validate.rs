//! What makes a spec impossible in itself, before its parents are known.

use std::collections::HashMap;

use super::lineage::Lineage;
use super::read::{Step, Wrong};
use super::spec::{FeatureDep, FeatureSpec};
use crate::error::Result;

const IS_RESERVED: &str =
    "names that begin with metaxy_ are those of the columns that a store adds; take another";

impl FeatureSpec {
    /// Finds the first fault, with the key it is at.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        check_columns(&self.id_columns).map_err(|wrong| wrong.within(["id_columns".into()]))?;
        self.check_fields()?;
        self.check_parents()?;
        for (i, dep) in self.deps.iter().enumerate() {
            dep.check().map_err(|wrong| wrong.within(["deps".into(), i.into()]))?;
        }
        Ok(())
    }

    fn check_fields(&self) -> Result<(), Wrong> {
        if self.fields.is_empty() {
            return Err(Wrong::at(
                ["fields".into()],
                "a feature needs a field; leave `fields` out for one called `default`",
            ));
        }
        let mut seen = HashMap::new();
        for (i, field) in self.fields.iter().enumerate() {
            let at: [Step; 2] = ["fields".into(), i.into()];
            match seen.insert(field.key.struct_key(), &field.key) {
                None => {}
                Some(other) if *other == field.key => {
                    return Err(Wrong::at(at, format!("field {other} is declared twice")));
                }
                Some(other) => {
                    let name = other.struct_key();
                    let reason = format!("fields {other} and {} are both stored as {name}", field.key);
                    return Err(Wrong::at(at, reason));
                }
            }
        }
        Ok(())
    }

    fn check_parents(&self) -> Result<(), Wrong> {
        let mut seen = HashMap::new();
        for (i, dep) in self.deps.iter().enumerate() {
            let at: [Step; 2] = ["deps".into(), i.into()];
            let Some(other) = seen.insert(dep.feature.column_suffix(), &dep.feature) else { continue };
            let reason = if *other == dep.feature {
                format!("parent {other} is listed twice; one entry per parent")
            } else {
                // The version columns of both would get the same names.
                let suffix = other.column_suffix();
                format!("parents {other} and {} share the column suffix {suffix}", dep.feature)
            };
            return Err(Wrong::at(at, reason));
        }
        Ok(())
    }
}

impl FeatureDep {
    /// Finds the first fault, with the key it is at within the dependency.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        self.check_rename()?;
        if let (Some(select), Some(rename)) = (&self.select, &self.rename) {
            let gone = |name: &String| rename.contains_key(name) && !rename.values().any(|new| new == name);
            if let Some((i, old)) = select.iter().enumerate().find(|(_, name)| gone(name)) {
                let new = self.renamed(old);
                let reason = format!("column {old} has been renamed; select it as {new}");
                return Err(Wrong::at(["select".into(), i.into()], reason));
            }
        }
        for (i, filter) in self.filters.iter().flatten().enumerate() {
            if filter.trim().is_empty() {
                return Err(Wrong::at(["filters".into(), i.into()], "an empty filter; remove it"));
            }
        }
        match &self.lineage {
            Lineage::Identity | Lineage::Aggregation { on: None } => Ok(()),
            Lineage::Aggregation { on: Some(on) } | Lineage::Expansion { on, .. } => {
                check_columns(on).map_err(|wrong| wrong.within(["lineage".into(), "on".into()]))
            }
        }
    }

    fn check_rename(&self) -> Result<(), Wrong> {
        let mut seen = HashMap::new();
        for (old, new) in self.rename.iter().flatten() {
            let at: [Step; 2] = ["rename".into(), old.as_str().into()];
            if old.is_empty() || new.is_empty() {
                return Err(Wrong::at(at, "a column needs a name"));
            }
            if is_reserved(new) {
                return Err(Wrong::at(at, format!("{new}: {IS_RESERVED}")));
            }
            if let Some(other) = seen.insert(new, old) {
                return Err(Wrong::at(at, format!("columns {other} and {old} are both renamed to {new}")));
            }
        }
        Ok(())
    }
}

/// Whether only the store writes columns of this name.
fn is_reserved(column: &str) -> bool {
    column.starts_with("metaxy_") || column.starts_with("__metaxy_")
}

fn check_columns(columns: &[String]) -> Result<(), Wrong> {
    if columns.is_empty() {
        return Err(Wrong::at([], "name at least one column"));
    }
    for (i, column) in columns.iter().enumerate() {
        if column.is_empty() {
            return Err(Wrong::at([i.into()], "a column needs a name"));
        }
        if is_reserved(column) {
            return Err(Wrong::at([i.into()], format!("{column}: {IS_RESERVED}")));
        }
        if columns.iter().take(i).any(|other| other == column) {
            return Err(Wrong::at([i.into()], format!("column {column} is listed twice")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::model::FeatureSpec;

    fn error(mut part: Value) -> String {
        let given = part.as_object_mut().unwrap();
        for (key, value) in [("key", json!("a/b")), ("id_columns", json!(["x"]))] {
            given.entry(key).or_insert(value);
        }
        match FeatureSpec::from_value(&part) {
            Ok(spec) => format!("no error: {spec:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn columns() {
        assert_eq!(error(json!({"id_columns": []})), "feature a/b: id_columns: name at least one column");
        let twice = error(json!({"id_columns": ["x", "y", "x"]}));
        assert_eq!(twice, "feature a/b: id_columns[2]: column x is listed twice");
        assert!(error(json!({"id_columns": [""]})).contains("a column needs a name"));
        for reserved in ["metaxy_data_version", "__metaxy_row_order"] {
            let ids = error(json!({"id_columns": ["x", reserved]}));
            assert!(
                ids.contains(&format!("id_columns[1]: {reserved}: names that begin with metaxy_")),
                "{ids}"
            );
        }
    }

    #[test]
    fn fields() {
        assert!(error(json!({"fields": []})).contains("fields: a feature needs a field"));
        assert!(error(json!({"fields": ["f", "f"]})).contains("fields[1]: field f is declared twice"));
        let stored = error(json!({"fields": ["a/b", "a_b"]}));
        assert!(stored.contains("fields a/b and a_b are both stored as a_b"), "{stored}");
    }

    #[test]
    fn parents() {
        assert!(error(json!({"deps": ["p", "q", "p"]})).contains("deps[2]: parent p is listed twice"));
        let suffix = error(json!({"deps": ["p/q", "p_q"]}));
        assert!(suffix.contains("parents p/q and p_q share the column suffix __p_q"), "{suffix}");
    }

    #[test]
    fn dependency() {
        let dep = |mut part: Value| {
            part["feature"] = json!("p");
            error(json!({"deps": [part]}))
        };
        for (part, message) in [
            (
                json!({"select": ["z", "old"], "rename": {"old": "new"}}),
                "select[1]: column old has been renamed",
            ),
            (json!({"rename": {"a": "x", "b": "x"}}), "rename.b: columns a and b are both renamed to x"),
            (json!({"rename": {"a": ""}}), "rename.a: a column needs a name"),
            (json!({"rename": {"a": "metaxy_provenance"}}), "rename.a: metaxy_provenance: names that begin"),
            (json!({"filters": ["x > 1", " "]}), "filters[1]: an empty filter"),
            (json!({"lineage": {"type": "N:1", "on": []}}), "lineage.on: name at least one column"),
            (json!({"lineage": {"type": "1:N", "on": []}}), "lineage.on: name at least one column"),
            (
                json!({"lineage": {"type": "1:N", "on": ["x", "x"]}}),
                "lineage.on[1]: column x is listed twice",
            ),
        ] {
            let error = dep(part);
            assert!(error.contains(&format!("deps[0].{message}")), "{error}");
        }
        // Swapping two columns is fine: both names exist afterwards.
        assert!(dep(json!({"select": ["a"], "rename": {"a": "b", "b": "a"}})).starts_with("no error"));
    }
}
