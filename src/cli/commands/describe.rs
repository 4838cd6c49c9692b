//! `describe`: all that is known about features.

use std::fmt::Write;
use std::sync::Arc;

use clap::builder::{PossibleValue, PossibleValuesParser};
use datafusion::catalog::TableProvider;
use serde_json::{Map, Value, json};

use crate::cli::program::{Outcome, Program};
use crate::cli::report;
use crate::cli::rows::{Format, Rows};
use crate::cli::select::Selection;
use crate::cli::sql_text::name;
use crate::error::{MetaxyError, Result};
use crate::model::{FeatureDefinition, FeatureDep, FeatureGraph, Lineage, Origin};
use crate::store::Store;

const EXAMPLE: &str = "\
Example:
  $ metaxy-cli describe photo/face
  photo/face
    description: Faces that are found in a photo
    project:     photos
    version:     f857eef2
    defined in:  file …/features.toml
    id columns:  path
    fields:      faces: code version 1, version 298e085f, of photo.default
    parents:     photo
    columns:     path Utf8View
                 faces Int64

With --format sql: the CREATE FEATURE statements, parents first, as a script for -f or --prepare.";

/// What is said of each feature as data, whether there are any features or not.
const COLUMNS: [&str; 14] = [
    "feature",
    "table_name",
    "project",
    "version",
    "definition_version",
    "defined_in",
    "is_external",
    "description",
    "id_columns",
    "fields",
    "parents",
    "children",
    "columns",
    "metadata",
];

/// Describe features: versions, fields and what they depend on, parents, stored columns
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    features: Selection,

    /// How the descriptions are printed: as table, json or csv, or as statements that define the features: sql [default:
    /// table]
    #[arg(long, short_alias = 'f', value_name = "FORMAT", value_parser = formats())]
    #[arg(help_heading = "Global options")]
    format: Option<String>,
}

/// Those of all subcommands, and `sql`.
fn formats() -> PossibleValuesParser {
    let table = PossibleValue::new("table").alias("plain");
    PossibleValuesParser::new([table, "json".into(), "csv".into(), "sql".into()])
}

/// Prints the descriptions.
///
/// # Errors
///
/// An unknown feature, or a store that can't be read.
pub(super) async fn run(program: &Program, args: Args) -> Result<Outcome> {
    if !args.features.is_given() {
        return Ok(Outcome::Usage("name the features, or say --all-features".to_owned()));
    }
    let store = program.store().await?;
    let graph = store.graph().await?;
    let features = match args.features.features(&store).await {
        // In the Python package's words, `describe features` comes before the names.
        Err(MetaxyError::UnknownFeature { .. })
            if matches!(args.features.only_name(), Some("feature" | "features")) =>
        {
            return Ok(Outcome::Usage("name the features, or say --all-features".to_owned()));
        }
        other => other?,
    };
    if program.globals.format.as_deref() == Some("sql") {
        return statements(program, &features).await;
    }
    let mut described = Vec::new();
    for feature in features {
        described.push(describe(&store, &graph, &feature).await?);
    }
    if program.format() == Format::Table {
        let texts: Vec<String> = described.iter().map(as_text).collect();
        report::output(texts.join("\n").as_bytes())?;
        return Ok(Outcome::Done);
    }
    let mut rows = Rows::new(COLUMNS);
    for mut feature in described {
        rows.push(COLUMNS.map(|column| feature.remove(column).unwrap_or_default()));
    }
    program.print(&rows)?;
    Ok(Outcome::Done)
}

/// Prints statements that define the features.
async fn statements(program: &Program, features: &[Arc<FeatureDefinition>]) -> Result<Outcome> {
    let session = program.session().await?;
    let mut script = Vec::new();
    for feature in features {
        let statement = format!("SHOW CREATE FEATURE {}", name(&feature.key().to_string()));
        let shown = Rows::collect(session.sql(&statement).await?).await?;
        if let Some(Value::String(text)) = shown.last() {
            script.push(format!("{};\n", text.trim_end().trim_end_matches(';')));
        }
    }
    report::output(script.join("\n").as_bytes())?;
    Ok(Outcome::Done)
}

async fn describe(
    store: &Arc<Store>,
    graph: &FeatureGraph,
    feature: &Arc<FeatureDefinition>,
) -> Result<Map<String, Value>> {
    let spec = &feature.spec;
    let plan = graph.plan(feature.key()).ok();
    let fields: Vec<Value> = spec
        .fields
        .iter()
        .map(|field| {
            let planned = plan.iter().flat_map(|plan| &plan.fields).find(|planned| planned.key == field.key);
            let parents: Vec<&str> = planned
                .iter()
                .flat_map(|planned| &planned.parents)
                .map(|parent| parent.name.as_str())
                .collect();
            json!({
                "field": field.key.to_string(),
                "code_version": field.code_version,
                "version": graph.field_version(feature.key(), &field.key).ok(),
                "depends_on": parents,
            })
        })
        .collect();
    let own = crate::model::FeatureKey::clone(feature.key());
    let children: Vec<String> = graph
        .iter()
        .filter(|child| !matches!(child.origin, Origin::Removed(_)))
        .filter(|child| child.spec.deps.iter().any(|dep| dep.feature == own))
        .map(|child| child.key().to_string())
        .collect();
    // A table that can't be read says so where it is asked for its rows.
    let table = match store.history_table(feature).await {
        Ok(table) if table.exists() => Some(table),
        _ => None,
    };
    let columns: Vec<Value> = table
        .iter()
        .flat_map(|table| table.schema().fields().iter().cloned().collect::<Vec<_>>())
        .filter(|field| !crate::columns::is_system(field.name()))
        .map(|field| json!({"column": field.name(), "type": field.data_type().to_string()}))
        .collect();
    let described = json!({
        "feature": own.to_string(),
        "table_name": own.table_name(),
        "project": feature.project,
        "version": graph.feature_version(feature.key()).ok(),
        "definition_version": graph.definition_version(feature.key()).ok(),
        "defined_in": feature.origin.to_string(),
        "is_external": feature.external.is_some(),
        "description": spec.description,
        "id_columns": spec.id_columns,
        "fields": fields,
        "parents": spec.deps.iter().map(parent).collect::<Vec<_>>(),
        "children": children,
        "columns": columns,
        "metadata": spec.metadata,
    });
    match described {
        Value::Object(described) => Ok(described),
        _ => Ok(Map::new()),
    }
}

fn parent(dep: &FeatureDep) -> Value {
    let lineage = match &dep.lineage {
        Lineage::Identity => json!("1:1"),
        Lineage::Aggregation { on } => json!({"type": "N:1", "on": on}),
        Lineage::Expansion { on, .. } => json!({"type": "1:N", "on": on}),
    };
    json!({
        "feature": dep.feature.to_string(),
        "optional": dep.optional,
        "select": dep.select,
        "rename": dep.rename,
        "filters": dep.filters,
        "lineage": lineage,
    })
}

/// For people: a heading, then a line per thing to know; what there is nothing to say about is left out.
fn as_text(feature: &Map<String, Value>) -> String {
    let text = |key: &str| feature.get(key).and_then(Value::as_str).map(str::to_owned);
    let list = |key: &str| feature.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let words = |key: &str| {
        let words: Vec<String> = list(key).iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Some(words.join(", ")).filter(|words| !words.is_empty())
    };
    let metadata =
        feature.get("metadata").filter(|value| value.as_object().is_some_and(|map| !map.is_empty()));
    let lines: [(&str, Vec<String>); 10] = [
        ("description", text("description").into_iter().collect()),
        ("project", text("project").into_iter().collect()),
        ("version", text("version").into_iter().collect()),
        ("defined in", text("defined_in").into_iter().collect()),
        ("id columns", words("id_columns").into_iter().collect()),
        ("fields", list("fields").iter().map(field_text).collect()),
        ("parents", list("parents").iter().map(parent_text).collect()),
        ("children", words("children").into_iter().collect()),
        ("columns", list("columns").iter().map(column_text).collect()),
        ("metadata", metadata.map(ToString::to_string).into_iter().collect()),
    ];
    let mut all = format!("{}\n", text("feature").unwrap_or_default());
    for (name, values) in lines {
        for (i, value) in values.iter().enumerate() {
            let label = if i == 0 { format!("{name}:") } else { String::new() };
            let value = crate::error::one_line(value);
            // Writing to a string can't fail.
            let _ = writeln!(all, "  {label:<12} {value}");
        }
    }
    all
}

fn field_text(field: &Value) -> String {
    let text = |key: &str| field.get(key).and_then(Value::as_str).unwrap_or("unknown").to_owned();
    let parents: Vec<&str> = field
        .get("depends_on")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let of = if parents.is_empty() { String::new() } else { format!(", of {}", parents.join(", ")) };
    format!("{}: code version {}, version {}{of}", text("field"), text("code_version"), text("version"))
}

fn parent_text(parent: &Value) -> String {
    let mut text = parent.get("feature").and_then(Value::as_str).unwrap_or_default().to_owned();
    if parent.get("optional") == Some(&json!(true)) {
        text += ", optional";
    }
    for key in ["select", "rename", "filters", "lineage"] {
        match parent.get(key) {
            None | Some(Value::Null) => {}
            Some(value) if value == "1:1" => {}
            Some(value) => text += &format!(", {key} {value}"),
        }
    }
    text
}

fn column_text(column: &Value) -> String {
    let text = |key: &str| column.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    format!("{} {}", text("column"), text("type"))
}
