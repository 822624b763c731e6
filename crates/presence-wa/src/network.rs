//! Which addresses the service connects to when somebody else names them.
//!
//! An account's owner names the proxy of an instance, or a webhook, and the service connects to it from where it
//! runs. Without a bound, it could be pointed at what only this machine reaches: its own ports, the network around
//! it, a cloud's metadata at 169.254.169.254. So only public addresses are connected to, and those that the operator
//! has named.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

/// Where one may connect to: all public addresses, and those in the networks that the operator allows.
#[derive(Clone, Debug, Default)]
pub struct AllowedNetworks(Arc<[IpNet]>);

impl AllowedNetworks {
    /// Public addresses, and those in `allowed`.
    #[must_use]
    pub fn new(allowed: &[IpNet]) -> Self {
        Self(allowed.into())
    }

    /// Every address, where it is the operator who names it.
    #[must_use]
    pub fn all() -> Self {
        let every = [
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ];
        Self(every.map(|zero| IpNet::new_assert(zero, 0)).into())
    }

    /// Whether one may connect to `address`.
    #[must_use]
    pub fn allow(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.0.iter().any(|network| network.contains(&address))
    }
}

/// Whether the whole internet means one host by `address`. Of IPv6 that is what was given out so far; of
/// addresses that lead to an IPv4 address, it is whether that one is public.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => {
            let segments = address.segments();
            match segments {
                // NAT64, RFC 6052.
                [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_public_v4(embedded(address, 12)),
                // 6to4, RFC 3056.
                [0x2002, ..] => is_public_v4(embedded(address, 2)),
                // Teredo and others that are no hosts, RFC 6890; documentation, RFC 3849 and 9637.
                [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
                [first, ..] => first & 0xe000 == 0x2000,
            }
        }
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // This network; private ones; carrier-grade NAT; loopback; link-local.
        [0 | 10 | 127, ..] | [100, 64..=127, ..] | [169, 254, ..] | [172, 16..=31, ..] | [192, 168, ..] => {
            false
        }
        // Protocol assignments; the old 6to4 relays; benchmarks; documentation.
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => {
            false
        }
        // Multicast, reserved, broadcast.
        [first, ..] => first < 224,
    }
}

/// The IPv4 address in an IPv6 address, from byte `at` on.
fn embedded(address: Ipv6Addr, at: usize) -> Ipv4Addr {
    let octets = address.octets();
    Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(networks: &[&str], address: &str) -> bool {
        let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().unwrap()).collect();
        AllowedNetworks::new(&networks).allow(address.parse().unwrap())
    }

    #[test]
    fn only_public_addresses_are_allowed_by_themselves() {
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ];
        for address in public {
            assert!(allows(&[], address), "{address}");
        }
        let others = [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::7f00:1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "3fff::1",
            "fc00::1",
            "fd00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ];
        for address in others {
            assert!(!allows(&[], address), "{address}");
            assert!(
                AllowedNetworks::all().allow(address.parse().unwrap()),
                "{address}"
            );
        }
    }

    #[test]
    fn the_operator_allows_a_network_however_its_addresses_are_written() {
        for (address, expected) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.1.3.1", false),
            ("fd12::7", true),
            ("fd13::7", false),
        ] {
            assert_eq!(
                allows(&["10.1.2.0/24", "fd12::/16"], address),
                expected,
                "{address}"
            );
        }
    }
}
