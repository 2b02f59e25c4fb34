//! TLS of a listener: what it shows, what it accepts, and its tickets. Made with a plan, shared by all workers.

use super::names::{Names, Shown};
use crate::config::{self, Alpn, ClientAuth, ListenerTls, TlsVersion};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{ClientCertVerifierBuilder, NoServerSessionStorage, WebPkiClientVerifier},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use std::sync::Arc;

/// TLS of one listener.
#[derive(Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
    /// Where its certificates come from, in the order of the file.
    certificates: Vec<config::Certificate>,
    client_auth: Option<ClientAuth>,
}

impl Server {
    /// What `tls` means. Sessions that clients have from `before`, the same listener until now, may be resumed if both
    /// ask clients for the same certificates: who has proved nothing must not come in by an old session.
    ///
    /// # Errors
    /// A sentence for people: there is no CA in `client_ca`, or the machine has no random numbers.
    pub fn build(tls: &ListenerTls, before: Option<&Self>) -> Result<Arc<Self>, String> {
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let versions = match tls.min_version {
            TlsVersion::Tls12 => &[&TLS13, &TLS12][..],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let builder = builder.with_protocol_versions(versions).map_err(|error| error.to_string())?;
        let verifier = match &tls.client_auth {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(auth) => asked(auth, provider).build().map_err(|error| format!("client_ca: {error}"))?,
        };
        let pairs = tls.certificates.iter().map(|certificate| Arc::clone(&certificate.pair)).collect();
        let shown = Arc::new(Shown::new(Names::new(pairs)));
        let resolver = Arc::clone(&shown);
        let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(resolver);
        config.alpn_protocols = tls.alpn.iter().map(|protocol| protocol.bytes().to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = match before.filter(|before| same_clients(&before.client_auth, &tls.client_auth)) {
            Some(before) => Arc::clone(&before.config.ticketer),
            None => aws_lc_rs::Ticketer::new().map_err(|error| format!("keys for session tickets: {error}"))?,
        };
        // A second one is for a second connection at the same time, which costs a handshake there and nothing here.
        config.send_tls13_tickets = 1;
        config.max_early_data_size = 0;
        Ok(Arc::new(Self {
            config: Arc::new(config),
            shown,
            certificates: tls.certificates.clone(),
            client_auth: tls.client_auth.clone(),
        }))
    }

    /// For a handshake.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Today's certificates.
    pub(super) fn shown(&self) -> &Arc<Shown> {
        &self.shown
    }

    /// Clients are asked for certificates.
    pub fn asks_clients(&self) -> bool {
        self.client_auth.is_some()
    }

    /// Its certificates, as in the file.
    pub fn certificates(&self) -> &[config::Certificate] {
        &self.certificates
    }

    /// The certificate that is shown now for the one at that place of the file.
    pub fn pair(&self, place: usize) -> Option<Arc<CertifiedKey>> {
        self.shown.names().pairs().get(place).cloned()
    }

    /// Handshakes from now on get `pair` where they got the certificate at that place of the file.
    pub fn replace(&self, place: usize, pair: &Arc<CertifiedKey>) {
        self.shown.replace(place, pair);
    }
}

/// Primitives of both sides: the crate's own choice of suites and groups, the hybrid of ML-KEM and X25519 first.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn asked(auth: &ClientAuth, provider: Arc<CryptoProvider>) -> ClientCertVerifierBuilder {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&auth.roots), provider);
    if auth.required { builder } else { builder.allow_unauthenticated() }
}

/// Both let the same clients in.
fn same_clients(old: &Option<ClientAuth>, new: &Option<ClientAuth>) -> bool {
    match (old, new) {
        (None, None) => true,
        (Some(old), Some(new)) => old.required == new.required && old.roots.roots == new.roots.roots,
        _ => false,
    }
}

/// The protocol of that name on the wire.
pub(super) fn protocol(name: &[u8]) -> Option<Alpn> {
    [Alpn::H2, Alpn::Http11].into_iter().find(|protocol| protocol.bytes() == name)
}
