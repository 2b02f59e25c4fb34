//! TLS to backends: whom a pool trusts, who we are to them, and sessions that are resumed. Made with a plan.

use super::server::provider;
use crate::{
    config::{Address, Alpn, PoolTls, Protocol},
    net::Stream,
};
use arc_swap::ArcSwap;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        ResolvesClientCert, Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::CertifiedKey,
};
use std::{
    collections::HashMap,
    error, fmt, io,
    sync::{Arc, Mutex, PoisonError},
};
use tokio_rustls::TlsConnector;

/// Sessions that are kept for a backend: rustls keeps eight tickets of one name.
const SESSIONS: usize = 8;

/// TLS to the backends of one pool.
#[derive(Debug)]
pub struct Client {
    settings: PoolTls,
    protocol: Protocol,
    shown: Option<Arc<Shown>>,
    base: Arc<ClientConfig>,
    targets: HashMap<Address, Arc<Target>>,
}

/// TLS to one backend: each has keys of its own for the tickets that it gives, so each has a store of its own for them.
#[derive(Debug)]
pub(super) struct Target {
    config: Arc<ClientConfig>,
    /// The name that its certificate must bear.
    name: ServerName<'static>,
}

impl Client {
    /// TLS to the backends at `addresses` as `tls` says. With the same settings as `before`, the same pool until now,
    /// sessions with backends that stay may be resumed.
    ///
    /// # Errors
    /// A sentence for people: there are no roots to verify with.
    pub fn build<'a>(
        tls: &PoolTls,
        protocol: Protocol,
        addresses: impl Iterator<Item = &'a Address>,
        before: Option<&Self>,
        system: &SystemRoots,
    ) -> Result<Arc<Self>, String> {
        let before = before.filter(|before| before.protocol == protocol && before.settings == *tls);
        let (base, shown) = match before {
            Some(before) => (Arc::clone(&before.base), before.shown.clone()),
            None => base(tls, protocol, system)?,
        };
        let target = |address: &Address| {
            let known = before.and_then(|before| before.targets.get(address));
            known.cloned().unwrap_or_else(|| Arc::new(Target::new(&base, tls, address)))
        };
        let targets = addresses.map(|address| (address.clone(), target(address))).collect();
        Ok(Arc::new(Self { settings: tls.clone(), protocol, shown, base, targets }))
    }

    /// Its settings: the same ones for as long as the configuration says the same. A connection that was made with others
    /// is not to be used again.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.base
    }

    /// TLS to the backend at `address`. One that is not the pool's, or not yet, has no sessions to resume.
    pub(super) fn target(&self, address: &Address) -> Arc<Target> {
        let known = self.targets.get(address);
        known.cloned().unwrap_or_else(|| Arc::new(Target::new(&self.base, &self.settings, address)))
    }

    /// Where our own certificate comes from.
    pub fn certificate(&self) -> Option<&crate::config::Certificate> {
        self.settings.identity.as_ref()
    }

    /// Our own certificate, as it is shown now.
    pub fn pair(&self) -> Option<Arc<CertifiedKey>> {
        self.shown.as_ref().map(|shown| shown.0.load_full())
    }

    /// Handshakes from now on show `pair`.
    pub fn replace(&self, pair: &Arc<CertifiedKey>) {
        if let Some(shown) = &self.shown {
            shown.0.store(Arc::clone(pair));
        }
    }
}

impl Target {
    fn new(base: &ClientConfig, tls: &PoolTls, address: &Address) -> Self {
        let mut config = ClientConfig::clone(base);
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        let name = tls.server_name.clone().unwrap_or_else(|| own_name(address));
        Self { config: Arc::new(config), name }
    }
}

/// The name of a backend where the file gives none: its host name, or its address, of which no SNI is sent (RFC 6066
/// section 3).
fn own_name(address: &Address) -> ServerName<'static> {
    match address {
        Address::Tcp(address) => ServerName::IpAddress(address.ip().to_canonical().into()),
        Address::Named(name, _) => {
            ServerName::try_from(name.trim_end_matches('.').to_owned()).unwrap_or_else(|_| nobody())
        }
        // Refused by the configuration.
        Address::Unix(_) => nobody(),
    }
}

/// No certificate is for it.
fn nobody() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())
}

fn base(
    tls: &PoolTls,
    protocol: Protocol,
    system: &SystemRoots,
) -> Result<(Arc<ClientConfig>, Option<Arc<Shown>>), String> {
    let provider = provider();
    let verifier: Arc<dyn ServerCertVerifier> = if tls.verify {
        let roots = tls.roots.clone().map_or_else(|| system.load(), Ok)?;
        let builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
        builder.build().map_err(|error| format!("ca: {error}"))?
    } else {
        Arc::new(Anybody(Arc::clone(&provider)))
    };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let shown = tls.identity.as_ref().map(|identity| Arc::new(Shown(ArcSwap::new(Arc::clone(&identity.pair)))));
    let mut config = match &shown {
        Some(shown) => builder.with_client_cert_resolver(Arc::<Shown>::clone(shown)),
        None => builder.with_no_client_auth(),
    };
    let protocols = match protocol {
        Protocol::H1 => &[Alpn::Http11][..],
        Protocol::H2 => &[Alpn::H2],
        Protocol::Auto => &[Alpn::H2, Alpn::Http11],
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.bytes().to_vec()).collect();
    Ok((Arc::new(config), shown))
}

/// Our own certificate, as it is today.
#[derive(Debug)]
struct Shown(ArcSwap<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Takes any certificate (`verify = false`), but not one whose key the backend does not have.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The roots that this machine trusts: read when they are first needed, and kept.
#[derive(Debug, Default)]
pub struct SystemRoots(Mutex<Option<Arc<RootCertStore>>>);

impl SystemRoots {
    /// The roots. Reads files: not for a worker.
    ///
    /// # Errors
    /// A sentence for people: there are none. The next call looks again.
    pub fn load(&self) -> Result<Arc<RootCertStore>, String> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(roots) = &*known {
            return Ok(Arc::clone(roots));
        }
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
            return Err(format!("this machine has no root certificates{why}: install ca-certificates, or give `ca`"));
        }
        Ok(Arc::clone(known.insert(Arc::new(roots))))
    }
}

/// Why there is no session with a backend.
#[derive(Debug)]
pub struct Refused {
    /// It is the backend's certificate that we do not take.
    pub certificate: bool,
    source: io::Error,
}

impl Refused {
    /// The cause, in the words of the TLS library.
    pub fn why(&self) -> String {
        self.source.to_string()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.certificate { "the certificate is refused" } else { "the handshake failed" };
        write!(f, "{what}: {}", self.source)
    }
}

impl error::Error for Refused {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<io::Error> for Refused {
    fn from(source: io::Error) -> Self {
        use rustls::Error;
        let inner = source.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let certificate = matches!(inner, Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented));
        Self { certificate, source }
    }
}

/// A connection broke for a reason of TLS: with TLS 1.3 a backend that refuses our certificate says so only then.
pub fn is_refusal(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

/// Makes a TLS session of a connection to the backend at `address`. `alpn` = it is agreed on what is spoken; else what goes
/// through the session is not ours to say. The caller bounds the time.
///
/// # Errors
/// Why there is none; the connection is closed.
pub async fn connect(client: &Client, address: &Address, stream: Stream, alpn: bool) -> Result<Stream, Refused> {
    let (stream, target) = (stream.into_tcp()?, client.target(address));
    let mut config = Arc::clone(&target.config);
    if !alpn && !config.alpn_protocols.is_empty() {
        Arc::make_mut(&mut config).alpn_protocols.clear();
    }
    let connector = TlsConnector::from(config);
    let session = connector.connect(target.name.clone(), stream).await?;
    Ok(Stream::tls(session.into()))
}
