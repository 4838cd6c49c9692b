//! Definitions as statements: what was printed says the same when it is read again.

use std::fmt::Write;

use datafusion::sql::parser::DFParserBuilder;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::{Kind, statement};
use crate::model::{
    DEFAULT_CODE_VERSION, FeatureDefinition, FeatureDep, FieldDep, FieldDeps, FieldKey, FieldSelection,
    FieldSpec, FieldsMapping, Lineage, OnMismatch,
};

/// The statement that defines a feature as it is. `project` is the one that needs no mention.
pub(super) fn create(definition: &FeatureDefinition, project: &str) -> String {
    let spec = &definition.spec;
    let external = if definition.external.is_some() { "EXTERNAL " } else { "" };
    let mut sql = format!("CREATE {external}FEATURE {}", name(&spec.key.to_string()));
    let fields: Vec<String> = spec.fields.iter().map(|one| field(one, definition)).collect();
    if fields != ["\"default\""] {
        let _ = write!(sql, " (\n    {}\n)", fields.join(",\n    "));
    }
    let _ = write!(sql, "\nID COLUMNS {}", names(&spec.id_columns));
    let parents: Vec<Vec<String>> = spec.deps.iter().map(parent).collect();
    match parents.as_slice() {
        [] => {}
        [only] => {
            let _ = write!(sql, "\nFROM {}", only.join("\n    "));
        }
        several if several.iter().all(|parent| parent.len() == 1) => {
            let _ = write!(sql, "\nFROM {}", several.concat().join(", "));
        }
        several => {
            let several: Vec<String> = several.iter().map(|parent| parent.join("\n        ")).collect();
            let _ = write!(sql, "\nFROM\n    {}", several.join(",\n    "));
        }
    }
    if let Some(description) = &spec.description {
        let _ = write!(sql, "\nDESCRIPTION {}", text(description));
    }
    if !spec.metadata.is_empty() {
        let json = serde_json::Value::Object(spec.metadata.clone()).to_string();
        let _ = write!(sql, "\nMETADATA {}", text(&json));
    }
    if definition.external.is_some() || definition.project != project {
        let _ = write!(sql, "\nPROJECT {}", name(&definition.project));
    }
    if definition.external.as_ref().is_some_and(|e| e.on_version_mismatch == OnMismatch::Error) {
        sql.push_str("\nON MISMATCH ERROR");
    }
    sql
}

/// A field with what it says.
fn field(field: &FieldSpec, definition: &FeatureDefinition) -> String {
    let mut sql = key(&field.key);
    if field.code_version != DEFAULT_CODE_VERSION {
        let _ = write!(sql, " CODE VERSION {}", text(&field.code_version));
    }
    match &field.deps {
        FieldDeps::All => sql.push_str(" FROM *"),
        FieldDeps::List(deps) => match deps.as_slice() {
            [] => {}
            [one] => {
                let _ = write!(sql, " FROM {}", field_dep(one));
            }
            several => {
                let several: Vec<String> = several.iter().map(field_dep).collect();
                let _ = write!(sql, " FROM ({})", several.join(", "));
            }
        },
    }
    let told = definition.external.as_ref().and_then(|external| external.provenance_by_field.get(&field.key));
    if let Some(version) = told {
        let _ = write!(sql, " PROVENANCE {}", text(version));
    }
    sql
}

fn field_dep(dep: &FieldDep) -> String {
    let feature = name(&dep.feature.to_string());
    match &dep.fields {
        FieldSelection::All => feature,
        FieldSelection::Keys(fields) => format!("{feature} {}", keys(fields)),
    }
}

/// A parent: its name, then its clauses.
pub(super) fn parent(dep: &FeatureDep) -> Vec<String> {
    let mut clauses = vec![name(&dep.feature.to_string())];
    if let Some(rename) = &dep.rename {
        let pairs = rename.iter().map(|(old, new)| format!("{} AS {}", name(old), name(new)));
        clauses.push(format!("RENAME ({})", pairs.collect::<Vec<_>>().join(", ")));
    }
    match &dep.filters {
        Some(filters) if filters.is_empty() => clauses.push("WHERE ()".to_owned()),
        Some(filters) => clauses.extend(filters.iter().map(|filter| match is_plain(filter) {
            true => format!("WHERE {filter}"),
            false => format!("WHERE {}", text(filter)),
        })),
        None => {}
    }
    if let Some(select) = &dep.select {
        clauses.push(format!("SELECT {}", names(select)));
    }
    match &dep.lineage {
        Lineage::Identity => {}
        Lineage::Aggregation { on: None } => clauses.push("AGGREGATED".to_owned()),
        Lineage::Aggregation { on: Some(on) } => clauses.push(format!("AGGREGATED BY {}", names(on))),
        Lineage::Expansion { on, id_generation_pattern } => {
            let pattern = id_generation_pattern.as_ref().map(|p| format!(" ID PATTERN {}", text(p)));
            clauses.push(format!("EXPANDED BY {}{}", names(on), pattern.unwrap_or_default()));
        }
    }
    if let Some(mapping) = mapping(&dep.fields_mapping) {
        clauses.push(format!("FIELDS {mapping}"));
    }
    if dep.optional {
        clauses.push("OPTIONAL".to_owned());
    }
    clauses
}

/// What FIELDS says; nothing for the default.
fn mapping(mapping: &FieldsMapping) -> Option<String> {
    Some(match mapping {
        mapping if *mapping == FieldsMapping::default() => return None,
        FieldsMapping::All => "ALL".to_owned(),
        FieldsMapping::None => "NONE".to_owned(),
        FieldsMapping::Default { match_suffix, exclude_fields } => {
            let by = if *match_suffix { "BY SUFFIX" } else { "BY NAME" };
            match exclude_fields.as_slice() {
                [] => by.to_owned(),
                excluded => format!("{by} EXCEPT {}", keys(excluded)),
            }
        }
        FieldsMapping::Specific(mapping) => {
            let of = |(field, from): (&FieldKey, &Vec<FieldKey>)| match from.as_slice() {
                [only] => format!("{} FROM {}", key(field), key(only)),
                several => format!("{} FROM {}", key(field), keys(several)),
            };
            format!("({})", mapping.iter().map(of).collect::<Vec<_>>().join(", "))
        }
    })
}

/// Whether a condition can stand as it is; what is no SQL, or more than a condition, is put into a string.
fn is_plain(condition: &str) -> bool {
    let sql = format!("CREATE FEATURE x ID COLUMNS (x) FROM p WHERE {condition}\nOPTIONAL");
    let Ok(mut parser) = DFParserBuilder::new(sql.as_str()).build() else { return false };
    let Ok(Some(statement)) = statement(&mut parser.parser, &sql) else { return false };
    if parser.parser.peek_token_ref().token != Token::EOF {
        return false;
    }
    let Kind::Create(created) = &statement.0 else { return false };
    let [dep] = created.spec.deps.as_slice() else { return false };
    let expected = FeatureDep {
        filters: Some(vec![condition.to_owned()]),
        optional: true,
        ..FeatureDep::from(dep.feature.clone())
    };
    *dep == expected && created.spec.description.is_none() && created.spec.metadata.is_empty()
}

fn key(field: &FieldKey) -> String {
    name(&field.to_string())
}

fn keys(fields: &[FieldKey]) -> String {
    format!("({})", fields.iter().map(key).collect::<Vec<_>>().join(", "))
}

fn names(columns: &[String]) -> String {
    format!("({})", columns.iter().map(|column| name(column)).collect::<Vec<_>>().join(", "))
}

/// Words that can be names without quotes, but would make a statement hard to read.
const CONFUSING: [&str; 20] = [
    "aggregated",
    "all",
    "as",
    "by",
    "code",
    "create",
    "default",
    "except",
    "expanded",
    "feature",
    "fields",
    "from",
    "id",
    "none",
    "optional",
    "order",
    "rename",
    "select",
    "table",
    "where",
];

/// A name, in quotes where it needs them.
fn name(name: &str) -> String {
    let mut bytes = name.bytes();
    let starts = bytes.next().is_some_and(|c| c.is_ascii_lowercase() || c == b'_');
    let plain = starts && bytes.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
    if plain && !CONFUSING.contains(&name) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// A string.
fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
