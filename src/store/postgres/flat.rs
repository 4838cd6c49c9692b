//! JSON objects of texts, as the server's `->>` takes them apart: what is no text is shown as one, and what is no object
//! has no members. So the same is read of a column whether increments are computed there or here.

use datafusion::arrow::datatypes::DataType;

/// Whether values of the type are objects of texts.
pub(crate) fn holds_texts(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => fields.iter().all(|field| *field.data_type() == DataType::Utf8),
        DataType::Map(entries, _) => holds_texts(entries.data_type()),
        _ => false,
    }
}

/// The object with texts in place of objects and lists inside of it, if it is another one than this.
pub(crate) fn flat(json: &[u8]) -> Option<Vec<u8>> {
    match json {
        [b'{', rest @ ..] if !rest.iter().any(|byte| matches!(byte, b'{' | b'[')) => None,
        [b'{', ..] => Some(flattened(json)),
        b"null" => None,
        _ => Some(b"{}".to_vec()),
    }
}

fn flattened(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() + 16);
    let (mut depth, mut start) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in json.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                if depth == 2 {
                    start = at;
                }
            }
            b'}' | b']' if !quoted => {
                depth = depth.saturating_sub(1);
                if depth == 1 {
                    let text = String::from_utf8_lossy(&json[start..=at]);
                    out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
                    continue;
                }
            }
            _ => {}
        }
        if depth < 2 {
            out.push(*byte);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_are_no_texts_are_shown_as_such() {
        let shown = |json: &str| {
            let out = flat(json.as_bytes()).unwrap_or_else(|| json.as_bytes().to_vec());
            String::from_utf8(out).unwrap()
        };
        for same in [r#"{"a": "x", "b": null, "c": 1.50}"#, r#"{"a": "[{\"\\"}"#, "{}", "null"] {
            assert_eq!(shown(same), same);
        }
        for none in ["[1, 2]", "\"text\"", "3", "true", "[{\"a\": 1}]"] {
            assert_eq!(shown(none), "{}");
        }
        assert_eq!(
            shown(r#"{"a": {"b": ["}", {"c": "\"]"}]}, "d": "{", "e": [], "f": "ä"}"#),
            r#"{"a": "{\"b\": [\"}\", {\"c\": \"\\\"]\"}]}", "d": "{", "e": "[]", "f": "ä"}"#
        );
    }
}
