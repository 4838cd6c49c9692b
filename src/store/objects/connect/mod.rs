//! The clients of the providers, with options and environment.

#[cfg(feature = "azure")]
mod azure;
#[cfg(feature = "gcs")]
mod google;
#[cfg(feature = "s3")]
mod s3;

use std::sync::Arc;

use object_store::ObjectStore;
use url::Url;

use super::Provider;
use super::options::Options;

type Client = Result<Arc<dyn ObjectStore>, String>;

/// A client for the bucket of a URL, unless the provider was left out of the build.
pub(super) fn connect(provider: Provider, url: &Url, options: &Options) -> Client {
    match provider {
        #[cfg(feature = "s3")]
        Provider::S3 => s3::connect(url, options),
        #[cfg(feature = "azure")]
        Provider::Azure => azure::connect(url, options),
        #[cfg(feature = "gcs")]
        Provider::Google => google::connect(url, options),
        #[cfg(not(all(feature = "s3", feature = "azure", feature = "gcs")))]
        _ => Err(format!(
            "this build has no {}; build it with the feature {:?}",
            provider.name(),
            provider.feature()
        )),
    }
}

/// Whether a provider has an option of this name, which is in lower case.
pub(super) fn knows(provider: Provider, key: &str) -> bool {
    match provider {
        #[cfg(feature = "s3")]
        Provider::S3 => s3::knows(key),
        #[cfg(feature = "azure")]
        Provider::Azure => azure::knows(key),
        #[cfg(feature = "gcs")]
        Provider::Google => google::knows(key),
        #[cfg(not(all(feature = "s3", feature = "azure", feature = "gcs")))]
        _ => false,
    }
}

/// The message of a client that can't be made. It names options; what it says of values is left out.
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
fn refused(provider: Provider, error: &object_store::Error, options: &Options) -> String {
    let mut text = crate::error::one_line(&error.to_string());
    for (_, value) in &options.given {
        if value.expose().len() > 3 {
            text = text.replace(value.expose(), "***");
        }
    }
    format!("storage_options or environment: {} can't be reached with them: {text}", provider.name())
}

/// Whether a client can make requests of an address; over others it panics. What is wrong names the option alone.
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
fn check_address(option: &str, value: Option<String>) -> Result<(), String> {
    let usual = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=".contains(c);
    let is_address = |text: &str| {
        let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        host.is_some_and(|host| !host.starts_with(['/', '?', '#', ':', '@']))
            && text.chars().all(usual)
            && Url::parse(text).is_ok()
    };
    match value {
        Some(value) if !value.is_empty() && !is_address(&value) => Err(format!(
            "storage_options or environment: {option} is not the address of a server; it looks like \
             https://HOST:PORT, without blanks"
        )),
        _ => Ok(()),
    }
}

/// A connection that nobody has allowed.
#[cfg(any(feature = "s3", feature = "azure"))]
fn unencrypted(endpoint: &str, allow: &str) -> String {
    format!(
        "storage_options or environment: {endpoint} begins with http://; set {allow} to \"true\" to allow a \
         connection without encryption"
    )
}

/// Whether a value can be a part of a server's name, which some are made of.
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
fn check_part(option: &str, value: Option<&str>) -> Result<(), String> {
    let usual = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    match value {
        Some(value) if !value.chars().all(usual) => {
            Err(format!("{option} has characters that can't be in the name of a server"))
        }
        _ => Ok(()),
    }
}
