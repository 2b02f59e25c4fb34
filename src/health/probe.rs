//! One try at a backend, and what came of it. Implemented by `tcp`, `http` and `grpc`, called by `task`.

use crate::{
    config::{Address, ProxyVersion},
    net::{self, Sources, Stream, dns::Question, proxy_protocol},
    pool::Backend,
    tls,
};
use std::{borrow::Cow, io, net::IpAddr, sync::Arc, time::Duration};
use tokio::{io::AsyncWriteExt as _, time::timeout};

/// Why a check has failed: a few words without an address.
pub(super) type Reason = Cow<'static, str>;

/// What came of a check.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The backend can serve.
    Passed,
    /// It cannot.
    Failed(Reason),
    /// We could not ask: descriptors or memory are short here, which says nothing of the backend.
    Unasked(io::Error),
}

/// A kind of check.
pub(super) trait Probe: Send + 'static {
    /// One check. Dropping the future ends it.
    fn check(&mut self) -> impl Future<Output = Outcome> + Send;
}

/// One check of `probe`, in that time.
pub(super) async fn within(limit: Duration, probe: &mut impl Probe) -> Outcome {
    timeout(limit, probe.check()).await.unwrap_or(Outcome::Failed(Cow::Borrowed("timed out")))
}

/// Where and from where a backend is called.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    pub address: Address,
    /// What its name stands for, if it is a name.
    pub question: Option<Arc<Question>>,
    /// Addresses to connect from.
    pub sources: Arc<[IpAddr]>,
    /// A header goes first: there is no client, we ask ourselves.
    pub proxy: Option<ProxyVersion>,
    /// Then a handshake.
    pub tls: Option<Arc<tls::Client>>,
}

impl Remote {
    /// `address`, at another port unless that is 0. A unix socket has none. Whoever is at another port gets no PROXY
    /// header, as with HAProxy.
    pub(super) fn new(address: &Address, port: u16, sources: &Arc<[IpAddr]>, mut proxy: Option<ProxyVersion>) -> Self {
        if port != 0 && !matches!(address, Address::Unix(_)) {
            proxy = None;
        }
        Self { address: address.at_port(port), question: None, sources: Arc::clone(sources), proxy, tls: None }
    }

    /// A connection that is ready for the check's first byte.
    ///
    /// # Errors
    /// What came of the check, as there is none.
    pub(super) async fn connect(&self) -> Result<Stream, Outcome> {
        let from = Sources { list: &self.sources, turn: 0 };
        let mut stream = net::connect(&self.address, self.question.as_deref(), from).await.map_err(Outcome::broken)?;
        self.greet(&mut stream).await.map_err(Outcome::broken)?;
        let Some(tls) = &self.tls else { return Ok(stream) };
        tls::connect(tls, &self.address, stream, true).await.map_err(|refused| {
            let what = if refused.certificate { "certificate is refused" } else { "tls handshake failed" };
            // A certificate may name many hosts.
            let why: String = refused.why().chars().take(WHY).collect();
            Outcome::Failed(format!("{what}: {why}").into())
        })
    }

    /// The name that is asked for: `host`, else the address that is asked.
    pub(super) fn host(&self, host: Option<&str>, backend: &Backend) -> String {
        match (host, &self.address) {
            (Some(host), _) => host.to_owned(),
            (None, Address::Tcp(_) | Address::Named(..)) if self.address != backend.address => self.address.to_string(),
            (None, _) => backend.host.clone(),
        }
    }

    /// Sends the PROXY header, if there is one, on a fresh connection.
    async fn greet(&self, stream: &mut Stream) -> io::Result<()> {
        let Some(version) = self.proxy else { return Ok(()) };
        let mut header = Vec::new();
        proxy_protocol::write(version, None, &proxy_protocol::Tlvs::default(), &mut header);
        stream.write_all(&header).await
    }
}

/// The most that is said of a handshake that failed, in characters.
const WHY: usize = 120;

impl Outcome {
    pub(super) fn failed(reason: &'static str) -> Self {
        Self::Failed(Cow::Borrowed(reason))
    }

    /// Of a connection that could not be made, or broke.
    pub(super) fn broken(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS) => Self::Unasked(error),
            _ => Self::Failed(words(&error)),
        }
    }
}

fn words(error: &io::Error) -> Reason {
    use io::ErrorKind;
    Cow::Borrowed(match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused",
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => "connection reset",
        ErrorKind::TimedOut => "timed out",
        ErrorKind::NotFound => "no such socket",
        ErrorKind::HostUnreachable => "host unreachable",
        ErrorKind::NetworkUnreachable => "network unreachable",
        ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse => "no local port or address",
        ErrorKind::PermissionDenied => "permission denied",
        ErrorKind::Unsupported => "no source_address fits",
        // A unix socket whose queue is full answers so (unix(7)).
        ErrorKind::WouldBlock => "too many waiting connections",
        _ => "connection failed",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_replaces_that_of_tcp_alone() {
        let none = Arc::default();
        let tcp = Address::Tcp("[::1]:80".parse().unwrap());
        assert_eq!(Remote::new(&tcp, 0, &none, None).address, tcp);
        let v2 = Some(ProxyVersion::V2);
        let other = Remote::new(&tcp, 81, &none, v2);
        assert_eq!((other.address.to_string(), other.proxy), ("[::1]:81".into(), None));
        assert_eq!(Remote::new(&tcp, 0, &none, v2).proxy, v2);
        let unix = Address::Unix("/run/a.sock".into());
        assert_eq!(Remote::new(&unix, 81, &none, None).address, unix);
    }

    #[test]
    fn what_is_short_here_says_nothing_of_the_backend() {
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS] {
            assert!(matches!(Outcome::broken(io::Error::from_raw_os_error(errno)), Outcome::Unasked(_)), "{errno}");
        }
        for (errno, words) in [
            (libc::ECONNREFUSED, "connection refused"),
            (libc::ECONNRESET, "connection reset"),
            (libc::ETIMEDOUT, "timed out"),
            (libc::ENOENT, "no such socket"),
            (libc::EHOSTUNREACH, "host unreachable"),
            (libc::EADDRNOTAVAIL, "no local port or address"),
            (libc::EPROTO, "connection failed"),
        ] {
            let outcome = Outcome::broken(io::Error::from_raw_os_error(errno));
            assert!(matches!(&outcome, Outcome::Failed(reason) if reason == words), "{outcome:?}");
        }
    }
}
