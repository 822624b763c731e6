//! The proxy through which an instance reaches WhatsApp: checked values, and why one failed.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;
use std::str::FromStr;

use presence_core::InstanceId;
use serde::{Deserialize, Serialize};

/// Tells which proxy an instance has. It is asked whenever a connection is opened, so that a change takes effect
/// at the next one, and nothing has to be told of it.
pub trait Proxies: Send + Sync + 'static {
    /// The proxy of `instance`; `None` when it connects directly.
    ///
    /// # Errors
    /// [`UnreadableProxy`] when it has one that cannot be read. It is not connected then: a connection that was
    /// to go through a proxy never goes without.
    fn proxy(&self, instance: InstanceId) -> Result<Option<Proxy>, UnreadableProxy>;
}

/// No instance has a proxy.
impl Proxies for () {
    fn proxy(&self, _: InstanceId) -> Result<Option<Proxy>, UnreadableProxy> {
        Ok(None)
    }
}

/// A proxy. What proves that one may use it is kept out of its `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    protocol: ProxyProtocol,
    host: ProxyHost,
    port: NonZeroU16,
    credentials: Option<ProxyCredentials>,
}

impl Proxy {
    /// A proxy at `host` and `port`, with which one speaks `protocol`.
    ///
    /// # Errors
    /// [`InvalidProxy::Colon`]: over HTTP, nobody could tell where a name with a colon ends.
    pub fn new(
        protocol: ProxyProtocol,
        host: ProxyHost,
        port: NonZeroU16,
        credentials: Option<ProxyCredentials>,
    ) -> Result<Self, InvalidProxy> {
        let name = credentials.as_ref().map(ProxyCredentials::username);
        if protocol != ProxyProtocol::Socks5 && name.is_some_and(|name| name.contains(':')) {
            return Err(InvalidProxy::Colon);
        }
        Ok(Self {
            protocol,
            host,
            port,
            credentials,
        })
    }

    /// How one speaks with it.
    #[must_use]
    pub fn protocol(&self) -> ProxyProtocol {
        self.protocol
    }

    /// Where it is.
    #[must_use]
    pub fn host(&self) -> &ProxyHost {
        &self.host
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> NonZeroU16 {
        self.port
    }

    /// What proves that one may use it, if that is needed.
    #[must_use]
    pub fn credentials(&self) -> Option<&ProxyCredentials> {
        self.credentials.as_ref()
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("protocol", &self.protocol)
            .field("credentials", &self.credentials.is_some())
            .finish_non_exhaustive()
    }
}

/// How one speaks with a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// HTTP's `CONNECT`, over TCP.
    Http,
    /// HTTP's `CONNECT`, over TLS. The proxy's certificate must be one that browsers take.
    Https,
    /// SOCKS 5. The proxy looks WhatsApp's name up, not this machine.
    Socks5,
}

impl ProxyProtocol {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Http, Self::Https, Self::Socks5];

    /// Its word, as the API and [`FromStr`] write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
        }
    }
}

/// `http`, `https` or `socks5`, in capitals or not.
impl FromStr for ProxyProtocol {
    type Err = InvalidProxy;

    fn from_str(word: &str) -> Result<Self, InvalidProxy> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.as_str().eq_ignore_ascii_case(word))
            .ok_or(InvalidProxy::Protocol)
    }
}

/// Where a proxy is: a name of the DNS or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyHost(Host);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Name(String),
    Address(IpAddr),
}

impl ProxyHost {
    /// As it stands in a URL: an IPv6 address in brackets.
    pub(crate) fn in_url(&self) -> String {
        match &self.0 {
            Host::Name(name) => name.clone(),
            Host::Address(IpAddr::V4(address)) => address.to_string(),
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
        }
    }
}

/// A name of letters, digits, `-`, `_` and dots, at most 253 of them; an IPv4 address; or an IPv6 address, in
/// brackets or not.
impl FromStr for ProxyHost {
    type Err = InvalidProxy;

    fn from_str(host: &str) -> Result<Self, InvalidProxy> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Self(Host::Address(address)));
        }
        if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            let address = inner.parse::<Ipv6Addr>().map_err(|_| InvalidProxy::Host)?;
            return Ok(Self(Host::Address(address.into())));
        }
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        if host.len() > MAX_NAME || !host.strip_suffix('.').unwrap_or(host).split('.').all(is_label) {
            return Err(InvalidProxy::Host);
        }
        Ok(Self(Host::Name(host.to_ascii_lowercase())))
    }
}

impl fmt::Display for ProxyHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Host::Name(name) => f.write_str(name),
            Host::Address(address) => address.fmt(f),
        }
    }
}

/// What proves to a proxy that one may use it.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyCredentials {
    username: String,
    password: String,
}

impl ProxyCredentials {
    /// The most bytes that each of the two may have, which is SOCKS 5's limit.
    pub const MAX_LENGTH: usize = 255;

    /// A name and a password, which may be empty.
    ///
    /// # Errors
    /// [`InvalidProxy::Username`] and [`InvalidProxy::Password`]: an empty name, one that is too long, a control
    /// character.
    pub fn new(username: String, password: String) -> Result<Self, InvalidProxy> {
        let is_sound = |text: &str| text.len() <= Self::MAX_LENGTH && !text.contains(char::is_control);
        if username.is_empty() || !is_sound(&username) {
            return Err(InvalidProxy::Username);
        }
        if !is_sound(&password) {
            return Err(InvalidProxy::Password);
        }
        Ok(Self { username, password })
    }

    /// The name.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The password itself, for the proxy.
    #[must_use]
    pub fn expose_password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for ProxyCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyCredentials(..)")
    }
}

/// What is no proxy, in the order in which it is looked at. It holds nothing of what was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidProxy {
    /// No name and no address.
    #[error("the host of a proxy is a name or an address, without a port")]
    Host,
    /// None of the three.
    #[error("a proxy speaks http, https or socks5")]
    Protocol,
    /// Empty, too long, or with a control character.
    #[error("the username of a proxy has 1 to {max} bytes, no control character among them", max = ProxyCredentials::MAX_LENGTH)]
    Username,
    /// Too long, or with a control character.
    #[error("the password of a proxy has at most {max} bytes, no control character among them", max = ProxyCredentials::MAX_LENGTH)]
    Password,
    /// A name with a colon, over HTTP.
    #[error("the username of an HTTP proxy has no colon")]
    Colon,
}

/// A proxy that is kept, but cannot be read; the cause is for the log.
#[derive(Debug, thiserror::Error)]
#[error("the proxy of the instance cannot be read")]
pub struct UnreadableProxy(#[source] pub Box<dyn Error + Send + Sync>);

/// Why an instance was not connected through its proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyFault {
    /// Nobody answered there, or TLS with it could not be agreed on.
    #[error("the proxy does not answer")]
    Unreachable,
    /// It wants another name and password, or some at all.
    #[error("the proxy refused the username and password")]
    Credentials,
    /// It answered, and no connection to WhatsApp came of it.
    #[error("the proxy gave no connection to WhatsApp")]
    Refused,
    /// Its address is no public one, and none that the operator allows.
    #[error("the proxy is at an address that the operator does not allow")]
    Forbidden,
    /// What is kept of it cannot be read: most likely it was sealed with another key.
    #[error("the proxy that is kept cannot be read")]
    Unreadable,
}

/// A [`ProxyFault`] with its cause, for the log.
#[derive(Debug, thiserror::Error)]
#[error("{fault}")]
pub(crate) struct ProxyError {
    pub(crate) fault: ProxyFault,
    #[source]
    pub(crate) source: Option<Box<dyn Error + Send + Sync>>,
}

impl ProxyError {
    pub(crate) fn new(fault: ProxyFault, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            fault,
            source: Some(source.into()),
        }
    }
}

impl From<ProxyFault> for ProxyError {
    fn from(fault: ProxyFault) -> Self {
        Self { fault, source: None }
    }
}

/// The longest name that the DNS has.
const MAX_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Option<String> {
        text.parse::<ProxyHost>().ok().map(|host| host.in_url())
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_nothing_else() {
        let rows = [
            ("proxy.example.com", Some("proxy.example.com")),
            ("Proxy_1.Example.COM.", Some("proxy_1.example.com.")),
            ("localhost", Some("localhost")),
            ("203.0.113.7", Some("203.0.113.7")),
            ("2001:db8::7", Some("[2001:db8::7]")),
            ("[2001:DB8::7]", Some("[2001:db8::7]")),
            ("", None),
            (".", None),
            ("a..b", None),
            ("proxy.example.com:8080", None),
            ("http://proxy.example.com", None),
            ("user@proxy.example.com", None),
            ("proxy.example.com/path", None),
            ("proxy example", None),
            ("proxy\r\nexample", None),
            ("[proxy]", None),
            ("[203.0.113.7]", None),
            ("fe80::1%eth0", None),
            ("próxy.example.com", None),
        ];
        for (text, expected) in rows {
            assert_eq!(host(text).as_deref(), expected, "{text:?}");
        }
        assert_eq!(host(&"a".repeat(64)), None);
        assert!(host(&["a".repeat(63).as_str(); 3].join(".")).is_some());
        assert_eq!(host(&["a".repeat(63).as_str(); 4].join(".")), None);
    }

    #[test]
    fn credentials_fit_what_carries_them() {
        let credentials = |name: &str, word: &str| ProxyCredentials::new(name.to_owned(), word.to_owned());
        assert!(credentials("user", "").is_ok());
        assert!(credentials(&"u".repeat(255), &"p".repeat(255)).is_ok());
        for name in ["", "a\nb", &"u".repeat(256)] {
            assert_eq!(credentials(name, "").unwrap_err(), InvalidProxy::Username);
        }
        for word in ["a\r\nb", "\0", &"p".repeat(256)] {
            assert_eq!(credentials("user", word).unwrap_err(), InvalidProxy::Password);
        }
        for protocol in ["http", "HTTPS", "socks5"] {
            let protocol: ProxyProtocol = protocol.parse().unwrap();
            let proxy = Proxy::new(
                protocol,
                "proxy".parse().unwrap(),
                NonZeroU16::MIN,
                credentials("a:b", "").ok(),
            );
            assert_eq!(proxy.is_ok(), protocol == ProxyProtocol::Socks5);
        }
        assert_eq!("socks4".parse::<ProxyProtocol>(), Err(InvalidProxy::Protocol));
    }

    #[test]
    fn no_debug_shows_who_one_is_to_the_proxy() {
        let proxy = Proxy::new(
            ProxyProtocol::Http,
            "proxy".parse().unwrap(),
            NonZeroU16::MIN,
            ProxyCredentials::new("customer".into(), "secret".into()).ok(),
        )
        .unwrap();
        let shown = format!("{proxy:?} {:?}", proxy.credentials());
        assert!(
            !shown.contains("secret") && !shown.contains("customer"),
            "{shown}"
        );
    }
}
