//! What the environment says of a provider, where a store's options leave it open.
//!
//! Who the store's options say one is goes over all that the environment says of that: half a login of the one with half
//! of the other is none, and some providers would prefer the other's.

use std::ffi::OsString;
use std::str::FromStr;

/// The settings for a client, later ones going over earlier ones: those of variables that begin with `prefix`, and
/// then those that were given. `who` are the keys of which none is taken from the environment if one that was given
/// `replaces` them.
pub(super) fn settings<K: FromStr + PartialEq>(
    prefix: &str,
    given: Vec<(K, String)>,
    who: &[K],
    replaces: impl Fn(&K, &str) -> bool,
) -> Vec<(K, String)> {
    of(std::env::vars_os(), prefix, given, who, replaces)
}

fn of<K: FromStr + PartialEq>(
    variables: impl Iterator<Item = (OsString, OsString)>,
    prefix: &str,
    given: Vec<(K, String)>,
    who: &[K],
    replaces: impl Fn(&K, &str) -> bool,
) -> Vec<(K, String)> {
    let is_replaced = given.iter().any(|(key, value)| replaces(key, value));
    let mut settings: Vec<(K, String)> = variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        // A variable without a value is as good as none.
        .filter(|(name, value)| name.starts_with(prefix) && !value.is_empty())
        .filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse::<K>().ok()?, value)))
        .filter(|(key, _)| !(is_replaced && who.contains(key)))
        .collect();
    settings.extend(given);
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Key {
        Id,
        Secret,
        Place,
    }

    impl FromStr for Key {
        type Err = ();

        fn from_str(text: &str) -> Result<Self, ()> {
            match text {
                "cloud_id" => Ok(Self::Id),
                "cloud_secret" => Ok(Self::Secret),
                "cloud_place" => Ok(Self::Place),
                _ => Err(()),
            }
        }
    }

    fn settings(given: Vec<(Key, String)>) -> Vec<(Key, String)> {
        let variables = [
            ("CLOUD_ID", "ada"),
            ("CLOUD_SECRET", "s"),
            ("CLOUD_PLACE", "here"),
            ("CLOUD_OTHER", "x"),
            ("HOME", "/"),
        ];
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        of(variables.into_iter(), "CLOUD_", given, &[Key::Id, Key::Secret], |key, _| *key == Key::Id)
    }

    #[test]
    fn whoever_is_given_replaces_whoever_the_environment_names() {
        let text = str::to_owned;
        let environment = [(Key::Id, text("ada")), (Key::Secret, text("s")), (Key::Place, text("here"))];
        assert_eq!(settings(vec![]), environment);
        let given = || (Key::Id, text("bob"));
        assert_eq!(settings(vec![given()]), [(Key::Place, text("here")), given()]);
        let place = || (Key::Place, text("there"));
        let all: Vec<_> = environment.into_iter().chain([place()]).collect();
        assert_eq!(settings(vec![place()]), all);
    }

    #[test]
    fn variables_without_a_value_are_none() {
        let variables = [("CLOUD_ID".into(), "".into())];
        assert_eq!(of::<Key>(variables.into_iter(), "CLOUD_", vec![], &[], |_, _| false), []);
    }
}
