//! bind: listeners and their TLS. Called by `frontend`.

use std::time::Duration;

use super::{
    super::{
        report::Outcome,
        text,
        toml::{Table, Value},
    },
    Import, Proxy,
    acl::Place,
    read::Line,
};

/// Ports of one range.
const MOST_PORTS: u16 = 64;
/// Connections of a listener or of all: more are no bound.
pub(super) const MOST_CONNECTIONS: u64 = 1 << 30;

impl<'a> Import<'a> {
    /// The listeners of `proxy`.
    pub(super) fn places(&mut self, proxy: &Proxy<'a>) -> Vec<Place> {
        let mut places = Vec::new();
        // Addresses that this frontend has already, and what says so.
        let mut made: Vec<(String, &'a Line)> = Vec::new();
        let binds: Vec<_> = proxy.lines.iter().copied().filter(|line| line.word(0) == "bind").collect();
        for line in &binds {
            let mut addresses = Vec::new();
            for written in line.word(1).split(',') {
                match addresses_of(written) {
                    Some(found) => addresses.extend(found),
                    None => line.unsupported(
                        &mut self.draft.report,
                        format!("`{written}` is no address that can be listened on"),
                    ),
                }
            }
            for (address, port) in addresses {
                let at = |other: &Table, text: &str| other.value(&["address"]) == Some(&text.into());
                if self.draft.listeners.iter().any(|other| at(other, &address)) {
                    if made.iter().any(|(known, _)| *known == address) {
                        line.converted(&mut self.draft.report);
                    } else {
                        let note = "another frontend listens there, and its rules hold: this one is not served";
                        line.tell(&mut self.draft.report, Outcome::Closed, note);
                    }
                    continue;
                }
                let (six, twin) = (address.starts_with("[::]:"), twin(&address));
                let mut alone = line.has("v6only");
                if let Some(twin) = twin
                    && let Some(other) = self.draft.listeners.iter_mut().find(|other| at(other, &twin))
                {
                    let options = |line: &'a Line| line.words.iter().skip(2).filter(|word| *word != "v4v6");
                    let same = made.iter().any(|(known, first)| *known == twin && options(first).eq(options(line)));
                    // The old address and the new one of a port are one listener where they mean the same.
                    if same && !alone && other.value(&["ipv6_only"]).is_none() {
                        if six {
                            other.set(&["address"], address.as_str(), Some(&line.place));
                        }
                        made.push((address, line));
                        line.converted(&mut self.draft.report);
                        continue;
                    }
                    if six {
                        alone = true;
                    } else {
                        other.set(&["ipv6_only"], true, None);
                    }
                }
                made.push((address.clone(), line));
                let place = self.place(proxy, line, &address, port, binds.len() > 1);
                if let (true, Some(_), Some(table)) = (six && alone, &place, self.draft.listeners.last_mut()) {
                    table.set(&["ipv6_only"], true, None);
                }
                places.extend(place);
            }
        }
        places
    }

    fn place(
        &mut self,
        proxy: &Proxy<'a>,
        line: &'a Line,
        address: &str,
        port: Option<u16>,
        many: bool,
    ) -> Option<Place> {
        let tls = line.has("ssl");
        let base = match port {
            Some(port) if many => format!("{}-{port}", proxy.name),
            _ => proxy.name.to_owned(),
        };
        let mut table = Table::element("listener");
        let name = self.listener_names.fresh(&base);
        table.set(&["name"], name.as_str(), None);
        table.set(&["address"], address, Some(&line.place));
        if line.has("accept-proxy") {
            table.set(&["proxy_protocol"], true, Some(&line.place));
            line.approximated(
                &mut self.draft.report,
                "a PROXY header is taken from server.trusted_proxies alone: name the balancers in front there",
            );
        }
        if let Some(most) = line
            .after("maxconn")
            .or_else(|| proxy.last(&["maxconn"]).map(|line| line.word(1)))
            .and_then(|text| text.parse::<u64>().ok())
            .filter(|most| *most > 0)
        {
            let most = most.min(MOST_CONNECTIONS);
            table.set(&["max_connections"], most, None);
            if let Some(line) = proxy.last(&["maxconn"]) {
                line.converted(&mut self.draft.report);
            }
        }
        self.bounds(&mut table, proxy);
        if tls && !self.bind_tls(&mut table, line) {
            return None;
        }
        if line.has("interface") || line.has("namespace") {
            table.set(&["deny"], Value::words(["0.0.0.0/0", "::/0"]), Some(&line.place));
            let note =
                "it would listen on every interface here: `deny` shuts everybody out, until you write an address";
            line.tell(&mut self.draft.report, Outcome::Closed, note);
        }
        if !line.is_told() {
            line.converted(&mut self.draft.report);
        }
        let shut = table.value(&["deny"]).is_some();
        self.draft.listeners.push(table);
        Some(Place { name, port, tls, shut })
    }

    fn bounds(&mut self, table: &mut Table, proxy: &Proxy<'a>) {
        let times = [
            ("http-request", "header_timeout", 10),
            ("client", "body_timeout", 30),
            ("client", "write_timeout", 30),
            ("http-keep-alive", "idle_timeout", 75),
        ];
        for (theirs, ours, default) in times {
            let Some((line, time)) = proxy.time(theirs) else { continue };
            match time {
                Some(time) => {
                    if time != Duration::from_secs(default) && !time.is_zero() {
                        table.set(&[ours], text::time(time), Some(&line.place));
                    }
                    line.converted(&mut self.draft.report);
                }
                None => line.unsupported(&mut self.draft.report, "this is no time"),
            }
        }
    }

    /// `false`: it has no certificate that can be named, and is not served.
    fn bind_tls(&mut self, table: &mut Table, line: &'a Line) -> bool {
        let mut certificates: Vec<Value> = Vec::new();
        for (at, _) in line.words.iter().enumerate().filter(|(_, word)| *word == "crt") {
            for path in self.certificates(line.word(at + 1)) {
                // The key is in the same file, or beside it.
                let key = format!("{path}.key");
                let key = if std::path::Path::new(&key).is_file() { key } else { path.clone() };
                certificates.push(Value::table([("cert", path.into()), ("key", key.into())]));
            }
        }
        let report = &mut self.draft.report;
        if certificates.is_empty() {
            line.tell(report, Outcome::Closed, "it has no certificate that can be named: it is not served");
            return false;
        }
        table.set(&["tls", "certificates"], Value::List(certificates), Some(&line.place));
        let mut notes = Vec::new();
        if line.after("ssl-min-ver") == Some("TLSv1.3") || line.has("force-tlsv13") {
            table.set(&["tls", "min_version"], "1.3", None);
        }
        match line.after("alpn") {
            Some(alpn) if !alpn.contains("h2") => table.set(&["tls", "alpn"], "http/1.1", None),
            _ => {}
        }
        if ["ciphers", "ciphersuites", "curves", "ecdhe"].iter().any(|name| line.has(name)) {
            notes.push("rustls has safe suites alone");
        }
        let mut shut = None;
        match (line.after("verify"), line.after("ca-file")) {
            (Some(verify @ ("required" | "optional")), Some(ca)) => {
                table.set(&["tls", "client_ca"], self.base.ca(ca), Some(&line.place));
                if verify == "optional" {
                    table.set(&["tls", "client_auth"], "optional", None);
                }
                if line.has("crt-ignore-err") || line.has("ca-ignore-err") {
                    notes.push("bad certificates are refused");
                }
            }
            (Some("required" | "optional"), None) => {
                shut = Some("no ca-file says whose certificates are good: `deny` shuts everybody out");
            }
            _ => {}
        }
        if line.has("crl-file") && ["required", "optional"].map(Some).contains(&line.after("verify")) {
            shut = Some("certificates of clients are not looked up in a CRL: `deny` shuts everybody out");
        }
        if line.has("crt-list") {
            shut = Some("crt-list may ask clients for certificates, and is not converted: `deny` shuts everybody out");
        }
        if let Some(note) = shut {
            table.set(&["deny"], Value::words(["0.0.0.0/0", "::/0"]), Some(&line.place));
            line.tell(report, Outcome::Closed, note);
            return true;
        }
        if !notes.is_empty() {
            line.approximated(report, notes.join("; "));
        }
        true
    }

    /// The file, or those in the folder, of `crt`.
    fn certificates(&self, written: &str) -> Vec<String> {
        let path = self.base.crt(written);
        if path.is_empty() || written.is_empty() {
            return Vec::new();
        }
        if !std::path::Path::new(&path).is_dir() {
            return vec![path];
        }
        let pattern = format!("{}/*", path.trim_end_matches('/'));
        let skip = [".key", ".ocsp", ".issuer", ".sctl", ".dh"];
        let found = self.files.matching(&pattern).into_iter().map(|path| path.to_string_lossy().into_owned());
        found.filter(|path| !skip.iter().any(|end| path.ends_with(end))).take(1000).collect()
    }
}

/// The same port on all addresses of the other kind.
fn twin(address: &str) -> Option<String> {
    let (any, other) =
        [("0.0.0.0:", "[::]:"), ("[::]:", "0.0.0.0:")].into_iter().find(|(any, _)| address.starts_with(any))?;
    Some(format!("{other}{}", &address[any.len()..]))
}

/// `*:80`, `:::80`, `unix@/path`, `:8000-8010`: as our listeners have them.
fn addresses_of(written: &str) -> Option<Vec<(String, Option<u16>)>> {
    let bare = written.trim_start_matches("ipv4@").trim_start_matches("ipv6@");
    if let Some(path) = bare.strip_prefix("unix@").or_else(|| bare.starts_with('/').then_some(bare)) {
        return path.starts_with('/').then(|| vec![(format!("unix:{path}"), None)]);
    }
    let (host, ports) = bare.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let ip: std::net::IpAddr = match host {
        "" | "*" if written.starts_with("ipv6@") => std::net::Ipv6Addr::UNSPECIFIED.into(),
        "" | "*" => std::net::Ipv4Addr::UNSPECIFIED.into(),
        "localhost" => std::net::Ipv4Addr::LOCALHOST.into(),
        host => host.parse().ok()?,
    };
    let (first, last) = match ports.split_once('-') {
        Some((first, last)) => (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?),
        None => (ports.parse().ok()?, ports.parse().ok()?),
    };
    if last < first || last - first >= MOST_PORTS || first == 0 {
        return None;
    }
    Some((first..=last).map(|port| (std::net::SocketAddr::new(ip, port).to_string(), Some(port))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_ours() {
        let first = |text: &str| addresses_of(text).map(|found| found[0].0.clone());
        for (theirs, ours) in [
            ("*:80", "0.0.0.0:80"),
            (":443", "0.0.0.0:443"),
            (":::80", "[::]:80"),
            ("[::]:80", "[::]:80"),
            ("10.0.0.1:8080", "10.0.0.1:8080"),
            ("unix@/run/x", "unix:/run/x"),
            ("ipv6@:80", "[::]:80"),
        ] {
            assert_eq!(first(theirs).as_deref(), Some(ours), "{theirs}");
        }
        assert_eq!(addresses_of(":8000-8003").unwrap().len(), 4);
        for wrong in ["", "80", "abns@x", ":0", ":9-1", ":1-60000", "x:80"] {
            assert_eq!(addresses_of(wrong), None, "{wrong}");
        }
    }
}
