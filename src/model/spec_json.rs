//! Specs to and from the JSON shape of the Python package.

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::key::FieldKey;
use super::lineage::Lineage;
use super::mapping::FieldsMapping;
use super::read::{Node, Wrong};
use super::spec::{ALL_FIELDS, FeatureDep, FeatureSpec, FieldDep, FieldDeps, FieldSelection, FieldSpec};

/// The field of a feature that declares none.
pub(super) fn default_fields() -> Result<Vec<FieldSpec>, Wrong> {
    let key = FieldKey::parse("default").map_err(|error| Wrong::at([], error.to_string()))?;
    Ok(vec![FieldSpec::from(key)])
}

impl FeatureSpec {
    /// The spec in exactly the shape, key order included, in which the Python package stores it.
    pub fn to_json(&self) -> Value {
        json!({
            "key": self.key,
            "id_columns": self.id_columns,
            "deps": self.deps.iter().map(FeatureDep::to_json).collect::<Vec<_>>(),
            "fields": self.fields.iter().map(FieldSpec::to_json).collect::<Vec<_>>(),
            "metadata": self.metadata,
            "description": self.description,
        })
    }

    pub(super) fn read(node: &Node<'_>) -> Result<Self, Wrong> {
        let key = node.need("key")?.feature_key()?;
        node.only(&["key", "id_columns", "deps", "fields", "metadata", "description"])?;
        let mut deps = Vec::new();
        if let Some(list) = node.get("deps") {
            for dep in list.items()? {
                deps.push(FeatureDep::read(&dep)?);
            }
        }
        let fields = match node.get("fields") {
            Some(list) => list.items()?.map(|field| FieldSpec::read(&field)).collect::<Result<_, _>>()?,
            None => default_fields()?,
        };
        let metadata = match node.get("metadata") {
            Some(table) => table.value().as_object().cloned().ok_or_else(|| table.expected("a table"))?,
            None => Map::new(),
        };
        Ok(FeatureSpec {
            key,
            id_columns: node.need("id_columns")?.texts()?,
            deps,
            fields,
            metadata,
            description: node.get("description").map(|text| text.text().map(str::to_owned)).transpose()?,
        })
    }
}

impl FeatureDep {
    fn to_json(&self) -> Value {
        json!({
            "feature": self.feature,
            "select": self.select,
            "rename": self.rename,
            "fields_mapping": self.fields_mapping.to_json(),
            "sql_filters": self.filters,
            "lineage": self.lineage.to_json(),
            "optional": self.optional,
        })
    }

    fn read(node: &Node<'_>) -> Result<Self, Wrong> {
        if !node.value().is_object() {
            return Ok(FeatureDep::from(node.feature_key()?));
        }
        node.only(&[
            "feature",
            "select",
            "rename",
            "fields_mapping",
            "filters",
            "sql_filters",
            "lineage",
            "optional",
        ])?;
        let filters = match (node.get("filters"), node.get("sql_filters")) {
            (Some(_), Some(second)) => {
                return Err(second.wrong("same as `filters`, which is given as well; keep one"));
            }
            (first, second) => first.or(second),
        };
        let fields_mapping = node.get("fields_mapping").map(|mapping| FieldsMapping::read(&mapping));
        let lineage = node.get("lineage").map(|lineage| Lineage::read(&lineage));
        Ok(FeatureDep {
            feature: node.need("feature")?.feature_key()?,
            select: node.get("select").map(|columns| columns.texts()).transpose()?,
            rename: node.get("rename").map(|rename| read_rename(&rename)).transpose()?,
            fields_mapping: fields_mapping.transpose()?.unwrap_or_default(),
            filters: filters.map(|filters| filters.texts()).transpose()?,
            lineage: lineage.transpose()?.unwrap_or_default(),
            optional: node.get("optional").map_or(Ok(false), |flag| flag.flag())?,
        })
    }
}

fn read_rename(node: &Node<'_>) -> Result<IndexMap<String, String>, Wrong> {
    node.entries()?.map(|(old, new)| Ok((old.to_owned(), new.text()?.to_owned()))).collect()
}

impl FieldSpec {
    fn to_json(&self) -> Value {
        let deps = match &self.deps {
            FieldDeps::All => json!(ALL_FIELDS),
            FieldDeps::List(deps) => deps.iter().map(FieldDep::to_json).collect(),
        };
        json!({"key": self.key, "code_version": self.code_version, "deps": deps})
    }

    fn read(node: &Node<'_>) -> Result<Self, Wrong> {
        if node.value().is_string() {
            return Ok(FieldSpec::from(node.field_key()?));
        }
        node.only(&["key", "code_version", "deps"])?;
        let mut field = FieldSpec::from(node.need("key")?.field_key()?);
        if let Some(version) = node.get("code_version") {
            field.code_version = version.text()?.to_owned();
        }
        if let Some(deps) = node.get("deps") {
            field.deps = match deps.value().as_str() {
                Some(ALL_FIELDS) => FieldDeps::All,
                Some(_) => return Err(deps.wrong(format!("expected a list or {ALL_FIELDS:?}"))),
                None => {
                    FieldDeps::List(deps.items()?.map(|dep| FieldDep::read(&dep)).collect::<Result<_, _>>()?)
                }
            };
        }
        Ok(field)
    }
}

impl FieldDep {
    fn to_json(&self) -> Value {
        let fields = match &self.fields {
            FieldSelection::All => json!(ALL_FIELDS),
            FieldSelection::Keys(keys) => json!(keys),
        };
        json!({"feature": self.feature, "fields": fields})
    }

    fn read(node: &Node<'_>) -> Result<Self, Wrong> {
        node.only(&["feature", "fields"])?;
        let fields = match node.get("fields") {
            None => FieldSelection::All,
            Some(fields) => match fields.value().as_str() {
                Some(ALL_FIELDS) => FieldSelection::All,
                Some(_) => return Err(fields.wrong(format!("expected a list of fields or {ALL_FIELDS:?}"))),
                None => FieldSelection::Keys(fields.field_keys()?),
            },
        };
        Ok(FieldDep { feature: node.need("feature")?.feature_key()?, fields })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the Python package writes it: every kind of member, in its order.
    const STORED: &str = concat!(
        r#"{"key":"a/b","id_columns":["x"],"deps":[{"feature":"p","select":[],"rename":{"old":"new"},"#,
        r#""fields_mapping":{"mapping":{"type":"default","match_suffix":false,"exclude_fields":["q/r"]}},"#,
        r#""sql_filters":null,"lineage":{"relationship":{"type":"1:N","on":["x"],"#,
        r#""id_generation_pattern":"seq"}},"optional":false},{"feature":"q","select":null,"rename":null,"#,
        r#""fields_mapping":{"mapping":{"type":"all"}},"sql_filters":["a = 1"],"#,
        r#""lineage":{"relationship":{"type":"N:1","on":null}},"optional":true}],"#,
        r#""fields":[{"key":"d","code_version":"__metaxy_initial__","deps":"__METAXY_ALL_DEP__"},"#,
        r#"{"key":"e","code_version":"2","deps":[{"feature":"p","fields":"__METAXY_ALL_DEP__"},"#,
        r#"{"feature":"q","fields":["z/y"]}]}],"metadata":{"z":1,"a":[null]},"description":null}"#,
    );

    #[test]
    fn stored_json_survives_byte_for_byte() {
        let spec = FeatureSpec::from_json(STORED).unwrap();
        assert_eq!(spec.to_json().to_string(), STORED);
        let again: FeatureSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(again, spec);
    }

    #[test]
    fn shorthands_mean_the_same() {
        let short = FeatureSpec::from_json(
            r#"{"key": ["a", "b"], "id_columns": ["x"], "deps": ["p", {"feature": "q", "lineage": "N:1",
            "fields_mapping": "all", "filters": ["a = 1"]}], "fields": ["f"]}"#,
        );
        let long = FeatureSpec::from_json(
            r#"{"key": "a/b", "id_columns": ["x"], "deps": [{"feature": "p"}, {"feature": "q",
            "lineage": {"relationship": {"type": "N:1"}}, "fields_mapping": {"mapping": {"type": "all"}},
            "sql_filters": ["a = 1"]}], "fields": [{"key": "f"}], "metadata": {}, "description": null}"#,
        );
        assert_eq!(short.unwrap(), long.unwrap());
    }

    #[test]
    fn no_fields_means_default() {
        let spec = FeatureSpec::from_json(r#"{"key": "a", "id_columns": ["x"]}"#).unwrap();
        assert_eq!(spec.to_json()["fields"][0]["key"], "default");
        assert_eq!(spec.to_json()["fields"][0]["code_version"], "__metaxy_initial__");
    }

    #[test]
    fn refusals_name_the_place() {
        for (text, message) in [
            (r#"{"#, "feature without a key: not JSON"),
            (r#"[]"#, "feature without a key: expected a table, found a list"),
            (r#"{"id_columns": ["x"]}"#, "feature without a key: key `key` is missing"),
            (r#"{"key": "A"}"#, "feature A: key: invalid key \"A\""),
            (r#"{"key": "a"}"#, "feature a: key `id_columns` is missing"),
            (r#"{"key": "a", "id_columns": "x"}"#, "feature a: id_columns: expected a list"),
            (r#"{"key": "a", "id_columns": ["x"], "dep": []}"#, "feature a: dep: unknown key"),
            (
                r#"{"key": "a", "id_columns": ["x"], "deps": [{"feature": "b", "f": 1}]}"#,
                "deps[0].f: unknown",
            ),
            (r#"{"key": "a", "id_columns": ["x"], "deps": [{}]}"#, "deps[0]: key `feature` is missing"),
            (
                r#"{"key": "a", "id_columns": ["x"], "deps": [{"feature": "b", "filters": [], "sql_filters": []}]}"#,
                "deps[0].sql_filters: same as `filters`",
            ),
            (
                r#"{"key": "a", "id_columns": ["x"], "fields": [{"key": "f", "code_version": 1}]}"#,
                "fields[0].code_version: expected a string, found a number",
            ),
            (
                r#"{"key": "a", "id_columns": ["x"], "fields": [{"key": "f", "deps": [{"feature": "b", "fields": "c"}]}]}"#,
                "fields[0].deps[0].fields: expected a list of fields or",
            ),
            (
                r#"{"key": "a", "id_columns": ["x"], "fields": [{"key": "f", "deps": "b"}]}"#,
                "fields[0].deps: expected a list or",
            ),
            (
                r#"{"key": "a", "id_columns": ["x"], "fields": [{"code_version": "1"}]}"#,
                "fields[0]: key `key`",
            ),
        ] {
            let error = FeatureSpec::from_json(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
