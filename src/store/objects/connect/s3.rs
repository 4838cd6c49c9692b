//! The client of a bucket of S3, or of a server that speaks its protocol.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as Key};
use object_store::{ClientConfigKey, RetryConfig};
use url::Url;

use super::super::Provider;
use super::super::environment::{settings, variable};
use super::super::listings::Checked;
use super::super::options::{Options, is_true};
use super::{Client, check_address, check_part, refused, unencrypted};

/// What of the environment would make another login of the one that is given. `own` is the environment's key.
fn left_out(given: &[(Key, String)], own: Option<&str>) -> Vec<Key> {
    let has = |wanted: &[Key]| given.iter().any(|(key, _)| wanted.contains(key));
    let roles =
        [Key::WebIdentityTokenFile, Key::ContainerCredentialsRelativeUri, Key::ContainerCredentialsFullUri];
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
    let mut builder = AmazonS3Builder::new().with_url(url.as_str()).with_http_connector(Checked::default());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s3_has_the_options_of_the_python_packages() {
        for key in [
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
        ] {
            assert!(knows(key), "{key}");
        }
    }

    #[test]
    fn an_address_that_requests_cannot_be_made_of_is_named_by_its_option() {
        let client = |url: &str, key: &str, value: &str| {
            let given = [
                ("aws_access_key_id", "ada"),
                ("aws_secret_access_key", "s"),
                ("aws_allow_http", "true"),
                (key, value),
            ];
            let given = given.map(|(key, value)| (key.to_owned(), crate::config::Secret::new(value)));
            let options = Options::read(Provider::S3, &given).unwrap();
            connect(&Url::parse(url).unwrap(), &options)
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
                let error = client("s3://bucket/a", &key.to_lowercase(), value).unwrap_err();
                assert!(error.contains(option) && !error.contains("hunter2"), "{key} {value}: {error}");
            }
        }
        assert!(client("s3://bucket/a", "aws_region", "eu west").unwrap_err().contains("AWS_REGION"));
        assert!(client("s3://bad%20bucket/a", "aws_region", "eu").unwrap_err().contains("bucket's name"));
        for value in ["http://127.0.0.1:9000", "https://s3.example.org/", "http://[::1]:9000/path"] {
            client("s3://bucket/a", "aws_endpoint_url", value).unwrap();
        }
    }

    #[test]
    fn a_login_of_s3_is_not_mixed_with_that_of_the_environment() {
        let without = |keys: &[Key], own| {
            let given: Vec<(Key, String)> = keys.iter().map(|key| (*key, "ada".to_owned())).collect();
            left_out(&given, own)
        };
        assert_eq!(without(&[Key::Region], Some("bob")), []);
        assert_eq!(without(&[Key::AccessKeyId], Some("bob")), [Key::Token, Key::SkipSignature]);
        // The token of the same key may be in the environment alone.
        assert_eq!(without(&[Key::AccessKeyId], Some("ada")), [Key::SkipSignature]);
        let role = without(&[Key::WebIdentityTokenFile], Some("bob"));
        assert!([Key::AccessKeyId, Key::SecretAccessKey, Key::Token].iter().all(|key| role.contains(key)));
    }
}
