//! IP networks as operators write them: `10.0.0.0/8`, `192.0.2.7`, and what people write instead; and DNS servers. Used by
//! `read`.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{report::Wrong, section::Field, units::quoted, values};

/// A network or an address.
pub(super) fn network(field: &Field<'_>) -> Result<IpNet, Wrong> {
    const HELP: &str = "write \"10.0.0.0/8\" or \"192.0.2.7\"";
    parse(field, "a network or an IP address", HELP)
}

/// A network, an address, or `None` = `"unix"`.
pub(super) fn network_or_unix(field: &Field<'_>) -> Result<Option<IpNet>, Wrong> {
    const HELP: &str = "write \"10.0.0.0/8\", \"192.0.2.7\" or \"unix\"";
    match field.value().as_str() {
        Some("unix") => Ok(None),
        _ => parse(field, "a network, an IP address or \"unix\"", HELP).map(Some),
    }
}

/// A DNS server: port 53 unless another one is written.
pub(super) fn resolver(field: &Field<'_>) -> Result<SocketAddr, Wrong> {
    const WHAT: &str = "the address of a DNS server";
    const HELP: &str = "write \"10.0.0.2:53\" or \"[2001:db8::53]:53\", for example";
    let text = values::text(field, WHAT).map_err(|wrong| wrong.help(HELP))?;
    let wrong = || Wrong::new(format!("found {}, wanted {WHAT}", quoted(text)));
    let server = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)).or_else(|_| text.parse());
    match server {
        Ok(server) if server.port() == 0 => Err(wrong().help("nothing can be asked on port 0: the port of DNS is 53")),
        Ok(server) => Ok(server),
        Err(_) => Err(wrong().help(HELP)),
    }
}

fn parse(field: &Field<'_>, what: &str, help: &str) -> Result<IpNet, Wrong> {
    let text = values::text(field, what).map_err(|wrong| wrong.help(help))?;
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(ip));
    }
    let wrong = || Wrong::new(format!("found {}, wanted {what}", quoted(text)));
    let Ok(net) = text.parse::<IpNet>() else {
        let too_long = text.split_once('/').and_then(|(ip, _)| ip.parse::<IpAddr>().ok());
        return Err(match too_long {
            Some(IpAddr::V4(_)) => wrong().help("the number behind `/` is 0 to 32"),
            Some(IpAddr::V6(_)) => wrong().help("the number behind `/` is 0 to 128"),
            None => wrong().help(help),
        });
    };
    if net.trunc() == net {
        return Ok(net);
    }
    // `10.0.0.7/8` may mean the address or the network, and the difference is who is believed.
    let wrong = Wrong::new(format!("found {}, wanted a network, whose host bits are 0", quoted(text)));
    Err(wrong.help(format!("write \"{}\" for the network, or \"{}\" for the address", net.trunc(), net.addr())))
}
