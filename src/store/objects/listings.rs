//! A client of a provider that takes for a listing only what is one.
//!
//! `object_store` reads any XML as a listing, and a page for people can be that: the console of a server, or a proxy that
//! wants a login, would be an empty bucket, in which every sample is new.

use std::fmt;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};

use super::said::NO_LISTING;

/// The elements that listings are: of S3 and Google Cloud, and of Azure.
const ROOTS: [&str; 2] = ["ListBucketResult", "EnumerationResults"];
/// Bytes at the beginning of an answer in which its element is.
const HEAD: usize = 1024;
/// Characters of an answer that a message repeats.
const SHOWN: usize = 60;

/// Makes clients that look at listings.
#[derive(Debug, Default)]
pub(super) struct Checked(ReqwestConnector);

impl HttpConnector for Checked {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(CheckedClient(self.0.connect(options)?)))
    }
}

#[derive(Debug)]
struct CheckedClient(HttpClient);

#[async_trait]
impl HttpService for CheckedClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let is_listing = is_listing(request.uri().query().unwrap_or_default());
        let answer = self.0.execute(request).await?;
        if !is_listing || !answer.status().is_success() {
            return Ok(answer);
        }
        let (head, body) = answer.into_parts();
        let body = body.bytes().await?;
        match wrong(&body) {
            None => Ok(HttpResponse::from_parts(head, body.into())),
            Some(reason) => Err(HttpError::new(HttpErrorKind::Decode, NoListing(reason))),
        }
    }
}

/// Whether a request with this query asks for a listing.
fn is_listing(query: &str) -> bool {
    query.split('&').any(|part| part == "list-type=2" || part == "comp=list")
}

/// What is wrong with an answer that should be a listing.
fn wrong(answer: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(&answer[..answer.len().min(HEAD)]);
    if !ROOTS.iter().any(|root| head.contains(root)) {
        let shown: String =
            head.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SHOWN).collect();
        return Some(format!("it begins with {shown:?}"));
    }
    // The first version of the protocol goes on in another way: the rest would be missing.
    let has = |tag: &str| contains(answer, tag.as_bytes());
    (has("<IsTruncated>true<") && !has("<NextContinuationToken>"))
        .then(|| "there is more to it, but it does not say where it goes on".to_owned())
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}

#[derive(Debug)]
struct NoListing(String);

impl fmt::Display for NoListing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NO_LISTING}: {}", self.0)
    }
}

impl std::error::Error for NoListing {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listings_are_looked_at() {
        for query in ["list-type=2&prefix=a", "prefix=a&list-type=2", "restype=container&comp=list"] {
            assert!(is_listing(query), "{query}");
        }
        for query in ["", "comp=blocklist", "uploads", "list-type=1", "x-id=list-type=2"] {
            assert!(!is_listing(query), "{query}");
        }
    }

    #[test]
    fn a_listing_says_what_it_is() {
        let s3 =
            "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
        for listing in [
            format!("{s3}<IsTruncated>false</IsTruncated></ListBucketResult>"),
            format!("{s3}<IsTruncated>true</IsTruncated><NextContinuationToken>a</NextContinuationToken>"),
            "\u{feff}<?xml version=\"1.0\"?><EnumerationResults ServiceEndpoint=\"x\"><Blobs/>".to_owned(),
        ] {
            assert_eq!(wrong(listing.as_bytes()), None, "{listing}");
        }
        let html = "<html>\n <head><title>Log in</title></head><body></body></html>";
        assert!(wrong(html.as_bytes()).unwrap().contains("it begins with \"<html> <head><title>Log in"));
        assert!(wrong(b"").is_some() && wrong(b"{}").is_some() && wrong(&[0xff; 5000]).is_some());
        let first_version = format!("{s3}<IsTruncated>true</IsTruncated><NextMarker>a</NextMarker>");
        assert!(wrong(first_version.as_bytes()).unwrap().contains("where it goes on"));
    }
}
