//! Names of backends, and backends that DNS knows: PRODUCT.md section 3 (`backends`, `discover`), 6.4 and 7 (`dns`). A DNS
//! server of the real kind answers in the test's process.

mod discover;
mod names;
mod operators;
mod server;

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use crate::support::{Backend, Port, told};
use server::Dns;

/// Addresses of this host with one port, which is ours at all of them.
fn ports<const N: usize>(ips: [&str; N]) -> [Port; N] {
    let try_once = || {
        let any = Port::at(SocketAddr::new(ips[0].parse().unwrap(), 0)).ok()?;
        let port = any.address().port();
        let others = ips[1..].iter().map(|ip| Port::at(SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port)));
        let mut all = vec![any];
        all.extend(others.collect::<Result<Vec<_>, _>>().ok()?);
        all.try_into().ok()
    };
    (0..100).find_map(|_| try_once()).expect("a port that is free at all of them")
}

/// Backends at these addresses, all at the same port; each answers with its address.
fn backends<const N: usize>(ips: [&str; N]) -> ([Backend; N], u16) {
    let all = ports(ips).map(|port| {
        let ip = port.address().ip().to_string();
        Backend::ok_on(port, ip)
    });
    let port = all[0].address().port();
    (all, port)
}

/// The pool `web` with these keys, whose names `dns` is asked for. Requests are not tried again, and nobody is checked,
/// unless the keys say so.
fn file(dns: &Dns, pool: &str) -> String {
    let unless = |key: &str, line: &'static str| if pool.contains(key) { "" } else { line };
    let (checks, retry, slow) = (
        unless("health_check", "health_check = { type = \"off\" }\n"),
        unless("retry", "retry = { attempts = 0 }\n"),
        unless("slow_start", "slow_start = \"0s\"\n"),
    );
    format!(
        "[server]\nworkers = 2\n{}\n\n[admin]\naddress = \"127.0.0.1:0\"\n\n[log]\naccess = \"off\"\n\n\
         [[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n\n[pool.web]\n{checks}{retry}{slow}{pool}\n",
        dns.line()
    )
}

/// The pool `web` as the API shows it.
fn members(admin: SocketAddr) -> Vec<Value> {
    let pools = told(admin, "/api/v1/pools");
    pools["pools"][0]["backends"].as_array().unwrap_or_else(|| panic!("no backends in {pools}")).clone()
}

/// The names of its backends, sorted.
fn member_names(admin: SocketAddr) -> Vec<String> {
    let mut names: Vec<_> = members(admin).iter().map(|backend| backend["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}
