//! The clients of the providers, with options and environment.

use std::sync::Arc;

use object_store::ObjectStore;
use url::Url;

use super::Provider;
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
use super::environment::{settings, variable};
#[cfg(any(feature = "s3", feature = "azure", feature = "gcs"))]
use super::listings::Checked;
use super::options::Options;

type Client = Result<Arc<dyn ObjectStore>, String>;

/// A client for the bucket of a URL.
pub(super) fn connect(provider: Provider, url: &Url, options: &Options) -> Client {
    match provider {
        Provider::S3 => s3::connect(url, options),
        Provider::Azure => azure::connect(url, options),
        Provider::Google => google::connect(url, options),
    }
}

/// Whether a provider has an option of this name, which is in lower case.
pub(super) fn knows(provider: Provider, key: &str) -> bool {
    match provider {
        Provider::S3 => s3::knows(key),
        Provider::Azure => azure::knows(key),
        Provider::Google => google::knows(key),
    }
}

/// What stands in for a provider that was left out of the build.
#[cfg(not(all(feature = "s3", feature = "azure", feature = "gcs")))]
fn missing(provider: Provider) -> Client {
    Err(format!("this build has no {}; build it with the feature {:?}", provider.name(), provider.feature()))
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

#[cfg(feature = "s3")]
mod s3 {
    use std::time::Duration;

    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as Key};
    use object_store::{ClientConfigKey, RetryConfig};

    use super::super::options::is_true;
    use super::*;

    /// What of the environment would make another login of the one that is given. `own` is the environment's key.
    pub(super) fn left_out(given: &[(Key, String)], own: Option<&str>) -> Vec<Key> {
        let has = |wanted: &[Key]| given.iter().any(|(key, _)| wanted.contains(key));
        let roles = [
            Key::WebIdentityTokenFile,
            Key::ContainerCredentialsRelativeUri,
            Key::ContainerCredentialsFullUri,
        ];
        // A token belongs to one key.
        if given.iter().any(|(key, value)| *key == Key::AccessKeyId && Some(value.as_str()) != own) {
            vec![Key::Token, Key::SkipSignature]
        } else if has(&[Key::AccessKeyId]) {
            vec![Key::SkipSignature]
        } else if has(&roles) {
            vec![Key::AccessKeyId, Key::SecretAccessKey, Key::Token, Key::SkipSignature]
        } else {
            Vec::new()
        }
    }

    pub(super) fn connect(url: &Url, options: &Options) -> Client {
        let mut builder =
            AmazonS3Builder::new().with_url(url.as_str()).with_http_connector(Checked::default());
        let given: Vec<(Key, String)> = options.known().collect();
        let left_out = left_out(&given, variable("AWS_ACCESS_KEY_ID").as_deref());
        for (key, value) in settings("AWS_", given, |key| left_out.contains(key)) {
            builder = builder.with_config(key, value);
        }
        let value = |key: Key| builder.get_config_value(&key).filter(|value| !value.is_empty());
        for (option, key) in [
            ("AWS_ENDPOINT_URL_S3", Key::S3Endpoint),
            ("AWS_ENDPOINT_URL", Key::Endpoint),
            ("AWS_ENDPOINT_URL_STS", Key::StsEndpoint),
            ("AWS_METADATA_ENDPOINT", Key::MetadataEndpoint),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", Key::ContainerCredentialsFullUri),
        ] {
            check_address(option, value(key))?;
        }
        check_part("storage_options or environment: AWS_REGION", value(Key::Region).as_deref())?;
        check_part("the bucket's name", url.host_str())?;
        let endpoint = value(Key::S3Endpoint).or_else(|| value(Key::Endpoint));
        let allows = |key: ClientConfigKey| value(Key::Client(key)).is_some_and(|value| is_true(&value));
        if let Some(endpoint) = &endpoint
            && endpoint.starts_with("http://")
            && !allows(ClientConfigKey::AllowHttp)
        {
            return Err(unencrypted("AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP"));
        }
        let has_key = value(Key::AccessKeyId).is_some() && value(Key::SecretAccessKey).is_some();
        let others = [
            Key::WebIdentityTokenFile,
            Key::ContainerCredentialsRelativeUri,
            Key::ContainerCredentialsFullUri,
            Key::MetadataEndpoint,
        ];
        let has_other = others.into_iter().any(|key| value(key).is_some())
            || value(Key::SkipSignature).is_some_and(|value| is_true(&value));
        // Only a machine of Amazon's own can tell who it is.
        if endpoint.is_some() && !has_key && !has_other {
            return Err("storage_options or environment: there are no credentials; set AWS_ACCESS_KEY_ID and \
                        AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE to \"true\" for a bucket that anybody can read"
                .into());
        }
        let fail = |error: object_store::Error| refused(Provider::S3, &error, options);
        if !has_key && !has_other {
            // Whether this machine knows who it is shows at once, or not at all.
            let asked = builder.clone().with_retry(RetryConfig {
                max_retries: 1,
                retry_timeout: Duration::from_secs(5),
                ..RetryConfig::default()
            });
            builder = builder.with_credentials(Arc::clone(asked.build().map_err(fail)?.credentials()));
        }
        Ok(Arc::new(builder.with_retry(options.retries.clone()).build().map_err(fail)?))
    }

    pub(super) fn knows(key: &str) -> bool {
        key.parse::<Key>().is_ok()
    }
}

#[cfg(feature = "azure")]
mod azure {
    use object_store::ClientConfigKey;
    use object_store::azure::{AzureConfigKey as Key, MicrosoftAzureBuilder};

    use super::super::options::is_true;
    use super::*;

    /// What says who one is, each in a way of its own.
    const WHO: [Key; 11] = [
        Key::AccessKey,
        Key::SasKey,
        Key::Token,
        Key::ClientSecret,
        Key::FederatedTokenFile,
        Key::FabricTokenServiceUrl,
        Key::FabricWorkloadHost,
        Key::FabricSessionToken,
        Key::FabricClusterIdentifier,
        Key::UseAzureCli,
        Key::SkipSignature,
    ];

    /// Whether somebody is named; then nobody whom the environment names is.
    pub(super) fn is_given(given: &[(Key, String)]) -> bool {
        given.iter().any(|(key, value)| {
            WHO.contains(key) && (!matches!(key, Key::UseAzureCli | Key::SkipSignature) || is_true(value))
        })
    }

    pub(super) fn connect(url: &Url, options: &Options) -> Client {
        let mut builder =
            MicrosoftAzureBuilder::new().with_url(url.as_str()).with_http_connector(Checked::default());
        let given: Vec<(Key, String)> = options.known().collect();
        let (is_given, has_msi) = (is_given(&given), given.iter().any(|(key, _)| *key == Key::MsiEndpoint));
        for (key, value) in settings("AZURE_", given, |key| is_given && WHO.contains(key)) {
            builder = builder.with_config(key, value);
        }
        if let Some(endpoint) = variable("MSI_ENDPOINT").filter(|_| !has_msi) {
            builder = builder.with_msi_endpoint(endpoint);
        }
        for (option, key) in [
            ("AZURE_STORAGE_ENDPOINT", Key::Endpoint),
            ("AZURE_STORAGE_AUTHORITY_HOST", Key::AuthorityHost),
            ("AZURE_MSI_ENDPOINT", Key::MsiEndpoint),
        ] {
            check_address(option, builder.get_config_value(&key))?;
        }
        let account = builder.get_config_value(&Key::AccountName);
        check_part("storage_options or environment: AZURE_STORAGE_ACCOUNT_NAME", account.as_deref())?;
        check_part("the container's name", url.host_str())?;
        if let Some(endpoint) = builder.get_config_value(&Key::Endpoint) {
            let is_on = |key: Key| builder.get_config_value(&key).is_some_and(|value| is_true(&value));
            // An emulator is where it always is, and is asked without encryption.
            let allowed = is_on(Key::Client(ClientConfigKey::AllowHttp)) || is_on(Key::UseEmulator);
            if endpoint.starts_with("http://") && !allowed {
                return Err(unencrypted("AZURE_STORAGE_ENDPOINT", "AZURE_ALLOW_HTTP"));
            }
            // Names are put behind it with a slash of their own.
            builder = builder.with_config(Key::Endpoint, endpoint.trim_end_matches('/'));
        }
        let built = builder.with_retry(options.retries.clone()).build();
        Ok(Arc::new(built.map_err(|error| refused(Provider::Azure, &error, options))?))
    }

    pub(super) fn knows(key: &str) -> bool {
        key.parse::<Key>().is_ok()
    }
}

#[cfg(feature = "gcs")]
mod google {
    use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey as Key};

    use super::super::options::is_true;
    use super::*;

    /// What says who one is, each in a way of its own.
    const WHO: [Key; 4] =
        [Key::ServiceAccount, Key::ServiceAccountKey, Key::ApplicationCredentials, Key::SkipSignature];

    /// Whether somebody is named; then nobody whom the environment names is.
    pub(super) fn is_given(given: &[(Key, String)]) -> bool {
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
}

#[cfg(not(feature = "s3"))]
mod s3 {
    use super::*;

    pub(super) fn connect(_url: &Url, _options: &Options) -> Client {
        missing(Provider::S3)
    }

    pub(super) fn knows(_key: &str) -> bool {
        false
    }
}

#[cfg(not(feature = "azure"))]
mod azure {
    use super::*;

    pub(super) fn connect(_url: &Url, _options: &Options) -> Client {
        missing(Provider::Azure)
    }

    pub(super) fn knows(_key: &str) -> bool {
        false
    }
}

#[cfg(not(feature = "gcs"))]
mod google {
    use super::*;

    pub(super) fn connect(_url: &Url, _options: &Options) -> Client {
        missing(Provider::Google)
    }

    pub(super) fn knows(_key: &str) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the options that Python's deltalake and polars take are known.
    fn all_known(provider: Provider, keys: &[&str]) {
        for key in keys {
            assert!(knows(provider, key), "{key}");
        }
    }

    #[cfg(feature = "s3")]
    #[test]
    fn s3_has_the_options_of_the_python_packages() {
        all_known(
            Provider::S3,
            &[
                "aws_access_key_id",
                "access_key_id",
                "aws_secret_access_key",
                "aws_session_token",
                "aws_region",
                "aws_default_region",
                "region",
                "aws_endpoint_url",
                "endpoint_url",
                "aws_allow_http",
                "allow_http",
                "aws_virtual_hosted_style_request",
                "aws_skip_signature",
                "aws_server_side_encryption",
                "timeout",
                "connect_timeout",
                "proxy_url",
            ],
        );
    }

    #[cfg(feature = "s3")]
    #[test]
    fn an_address_that_requests_cannot_be_made_of_is_named_by_its_option() {
        let connect = |url: &str, key: &str, value: &str| {
            let given = [
                ("aws_access_key_id", "ada"),
                ("aws_secret_access_key", "s"),
                ("aws_allow_http", "true"),
                (key, value),
            ];
            let given = given.map(|(key, value)| (key.to_owned(), crate::config::Secret::new(value)));
            let options = Options::read(Provider::S3, &given).unwrap();
            s3::connect(&Url::parse(url).unwrap(), &options)
        };
        let bad = [
            "hunter2",
            "localhost:9000",
            "http://a hunter2",
            " http://a",
            "http://",
            "http:a",
            "http:///a",
            "http://:9/",
            "http://hün/",
            "http://a%20b/",
            "http://a:hunter2/",
            "ftp://a",
        ];
        for (key, option) in [
            ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL "),
            ("endpoint_url", "AWS_ENDPOINT_URL "),
            ("aws_endpoint_url_s3", "AWS_ENDPOINT_URL_S3 "),
            ("aws_metadata_endpoint", "AWS_METADATA_ENDPOINT "),
        ] {
            for value in bad {
                let error = connect("s3://bucket/a", &key.to_lowercase(), value).unwrap_err();
                assert!(error.contains(option) && !error.contains("hunter2"), "{key} {value}: {error}");
            }
        }
        assert!(connect("s3://bucket/a", "aws_region", "eu west").unwrap_err().contains("AWS_REGION"));
        assert!(connect("s3://bad%20bucket/a", "aws_region", "eu").unwrap_err().contains("bucket's name"));
        for value in ["http://127.0.0.1:9000", "https://s3.example.org/", "http://[::1]:9000/path"] {
            connect("s3://bucket/a", "aws_endpoint_url", value).unwrap();
        }
    }

    #[cfg(feature = "s3")]
    #[test]
    fn a_login_of_s3_is_not_mixed_with_that_of_the_environment() {
        use object_store::aws::AmazonS3ConfigKey as Key;

        let left_out = |keys: &[Key], own| {
            let given: Vec<(Key, String)> = keys.iter().map(|key| (*key, "ada".to_owned())).collect();
            s3::left_out(&given, own)
        };
        assert_eq!(left_out(&[Key::Region], Some("bob")), []);
        assert_eq!(left_out(&[Key::AccessKeyId], Some("bob")), [Key::Token, Key::SkipSignature]);
        // The token of the same key may be in the environment alone.
        assert_eq!(left_out(&[Key::AccessKeyId], Some("ada")), [Key::SkipSignature]);
        let role = left_out(&[Key::WebIdentityTokenFile], Some("bob"));
        assert!([Key::AccessKeyId, Key::SecretAccessKey, Key::Token].iter().all(|key| role.contains(key)));
    }

    #[cfg(feature = "azure")]
    #[test]
    fn whoever_is_given_to_azure_is_alone() {
        use object_store::azure::AzureConfigKey as Key;

        let is_given = |key: Key, value: &str| azure::is_given(&[(key, value.to_owned())]);
        assert!(is_given(Key::SasKey, "s") && is_given(Key::ClientSecret, "s"));
        assert!(is_given(Key::UseAzureCli, "true") && !is_given(Key::UseAzureCli, "false"));
        assert!(!is_given(Key::AccountName, "ada") && !is_given(Key::Endpoint, "http://a"));
    }

    #[cfg(feature = "gcs")]
    #[test]
    fn whoever_is_given_to_google_is_alone() {
        use object_store::gcp::GoogleConfigKey as Key;

        let is_given = |key: Key, value: &str| google::is_given(&[(key, value.to_owned())]);
        assert!(is_given(Key::ServiceAccountKey, "{}") && is_given(Key::ApplicationCredentials, "a"));
        assert!(is_given(Key::SkipSignature, "true") && !is_given(Key::SkipSignature, "false"));
        assert!(!is_given(Key::Bucket, "a"));
    }

    #[cfg(feature = "azure")]
    #[test]
    fn azure_has_the_options_of_the_python_packages() {
        all_known(
            Provider::Azure,
            &[
                "azure_storage_account_name",
                "account_name",
                "azure_storage_account_key",
                "azure_storage_sas_key",
                "azure_storage_token",
                "azure_client_id",
                "azure_client_secret",
                "azure_tenant_id",
                "azure_use_azure_cli",
                "azure_container_name",
                "azure_storage_use_emulator",
            ],
        );
    }

    #[cfg(feature = "gcs")]
    #[test]
    fn google_has_the_options_of_the_python_packages() {
        all_known(
            Provider::Google,
            &[
                "google_service_account",
                "google_service_account_path",
                "google_service_account_key",
                "google_application_credentials",
                "google_bucket",
            ],
        );
    }
}
