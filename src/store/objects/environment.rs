//! What the environment says of a provider, where a store's options leave it open.

use std::ffi::OsString;
use std::str::FromStr;

/// The settings for a client, later ones going over earlier ones: those of variables that begin with `prefix`, without
/// those that are `left_out` on account of what was given, and then what was given.
pub(super) fn settings<K: FromStr>(
    prefix: &str,
    given: Vec<(K, String)>,
    left_out: impl Fn(&K) -> bool,
) -> Vec<(K, String)> {
    of(std::env::vars_os(), prefix, given, left_out)
}

/// A variable that has a value.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn of<K: FromStr>(
    variables: impl Iterator<Item = (OsString, OsString)>,
    prefix: &str,
    given: Vec<(K, String)>,
    left_out: impl Fn(&K) -> bool,
) -> Vec<(K, String)> {
    let mut settings: Vec<(K, String)> = variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        // A variable without a value is as good as none.
        .filter(|(name, value)| name.starts_with(prefix) && !value.is_empty())
        .filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse::<K>().ok()?, value)))
        .filter(|(key, _)| !left_out(key))
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

    #[test]
    fn what_is_given_comes_last_and_variables_without_a_value_are_none() {
        let variables = [
            ("CLOUD_ID", "ada"),
            ("CLOUD_SECRET", ""),
            ("CLOUD_PLACE", "here"),
            ("CLOUD_OTHER", "x"),
            ("HOME", "/"),
        ];
        let of = |given, left_out: &dyn Fn(&Key) -> bool| {
            let variables = variables.map(|(name, value)| (name.into(), value.into()));
            of(variables.into_iter(), "CLOUD_", given, left_out)
        };
        let text = str::to_owned;
        let there = || (Key::Place, text("there"));
        let all = [(Key::Id, text("ada")), (Key::Place, text("here")), there()];
        assert_eq!(of(vec![there()], &|_| false), all);
        let bob = || (Key::Id, text("bob"));
        assert_eq!(of(vec![bob()], &|key| *key == Key::Id), [(Key::Place, text("here")), bob()]);
    }
}
