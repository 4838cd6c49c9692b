//! Values that must not be seen, and text that may contain them.

use std::fmt;

use indexmap::IndexMap;
use serde_json::Value;

/// A value that never prints itself: a password, a key, any storage option.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Hides `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that needs it: opening the storage.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// Keys that are accepted because the Python package knows them, with values nobody here looks at.
///
/// They can hold anything, a connection string with its password too, so `Debug` shows the names alone.
#[derive(Clone, PartialEq, Default)]
pub struct LeftAlone(pub IndexMap<String, Value>);

impl fmt::Debug for LeftAlone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Stands for what must not be seen.
pub(super) const HIDDEN: &str = "***";

/// Words in a key's name that say that its value is a secret.
const SECRET_WORDS: [&str; 8] =
    ["password", "passwd", "secret", "token", "key", "credential", "connection_string", "signature"];

/// Whether the value of a key of this name has to stay hidden.
pub fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// `text` as it may be shown: without the user and password and without the query of a URL.
///
/// Queries go as a whole, since signed URLs carry their signature there under many names.
pub fn redact(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, "?***"),
        None => (rest, ""),
    };
    // A password may contain a slash that was not escaped, so everything before the last `@` goes.
    match rest.rsplit_once('@') {
        // That of Azure is a container.
        Some((user, _)) if matches!(scheme, "abfs" | "abfss") && is_container(user) => {
            format!("{scheme}://{rest}{query}")
        }
        Some((_, place)) => format!("{scheme}://{HIDDEN}@{place}{query}"),
        None => format!("{scheme}://{rest}{query}"),
    }
}

/// Whether a text can be the name of a container.
fn is_container(text: &str) -> bool {
    text.len() <= 63 && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_$".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_stars() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn urls_lose_their_credentials() {
        assert_eq!(redact("postgres://ada:s3/cr@et@db/x"), "postgres://***@db/x");
        assert_eq!(redact("https://host/a?sig=abc"), "https://host/a?***");
        assert_eq!(redact("s3://bucket/path"), "s3://bucket/path");
        let container = "abfss://videos@account.dfs.core.windows.net/a";
        assert_eq!(redact(container), container);
        assert_eq!(redact("abfss://ada:s3cret@account/a"), "abfss://***@account/a");
        for secret in ["ada@s3cret", "ada%3As3cret", "ada:s3/cret"] {
            assert_eq!(redact(&format!("abfss://{secret}@account/a")), "abfss://***@account/a");
        }
        assert_eq!(redact("./store"), "./store");
    }

    #[test]
    fn secret_keys_are_known_by_their_words() {
        assert!(is_secret_key("AWS_SECRET_ACCESS_KEY"));
        assert!(is_secret_key("connection_string"));
        assert!(!is_secret_key("layout"));
    }
}
