//! The options of an object store: names as in the Python packages polars and deltalake, in upper or lower case.

use std::str::FromStr;
use std::time::Duration;

use object_store::{BackoffConfig, RetryConfig};
use url::Url;

use super::Provider;
use crate::config::{Secret, StoreConfig, nearest};

/// Options of retries: how often, for how long, and how long the pauses are.
const RETRIES: [&str; 5] = [
    "max_retries",
    "retry_timeout",
    "backoff_config.init_backoff",
    "backoff_config.max_backoff",
    "backoff_config.base",
];
/// Options of writers that do not know conditional puts.
const UNSAFE_RENAME: [&str; 3] =
    ["aws_s3_allow_unsafe_rename", "allow_unsafe_rename", "mount_allow_unsafe_rename"];
const LOCKS: [&str; 2] = ["aws_s3_locking_provider", "locking_provider"];
const CONDITIONAL_PUT: [&str; 2] = ["aws_conditional_put", "conditional_put"];
/// Names to suggest for one that is not known.
const COMMON: [&str; 14] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "aws_region",
    "aws_endpoint_url",
    "aws_allow_http",
    "aws_virtual_hosted_style_request",
    "azure_storage_account_name",
    "azure_storage_account_key",
    "azure_storage_sas_key",
    "google_service_account",
    "google_service_account_key",
    "max_retries",
    "retry_timeout",
];

/// The options of one store, read.
#[derive(Debug)]
pub(super) struct Options {
    /// What the provider gets to know, by lower-case names.
    pub(super) given: Vec<(String, Secret)>,
    pub(super) retries: RetryConfig,
}

impl Options {
    /// # Errors
    /// An option that asks for commits that are not safe, or of which the value can't be read.
    pub(super) fn read(provider: Provider, given: &[(String, Secret)]) -> Result<Self, String> {
        let mut options = Self { given: Vec::new(), retries: retries() };
        for (name, value) in given {
            let key = name.to_ascii_lowercase();
            // A variable that is not set leaves nothing.
            if value.expose().is_empty() {
                continue;
            }
            let on = is_true(value.expose());
            if UNSAFE_RENAME.contains(&key.as_str()) && on {
                return Err(format!(
                    "storage_options: {name} asks for commits that can overwrite those of others; remove it: commits \
                     are conditional puts, which need no rename"
                ));
            }
            if LOCKS.contains(&key.as_str()) && value.expose() != "none" {
                return Err(format!(
                    "storage_options: {name} asks for a lock table, which is not supported; remove it if no other \
                     writer uses one: commits are conditional puts, which need no lock"
                ));
            }
            if CONDITIONAL_PUT.contains(&key.as_str()) && value.expose() != "etag" {
                return Err(format!(
                    "storage_options: {name} must be \"etag\", as it is by default: without conditional puts, writers \
                     could overwrite each other's commits"
                ));
            }
            if RETRIES.contains(&key.as_str()) {
                options.retry(&key, value.expose()).ok_or_else(|| bad_value(provider, name))?;
            } else {
                options.given.push((key, value.clone()));
            }
        }
        Ok(options)
    }

    fn retry(&mut self, key: &str, value: &str) -> Option<()> {
        let retries = &mut self.retries;
        match key {
            "max_retries" => retries.max_retries = value.parse().ok()?,
            "retry_timeout" => retries.retry_timeout = span(value)?,
            "backoff_config.init_backoff" => retries.backoff.init_backoff = span(value)?,
            "backoff_config.max_backoff" => retries.backoff.max_backoff = span(value)?,
            _ => retries.backoff.base = value.parse().ok().filter(|base: &f64| *base >= 1.0)?,
        }
        Some(())
    }

    /// The options that a provider knows.
    pub(super) fn known<K: FromStr>(&self) -> impl Iterator<Item = (K, String)> {
        self.given.iter().filter_map(|(key, value)| Some((key.parse().ok()?, value.expose().to_owned())))
    }
}

/// A server that is down for a moment is asked again, for a minute at most: somebody may be waiting.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig { max_backoff: Duration::from_secs(5), ..BackoffConfig::default() },
        retry_timeout: Duration::from_mins(1),
        ..RetryConfig::default()
    }
}

/// The names of a store's options that its provider does not know: for Python, or mistyped.
pub(crate) fn unknown_options(config: &StoreConfig) -> Vec<String> {
    let scheme = config.root_path.as_deref().and_then(|root| Url::parse(root).ok());
    let Some(provider) = scheme.and_then(|url| Provider::of(url.scheme())) else { return Vec::new() };
    let is_known = |key: &str| {
        let key = key.to_ascii_lowercase();
        let ours = [&RETRIES[..], &UNSAFE_RENAME, &LOCKS].concat().contains(&key.as_str());
        ours || super::connect::knows(provider, &key)
    };
    let unknown = config.storage_options.keys().filter(|key| !is_known(key));
    unknown
        .map(|key| {
            let hint =
                nearest(key, &COMMON).map_or_else(String::new, |name| format!("; did you mean {name:?}?"));
            format!(
                "stores.{}.config.storage_options: {key} is not an option of {}, so it has no effect{hint}",
                config.name,
                provider.name()
            )
        })
        .collect()
}

pub(super) fn is_true(text: &str) -> bool {
    ["1", "true", "on", "yes", "y"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

pub(super) fn bad_value(provider: Provider, name: &str) -> String {
    format!("storage_options: {name} has a value that {} can't use", provider.name())
}

/// `10s`, `500ms`, `3m`, as those packages write it.
fn span(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit.trim() {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" | "sec" | "secs" => Some(Duration::from_secs(number)),
        "m" | "min" | "mins" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "h" => Some(Duration::from_secs(number.checked_mul(3600)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &[(&str, &str)]) -> Result<Options, String> {
        let given: Vec<_> =
            list.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(*value))).collect();
        Options::read(Provider::S3, &given)
    }

    #[test]
    fn options_that_make_commits_unsafe_are_refused() {
        for (key, value) in [
            ("AWS_S3_ALLOW_UNSAFE_RENAME", "true"),
            ("AWS_S3_LOCKING_PROVIDER", "dynamodb"),
            ("aws_conditional_put", "disabled"),
        ] {
            let error = read(&[(key, value)]).unwrap_err();
            assert!(error.contains(key) && error.contains("conditional put"), "{error}");
        }
        read(&[("AWS_S3_ALLOW_UNSAFE_RENAME", "false"), ("aws_conditional_put", "etag")]).unwrap();
    }

    #[test]
    fn retries_are_options_with_the_names_of_the_python_packages() {
        let options =
            read(&[("max_retries", "3"), ("RETRY_TIMEOUT", "90s"), ("backoff_config.init_backoff", "20ms")])
                .unwrap();
        assert_eq!(options.retries.max_retries, 3);
        assert_eq!(options.retries.retry_timeout, Duration::from_secs(90));
        assert_eq!(options.retries.backoff.init_backoff, Duration::from_millis(20));
        assert_eq!(
            read(&[("max_retries", "hunter2")]).unwrap_err(),
            "storage_options: max_retries has a value that S3 can't use"
        );
    }

    #[test]
    fn a_mistyped_option_is_named() {
        let mut config = StoreConfig::new("prod", crate::config::StoreKind::Delta);
        config.root_path = Some("s3://bucket/a".into());
        for key in ["AWS_REGION", "aws_acces_key_id", "max_retries"] {
            config.storage_options.insert(key.into(), Secret::new("x"));
        }
        let unknown = unknown_options(&config);
        assert_eq!(unknown.len(), if cfg!(feature = "s3") { 1 } else { 2 }, "{unknown:?}");
        assert!(
            unknown.iter().any(|text| text.contains("did you mean \"aws_access_key_id\"?")),
            "{unknown:?}"
        );
    }
}
