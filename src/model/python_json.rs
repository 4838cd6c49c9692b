//! JSON text exactly as Python's `json.dumps(value, sort_keys=True)` writes it, because versions are hashes of it.

use serde_json::{Number, Value};

/// Writes a value with sorted keys, `", "` and `": "` between things and everything outside ASCII as `\uXXXX`.
///
/// Hashes of definitions are taken of this text, so it has to agree with Python in every byte. Python integers
/// beyond 64 bits are the exception: a [`Value`] doesn't hold them.
pub fn python_json(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, true, &mut out);
    out
}

/// As [`python_json`] with keys in their own order: `json.dumps(value)`, as the Python package stores definitions.
pub fn python_json_in_order(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, false, &mut out);
    out
}

fn write_value(value: &Value, sorted: bool, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                write_value(item, sorted, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            if sorted {
                // Python compares code points; the bytes of UTF-8 sort the same way.
                entries.sort_by_key(|(key, _)| *key);
            }
            out.push('{');
            for (i, (key, item)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                write_string(key, out);
                out.push_str(": ");
                write_value(item, sorted, out);
            }
            out.push('}');
        }
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            // Beyond the basic plane: the two halves of a surrogate pair.
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
}

fn write_number(number: &Number, out: &mut String) {
    match number.as_f64() {
        Some(float) if number.is_f64() => write_float(float, out),
        _ => out.push_str(&number.to_string()),
    }
}

/// Python writes the shortest digits that read back as the same number, plainly from 1e-4 until below 1e16 with at
/// least one decimal, else with an exponent that has a sign and at least two digits.
fn write_float(float: f64, out: &mut String) {
    let text = nearest_shortest(float);
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    if float != 0.0 && !(1e-4..1e16).contains(&float.abs()) {
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        out.push_str(&format!("{digits}e{sign}{exponent:0>2}"));
    } else {
        let exponent: i64 = exponent.parse().unwrap_or_default();
        let decimals = usize::try_from(decimals(digits) - exponent).unwrap_or_default().max(1);
        out.push_str(&format!("{float:.decimals$}"));
    }
}

/// The shortest digits in scientific form. Where two texts of that length are equally near, Rust's shortest form
/// takes the upper one, and Python the even one, as Rust does when it is told how many digits to write.
fn nearest_shortest(float: f64) -> String {
    let shortest = format!("{float:e}");
    let digits = shortest.split('e').next().unwrap_or_default();
    let precision = usize::try_from(decimals(digits)).unwrap_or_default();
    let rounded = format!("{float:.precision$e}");
    if rounded.parse() == Ok(float) { rounded } else { shortest }
}

fn decimals(digits: &str) -> i64 {
    digits.split_once('.').map_or(0, |(_, decimals)| decimals.len() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dumps(text: &str) -> String {
        python_json(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn structure() {
        assert_eq!(
            dumps(r#"{"b":[1,null,true],"a":{},"B":[]}"#),
            r#"{"B": [], "a": {}, "b": [1, null, true]}"#
        );
        let value = serde_json::from_str(r#"{"b":{"z":"ä","y":1.0},"a":[]}"#).unwrap();
        assert_eq!(python_json_in_order(&value), r#"{"b": {"z": "\u00e4", "y": 1.0}, "a": []}"#);
    }

    #[test]
    fn strings() {
        let value = Value::String("\u{e9}\u{1f600}\u{7f}\u{2028}\0/\\\"\u{8}\u{c}\n\r\t\u{1f}".to_owned());
        assert_eq!(
            python_json(&value),
            "\"\\u00e9\\ud83d\\ude00\\u007f\\u2028\\u0000/\\\\\\\"\\b\\f\\n\\r\\t\\u001f\""
        );
    }

    #[test]
    fn keys_are_sorted_by_code_point() {
        let value = serde_json::json!({"\u{1f600}": 1, "\u{ff5e}": 2, "z": 3});
        assert_eq!(python_json(&value), r#"{"z": 3, "\uff5e": 2, "\ud83d\ude00": 1}"#);
    }

    #[test]
    fn numbers() {
        let cases = [
            (1e16, "1e+16"),
            (1e-5, "1e-05"),
            (1e-4, "0.0001"),
            (0.1, "0.1"),
            (-0.0, "-0.0"),
            (100.0, "100.0"),
            (1e22, "1e+22"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (-1.5e-7, "-1.5e-07"),
            (860_215_763_546_722.2, "860215763546722.2"),
            (2f64.powi(-44), "5.684341886080802e-14"),
            (0.0, "0.0"),
        ];
        for (float, text) in cases {
            assert_eq!(python_json(&Value::from(float)), text);
        }
        assert_eq!(dumps("[0, -7, 12345678901234567890]"), "[0, -7, 12345678901234567890]");
    }
}
