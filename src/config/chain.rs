//! Chains of fallback stores: each name is a store's, none leads back to where it came from, and all hash alike.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::model::{StoreConfig, StoreKind};
use super::secret::redact;
use super::suggest::hint;
use crate::error::{MetaxyError, Result};

/// The algorithm of stores that name none.
const DEFAULT_ALGORITHM: &str = "xxhash32";

/// Checks the fallback stores of `name`, and theirs, without opening any.
///
/// # Errors
/// A name that is no store's, a circle, or a store that hashes otherwise.
pub(crate) fn check_fallbacks(
    stores: &IndexMap<String, StoreConfig>,
    name: &str,
    hash_length: usize,
) -> Result<()> {
    match stores.get_key_value(name) {
        Some((name, _)) => Chain { stores, hash_length, done: HashSet::new() }.visit(&mut vec![name]),
        None => Ok(()),
    }
}

struct Chain<'a> {
    stores: &'a IndexMap<String, StoreConfig>,
    hash_length: usize,
    /// Stores whose own fallbacks have been looked at.
    done: HashSet<&'a str>,
}

impl<'a> Chain<'a> {
    /// Checks the fallbacks of the store at the end of `path`.
    fn visit(&mut self, path: &mut Vec<&'a str>) -> Result<()> {
        let (Some(first), Some(last)) = (path.first().copied(), path.last().copied()) else { return Ok(()) };
        let fail = |reason| MetaxyError::Store { store: last.to_owned(), reason };
        for named in &self.stores[last].fallback_stores {
            let Some((fallback, config)) = self.stores.get_key_value(named) else {
                let known: Vec<&str> = self.stores.keys().map(String::as_str).collect();
                let hint = hint(named, &known);
                return Err(fail(format!(
                    "fallback_stores names {:?}, and there is no such store; {hint}",
                    redact(named)
                )));
            };
            if let Some(start) = path.iter().position(|store| store == fallback) {
                return Err(fail(format!(
                    "its fallback stores go in a circle: {} -> {fallback}; take one of them out of fallback_stores",
                    path[start..].join(" -> ")
                )));
            }
            if let (Some(own), Some(its)) = (algorithm(&self.stores[first]), algorithm(config))
                && own != its
            {
                return Err(hash_mismatch((first, own, self.hash_length), (fallback, its, self.hash_length)));
            }
            if self.done.insert(fallback) {
                path.push(fallback);
                self.visit(path)?;
                path.pop();
            }
        }
        Ok(())
    }
}

/// The name of the store's algorithm; of a store that only Python can open it may not be known.
fn algorithm(config: &StoreConfig) -> Option<&str> {
    match (&config.hash_algorithm, &config.kind) {
        (Some(named), _) => Some(named),
        (None, StoreKind::Other(_)) => None,
        (None, _) => Some(DEFAULT_ALGORITHM),
    }
}

/// The error for two stores of a chain, each with its algorithm and length, that hash differently.
pub(crate) fn hash_mismatch(store: (&str, &str, usize), fallback: (&str, &str, usize)) -> MetaxyError {
    let shown = |(_, algorithm, length): (&str, &str, usize)| {
        format!("hash_algorithm = {algorithm:?} and hash_truncation_length = {length}")
    };
    MetaxyError::Store {
        store: store.0.to_owned(),
        reason: format!(
            "it has {}, but its fallback store {} has {}; stores that share data need the same",
            shown(store),
            fallback.0,
            shown(fallback)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stores of one kind, each with its fallbacks and perhaps an algorithm.
    fn stores(list: &[(&str, &[&str], Option<&str>)]) -> IndexMap<String, StoreConfig> {
        let store = |(name, fallbacks, algorithm): &(&str, &[&str], Option<&str>)| {
            let config = StoreConfig {
                fallback_stores: fallbacks.iter().map(|name| (*name).to_owned()).collect(),
                hash_algorithm: algorithm.map(str::to_owned),
                ..StoreConfig::new(*name, StoreKind::Memory)
            };
            ((*name).to_owned(), config)
        };
        list.iter().map(store).collect()
    }

    fn error(stores: &IndexMap<String, StoreConfig>, name: &str) -> String {
        check_fallbacks(stores, name, 8).unwrap_err().to_string()
    }

    #[test]
    fn a_store_may_be_reached_on_two_ways() {
        let stores = stores(&[
            ("dev", &["left", "right"], None),
            ("left", &["end"], Some("xxhash32")),
            ("right", &["end", "left"], None),
            ("end", &[], None),
        ]);
        for name in stores.keys() {
            check_fallbacks(&stores, name, 8).unwrap();
        }
    }

    #[test]
    fn a_circle_is_named() {
        let stores =
            stores(&[("dev", &["a"], None), ("a", &["b"], None), ("b", &["a"], None), ("me", &["me"], None)]);
        let message = error(&stores, "dev");
        assert!(
            message.starts_with("store b: its fallback stores go in a circle: a -> b -> a; "),
            "{message}"
        );
        assert!(error(&stores, "me").contains("me -> me"));
    }

    #[test]
    fn an_unknown_name_comes_with_a_suggestion() {
        let stores = stores(&[("dev", &["prod"], None), ("prod", &["archiv"], None), ("archive", &[], None)]);
        assert_eq!(
            error(&stores, "dev"),
            "store prod: fallback_stores names \"archiv\", and there is no such store; did you mean \"archive\"?"
        );
    }

    #[test]
    fn all_stores_of_a_chain_hash_alike() {
        let mut stores = stores(&[("dev", &["py"], None), ("py", &["old"], None), ("old", &[], Some("md5"))]);
        // Nothing is known of this one, but the next is still of the same chain.
        stores["py"].kind = StoreKind::Other("duckdb".into());
        assert_eq!(
            error(&stores, "dev"),
            "store dev: it has hash_algorithm = \"xxhash32\" and hash_truncation_length = 8, but its fallback store \
             old has hash_algorithm = \"md5\" and hash_truncation_length = 8; stores that share data need the same"
        );
        check_fallbacks(&stores, "py", 8).unwrap();
    }
}
