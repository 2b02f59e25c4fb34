//! `listen`, and TLS of those who listen: sockets of nginx's servers become our listeners. Called by `nginx::servers`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use super::{
    super::{
        draft::Names,
        report::Outcome,
        text,
        toml::{Table, Value},
    },
    Import, Server,
    read::Directive,
};

/// One `listen`.
#[derive(Clone, Debug)]
pub(super) struct Socket<'a> {
    /// As our listeners have it.
    pub(super) address: String,
    pub(super) port: Option<u16>,
    pub(super) tls: bool,
    proxy: bool,
    default: bool,
    directive: Option<&'a Directive>,
}

/// One of our listeners, and the servers behind it.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) name: String,
    pub(super) port: Option<u16>,
    pub(super) tls: bool,
    /// By number, in the order of the file.
    pub(super) servers: Vec<usize>,
    /// The one that takes what no other does.
    pub(super) default: usize,
    /// The server that has a name, the first of those that say so.
    pub(super) owners: HashMap<String, usize>,
    table: Table,
}

impl<'a> Import<'a> {
    /// The sockets of a server; port 80 if it names none.
    pub(super) fn sockets(&mut self, server: &Server<'a>) -> Vec<Socket<'a>> {
        let listens: Vec<_> = server.scope.own().iter().filter(|one| one.name == "listen").collect();
        let all_tls = server.scope.last("ssl").is_some_and(|one| one.word(0) == "on");
        if let Some(ssl) = server.scope.last("ssl") {
            ssl.converted(&mut self.draft.report);
        }
        if listens.is_empty() {
            let address = "0.0.0.0:80".to_owned();
            return vec![Socket {
                address,
                port: Some(80),
                tls: all_tls,
                proxy: false,
                default: false,
                directive: None,
            }];
        }
        listens.into_iter().filter_map(|listen| self.socket(listen, all_tls)).collect()
    }

    fn socket(&mut self, listen: &'a Directive, all_tls: bool) -> Option<Socket<'a>> {
        let has = |word: &str| listen.words.iter().skip(1).any(|one| one == word);
        let (address, port) = match address(listen.word(0)) {
            Some(found) => found,
            None => {
                listen.unsupported(&mut self.draft.report, "this address is not one that can be listened on");
                return None;
            }
        };
        if has("quic") {
            listen.unsupported(&mut self.draft.report, "there is no HTTP/3");
            return None;
        }
        let known = [
            "ssl",
            "http2",
            "proxy_protocol",
            "default_server",
            "default",
            "reuseport",
            "deferred",
            "bind",
            "so_keepalive=on",
        ];
        let other: Vec<_> = listen.words.iter().skip(1).filter(|word| !known.contains(&word.as_str())).collect();
        let benign = |word: &&&String| {
            ["backlog=", "ipv6only=", "rcvbuf=", "sndbuf=", "so_keepalive=", "fastopen="]
                .iter()
                .any(|it| word.starts_with(it))
        };
        match other.iter().find(|word| !benign(word)) {
            Some(word) => {
                let note = format!("`{word}` is not converted");
                listen.approximated(&mut self.draft.report, note);
            }
            None => listen.converted(&mut self.draft.report),
        }
        Some(Socket {
            address,
            port,
            tls: all_tls || has("ssl"),
            proxy: has("proxy_protocol"),
            default: has("default_server") || has("default"),
            directive: Some(listen),
        })
    }

    /// Our listeners of all servers' sockets.
    pub(super) fn doors(&mut self, servers: &[Server<'a>]) -> Vec<Door> {
        let mut sockets: Vec<(usize, Socket<'a>)> = Vec::new();
        for (number, server) in servers.iter().enumerate() {
            sockets.extend(self.sockets(server).into_iter().map(|socket| (number, socket)));
        }
        let six = merge(&mut sockets);
        self.narrow(&mut sockets);
        let mut order: Vec<String> = Vec::new();
        let mut by_address: BTreeMap<String, Vec<(usize, Socket<'a>)>> = BTreeMap::new();
        for (number, socket) in sockets {
            if !by_address.contains_key(&socket.address) {
                order.push(socket.address.clone());
            }
            by_address.entry(socket.address.clone()).or_default().push((number, socket));
        }
        let mut names = Names::default();
        let mut doors = Vec::new();
        for address in order {
            let sockets = by_address.remove(&address).unwrap_or_default();
            doors.extend(self.door(&address, &sockets, servers, six.contains(&address), &mut names));
        }
        doors
    }

    /// A socket on one address, where all addresses of its port are listened on: it cannot be kept apart, and what it alone
    /// serves must not be served to all.
    fn narrow(&mut self, sockets: &mut Vec<(usize, Socket<'a>)>) {
        let wide: BTreeSet<_> =
            sockets.iter().filter(|(_, one)| is_wild(&one.address)).map(|(_, one)| one.port).collect();
        let report = &mut self.draft.report;
        sockets.retain(|(_, one)| {
            let narrow = one.port.is_some() && !is_wild(&one.address) && wide.contains(&one.port);
            if let Some(directive) = one.directive.filter(|_| narrow) {
                let note = "another server listens on all addresses of this port: this one is not served there; \
                            give it a port of its own";
                directive.tell(report, Outcome::Closed, note);
            }
            !narrow
        });
    }

    fn door(
        &mut self,
        address: &str,
        sockets: &[(usize, Socket<'a>)],
        servers: &[Server<'a>],
        six_only: bool,
        names: &mut Names,
    ) -> Option<Door> {
        let (first, _) = sockets.first()?;
        let default = sockets.iter().find(|(_, one)| one.default).map_or(*first, |(number, _)| *number);
        let mut numbers: Vec<usize> = sockets.iter().map(|(number, _)| *number).collect();
        numbers.dedup();
        let tls = sockets.iter().any(|(_, one)| one.tls);
        let port = sockets[0].1.port;
        let base = match (port, tls) {
            (Some(80), false) => "http".to_owned(),
            (Some(443), true) => "https".to_owned(),
            (Some(port), tls) => format!("{}-{port}", if tls { "https" } else { "http" }),
            (None, _) => "unix".to_owned(),
        };
        let mut table = Table::element("listener");
        let name = names.fresh(&base);
        table.set(&["name"], name.as_str(), None);
        let place = sockets.iter().find_map(|(_, one)| one.directive).map(|one| &one.place);
        table.set(&["address"], address, place);
        if six_only {
            table.set(&["ipv6_only"], true, None);
        }
        if sockets.iter().any(|(_, one)| one.proxy) {
            table.set(&["proxy_protocol"], true, place);
        }
        self.bounds(&mut table, &servers[default]);
        let mut owners = HashMap::new();
        for number in &numbers {
            for host in &servers[*number].hosts {
                owners.entry(host.clone()).or_insert(*number);
            }
        }
        let mut door = Door { name, port, tls, servers: numbers, default, owners, table };
        if tls && !self.tls(&mut door, servers) {
            return None;
        }
        Some(door)
    }

    /// Times and sizes, of the default server: nginx chooses no other before it has read the head.
    fn bounds(&mut self, table: &mut Table, server: &Server<'a>) {
        const TIMES: [(&str, &str, u64); 4] = [
            ("client_header_timeout", "header_timeout", 10),
            ("client_body_timeout", "body_timeout", 30),
            ("send_timeout", "write_timeout", 30),
            ("keepalive_timeout", "idle_timeout", 75),
        ];
        for (theirs, ours, default) in TIMES {
            let Some(directive) = server.scope.last(theirs) else { continue };
            match text::read_time(directive.word(0), Duration::from_secs(1)) {
                Some(time) if time == Duration::from_secs(default) => directive.converted(&mut self.draft.report),
                Some(time) => {
                    let value = if time.is_zero() { "off".to_owned() } else { text::time(time) };
                    if time.is_zero() && ours == "idle_timeout" {
                        directive.approximated(
                            &mut self.draft.report,
                            "connections are kept; max_connection_age bounds them",
                        );
                        continue;
                    }
                    table.set(&[ours], value, Some(&directive.place));
                    directive.converted(&mut self.draft.report);
                }
                None => directive.unsupported(&mut self.draft.report, "this is no time"),
            }
        }
        if let Some(buffers) = server.scope.last("large_client_header_buffers") {
            let count: u64 = buffers.word(0).parse().unwrap_or(4);
            match text::read_size(buffers.word(1)).and_then(|size| size.checked_mul(count)) {
                Some(size) if size != 32 << 10 => {
                    let size = size.clamp(1 << 10, 1 << 20);
                    table.set(&["max_header_size"], text::size(size), Some(&buffers.place));
                    buffers.converted(&mut self.draft.report);
                }
                Some(_) => buffers.converted(&mut self.draft.report),
                None => buffers.unsupported(&mut self.draft.report, "these are no sizes"),
            }
        }
        if let Some(requests) = server.scope.last("keepalive_requests") {
            requests.approximated(
                &mut self.draft.report,
                "max_connection_age bounds a connection, not the number of its requests",
            );
        }
    }

    /// Certificates and versions; `false`: there is no certificate, and nothing can be served.
    fn tls(&mut self, door: &mut Door, servers: &[Server<'a>]) -> bool {
        let mut certificates = Vec::new();
        let mut seen = BTreeSet::new();
        let rest = door.servers.iter().copied().filter(|number| *number != door.default);
        for number in std::iter::once(door.default).chain(rest) {
            let scope = &servers[number].scope;
            let keys = scope.all("ssl_certificate_key");
            for (at, cert) in scope.all("ssl_certificate").into_iter().enumerate() {
                let Some(key) = keys.get(at) else { continue };
                let pair = [cert.word(0), key.word(0)];
                if pair
                    .iter()
                    .any(|word| word.contains('$') || word.starts_with("data:") || word.starts_with("engine:"))
                {
                    cert.unsupported(&mut self.draft.report, "a certificate is a file with a name of its own");
                    continue;
                }
                cert.converted(&mut self.draft.report);
                key.converted(&mut self.draft.report);
                let [path, secret] = pair.map(|word| self.path(word));
                if seen.insert(path.clone()) {
                    certificates.push(Value::table([("cert", path.into()), ("key", secret.into())]));
                }
            }
        }
        let place = servers[door.default].scope.last("ssl_certificate").map(|one| one.place.clone());
        if certificates.is_empty() {
            for number in &door.servers {
                let server = &servers[*number];
                server.directive.tell(
                    &mut self.draft.report,
                    Outcome::Closed,
                    format!("`{}` has no certificate that can be read: it is not served", door.name),
                );
            }
            return false;
        }
        door.table.set(&["tls", "certificates"], Value::List(certificates), place.as_ref());
        let scope = &servers[door.default].scope;
        if let Some(protocols) = scope.last("ssl_protocols") {
            let old =
                protocols.words.iter().any(|word| ["SSLv2", "SSLv3", "TLSv1", "TLSv1.1"].contains(&word.as_str()));
            if protocols.words == ["TLSv1.3"] {
                door.table.set(&["tls", "min_version"], "1.3", Some(&protocols.place));
            }
            match old {
                true => protocols.approximated(&mut self.draft.report, "TLS 1.2 is the oldest that is spoken"),
                false => protocols.converted(&mut self.draft.report),
            }
        }
        self.h2(door, servers);
        self.client_certificates(door, servers);
        true
    }

    /// HTTP/2 is on unless told otherwise, in nginx the other way round.
    fn h2(&mut self, door: &mut Door, servers: &[Server<'a>]) {
        let listens = |server: &Server<'a>| {
            server.scope.own().iter().any(|one| one.name == "listen" && one.words.iter().any(|word| word == "http2"))
        };
        let mut on = false;
        for number in &door.servers {
            let server = &servers[*number];
            on |= listens(server);
            if let Some(http2) = server.scope.last("http2") {
                on |= http2.word(0) == "on";
                http2.converted(&mut self.draft.report);
            }
        }
        if !on {
            door.table.set(&["tls", "alpn"], "http/1.1", None);
        }
    }

    fn client_certificates(&mut self, door: &mut Door, servers: &[Server<'a>]) {
        let asks = |server: &Server<'a>| server.scope.last("ssl_verify_client").filter(|one| one.word(0) != "off");
        let asking: Vec<usize> =
            door.servers.iter().copied().filter(|number| asks(&servers[*number]).is_some()).collect();
        for off in door.servers.iter().filter_map(|number| servers[*number].scope.last("ssl_verify_client")) {
            if off.word(0) == "off" {
                off.converted(&mut self.draft.report);
            }
        }
        let Some(&first) = asking.first() else { return };
        let Some(verify) = asks(&servers[first]) else { return };
        let Some(ca) = servers[first].scope.last("ssl_client_certificate") else {
            verify.tell(&mut self.draft.report, Outcome::Closed, "no ssl_client_certificate says whose certificates are good: nobody can be asked; `listener` has deny for all");
            door.table.set(&["deny"], Value::words(["0.0.0.0/0", "::/0"]), Some(&verify.place));
            return;
        };
        // Who is vouched for by one would be let in to the others.
        let others = asking.iter().any(|number| {
            servers[*number].scope.last("ssl_client_certificate").is_none_or(|other| other.word(0) != ca.word(0))
        });
        if others {
            let note = "its servers believe different CAs, and a listener has one: `deny` shuts everybody out";
            verify.tell(&mut self.draft.report, Outcome::Closed, note);
            door.table.set(&["deny"], Value::words(["0.0.0.0/0", "::/0"]), Some(&verify.place));
        }
        let on = asking.iter().filter(|number| asks(&servers[**number]).is_some_and(|one| one.word(0) == "on"));
        if let Some(crl) = on.filter_map(|number| servers[*number].scope.last("ssl_crl")).next() {
            let note = "whose certificate is revoked cannot be told from the others: `deny` shuts everybody out";
            crl.tell(&mut self.draft.report, Outcome::Closed, note);
            door.table.set(&["deny"], Value::words(["0.0.0.0/0", "::/0"]), Some(&crl.place));
        }
        ca.converted(&mut self.draft.report);
        door.table.set(&["tls", "client_ca"], self.path(ca.word(0)), Some(&ca.place));
        if asking.iter().all(|number| asks(&servers[*number]).is_some_and(|one| one.word(0) == "optional")) {
            door.table.set(&["tls", "client_auth"], "optional", Some(&verify.place));
        }
        let note = "a listener asks all its clients: the servers that did not ask do so now";
        match asking.len() < door.servers.len() {
            true => verify.approximated(&mut self.draft.report, note),
            false if verify.word(0) == "optional_no_ca" => {
                verify.approximated(&mut self.draft.report, "a certificate that is not signed by the CA is refused");
            }
            false => verify.converted(&mut self.draft.report),
        }
        for number in &asking {
            for name in ["ssl_verify_client", "ssl_client_certificate", "ssl_verify_depth"] {
                if let Some(one) = servers[*number].scope.last(name).filter(|one| !one.is_told()) {
                    one.converted(&mut self.draft.report);
                }
            }
        }
    }
}

impl Door {
    /// Nobody comes in.
    pub(super) fn is_shut(&self) -> bool {
        self.table.value(&["deny"]).is_some()
    }

    /// Puts it into the file; bodies may be as large as the largest of its servers takes.
    pub(super) fn finish(mut self, body: Option<u64>) -> Table {
        if let Some(size) = body {
            self.table.set(&["max_body_size"], text::size(size), None);
        }
        self.table
    }
}

/// All addresses of a family.
fn is_wild(address: &str) -> bool {
    address.starts_with("0.0.0.0:") || address.starts_with("[::]:")
}

/// Where the same servers listen on 0.0.0.0 and on [::], one listener does for both; gives the others on [::] back, which
/// are for IPv6 alone.
fn merge(sockets: &mut Vec<(usize, Socket<'_>)>) -> BTreeSet<String> {
    let of = |address: &str, sockets: &[(usize, Socket<'_>)]| -> Vec<(usize, bool)> {
        sockets.iter().filter(|(_, one)| one.address == address).map(|(number, one)| (*number, one.tls)).collect()
    };
    let ports: BTreeSet<u16> = sockets.iter().filter_map(|(_, one)| one.port).collect();
    let mut six = BTreeSet::new();
    for port in ports {
        let (old, new) = (format!("0.0.0.0:{port}"), format!("[::]:{port}"));
        let (four, both) = (of(&old, sockets), of(&new, sockets));
        if both.is_empty() {
            continue;
        }
        if four == both {
            sockets.retain(|(_, one)| one.address != old);
        } else {
            six.insert(new);
        }
    }
    six
}

/// As our listeners have it, and its port.
fn address(theirs: &str) -> Option<(String, Option<u16>)> {
    if let Some(path) = theirs.strip_prefix("unix:") {
        return path.starts_with('/').then(|| (theirs.to_owned(), None));
    }
    if let Ok(port) = theirs.parse::<u16>() {
        return Some((format!("0.0.0.0:{port}"), Some(port)));
    }
    let (host, port) = text::split_port(theirs)?;
    let port = port.unwrap_or(80);
    let host = match host {
        "*" => "0.0.0.0",
        "localhost" => "127.0.0.1",
        host => host,
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let ip: std::net::IpAddr = bare.parse().ok()?;
    Some((std::net::SocketAddr::new(ip, port).to_string(), Some(port)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::import::{files::Files, nginx::import, report::Outcome};

    #[test]
    fn nobody_is_let_in_where_the_revoked_cannot_be_told() {
        for (verify, shut) in [("on", true), ("optional", false)] {
            let text = format!(
                "server {{ listen 443 ssl; ssl_certificate /a.pem; ssl_certificate_key /a.key; ssl_client_certificate /ca.pem;\n\
                 ssl_verify_client {verify}; ssl_crl /crl.pem; location / {{ proxy_pass http://10.0.0.1; }} }}"
            );
            let made = import(&text, &mut Files::new(Path::new("/nowhere/x.conf"))).unwrap();
            let toml: ::toml::Table = made.toml.parse().unwrap();
            assert_eq!(toml["listener"][0].get("deny").is_some(), shut, "{verify}: {}", made.toml);
            assert_eq!(made.report.count(Outcome::Closed), usize::from(shut), "{verify}: {}", made.report);
        }
    }
}
