//! How many parent rows stand behind how many rows of a feature.

use serde_json::{Value, json};

use super::read::{Node, Wrong};

/// The relation between a parent's rows and a feature's rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Lineage {
    /// `1:1`: one row of the parent for one row of the feature.
    #[default]
    Identity,
    /// `N:1`: a group of the parent's rows becomes one row.
    Aggregation {
        /// The columns that make a group; the feature's id columns when not given.
        on: Option<Vec<String>>,
    },
    /// `1:N`: one row of the parent becomes several rows.
    Expansion {
        /// The columns, shared with the parent, that identify the parent's row.
        on: Vec<String>,
        /// How the ids of the new rows are made; free text that nothing here interprets.
        id_generation_pattern: Option<String>,
    },
}

impl Lineage {
    /// `N:1`, grouped by these columns.
    pub fn aggregation<S: Into<String>>(on: impl IntoIterator<Item = S>) -> Self {
        Lineage::Aggregation { on: Some(on.into_iter().map(Into::into).collect()) }
    }

    /// `1:N`, the parent's rows identified by these columns.
    pub fn expansion<S: Into<String>>(on: impl IntoIterator<Item = S>) -> Self {
        Lineage::Expansion { on: on.into_iter().map(Into::into).collect(), id_generation_pattern: None }
    }

    pub(super) fn read(node: &Node<'_>) -> Result<Self, Wrong> {
        if node.value().is_string() {
            return match node.text()? {
                "1:N" => Err(node.wrong("1:N needs columns: {type = \"1:N\", on = [\"parent_id\"]}")),
                name => Self::of_type(name, node, None),
            };
        }
        if let Some(inner) = node.get("relationship") {
            node.only(&["relationship"])?;
            return Self::read(&inner);
        }
        let name = node.need("type")?;
        Self::of_type(name.text()?, &name, Some(node))
    }

    /// `at` is where the type is named, `table` has the rest.
    fn of_type(name: &str, at: &Node<'_>, table: Option<&Node<'_>>) -> Result<Self, Wrong> {
        let only = |known: &[&str]| table.map_or(Ok(()), |table| table.only(known));
        match name {
            "1:1" => {
                only(&["type"])?;
                Ok(Lineage::Identity)
            }
            "N:1" => {
                only(&["type", "on"])?;
                let on = table.and_then(|table| table.get("on"));
                Ok(Lineage::Aggregation { on: on.map(|on| on.texts()).transpose()? })
            }
            "1:N" => {
                only(&["type", "on", "id_generation_pattern"])?;
                let table = table.unwrap_or(at);
                let pattern = table.get("id_generation_pattern");
                Ok(Lineage::Expansion {
                    on: table.need("on")?.texts()?,
                    id_generation_pattern: pattern
                        .map(|pattern| pattern.text().map(str::to_owned))
                        .transpose()?,
                })
            }
            _ => Err(at.wrong(format!("unknown lineage {name:?}; known: 1:1, N:1, 1:N"))),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let relationship = match self {
            Lineage::Identity => json!({"type": "1:1"}),
            Lineage::Aggregation { on } => json!({"type": "N:1", "on": on}),
            Lineage::Expansion { on, id_generation_pattern } => {
                json!({"type": "1:N", "on": on, "id_generation_pattern": id_generation_pattern})
            }
        };
        json!({"relationship": relationship})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &Value) -> Result<Lineage, String> {
        Lineage::read(&Node::root(value)).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn forms() {
        assert_eq!(read(&json!("1:1")), Ok(Lineage::Identity));
        assert_eq!(read(&json!("N:1")), Ok(Lineage::Aggregation { on: None }));
        assert_eq!(read(&json!({"type": "N:1", "on": ["a"]})), Ok(Lineage::aggregation(["a"])));
        let stored = json!({"relationship": {"type": "1:N", "on": ["a"], "id_generation_pattern": null}});
        assert_eq!(read(&stored), Ok(Lineage::expansion(["a"])));
        assert_eq!(Lineage::expansion(["a"]).to_json(), stored);
    }

    #[test]
    fn refusals() {
        for (value, reason) in [
            (json!("2:1"), "unknown lineage \"2:1\""),
            (json!({"type": "2:1"}), "type: unknown lineage"),
            (json!("1:N"), "needs columns"),
            (json!({"type": "1:N"}), "key `on` is missing"),
            (json!({"type": "1:1", "on": ["a"]}), "on: unknown key"),
            (json!({"relationship": {"type": "N:1", "onn": []}}), "relationship.onn: unknown key"),
            (json!({"relationship": {"type": "N:1"}, "x": 1}), "x: unknown key"),
            (json!({"on": ["a"]}), "key `type` is missing"),
            (json!(1), "expected a table, found a number"),
        ] {
            let error = read(&value).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
