//! A set of networks: is an address in one of them? Longest prefix match by a trie. Used for `allow`, `deny` ([`Access`](super::Access))
//! and whom we trust. Hot path.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixSet;
use std::net::IpAddr;

/// Networks of both families. The time of a look does not grow with their number, but with their length.
#[derive(Debug, Default)]
pub struct Networks {
    v4: PrefixSet<Ipv4Net>,
    v6: PrefixSet<Ipv6Net>,
}

impl Networks {
    /// The set of `nets`.
    pub fn new<'n>(nets: impl IntoIterator<Item = &'n IpNet>) -> Self {
        let mut networks = Self::default();
        for net in nets {
            match net {
                IpNet::V4(net) => drop(networks.v4.insert(*net)),
                IpNet::V6(net) => drop(networks.v6.insert(*net)),
            }
        }
        networks
    }

    /// There is no network in it.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// `address` is in one of them. One of IPv4 that is written as one of IPv6 is one of IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.get_lpm(&Ipv4Net::from(address)).is_some(),
            IpAddr::V6(address) => self.v6.get_lpm(&Ipv6Net::from(address)).is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_a_network_or_not() {
        let nets = ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "0.0.0.0/32"].map(|net| net.parse().unwrap());
        let networks = Networks::new(&nets);
        for (address, inside) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("::ffff:10.1.1.1", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
            ("0.0.0.0", true),
            ("0.0.0.1", false),
        ] {
            assert_eq!(networks.contains(address.parse().unwrap()), inside, "{address}");
        }
        assert!(!networks.is_empty() && Networks::default().is_empty());
        assert!(!Networks::default().contains("10.0.0.1".parse().unwrap()));
        let all = Networks::new(&["0.0.0.0/0".parse().unwrap()]);
        assert!(all.contains("8.8.8.8".parse().unwrap()) && !all.contains("::1".parse().unwrap()));
    }
}
