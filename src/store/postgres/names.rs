//! Names and values in the text of a statement.

/// Bytes of a name that PostgreSQL keeps; it silently drops the others.
const LONGEST: usize = 63;

/// A name between double quotes.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text between single quotes, whatever the server's settings say about backslashes.
pub(crate) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// Whether PostgreSQL can have a thing of this name; `what` says what kind of thing, for the error.
///
/// # Errors
/// The name is empty, too long, or has a character that no name can have.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err(format!("{what} has an empty name"));
    }
    if name.contains('\0') {
        return Err(format!("{what} {name:?}: PostgreSQL has no names with the character NUL"));
    }
    if name.len() > LONGEST {
        return Err(format!(
            "{what} {name:?}: the name has {} bytes, PostgreSQL keeps {LONGEST} of them; choose a shorter one",
            name.len()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_stay_inside() {
        assert_eq!(identifier(r#"a"; DROP TABLE x; --"#), r#""a""; DROP TABLE x; --""#);
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"\'"), r"E'\\'''");
    }

    #[test]
    fn names_that_postgres_would_cut_are_refused() {
        assert!(check_name("column", &"x".repeat(63)).is_ok());
        assert!(check_name("column", &"ä".repeat(32)).unwrap_err().contains("64 bytes"));
        assert!(check_name("column", "a\0b").is_err());
    }
}
