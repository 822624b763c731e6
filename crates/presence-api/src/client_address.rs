//! Which client a request counts for, when proxies stand in between.

use std::net::{IpAddr, Ipv6Addr};

use hyper::HeaderMap;
use hyper::header::{FORWARDED, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client of a request that came over a connection from `peer`: the last address before `trusted` proxies,
/// as they wrote it into `Forwarded` or `X-Forwarded-For`. From anyone else these fields mean nothing.
///
/// A proxy writes one of the two fields and passes the other on as it came. So when both are there and do not
/// agree, one of them may be the client's invention, and the request counts for the proxy.
pub(crate) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    if !is_in(peer, trusted) {
        return peer;
    }
    let by = |name: &HeaderName, address: fn(&str) -> Option<IpAddr>| {
        headers.contains_key(name).then(|| {
            let hops = headers.get_all(name).into_iter().rev();
            let hops = hops.flat_map(|line| line.to_str().unwrap_or("?").rsplit(',').map(address));
            last_before(peer, hops, trusted)
        })
    };
    match (
        by(&FORWARDED, forwarded_for),
        by(&X_FORWARDED_FOR, |hop| plain_address(hop.trim())),
    ) {
        (Some(one), Some(other)) if one != other => peer,
        (Some(client), _) | (None, Some(client)) => client,
        (None, None) => peer,
    }
}

/// Whether `address` is in one of `networks`.
pub(crate) fn is_in(address: IpAddr, networks: &[IpNet]) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// What clients are told apart by. One subscriber commonly has a whole IPv6 /64 to come from.
pub(crate) fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

/// Walks from the service to the client: the first address that is no trusted proxy's. One that cannot be read
/// ends the walk at the proxy that wrote it.
fn last_before(peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>, trusted: &[IpNet]) -> IpAddr {
    let mut reached = peer;
    for hop in hops {
        let Some(address) = hop else { break };
        reached = address;
        if !is_in(address, trusted) {
            break;
        }
    }
    reached
}

/// The address in one element of `Forwarded`: `for="[2001:db8::1]:4711";proto=https`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("for")
            .then(|| plain_address(value.trim().trim_matches('"')))?
    })
}

/// An address, with or without a port.
fn plain_address(text: &str) -> Option<IpAddr> {
    let address = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0.parse().ok()?,
        None => match text.parse() {
            Ok(address) => address,
            Err(_) => text.split_once(':')?.0.parse().ok()?,
        },
    };
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    //! Row by row: who is counted.

    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn the_client_is_the_last_address_before_the_trusted_proxies() {
        type Row = (
            &'static str,
            &'static [(&'static str, &'static str)],
            &'static str,
        );
        const FOR: &str = "x-forwarded-for";
        let rows: [Row; 21] = [
            ("192.0.2.9", &[], "192.0.2.9"),
            ("192.0.2.9", &[(FOR, "198.51.100.1")], "192.0.2.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[(FOR, "198.51.100.1")], "198.51.100.1"),
            ("::ffff:10.0.0.1", &[(FOR, "198.51.100.1")], "198.51.100.1"),
            ("10.0.0.1", &[(FOR, "203.0.113.7, 198.51.100.1")], "198.51.100.1"),
            (
                "10.0.0.1",
                &[(FOR, "203.0.113.7, 198.51.100.1, 10.0.0.2")],
                "198.51.100.1",
            ),
            (
                "10.0.0.1",
                &[(FOR, "203.0.113.7"), (FOR, "198.51.100.1")],
                "198.51.100.1",
            ),
            ("10.0.0.1", &[(FOR, "198.51.100.1:4711")], "198.51.100.1"),
            ("10.0.0.1", &[(FOR, "2001:db8::1")], "2001:db8::1"),
            ("10.0.0.1", &[(FOR, "[2001:db8::1]:4711")], "2001:db8::1"),
            ("10.0.0.1", &[(FOR, "198.51.100.1, unknown")], "10.0.0.1"),
            ("10.0.0.1", &[(FOR, "unknown, 10.0.0.3")], "10.0.0.3"),
            ("10.0.0.1", &[(FOR, "10.0.0.5, 10.0.0.3")], "10.0.0.5"),
            ("10.0.0.1", &[(FOR, "")], "10.0.0.1"),
            ("10.0.0.1", &[("forwarded", "for=198.51.100.1")], "198.51.100.1"),
            (
                "10.0.0.1",
                &[(
                    "forwarded",
                    r#"for=203.0.113.7, proto=https;For="[2001:db8::1]:4711";by=x"#,
                )],
                "2001:db8::1",
            ),
            ("10.0.0.1", &[("forwarded", "for=_hidden")], "10.0.0.1"),
            ("10.0.0.1", &[("forwarded", "proto=https")], "10.0.0.1"),
            (
                "10.0.0.1",
                &[("forwarded", "for=198.51.100.1"), (FOR, "198.51.100.1")],
                "198.51.100.1",
            ),
            (
                "10.0.0.1",
                &[("forwarded", "for=203.0.113.7"), (FOR, "198.51.100.1")],
                "10.0.0.1",
            ),
        ];
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        for (peer, fields, expected) in rows {
            let headers: HeaderMap = fields
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
                .collect();
            let client = client_address(peer.parse().unwrap(), &headers, &trusted);
            assert_eq!(client, expected.parse::<IpAddr>().unwrap(), "{peer} {fields:?}");
        }
    }

    #[test]
    fn addresses_of_one_subscriber_count_as_one() {
        let of = |address: &str| subscriber(address.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
