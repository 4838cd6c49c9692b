//! `${VAR}` and `${VAR:-default}` inside any text of a file.

use super::{
    env::Environment,
    tree::{Node, Value},
};

/// A variable that is not set and has no default, and the key that asks for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) path: String,
    pub(super) variable: String,
}

/// Expands every text below `node` that comes from a file; `path` is the key so far.
///
/// A variable that is missing becomes empty, as in the Python package, but is put down in `missing`. What
/// came from the environment is taken as it is: a password there may contain anything.
pub(super) fn expand_tree(node: &mut Node, path: &str, env: &Environment, missing: &mut Vec<Missing>) {
    match &mut node.value {
        Value::Text(text) if node.origin.name_of_variable().is_none() => {
            let (expanded, gone) = expand(text, env);
            missing.extend(
                gone.into_iter().map(|name| Missing { path: path.to_owned(), variable: name.to_owned() }),
            );
            if expanded != *text {
                node.written = Some(std::mem::replace(text, expanded));
            }
        }
        Value::List(items) => {
            for item in items {
                expand_tree(item, path, env, missing);
            }
        }
        Value::Table(entries) => {
            for (key, entry) in entries {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                expand_tree(entry, &path, env, missing);
            }
        }
        Value::Text(_) | Value::Null | Value::Flag(_) | Value::Whole(_) | Value::Real(_) => {}
    }
}

/// `text` with its references replaced, and the names that had neither a value nor a default.
///
/// Unlike in a shell, the default is not used for a variable that is set to nothing.
pub(super) fn expand<'a>(text: &'a str, env: &Environment) -> (String, Vec<&'a str>) {
    let mut out = String::new();
    let mut missing = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, body) = (&rest[..start], &rest[start + 2..]);
        out.push_str(before);
        match reference(body) {
            Some((name, default, after)) => {
                match env.get(name).or(default) {
                    Some(value) => out.push_str(value),
                    None => missing.push(name),
                }
                rest = after;
            }
            None => {
                out.push_str("${");
                rest = body;
            }
        }
    }
    out.push_str(rest);
    (out, missing)
}

/// Splits what follows `${` into name, default and the text behind the brace; `None` if it is no reference.
fn reference(body: &str) -> Option<(&str, Option<&str>, &str)> {
    let (inside, after) = body.split_once('}')?;
    let (name, default) = match inside.split_once(':') {
        Some((name, tail)) => (name, Some(tail.strip_prefix('-')?)),
        None => (inside, None),
    };
    (!name.is_empty()).then_some((name, default, after))
}

#[cfg(test)]
mod tests {
    use super::{super::tree::Origin, *};

    #[test]
    fn values_defaults_and_gaps() {
        let env = Environment::from_iter([("A", "1"), ("EMPTY", "")]);
        let expanded = |text| expand(text, &env).0;
        assert_eq!(expanded("x${A}y${A}"), "x1y1");
        assert_eq!(expanded("${B:-d/e}"), "d/e");
        assert_eq!(expanded("${B:-}"), "");
        assert_eq!(expanded("${A:-d}"), "1");
        assert_eq!(expanded("${EMPTY:-d}"), "");
        assert_eq!(expand("a${B}b", &env), ("ab".to_owned(), vec!["B"]));
    }

    #[test]
    fn other_text_stays() {
        let env = Environment::default();
        for text in ["", "$A", "${}", "${A", "${A:x}", "a$b{c}", "ä${"] {
            assert_eq!(expand(text, &env), (text.to_owned(), vec![]));
        }
    }

    #[test]
    fn a_missing_variable_is_told() {
        let mut node = Node::from_json(serde_json::json!({"a": {"b": ["${GONE}/x"]}}), &Origin::built_in());
        let mut missing = vec![];
        expand_tree(&mut node, "", &Environment::default(), &mut missing);
        assert_eq!(node.to_json().to_string(), r#"{"a":{"b":["/x"]}}"#);
        assert_eq!(missing, [Missing { path: "a.b".to_owned(), variable: "GONE".to_owned() }]);
    }

    #[test]
    fn the_environment_is_taken_as_it_is() {
        let mut node = Node::from_json(serde_json::json!("a${GONE}"), &Origin::variable("METAXY_X"));
        expand_tree(&mut node, "", &Environment::default(), &mut vec![]);
        assert_eq!(node.to_json(), "a${GONE}");
    }
}
