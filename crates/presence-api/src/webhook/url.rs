//! Where a webhook is.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use url::Url;

/// The URL of a webhook. A part of it may be secret, so that its `Debug` is redacted.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(Uri);

impl WebhookUrl {
    /// The most characters it may have.
    const MAX_LENGTH: usize = 2048;

    pub(super) fn as_uri(&self) -> &Uri {
        &self.0
    }
}

/// `http` or `https`, with a host, and without a name, a password or a fragment.
impl FromStr for WebhookUrl {
    type Err = InvalidWebhookUrl;

    fn from_str(text: &str) -> Result<Self, InvalidWebhookUrl> {
        let url = Url::parse(text).map_err(|_| InvalidWebhookUrl)?;
        let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
        if !is_web || !is_plain || url.as_str().len() > Self::MAX_LENGTH {
            return Err(InvalidWebhookUrl);
        }
        let url = url.as_str().parse().map_err(|_| InvalidWebhookUrl)?;
        Ok(Self(url))
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookUrl(..)")
    }
}

/// What is no URL of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a webhook is at an http or https URL, without a name, a password or a fragment")]
pub struct InvalidWebhookUrl;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_at_a_web_address() {
        for (text, written) in [
            ("https://example.com", "https://example.com/"),
            (
                "https://Example.com:8443/at/a%20b?c=d",
                "https://example.com:8443/at/a%20b?c=d",
            ),
            ("http://[::1]:9/x", "http://[::1]:9/x"),
            ("https://Bücher.example/", "https://xn--bcher-kva.example/"),
            // Browsers and this service read such a number as an address, which is then looked at.
            ("http://2130706433/", "http://127.0.0.1/"),
        ] {
            assert_eq!(text.parse::<WebhookUrl>().unwrap().to_string(), written);
        }
        let long = format!("https://example.com/{}", "x".repeat(2048));
        for text in [
            "",
            "example.com",
            "/hook",
            "ftp://example.com/",
            "https://user@example.com/",
            "https://user:word@example.com/",
            "https://example.com/#part",
            &long,
        ] {
            assert_eq!(text.parse::<WebhookUrl>(), Err(InvalidWebhookUrl), "{text}");
        }
    }
}
