//! `discover` of a pool: the name under which DNS knows its backends.

use super::super::{
    Discover, Pool, keys, named,
    report::Wrong,
    section::{Field, Section},
    units::quoted,
    values,
};

/// What `discover` says, where it stands; `None` as well if that is wrong, and has been reported.
pub(super) fn discover(pool: &Section<'_>) -> Option<Discover> {
    let field = pool.field("discover")?;
    let section = field.section(&keys::DISCOVER)?;
    match (section.field("dns"), section.field("srv")) {
        (Some(dns), None) => {
            let port = section.field("port");
            if port.is_none() {
                section.missing("port", Wrong::new("`dns` wants the port of the backends").help("write port = 8080"));
            }
            let (name, port) = (dns.read(name), port?.read(values::count(1..=65_535))?);
            Some(Discover::Dns(name?, u16::try_from(port).expect("at most 65535")))
        }
        (None, Some(srv)) => {
            if let Some(port) = section.field("port") {
                port.wrong(Wrong::new("SRV records say the ports").help("take `port` out"));
            }
            let name = srv.read(name)?;
            if !name.starts_with('_') {
                let wrong =
                    Wrong::new(format!("{} is hardly the name of SRV records: those begin with `_`", quoted(&name)));
                let help = "write the service and how it is spoken in front, as in \"_http._tcp.web.internal\", or \
                            dns and port";
                srv.warn(wrong.help(help));
            }
            Some(Discover::Srv(name))
        }
        (Some(_), Some(srv)) => {
            srv.wrong(Wrong::new("`dns` and `srv` exclude each other").help("keep the one that the service has"));
            None
        }
        (None, None) => {
            let wrong = Wrong::new("nothing says which name to ask for");
            if !section.meant(&["dns", "srv"]) {
                field.wrong(wrong.help(format!("write {}", keys::DISCOVER.example)));
            }
            None
        }
    }
}

fn name(field: &Field<'_>) -> Result<String, Wrong> {
    const WHAT: &str = "the name of a service";
    let text = values::text(field, WHAT)?;
    let wrong = Wrong::new(format!("found {}, wanted {WHAT}", quoted(text)));
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Err(wrong.help("an address is no name: write it into `backends`"));
    }
    match text.rsplit_once(':') {
        Some((host, port)) if named::host(host).is_ok() && port.parse::<u16>().is_ok() => {
            Err(wrong.help(format!("the port stands beside it: write dns = {}, port = {port}", quoted(host))))
        }
        _ => named::host(text).map_err(|why| wrong.help(why)),
    }
}

/// By TLS the backends of `dns` are asked for its name, unless there is another one. Warns where no name can be known.
pub(super) fn tls_name(pool: &mut Pool, section: &Section<'_>) {
    let (Some(discover), Some(tls)) = (&pool.discover, &mut pool.tls) else { return };
    if tls.server_name.is_some() {
        return;
    }
    match discover {
        Discover::Dns(name, _) => tls.server_name = name.trim_end_matches('.').to_owned().try_into().ok(),
        Discover::Srv(_) if tls.verify => {
            if let Some(field) = section.field("tls") {
                let wrong = Wrong::new("the backends' certificates must be for their addresses");
                field.warn(wrong.help("SRV records do not say safely whose they are: write server_name = \"…\""));
            }
        }
        Discover::Srv(_) => {}
    }
}
