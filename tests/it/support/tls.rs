//! Certificates of an authority of the tests, in files as an operator has them, and clients that speak TLS.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use rustls::{ServerConfig, ServerConnection, crypto::aws_lc_rs};

use super::Response;
use super::client::PATIENCE;
use super::wire::{Wire, collect};

/// An authority, and a folder with what it has issued.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    folder: PathBuf,
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A certificate and its key, in PEM and in DER.
pub(crate) struct Issued {
    pub(crate) cert: String,
    pub(crate) key: String,
    pub(crate) der: CertificateDer<'static>,
    secret: Vec<u8>,
}

impl Issued {
    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.secret.clone()).unwrap()
    }
}

/// What is asked of the authority.
pub(crate) struct Asked {
    params: CertificateParams,
    key: KeyPair,
}

/// A certificate for host names.
pub(crate) fn asked(names: &[&str]) -> Asked {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect();
    Asked { params, key: KeyPair::generate().unwrap() }
}

impl Asked {
    /// With an RSA key.
    pub(crate) fn rsa(self) -> Self {
        Self { key: KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap(), ..self }
    }

    /// With a subject.
    pub(crate) fn subject(mut self, name: &str, organization: &str) -> Self {
        self.params.distinguished_name.push(DnType::OrganizationName, organization);
        self.params.distinguished_name.push(DnType::CommonName, name);
        self
    }

    /// For the address that backends of tests have.
    pub(crate) fn local(mut self) -> Self {
        self.params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        self
    }

    /// Ends so many days from now; negative: it is over.
    pub(crate) fn days(mut self, days: i64) -> Self {
        let now = std::time::SystemTime::now();
        let day = std::time::Duration::from_secs(24 * 60 * 60);
        let end = if days < 0 { now - day * days.unsigned_abs() as u32 } else { now + day * days as u32 };
        self.params.not_before = (now - day * 100).into();
        self.params.not_after = end.into();
        self
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("tls-{}-{}", std::process::id(), NUMBER.fetch_add(1, SeqCst));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // Two of the same name would be taken for one, with another signature.
        params.distinguished_name.push(DnType::CommonName, folder.to_string_lossy().into_owned());
        let certificate = params.self_signed(&key).unwrap();
        let authority = Self { issuer: Issuer::new(params, key), certificate: certificate.der().clone(), folder };
        fs::write(authority.path("ca.pem"), certificate.pem()).unwrap();
        authority
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn issue(&self, asked: Asked) -> Issued {
        let certificate = asked.params.signed_by(&asked.key, &self.issuer).unwrap();
        Issued {
            cert: certificate.pem(),
            key: asked.key.serialize_pem(),
            der: certificate.der().clone(),
            secret: asked.key.serialize_der(),
        }
    }

    /// Writes a pair as NAME.pem and NAME.key, and gives it as an element of `certificates`.
    pub(crate) fn write(&self, name: &str, asked: Asked) -> String {
        self.put(name, &self.issue(asked));
        self.pair(name)
    }

    /// Writes `issued` as NAME.pem and NAME.key, each at once.
    pub(crate) fn put(&self, name: &str, issued: &Issued) {
        self.replace(&format!("{name}.key"), &issued.key);
        self.replace(&format!("{name}.pem"), &issued.cert);
    }

    /// Writes a file at once: nobody sees half of it.
    pub(crate) fn replace(&self, name: &str, text: &str) {
        let new = self.path(&format!("{name}.new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    /// Makes NAME a link to `target`, whatever it was.
    pub(crate) fn link(&self, name: &str, target: &str) {
        let new = self.path(&format!("{name}.new"));
        symlink(target, &new).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    /// The pair NAME.pem and NAME.key as an element of `certificates`.
    pub(crate) fn pair(&self, name: &str) -> String {
        let path = |end: &str| self.path(&format!("{name}.{end}")).display().to_string();
        format!("{{ cert = {:?}, key = {:?} }}", path("pem"), path("key"))
    }

    /// A section `[listener.tls]` with these certificates and further lines.
    pub(crate) fn listener(&self, pairs: &[&str], more: &str) -> String {
        format!("[listener.tls]\ncertificates = [{}]\n{more}", pairs.join(", "))
    }

    /// The key `client_ca` with this authority.
    pub(crate) fn client_ca(&self) -> String {
        format!("client_ca = {:?}\n", self.path("ca.pem").display().to_string())
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        roots
    }

    /// A client that trusts this authority.
    pub(crate) fn client(&self) -> ClientConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        builder.with_root_certificates(self.roots()).with_no_client_auth()
    }

    /// As [`Authority::client`], of one version alone.
    pub(crate) fn client_of(&self, version: &'static rustls::SupportedProtocolVersion) -> ClientConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        builder.with_root_certificates(self.roots()).with_no_client_auth()
    }

    /// As [`Authority::client`], with a certificate of its own.
    pub(crate) fn client_with(&self, own: &Issued) -> ClientConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(self.roots());
        builder.with_client_auth_cert(vec![own.der.clone()], own.key()).unwrap()
    }

    /// A backend's side, which shows `own`; with `asks`, it wants certificates of this authority.
    pub(crate) fn server(&self, own: &Issued, asks: bool) -> Arc<ServerConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(self.roots().into(), provider);
        let builder = match asks {
            true => builder.with_client_cert_verifier(verifier.build().unwrap()),
            false => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(vec![own.der.clone()], own.key()).unwrap();
        config.ticketer = aws_lc_rs::Ticketer::new().unwrap();
        Arc::new(config)
    }
}

type Session = StreamOwned<ClientConnection, TcpStream>;

/// A client's connection over TLS.
pub(crate) struct Secure {
    wire: Wire<Session>,
}

impl Secure {
    /// Connects to `address` and makes the handshake for `name`. Whether the other side has accepted it is known only when
    /// something was read: TLS 1.3 tells it afterwards.
    pub(crate) fn connect(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Self { wire: Wire::new(StreamOwned::new(session, stream)) })
    }

    /// What is known of the session.
    pub(crate) fn session(&self) -> &ClientConnection {
        &self.wire.stream.conn
    }

    /// The certificate that was shown.
    pub(crate) fn shown(&self) -> CertificateDer<'static> {
        self.session().peer_certificates().unwrap()[0].clone().into_owned()
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.session().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// A GET for `host` and its answer.
    pub(crate) fn get(&mut self, host: &str, lines: &str) -> Response {
        self.try_get(host, lines).unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }

    pub(crate) fn try_get(&mut self, host: &str, lines: &str) -> io::Result<Response> {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
        self.wire.stream.write_all(request.as_bytes())?;
        let head = self.wire.head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let framing = head.response_framing("GET")?;
        let (body, trailers, cut) = collect(&mut self.wire, framing)?;
        Ok(Response { status: head.status()?, head, interim: Vec::new(), body, trailers, cut })
    }

    /// Fails unless the other side ends the connection without an answer to `bytes`.
    pub(crate) fn assert_closed_after(&mut self, bytes: &[u8]) {
        self.wire.stream.write_all(bytes).unwrap();
        let mut rest = Vec::new();
        // A reset, an alert, or the plain end.
        let _ = self.wire.stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
    }
}

/// A backend's end of a session: HTTP is read off it as off a socket.
pub(crate) type ServerSide = StreamOwned<ServerConnection, TcpStream>;

/// Makes the handshake as a backend does.
pub(crate) fn accept(stream: TcpStream, config: &Arc<ServerConfig>) -> io::Result<Wire<ServerSide>> {
    let mut stream = stream;
    let mut session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    Ok(Wire::new(StreamOwned::new(session, stream)))
}
