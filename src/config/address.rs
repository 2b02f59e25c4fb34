//! Addresses as the operator writes them: `127.0.0.1:80`, `[::]:80`, `app.internal:80`, `unix:/run/app.sock`; and what people
//! write instead.
//!
//! Used by `read` for listeners, backends and the admin API, and by whoever binds or connects.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use super::{named, report::Wrong, section::Field, units::quoted, values};

/// A path in `sockaddr_un` has room for 108 bytes, the last of which is NUL (unix(7)).
const MAX_UNIX_PATH: usize = 107;

/// Where something listens or is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A host name in lower case, and a port. Of backends alone.
    Named(String, u16),
    /// A unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Port 0: the kernel chooses one, so that two of the same do not clash.
    pub fn is_any_port(&self) -> bool {
        matches!(self, Self::Tcp(socket) if socket.port() == 0)
    }

    /// At another port unless that is 0. A unix socket has none.
    #[must_use]
    pub fn at_port(&self, port: u16) -> Self {
        let mut address = self.clone();
        match &mut address {
            _ if port == 0 => {}
            Self::Tcp(socket) => socket.set_port(port),
            Self::Named(_, own) => *own = port,
            Self::Unix(_) => {}
        }
        address
    }

    /// The host name, if it has one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Named(name, _) => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Named(name, port) => write!(f, "{name}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What an address is for: the same slip wants another hint.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Listen,
    Call,
}

impl Role {
    fn what(self) -> &'static str {
        match self {
            Self::Listen => "an address to listen on",
            Self::Call => "the address of a backend",
        }
    }

    fn examples(self) -> &'static str {
        match self {
            Self::Listen => "write \"0.0.0.0:8080\", \"[::]:8080\" or \"unix:/run/evenkeel.sock\"",
            Self::Call => {
                "write \"10.0.1.10:8080\", \"[2001:db8::10]:8080\", \"app.internal:8080\" or \"unix:/run/app.sock\""
            }
        }
    }
}

/// An address to listen on; port 0 is left to the kernel.
pub(super) fn listen(field: &Field<'_>) -> Result<Address, Wrong> {
    parse(field, Role::Listen)
}

/// An address to call.
pub(super) fn call(field: &Field<'_>) -> Result<Address, Wrong> {
    let address = parse(field, Role::Call)?;
    let wrong = Wrong::new(format!("found {}, wanted {}", quoted(&address.to_string()), Role::Call.what()));
    if address.is_any_port() || matches!(address, Address::Named(_, 0)) {
        return Err(wrong.help("nothing can be called on port 0: write the port that it listens on"));
    }
    let Address::Tcp(socket) = &address else { return Ok(address) };
    if socket.ip().is_unspecified() {
        let ip = if socket.is_ipv4() { "127.0.0.1" } else { "[::1]" };
        return Err(wrong.help(format!("to call this host, write \"{ip}:{}\"", socket.port())));
    }
    Ok(address)
}

/// The address of `host`, as it stands in a URL, at `port`.
pub(super) fn of(host: &str, port: u16) -> Option<Address> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address = match bare.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => return None,
        Ok(ip) => Address::Tcp(SocketAddr::new(ip, port)),
        Err(_) => Address::Named(named::host(host).ok()?, port),
    };
    (port != 0).then_some(address)
}

fn parse(field: &Field<'_>, role: Role) -> Result<Address, Wrong> {
    let Some(text) = field.value().as_str() else {
        let wrong = values::wanted(field.value(), role.what());
        return Err(match field.value().as_integer() {
            Some(port) => any_host(wrong, port.as_str(), role),
            None => wrong.help(role.examples()),
        });
    };
    match text.strip_prefix("unix:") {
        Some(path) => unix(text, path, &field.folder()),
        None => text.parse().map(Address::Tcp).ok().or_else(|| host(text, role)).ok_or_else(|| explain(text, role)),
    }
}

/// A host name and a port, where such may stand.
fn host(text: &str, role: Role) -> Option<Address> {
    let (name, port) = text.rsplit_once(':').filter(|_| role == Role::Call)?;
    // Not `+80`, which the number's own parser takes.
    let port = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()?;
    named::host(name).ok().map(|name| Address::Named(name, port))
}

fn unix(text: &str, path: &str, folder: &Path) -> Result<Address, Wrong> {
    let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let wrong = |what| Wrong::new(format!("found {}, wanted {what}", quoted(text)));
    if path.starts_with('@') {
        return Err(
            wrong("the path of a socket").help("abstract sockets are not supported: write \"unix:/run/app.sock\"")
        );
    }
    if path.is_empty() || path.ends_with('/') || path.contains('\0') {
        return Err(wrong("the path of a socket").help("write \"unix:/run/app.sock\", for example"));
    }
    let path = folder.join(path);
    if path.as_os_str().len() > MAX_UNIX_PATH {
        return Err(wrong("a path of at most 107 bytes").help("the kernel takes no longer one for a socket"));
    }
    Ok(Address::Unix(path))
}

/// Why `text` is no address, and what was probably meant.
fn explain(text: &str, role: Role) -> Wrong {
    let wrong = Wrong::new(format!("found {}, wanted {}", quoted(text), role.what()));
    let close: String = text.split_whitespace().collect();
    if close != text && close.parse::<SocketAddr>().is_ok() {
        return wrong.help(format!("write it without white space: \"{close}\""));
    }
    if let Some(name) = named::service(text).filter(|_| role == Role::Call) {
        return wrong.help(format!("SRV records are of the pool: write discover = {{ srv = {} }}", quoted(name)));
    }
    let of_dns = || text.strip_prefix("dns:").filter(|rest| rest.contains(':')).map(|rest| ("dns", rest));
    if let Some((scheme, rest)) = text.split_once("://").or_else(of_dns) {
        let mut parts = rest.split('/').filter(|part| !part.is_empty());
        // `dns://10.0.0.2/app.internal:80`: a server stands in front, which is asked for the name.
        let address = if scheme.ends_with("dns") { parts.next_back() } else { parts.next() };
        return match address {
            Some(rest) => wrong.help(format!("an address has no scheme and no path: write {}", quoted(rest))),
            None => wrong.help(role.examples()),
        };
    }
    if text.starts_with(['/', '.']) {
        return wrong.help(format!("a unix socket is written {}", quoted(&format!("unix:{text}"))));
    }
    if let Some(port) = any_port(text) {
        return any_host(wrong, port, role);
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        let port = if role == Role::Call { 80 } else { 8080 };
        return wrong.help(format!("a port is missing: write \"{}\"", SocketAddr::new(ip, port)));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    explain_host(wrong, host, port, role)
}

/// `text` as `host` and `port`, one of which is wrong.
fn explain_host(wrong: Wrong, host: &str, port: &str, role: Role) -> Wrong {
    let bare = host.trim_matches(['[', ']']);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        if port.parse::<u16>().is_err() {
            return wrong.help("the port is a number from 1 to 65535");
        }
        if ip.is_ipv6() && !host.starts_with('[') {
            return wrong.help(format!("an IPv6 address stands in brackets: write \"[{ip}]:{port}\""));
        }
    }
    if bare.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && bare.contains('.') {
        return wrong.help("an IPv4 address is four numbers from 0 to 255, without leading zeros");
    }
    if !named::resembles(bare) {
        return wrong.help(role.examples());
    }
    if role == Role::Call {
        return match named::host(bare) {
            Err(why) => wrong.help(why),
            Ok(_) if host != bare => wrong.help("brackets are for IPv6 addresses alone: write it without"),
            Ok(_) if port.is_empty() => {
                wrong.help(format!("a port is missing: write {}", quoted(&format!("{bare}:80"))))
            }
            Ok(_) => wrong.help("the port is a number from 1 to 65535"),
        };
    }
    let port = if port.is_empty() { "8080" } else { port };
    let example = match bare {
        "localhost" => format!("\"127.0.0.1:{port}\" or \"[::1]:{port}\""),
        _ => format!("\"0.0.0.0:{port}\" for every address of this host"),
    };
    wrong.help(format!("a listener has an IP address, not a host name: write {example}"))
}

/// The port of `:8080`, `*:8080` and `8080`.
fn any_port(text: &str) -> Option<&str> {
    let port = text.trim_start_matches('*').trim_start_matches(':');
    (!port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(port)
}

/// The host is missing.
fn any_host(wrong: Wrong, port: &str, role: Role) -> Wrong {
    wrong.help(match role {
        Role::Listen => {
            format!("write \"0.0.0.0:{port}\" for every IPv4 address, or \"[::]:{port}\" for IPv6 and IPv4 alike")
        }
        Role::Call => format!("write \"127.0.0.1:{port}\" for this host"),
    })
}
