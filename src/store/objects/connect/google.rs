//! The client of a bucket of Google Cloud Storage.

use std::sync::Arc;

use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey as Key};
use url::Url;

use super::super::Provider;
use super::super::environment::{settings, variable};
use super::super::listings::Checked;
use super::super::options::{Options, is_true};
use super::{Client, check_address, check_part, refused};

/// What says who one is, each in a way of its own.
const WHO: [Key; 4] =
    [Key::ServiceAccount, Key::ServiceAccountKey, Key::ApplicationCredentials, Key::SkipSignature];

/// Whether somebody is named; then nobody whom the environment names is.
fn is_given(given: &[(Key, String)]) -> bool {
    given.iter().any(|(key, value)| WHO.contains(key) && (*key != Key::SkipSignature || is_true(value)))
}

pub(super) fn connect(url: &Url, options: &Options) -> Client {
    let mut builder =
        GoogleCloudStorageBuilder::new().with_url(url.as_str()).with_http_connector(Checked::default());
    let given: Vec<(Key, String)> = options.known().collect();
    let is_given = is_given(&given);
    if let Some(path) = variable("SERVICE_ACCOUNT").filter(|_| !is_given) {
        builder = builder.with_service_account_path(path);
    }
    for (key, value) in settings("GOOGLE_", given, |key| is_given && WHO.contains(key)) {
        builder = builder.with_config(key, value);
    }
    let address = builder.get_config_value(&Key::BaseUrl);
    check_address("GOOGLE_BASE_URL", address.clone())?;
    check_part("the bucket's name", url.host_str())?;
    let of_account = address_of_account(&builder);
    check_address("gcs_base_url", of_account.clone())?;
    if let Some(address) = address.or(of_account) {
        // Names are put behind it with a slash of their own.
        builder = builder.with_config(Key::BaseUrl, address.trim_end_matches('/'));
    }
    let built = builder.with_retry(options.retries.clone()).build();
    Ok(Arc::new(built.map_err(|error| refused(Provider::Google, &error, options))?))
}

/// The server that a service account names, if it does. What can't be read is for the library to refuse.
fn address_of_account(builder: &GoogleCloudStorageBuilder) -> Option<String> {
    let account = builder.get_config_value(&Key::ServiceAccountKey).or_else(|| {
        let path = builder.get_config_value(&Key::ServiceAccount)?;
        std::fs::read_to_string(path).ok()
    })?;
    let account: serde_json::Value = serde_json::from_str(&account).ok()?;
    Some(account.get("gcs_base_url")?.as_str()?.to_owned())
}

pub(super) fn knows(key: &str) -> bool {
    key.parse::<Key>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn google_has_the_options_of_the_python_packages() {
        for key in [
            "google_service_account",
            "google_service_account_path",
            "google_service_account_key",
            "google_application_credentials",
            "google_bucket",
        ] {
            assert!(knows(key), "{key}");
        }
    }

    #[test]
    fn whoever_is_given_to_google_is_alone() {
        let is_who = |key: Key, value: &str| is_given(&[(key, value.to_owned())]);
        assert!(is_who(Key::ServiceAccountKey, "{}") && is_who(Key::ApplicationCredentials, "a"));
        assert!(is_who(Key::SkipSignature, "true") && !is_who(Key::SkipSignature, "false"));
        assert!(!is_who(Key::Bucket, "a"));
    }
}
