//! Errors of object stores in one line: what was refused or can't be reached, and what to look at.

use std::error::Error;
use std::fmt;

use super::{Place, Provider};
use crate::error::one_line;

/// Longest piece of a server's answer that a message repeats.
const LONGEST: usize = 240;
/// What messages about an answer that should be a listing contain.
pub(super) const NO_LISTING: &str = "the answer is no listing of objects";

/// A whole message, to be shown without those of the libraries around it.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    /// The store of which it is the bucket, if it is one's.
    pub(crate) store: Option<String>,
    pub(crate) reason: String,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Error for Said {}

/// The message of an object store that is at the bottom of an error, if there is one.
pub(crate) fn said(error: &(dyn Error + 'static)) -> Option<String> {
    find(error).map(|said| said.reason)
}

/// As [`said`], with the store.
pub(crate) fn find(error: &(dyn Error + 'static)) -> Option<Said> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(said) = error.downcast_ref::<Said>() {
            return Some(said.clone());
        }
        // Some errors pass on the source of what they hold, not what they hold.
        if let Some(object_store::Error::Generic { source, .. }) = error.downcast_ref() {
            at = Some(source.as_ref());
            continue;
        }
        at = error.source();
    }
    None
}

/// The error in words of ours. Those that decide something, such as that an object isn't there, stay as they are.
pub(super) fn clear(place: &Place, error: object_store::Error) -> object_store::Error {
    use object_store::Error as E;
    if said(&error).is_some() {
        return error;
    }
    let text = error.to_string();
    let code = tag(&text, "Code").unwrap_or_default();
    let is_lost = matches!(code, "NoSuchBucket" | "ContainerNotFound");
    match &error {
        E::NotFound { .. } if !is_lost => error,
        E::AlreadyExists { .. } | E::Precondition { .. } | E::NotModified { .. } => error,
        _ => {
            let reason = format!("{}: {}", place.url, explained(place, &error, &text, code));
            let message = Said { store: place.store.clone(), reason };
            E::Generic { store: place.provider.name(), source: Box::new(message) }
        }
    }
}

/// An error after which it is not known whether a write has got through.
pub(super) fn uncertain(place: &Place, error: &object_store::Error) -> object_store::Error {
    let reason = said(error).unwrap_or_else(|| one_line(&error.to_string()));
    let reason = format!("{reason}; a write may have got through all the same: look before you write again");
    let message = Said { store: place.store.clone(), reason };
    object_store::Error::Generic { store: place.provider.name(), source: Box::new(message) }
}

fn explained(place: &Place, error: &object_store::Error, text: &str, code: &str) -> String {
    let (what, provider) = (place.provider.place(), place.provider.name());
    let retries = retries(text);
    if matches!(code, "NoSuchBucket" | "ContainerNotFound") {
        return format!("there is no such {what}; create it, or correct root_path");
    }
    let answer = answer(error, text, code);
    if text.contains("169.254.169.254") || text.contains("metadata.google.internal") {
        return format!(
            "there are no credentials, and this machine has none of its own; set {}",
            credentials(place.provider)
        );
    }
    let denied = matches!(
        error,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }
    ) || ["status code: 401", "status code: 403"].iter().any(|status| text.contains(status));
    let is_code = |codes: &[&str]| codes.contains(&code);
    if denied
        || is_code(&[
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "AccessDenied",
            "ExpiredToken",
            "InvalidToken",
        ])
    {
        return format!("access denied: {answer}; check {}", credentials(place.provider));
    }
    if is_code(&["PermanentRedirect", "AuthorizationHeaderMalformed"]) || text.contains("without LOCATION") {
        return format!("the {what} seems to be in another region: {answer}; set AWS_REGION");
    }
    if text.contains(NO_LISTING) {
        return format!("{provider} failed: {answer}; check {}", endpoint(place.provider));
    }
    if is_connection(text) {
        return format!(
            "can't be reached: {answer}{retries}; check the network and {}",
            endpoint(place.provider)
        );
    }
    format!("{provider} failed: {answer}{retries}")
}

fn credentials(provider: Provider) -> &'static str {
    match provider {
        Provider::S3 => "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN",
        Provider::Azure => "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or the token",
        Provider::Google => "GOOGLE_SERVICE_ACCOUNT or GOOGLE_APPLICATION_CREDENTIALS",
    }
}

fn endpoint(provider: Provider) -> &'static str {
    match provider {
        Provider::S3 => "AWS_ENDPOINT_URL",
        Provider::Azure => "AZURE_STORAGE_ENDPOINT",
        Provider::Google => "GOOGLE_BASE_URL",
    }
}

fn is_connection(text: &str) -> bool {
    ["error sending request", "connection error", "dns error", "Connect", "operation timed out", "HTTP error"]
        .iter()
        .any(|words| text.contains(words))
}

/// What the server, or else the innermost cause, says. URLs are left out: they can carry a signature.
fn answer(error: &object_store::Error, text: &str, code: &str) -> String {
    if !code.is_empty() {
        let message = tag(text, "Message").unwrap_or_default();
        let colon = if message.is_empty() { "" } else { ": " };
        return cut(&format!("{code}{colon}{message}"));
    }
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let innermost = innermost.to_string();
    // The libraries write "Error performing GET URL in 3ms - what happened".
    let reason = match innermost.rsplit_once(" - ") {
        Some((before, reason)) if before.contains("Error performing") => reason,
        _ => innermost.as_str(),
    };
    let words = reason.split_whitespace().filter(|word| !word.contains("://"));
    cut(words.collect::<Vec<_>>().join(" ").trim_end_matches([':', ' ']))
}

fn retries(text: &str) -> String {
    let count = text.split_once(", after ").and_then(|(_, rest)| rest.split_once(" retries"));
    count.map_or_else(String::new, |(count, _)| format!(" (after {count} retries)"))
}

fn tag<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

fn cut(text: &str) -> String {
    let line = one_line(text);
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { store: Some("prod".into()), provider: Provider::S3, url: "s3://bucket".into() }
    }

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: text.to_owned().into() }
    }

    #[test]
    fn a_message_has_the_servers_words_and_no_url() {
        let text = "Error performing GET https://x/?sig=hunter2 in 12ms, after 3 retries, max_retries: 3, \
                    retry_timeout: 60s  - Server returned non-2xx status code: 503 Service Unavailable: \
                    <Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
        let error = clear(&place(), generic(text));
        let message = said(&error).unwrap();
        assert_eq!(
            message,
            "s3://bucket: S3 failed: SlowDown: Please reduce your request rate. (after 3 retries)"
        );
        assert_eq!(said(&clear(&place(), error)).unwrap(), message);
    }

    #[test]
    fn a_missing_bucket_is_not_a_missing_object() {
        let missing = |code: &str| object_store::Error::NotFound {
            path: "a".into(),
            source: format!("<Error><Code>{code}</Code></Error>").into(),
        };
        let error = clear(&place(), missing("NoSuchBucket"));
        assert!(said(&error).unwrap().contains("no such bucket"), "{error}");
        assert!(matches!(clear(&place(), missing("NoSuchKey")), object_store::Error::NotFound { .. }));
    }
}
