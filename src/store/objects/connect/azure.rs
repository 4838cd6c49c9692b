//! The client of a container of Azure.

use std::sync::Arc;

use object_store::ClientConfigKey;
use object_store::azure::{AzureConfigKey as Key, MicrosoftAzureBuilder};
use url::Url;

use super::super::Provider;
use super::super::environment::{settings, variable};
use super::super::listings::Checked;
use super::super::options::{Options, is_true};
use super::{Client, check_address, check_part, refused, unencrypted};

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
fn is_given(given: &[(Key, String)]) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn azure_has_the_options_of_the_python_packages() {
        for key in [
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
        ] {
            assert!(knows(key), "{key}");
        }
    }

    #[test]
    fn whoever_is_given_to_azure_is_alone() {
        let is_who = |key: Key, value: &str| is_given(&[(key, value.to_owned())]);
        assert!(is_who(Key::SasKey, "s") && is_who(Key::ClientSecret, "s"));
        assert!(is_who(Key::UseAzureCli, "true") && !is_who(Key::UseAzureCli, "false"));
        assert!(!is_who(Key::AccountName, "ada") && !is_who(Key::Endpoint, "http://a"));
    }
}
