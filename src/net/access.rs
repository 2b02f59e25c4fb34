//! `allow` and `deny`: which addresses may come, to a listener (`plan::Door`) or to what a route matches (`policy`). Hot path.

use super::Networks;
use ipnet::IpNet;
use std::net::IpAddr;

/// Who may come, by address.
#[derive(Debug)]
pub struct Access {
    /// Empty: anybody.
    allow: Networks,
    deny: Networks,
}

impl Access {
    /// Those in `allow`, anybody if that is empty, but for those in `deny`; `None` if that is everybody.
    pub fn new(allow: &[IpNet], deny: &[IpNet]) -> Option<Self> {
        let says = !allow.is_empty() || !deny.is_empty();
        says.then(|| Self { allow: Networks::new(allow), deny: Networks::new(deny) })
    }

    /// `client` may come. Without an address it is in no network: nobody denies it, and only where anybody may it is let in.
    pub fn lets_in(&self, client: Option<IpAddr>) -> bool {
        match client {
            Some(client) => !self.deny.contains(client) && (self.allow.is_empty() || self.allow.contains(client)),
            None => self.allow.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipnet::Ipv4Net;
    use std::{net::Ipv4Addr, time::Instant};

    fn access(allow: &[&str], deny: &[&str]) -> Option<Access> {
        let nets = |nets: &[&str]| nets.iter().map(|net| net.parse().unwrap()).collect::<Vec<_>>();
        Access::new(&nets(allow), &nets(deny))
    }

    #[test]
    fn deny_wins_and_an_empty_list_is_anybody() {
        assert!(access(&[], &[]).is_none());
        for (allow, deny, client, lets_in) in [
            (&["10.0.0.0/8"][..], &[][..], "10.1.1.1", true),
            (&["10.0.0.0/8"], &[], "11.1.1.1", false),
            (&["10.0.0.0/8"], &[], "::ffff:10.1.1.1", true),
            (&["10.0.0.0/8"], &["10.1.0.0/16"], "10.1.1.1", false),
            (&["10.1.1.1/32"], &["10.0.0.0/8"], "10.1.1.1", false),
            (&["10.0.0.0/8"], &["10.1.0.0/16"], "10.2.1.1", true),
            (&[], &["10.0.0.0/8", "2001:db8::/32"], "2001:db8::1", false),
            (&[], &["10.0.0.0/8", "2001:db8::/32"], "2001:db9::1", true),
            (&["2001:db8::/32"], &[], "10.0.0.1", false),
        ] {
            let access = access(allow, deny).unwrap();
            assert_eq!(access.lets_in(Some(client.parse().unwrap())), lets_in, "{allow:?} {deny:?} {client}");
        }
        assert!(!access(&["0.0.0.0/0", "::/0"], &[]).unwrap().lets_in(None), "no address is in no network");
        assert!(access(&[], &["0.0.0.0/0", "::/0"]).unwrap().lets_in(None));
    }

    /// The time of a look that goes through all networks would grow a thousandfold.
    #[test]
    fn a_look_does_not_take_longer_where_there_are_more_networks() {
        let net = |number: u32| IpNet::V4(Ipv4Net::new(Ipv4Addr::from(number << 12 | 0x2000_0000), 20).unwrap());
        let time = |count: u32| {
            let deny: Vec<IpNet> = (0..count).map(net).collect();
            let access = Access::new(&[], &deny).unwrap();
            let client = |number: u32| Some(IpAddr::V4(Ipv4Addr::from(number.wrapping_mul(2_654_435_761))));
            let round = || {
                let began = Instant::now();
                let denied = (0..20_000).filter(|number| !access.lets_in(client(*number))).count();
                (began.elapsed(), denied)
            };
            (0..5).map(|_| round()).min().unwrap()
        };
        let (few, _) = time(10);
        let (many, denied) = time(10_000);
        assert!(denied > 100, "{denied}");
        assert!(many < few * 30, "{few:?} with 10 networks, {many:?} with 10,000");
    }
}
