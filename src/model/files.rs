//! Features declared in TOML files.

use std::path::{Path, PathBuf};

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::definition::{FeatureDefinition, Origin};
use super::external;
use super::key::check_project_name;
use super::read::{Node, Step, Wrong};
use super::spec::{FeatureSpec, stated_key};
use crate::error::{MetaxyError, Result};

/// Reads feature files: `[[feature]]` tables, or one spec at the top level, and possibly a `project`.
///
/// Features belong to `project` unless their file names another. Errors name the file, the line, the feature and the
/// key that is wrong.
pub fn load_feature_files(paths: &[PathBuf], project: &str) -> Result<Vec<FeatureDefinition>> {
    let mut definitions = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(path).map_err(|error| MetaxyError::File {
            file: path.clone(),
            reason: format!("can't be read: {error}"),
        })?;
        definitions.extend(read_file(path, &text, project)?);
    }
    Ok(definitions)
}

fn read_file(path: &Path, text: &str, project: &str) -> Result<Vec<FeatureDefinition>> {
    let fault = |line: Option<usize>, reason: String| MetaxyError::File {
        file: path.to_owned(),
        reason: line.map_or(String::new(), |line| format!("line {line}: ")) + &reason,
    };
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let reason = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
        fault(error.span().map(|span| line_at(text, span.start)), reason)
    })?;
    read_table(table, |spec, project_of_file, declared| {
        let origin = Origin::File(path.to_owned());
        match declared {
            Some(declared) => FeatureDefinition::external(spec, declared.project, declared.external, origin),
            None => FeatureDefinition::declared(spec, project_of_file.unwrap_or(project), origin),
        }
    })
    .map_err(|(feature, wrong)| {
        let feature = feature.map_or(String::new(), |feature| format!("feature {feature}: "));
        fault(line_of(text, &wrong.path), format!("{feature}{wrong}"))
    })
}

/// The feature's key, where a fault is inside a feature that has one.
type Fault = (Option<String>, Wrong);

fn read_table(
    table: toml::Table,
    define: impl Fn(FeatureSpec, Option<&str>, Option<external::Declared>) -> FeatureDefinition,
) -> Result<Vec<FeatureDefinition>, Fault> {
    let outside = |wrong: Wrong| (None, wrong);
    let mut file = to_json(toml::Value::Table(table)).map_err(outside)?;
    // The file's own key, not a member of a spec at the top level.
    let project = file.as_object_mut().and_then(|file| file.shift_remove("project"));
    let project = project.as_ref().map(read_project).transpose().map_err(outside)?;
    let is_single = file.get("key").is_some();
    let read = |node: &Node<'_>| {
        let fault = |wrong| (stated_key(node.value()), wrong);
        let Some((rest, declared)) = external::read(node, project.filter(|_| is_single)).map_err(fault)?
        else {
            return Ok(define(FeatureSpec::from_node(node).map_err(fault)?, project, None));
        };
        let spec = FeatureSpec::from_node(&node.with(&rest)).map_err(fault)?;
        declared.external.check(&spec).map_err(|wrong| fault(wrong.within(node.path())))?;
        Ok(define(spec, project, Some(declared)))
    };
    let root = Node::root(&file);
    if is_single {
        return Ok(vec![read(&root)?]);
    }
    root.only(&["feature"]).map_err(|wrong| {
        outside(Wrong {
            reason: "unknown key; known here: project, feature (or one spec with a key)".into(),
            ..wrong
        })
    })?;
    let Some(features) = root.get("feature") else { return Ok(Vec::new()) };
    features
        .items()
        .map_err(|_| outside(features.wrong("write [[feature]], with two brackets, before each feature")))?
        .map(|node| read(&node))
        .collect()
}

fn read_project(value: &Value) -> Result<&str, Wrong> {
    let at = |reason: &str| Wrong::at(["project".into()], reason);
    let name = value.as_str().ok_or_else(|| at("expected a string"))?;
    check_project_name(name).map_err(|error| at(&error.to_string()))?;
    Ok(name)
}

/// The same data as JSON, which specs are read from; dates become text.
pub(super) fn to_json(value: toml::Value) -> Result<Value, Wrong> {
    Ok(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| Wrong::at([], format!("{number} can't be stored as JSON")))?,
        toml::Value::Boolean(flag) => Value::Bool(flag),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(items) => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| to_json(item).map_err(|wrong| wrong.within([index.into()])))
            .collect::<Result<_, _>>()?,
        toml::Value::Table(table) => {
            let mut map = Map::new();
            for (key, item) in table {
                let item = to_json(item).map_err(|wrong| wrong.within([key.as_str().into()]))?;
                map.insert(key, item);
            }
            Value::Object(map)
        }
    })
}

/// The line of the value at `path`, or of the innermost value around it that is there.
fn line_of(text: &str, path: &[Step]) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let mut start = None;
    let mut here: Option<&Spanned<DeValue<'_>>> = None;
    for (depth, step) in path.iter().enumerate() {
        let table = if depth == 0 { Some(root.get_ref()) } else { here.and_then(|v| v.get_ref().as_table()) };
        let found = match step {
            Step::Key(name) => table
                .and_then(|table| table.iter().find(|(key, _)| key.get_ref() == name))
                .map(|(key, value)| (key.span().start, value)),
            Step::Index(index) => here
                .and_then(|value| value.get_ref().as_array())
                .and_then(|list| list.get(*index))
                .map(|value| (value.span().start, value)),
        };
        let Some((position, value)) = found else { break };
        start = Some(position);
        here = Some(value);
    }
    start.map(|position| line_at(text, position))
}

fn line_at(text: &str, position: usize) -> usize {
    text.bytes().take(position).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OnMismatch;

    const FILE: &str = r#"
[[feature]]
key = "video/raw"
id_columns = ["video_id"]
fields = ["audio", { key = "frames", code_version = "2" }]
metadata = { since = 2024-01-02, weight = 0.5 }

[[feature]]
key = "video/crop"
id_columns = ["video_id"]

[[feature.deps]]
feature = "video/raw"
lineage = { type = "N:1", on = ["video_id"] }
rename = { size = "video_size" }
filters = ["video_size > 1"]
"#;

    fn read(text: &str) -> Result<Vec<FeatureDefinition>> {
        read_file(Path::new("f.toml"), text, "demo")
    }

    #[test]
    fn a_file_of_features() {
        let found = read(FILE).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].spec.metadata["since"], "2024-01-02");
        assert_eq!(found[0].spec.fields[1].code_version, "2");
        assert_eq!(found[1].spec.deps[0].filters, Some(vec!["video_size > 1".to_owned()]));
        assert_eq!(found[1].project, "demo");
        assert_eq!(found[1].origin, Origin::File("f.toml".into()));
    }

    #[test]
    fn one_spec_and_a_project() {
        let found = read("project = \"mine\"\nkey = \"a\"\nid_columns = [\"x\"]\ndeps = [\"b\"]").unwrap();
        assert_eq!((found[0].key().to_string(), found[0].project.as_str()), ("a".to_owned(), "mine"));
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn external_features() {
        let text = "[[feature]]\nkey = \"up/a\"\nid_columns = [\"x\"]\nexternal = true\nproject = \"up\"\n\
                    fields = [\"f\", \"g/h\"]\nprovenance_by_field = { f = \"1\", \"g/h\" = \"2\" }\n\
                    on_version_mismatch = \"error\"\n";
        let found = read(text).unwrap();
        let external = found[0].external.as_ref().unwrap();
        assert_eq!((found[0].project.as_str(), found[0].spec.fields.len()), ("up", 2));
        assert_eq!(external.on_version_mismatch, OnMismatch::Error);
        assert_eq!(external.provenance_by_field.values().collect::<Vec<_>>(), ["1", "2"]);
        for (old, new, message) in [
            ("project = \"up\"\n", "", "line 1: feature up/a: feature[0]: key `project` is missing"),
            ("\"up\"\n", "\"a b\"\n", "line 5: feature up/a: feature[0].project: invalid key"),
            (
                "{ f =",
                "{ e =",
                "line 7: feature up/a: feature[0].provenance_by_field.e: the feature has no such",
            ),
            (
                "\"error\"",
                "\"stop\"",
                "line 8: feature up/a: feature[0].on_version_mismatch: expected \"warn\"",
            ),
            ("external = true", "external = false", "line 4: feature up/a: feature[0].external: write true"),
            (
                "external = true\n",
                "",
                "line 4: feature up/a: feature[0].project: only an external feature has this",
            ),
        ] {
            let error = read(&text.replace(old, new)).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        let single = read(&text.replace("[[feature]]\n", "")).unwrap();
        assert_eq!((single[0].project.as_str(), single[0].external.is_some()), ("up", true));
    }

    #[test]
    fn faults_say_where() {
        let good = "[[feature]]\nkey = \"a\"\nid_columns = [\"x\"]\n";
        for (text, message) in [
            ("a = = 1".to_owned(), "f.toml: line 1: "),
            (format!("{good}\n[[feature]\n"), "f.toml: line 5: "),
            (format!("{good}dep = []"), "f.toml: line 4: feature a: feature[0].dep: unknown key"),
            (
                format!(
                    "{good}\n[[feature]]\nkey = \"b\"\nid_columns = [\"x\"]\n[[feature.deps]]\nfeature = \"a\"\nlineage = \"x\""
                ),
                "f.toml: line 10: feature b: feature[1].deps[0].lineage: unknown lineage",
            ),
            (
                format!("{good}deps = [\n  \"p\",\n  \"p\",\n]"),
                "f.toml: line 6: feature a: feature[0].deps[1]: parent p is listed twice",
            ),
            ("\n[[feature]]\nid_columns = [\"x\"]".to_owned(), "line 2: feature[0]: key `key` is missing"),
            ("\n[feature]\nkey = \"a\"".to_owned(), "line 2: feature: write [[feature]]"),
            ("\nfeatures = []".to_owned(), "line 2: features: unknown key; known here: project, feature"),
            ("project = \"a b\"".to_owned(), "line 1: project: invalid key \"a b\""),
            ("project = 1".to_owned(), "line 1: project: expected a string"),
            (format!("{good}metadata.x = [nan]"), "line 4: feature[0].metadata.x[0]: NaN can't be stored"),
            ("key = \"a\"\nid_columns = []".to_owned(), "line 2: feature a: id_columns: name at least one"),
        ] {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn files_that_are_not_there() {
        let error = load_feature_files(&["no/such.toml".into()], "demo").unwrap_err().to_string();
        assert!(error.starts_with("no/such.toml: can't be read"), "{error}");
    }
}
