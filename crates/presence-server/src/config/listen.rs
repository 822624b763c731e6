//! Where to listen, as people write it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// An address, or a name of this machine, and a port: `127.0.0.1:8080`, `localhost:8080`, or `8080` alone,
/// which is on loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    /// Looked up when it is listened on.
    Name(String),
}

/// A text that names nothing to listen on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address such as 127.0.0.1:8080, localhost:8080 or 8080")]
pub struct InvalidListen(String);

impl Listen {
    /// Whether only this machine reaches it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Address(address) => address.is_loopback(),
            Host::Name(name) => name.eq_ignore_ascii_case("localhost"),
        }
    }

    /// Where this machine reaches what listens there: all addresses are none to call.
    #[must_use]
    pub(crate) fn reached_from_here(mut self) -> Self {
        if let Host::Address(address) = &mut self.host
            && address.is_unspecified()
        {
            *address = match address {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            };
        }
        self
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: Host::Address(address.ip()),
            port: address.port(),
        }
    }
}

impl FromStr for Listen {
    type Err = InvalidListen;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidListen(text.to_owned());
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(address.into());
        }
        if let Ok(port) = text.parse() {
            return Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port).into());
        }
        let (name, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let is_name = |name: &str| {
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
                // An address that is none, such as 127.0.0.300, is not worth a look-up.
                && name.bytes().any(|byte| byte.is_ascii_alphabetic())
        };
        Ok(Self {
            host: Host::Name(
                Some(name)
                    .filter(|name| is_name(name))
                    .ok_or_else(invalid)?
                    .to_owned(),
            ),
            port: port.parse().map_err(|_| invalid())?,
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(address) => SocketAddr::new(*address, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_names_and_ports_are_understood() {
        let table = [
            ("127.0.0.1:8080", "127.0.0.1:8080", true),
            ("0.0.0.0:80", "0.0.0.0:80", false),
            ("[::1]:0", "[::1]:0", true),
            ("localhost:8080", "localhost:8080", true),
            ("LOCALHOST:1", "LOCALHOST:1", true),
            ("my-host.example:8080", "my-host.example:8080", false),
            ("8080", "127.0.0.1:8080", true),
            ("0", "127.0.0.1:0", true),
        ];
        for (text, shown, loopback) in table {
            let listen: Listen = text.parse().unwrap();
            assert_eq!(
                (listen.to_string(), listen.is_loopback()),
                (shown.to_owned(), loopback)
            );
        }
        for wrong in [
            "",
            "localhost",
            ":8080",
            "localhost:",
            "localhost:65536",
            "65536",
            "-1",
            "127.0.0.300:80",
            "::1:80",
            "http://localhost:80",
            "a b:80",
        ] {
            assert_eq!(wrong.parse::<Listen>(), Err(InvalidListen(wrong.to_owned())));
        }
    }

    #[test]
    fn what_listens_everywhere_is_called_on_loopback() {
        let reached = |text: &str| text.parse::<Listen>().unwrap().reached_from_here().to_string();
        assert_eq!(reached("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(reached("[::]:80"), "[::1]:80");
        assert_eq!(reached("192.0.2.1:80"), "192.0.2.1:80");
        assert_eq!(reached("localhost:80"), "localhost:80");
    }
}
