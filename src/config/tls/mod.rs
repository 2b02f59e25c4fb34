//! What is configured of TLS, and the PEM files that it is made of: certificates with their keys, and CAs.
//!
//! Filled by `read::tls`; [`load_pair`] and [`load_roots`] read the same files again when they change on disk. Whatever a
//! handshake needs is built of these by `tls`.

mod names;

use std::{
    error, fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    CertificateError, InconsistentKeys, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName,
        pem::{self, PemObject},
    },
    sign::CertifiedKey,
};
use x509_cert::der::Decode;

pub(super) use self::names::clients;
pub use self::names::{LONGEST_NAME, host_names};
use super::{files, units::quoted};

/// A certificate is warned of from so long before its end.
pub const ENDS_SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// A bundle of all CAs of the web is a quarter of that.
const MAX_PEM: u64 = 4 << 20;

/// `[listener.tls]`: the listener speaks TLS alone.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerTls {
    /// At least one; the first is shown where no name is sent, or none that another is for.
    pub certificates: Vec<Certificate>,
    /// Clients that offer less are refused.
    pub min_version: TlsVersion,
    /// What is offered by ALPN, the best first; at least one.
    pub alpn: Vec<Alpn>,
    /// Certificates that clients show; `None` = none is asked for.
    pub client_auth: Option<ClientAuth>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each variant is the version itself")]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// A protocol inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// `h2`
    H2,
    /// `http/1.1`
    Http11,
}

impl Alpn {
    /// As it is written in handshakes (RFC 7301 section 6).
    pub fn bytes(self) -> &'static [u8] {
        match self {
            Self::H2 => b"h2",
            Self::Http11 => b"http/1.1",
        }
    }
}

/// A certificate with its key, as they were when the configuration was read.
#[derive(Clone)]
pub struct Certificate {
    /// The chain, PEM: the certificate itself, then those that vouch for it.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// `cert` as written, for logs and metrics.
    pub label: String,
    /// What stands in both; known to belong together.
    pub pair: Arc<CertifiedKey>,
}

/// Without the key.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("cert", &self.cert).field("key", &self.key).finish_non_exhaustive()
    }
}

/// A chain has one key, so that equal chains are equal pairs.
impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        let paths = |of: &Self| (of.cert.clone(), of.key.clone(), of.label.clone());
        paths(self) == paths(other) && self.pair.cert == other.pair.cert
    }
}

/// `client_ca` and `client_auth`: certificates of clients.
#[derive(Clone, Debug)]
pub struct ClientAuth {
    /// The file of `roots`, PEM.
    pub ca: PathBuf,
    /// Who may vouch for a client.
    pub roots: Arc<RootCertStore>,
    /// A client without a certificate is refused. One with a bad certificate always is.
    pub required: bool,
}

impl PartialEq for ClientAuth {
    fn eq(&self, other: &Self) -> bool {
        (&self.ca, self.required) == (&other.ca, other.required) && self.roots.roots == other.roots.roots
    }
}

/// `tls` of a pool: its backends are called by TLS.
#[derive(Clone, Debug)]
pub struct PoolTls {
    /// Who may vouch for a backend; `None` = the system's.
    pub roots: Option<Arc<RootCertStore>>,
    /// The name to ask for and to verify; `None` = the host that is called.
    pub server_name: Option<ServerName<'static>>,
    /// What we show to a backend that asks.
    pub identity: Option<Certificate>,
    /// `false`: whoever answers is believed.
    pub verify: bool,
}

impl PartialEq for PoolTls {
    fn eq(&self, other: &Self) -> bool {
        let roots = |of: &Self| of.roots.as_ref().map(|store| store.roots.clone());
        (&self.server_name, &self.identity, self.verify) == (&other.server_name, &other.identity, other.verify)
            && roots(self) == roots(other)
    }
}

/// A file that is no certificate, no key, no CA, or not the other's.
#[derive(Debug)]
pub struct PairError {
    /// The file that is wrong; the key's where both are fine and do not belong together.
    pub file: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a PEM file.
#[derive(Debug)]
pub enum Fault {
    /// It cannot be read.
    Read(io::Error),
    /// It is binary, such as DER.
    Binary,
    /// Its text is no PEM.
    Pem(String),
    /// It holds no certificate.
    NoCertificate,
    /// A certificate in it, from 1, is none.
    BadCertificate(usize, String),
    /// It holds no key.
    NoKey,
    /// The key wants a passphrase, and nobody is there to type it.
    Encrypted,
    /// The key is of a kind that is not supported, or broken.
    BadKey(String),
    /// The key is of another certificate than the first of this file.
    Mismatch(PathBuf),
    /// The key is of a certificate in this file that is not the first.
    Order(PathBuf),
}

impl PairError {
    fn new(file: &Path, fault: Fault) -> Self {
        Self { file: file.to_path_buf(), fault }
    }

    /// The key is what has to be changed.
    pub fn is_of_key(&self) -> bool {
        use Fault::{BadKey, Encrypted, Mismatch, NoKey};
        matches!(self.fault, BadKey(_) | Encrypted | Mismatch(_) | NoKey)
    }

    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match &self.fault {
            Fault::Read(error) => match error.kind() {
                io::ErrorKind::NotFound => "write the path of a file that there is; a relative one starts at this file",
                io::ErrorKind::PermissionDenied => {
                    "let the user that evenkeel runs as read it and its folders: `chgrp evenkeel` and `chmod 640`"
                }
                _ => "it is a regular file of at most 4 MiB",
            },
            Fault::Binary => {
                "PEM is text that begins with `-----BEGIN`: `openssl x509 -inform der` makes it of a DER file, and \
                 `openssl pkcs12 -nodes` of a .pfx or .p12 file"
            }
            Fault::Pem(_) => "copy it again, whole: each part goes from `-----BEGIN …-----` to `-----END …-----`",
            Fault::NoCertificate => "a certificate begins with `-----BEGIN CERTIFICATE-----`",
            Fault::BadCertificate(..) => "`openssl x509 -noout -text` shows what is in a certificate",
            Fault::NoKey => "a key begins with `-----BEGIN PRIVATE KEY-----`, perhaps with EC or RSA in it",
            Fault::Encrypted => "`openssl pkey` writes it without its passphrase; keep that file from others",
            Fault::BadKey(_) => "the kinds are ECDSA (P-256, P-384, P-521), RSA of 2048 to 8192 bits, and Ed25519",
            Fault::Mismatch(_) => "a key and its certificate are made together: one of both is of another time",
            Fault::Order(_) => {
                "the certificate of the server stands first, then those that vouch for it, up to the root"
            }
        }
    }
}

impl fmt::Display for PairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |path: &Path| quoted(&path.to_string_lossy());
        let file = name(&self.file);
        match &self.fault {
            Fault::Read(error) => write!(f, "the file {file} cannot be read: {error}"),
            Fault::Binary => write!(f, "the file {file} is binary, wanted PEM"),
            Fault::Pem(why) => write!(f, "the file {file} is not PEM: {why}"),
            Fault::NoCertificate => write!(f, "there is no certificate in the file {file}"),
            Fault::BadCertificate(number, why) => {
                write!(f, "certificate number {number} in the file {file} is broken: {why}")
            }
            Fault::NoKey => write!(f, "there is no private key in the file {file}"),
            Fault::Encrypted => write!(f, "the key in the file {file} is encrypted"),
            Fault::BadKey(why) => write!(f, "the key in the file {file} cannot be used: {why}"),
            Fault::Mismatch(cert) => {
                write!(f, "the key in the file {file} is not that of the certificate in the file {}", name(cert))
            }
            Fault::Order(key) => write!(
                f,
                "the first certificate in the file {file} is not that of the key in the file {}: a later one is",
                name(key)
            ),
        }
    }
}

impl error::Error for PairError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.fault {
            Fault::Read(error) => Some(error),
            _ => None,
        }
    }
}

/// The certificate chain in the file `cert` with its key in the file `key`, which may be the same.
///
/// # Errors
/// One of them cannot be used, or they do not belong together. A certificate that has expired is none: see [`validity`].
pub fn load_pair(cert: &Path, key: &Path) -> Result<CertifiedKey, PairError> {
    let chain = certificates(cert)?;
    let der = private_key(key)?;
    let signing = aws_lc_rs::default_provider().key_provider.load_private_key(der);
    let signing = signing.map_err(|error| PairError::new(key, Fault::BadKey(reason(&error))))?;
    let pair = CertifiedKey::new(chain, signing);
    match pair.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(pair),
        Err(rustls::Error::InconsistentKeys(_)) if is_later(&pair) => {
            Err(PairError::new(cert, Fault::Order(key.to_path_buf())))
        }
        Err(rustls::Error::InconsistentKeys(_)) => Err(PairError::new(key, Fault::Mismatch(cert.to_path_buf()))),
        Err(error) => Err(PairError::new(cert, Fault::BadCertificate(1, reason(&error)))),
    }
}

/// Why there is no key in the file `key`; whether it can be used is not looked at.
pub(super) fn check_key(key: &Path) -> Result<(), PairError> {
    private_key(key).map(drop)
}

/// The key is that of a certificate behind the first.
fn is_later(pair: &CertifiedKey) -> bool {
    let key = |cert: &CertificateDer<'static>| CertifiedKey::new(vec![cert.clone()], Arc::clone(&pair.key));
    pair.cert.iter().skip(1).any(|cert| key(cert).keys_match().is_ok())
}

/// The CAs in the file `ca`.
///
/// # Errors
/// For people: it cannot be read, holds none, or one that is broken.
pub fn load_roots(ca: &Path) -> Result<RootCertStore, String> {
    roots(ca).map_err(|error| error.to_string())
}

/// As [`load_roots`], with what to do about it.
pub(super) fn roots(ca: &Path) -> Result<RootCertStore, PairError> {
    let mut store = RootCertStore::empty();
    for (number, cert) in certificates(ca)?.into_iter().enumerate() {
        let bad = |error| PairError::new(ca, Fault::BadCertificate(number + 1, reason(&error)));
        store.add(cert).map_err(bad)?;
    }
    Ok(store)
}

/// From when to when the certificate of `pair` holds; `None` if its dates cannot be read.
pub fn validity(pair: &CertifiedKey) -> Option<(SystemTime, SystemTime)> {
    let cert = x509_cert::Certificate::from_der(pair.cert.first()?).ok()?;
    let validity = cert.tbs_certificate().validity();
    Some((validity.not_before.to_system_time(), validity.not_after.to_system_time()))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, PairError> {
    let text = text(file)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|error| PairError::new(file, Fault::Pem(broken(&error))))?;
    if chain.is_empty() { Err(PairError::new(file, Fault::NoCertificate)) } else { Ok(chain) }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, PairError> {
    let text = text(file)?;
    // PKCS #8 says so in its label, the older kinds in a header (RFC 1421), which is no base64.
    let encrypted = [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"];
    if encrypted.iter().any(|sign| memchr::memmem::find(&text, sign).is_some()) {
        return Err(PairError::new(file, Fault::Encrypted));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => PairError::new(file, Fault::NoKey),
        error => PairError::new(file, Fault::Pem(broken(&error))),
    })
}

/// The file, which must be text: a DER file holds no label, and would be called empty.
fn text(file: &Path) -> Result<Vec<u8>, PairError> {
    let text = files::check(file).and_then(|()| files::read(file, MAX_PEM));
    let text = text.map_err(|error| PairError::new(file, Fault::Read(error)))?;
    if memchr::memmem::find(&text, b"-----BEGIN").is_none() && str::from_utf8(&text).is_err() {
        return Err(PairError::new(file, Fault::Binary));
    }
    Ok(text)
}

/// Why text is no PEM; never a part of it, which may be of a key.
fn broken(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a `-----BEGIN` has no `-----END`, as if its end were cut off".into(),
        pem::Error::IllegalSectionStart { .. } => {
            "a line that begins with `-----BEGIN` does not end with `-----`".into()
        }
        pem::Error::Base64Decode(_) => "what stands between its labels is no base64".into(),
        error => error.to_string(),
    }
}

/// Why a key or a certificate is none, in the words of those who tried.
fn reason(error: &rustls::Error) -> String {
    match error {
        rustls::Error::General(why) => why.clone(),
        rustls::Error::InvalidCertificate(CertificateError::BadEncoding) => "it is no X.509 certificate".into(),
        error => error.to_string(),
    }
}

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
