//! The values that cases are made of: few, so that they meet, and awkward.

use std::cell::Cell;

use super::value::{Type, Value, Versions};

const TEXTS: [&str; 12] =
    ["a", "b", "a|b", "", "ü", "B", "日本語", "a\u{0}b", "e\u{301}", "é", "null", "it's 100 %"];

const NUMBERS: [i64; 12] = [1, 2, 3, 10, 0, -1, 7, 100, i32::MAX as i64, i32::MIN as i64, 20, 5];

const VERSIONS: [&str; 6] = ["v1", "v2", "v10", "ö", "v1 ", "0"];

fn pick<T: Copy>(values: &[T], choice: u8) -> T {
    values[usize::from(choice) % values.len()]
}

thread_local! {
    static NUL: Cell<bool> = const { Cell::new(true) };
}

/// Makes no text of this thread have the character NUL, which databases have none of.
pub fn without_nul() {
    NUL.set(false);
}

fn text(choice: u8) -> String {
    let text = pick(&TEXTS, choice);
    if NUL.get() { text.to_owned() } else { text.replace('\0', " ") }
}

/// A value of an id: never NULL. Numbers fit 32 bits, so that both widths of column can hold them.
pub fn id(column_type: Type, choice: u8) -> Value {
    match column_type {
        Type::Text => Value::text(text(choice)),
        Type::Int32 | Type::Int64 => Value::Int(pick(&NUMBERS, choice)),
    }
}

/// A value of an ordinary column: sometimes NULL.
pub fn ordinary(column_type: Type, choice: u8) -> Value {
    if choice % 4 == 3 { Value::Null } else { id(column_type, choice / 2) }
}

/// One version per field; the choice says which.
pub fn versions(members: &[String], choice: u8) -> Value {
    let version = |(n, member): (usize, &String)| {
        (member.clone(), Some(pick(&VERSIONS, (choice >> n).wrapping_add(n as u8)).to_owned()))
    };
    Value::Versions(members.iter().enumerate().map(version).collect::<Versions>())
}

/// As [`versions`], with NULLs: members, or the whole cell.
pub fn broken_versions(members: &[String], choice: u8) -> Value {
    let Value::Versions(mut versions) = versions(members, choice) else { return Value::Null };
    match choice % 4 {
        0 => return Value::Null,
        1 => {
            if let Some(first) = versions.values_mut().next() {
                *first = None;
            }
        }
        _ => {}
    }
    Value::Versions(versions)
}
