//! TLS, both sides.

use rustls::{RootCertStore, pki_types::ServerName, sign::CertifiedKey};
use std::{path::PathBuf, sync::Arc};

/// TLS of a listener.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    /// Chosen by SNI; the first is the default.
    pub certificates: Vec<Certificate>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// In order of preference.
    pub alpn: Vec<Alpn>,
    /// Clients' certificates.
    pub client_auth: Option<ClientAuth>,
}

/// A certificate chain and its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The chain's file.
    pub cert: PathBuf,
    /// The key's file.
    pub key: PathBuf,
    /// The chain's path as written.
    pub label: String,
    /// What is in the files.
    pub pair: Arc<CertifiedKey>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// A protocol above TLS (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// `h2`
    H2,
    /// `http/1.1`
    Http11,
}

/// Clients' certificates.
#[derive(Clone, Debug)]
pub struct ClientAuth {
    /// The CAs' file.
    pub ca: PathBuf,
    /// What is in it.
    pub roots: Arc<RootCertStore>,
    /// A client without a certificate is refused.
    pub required: bool,
}

/// What is spoken to backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    H1,
    /// HTTP/2.
    H2,
    /// By ALPN.
    Auto,
}

/// TLS to the backends of a pool.
#[derive(Clone, Debug)]
pub struct PoolTls {
    /// `None` = the system's.
    pub roots: Option<Arc<RootCertStore>>,
    /// The name that certificates must bear; `None` = the backend's host.
    pub server_name: Option<ServerName<'static>>,
    /// Our certificate.
    pub identity: Option<Certificate>,
    /// Certificates are verified.
    pub verify: bool,
}
