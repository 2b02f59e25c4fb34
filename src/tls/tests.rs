//! Handshakes over real sockets.

use super::{testing::*, *};
use crate::{
    config::{Address, Alpn, Certificate, ClientAuth, ListenerTls, PoolTls, Protocol, TlsVersion},
    net::{Peer, Stream},
    telemetry::metrics::TlsFailure,
};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore,
    pki_types::ServerName,
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

type Session = tokio_rustls::client::TlsStream<TcpStream>;

fn certificate(pair: CertifiedKey) -> Certificate {
    Certificate { cert: "a.pem".into(), key: "a.key".into(), label: "a.pem".into(), pair: Arc::new(pair) }
}

fn listener(pairs: Vec<CertifiedKey>) -> ListenerTls {
    ListenerTls {
        certificates: pairs.into_iter().map(certificate).collect(),
        min_version: TlsVersion::Tls12,
        alpn: vec![Alpn::H2, Alpn::Http11],
        client_auth: None,
    }
}

fn asking(ca: &Ca, roots: Arc<RootCertStore>, required: bool) -> ListenerTls {
    let client_auth = Some(ClientAuth { ca: "clients.pem".into(), roots, required });
    ListenerTls { client_auth, ..listener(vec![ca.issue(params(&["a.example"]))]) }
}

fn build(tls: &ListenerTls) -> Arc<Server> {
    Server::build(tls, None).unwrap()
}

/// What clients of these tests trust and speak.
fn client(ca: &Ca, identity: Option<CertifiedKey>) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(ca.roots());
    match identity {
        None => builder.with_no_client_auth(),
        Some(pair) => builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair))),
    }
}

fn only(ca: &Ca, version: &'static rustls::SupportedProtocolVersion) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    builder.with_root_certificates(ca.roots()).with_no_client_auth()
}

/// A listening socket, and where it is.
async fn listening() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Accepts one connection, as a worker does.
async fn serve(
    listener: &TcpListener,
    server: &Arc<Server>,
    within: Duration,
) -> Result<(Stream, Box<Handshake>), TlsFailure> {
    let (stream, _) = listener.accept().await.unwrap();
    accept(Arc::clone(server), Stream::fresh(stream.into_std().unwrap()), Peer::Unix, Some(Instant::now() + within))
        .await
}

/// Both sides of a handshake. The client's is only over when it has read something: TLS 1.3 tells it afterwards.
async fn meet(
    server: &Arc<Server>,
    config: &Arc<ClientConfig>,
    name: &'static str,
) -> (Result<Box<Handshake>, TlsFailure>, io::Result<Session>) {
    let (listener, address) = listening().await;
    let ours = async {
        let (mut stream, handshake) = serve(&listener, server, Duration::from_secs(10)).await?;
        let _ = stream.write_all(b"!").await;
        let _ = stream.read(&mut [0; 1]).await;
        Ok(handshake)
    };
    let theirs = async {
        let stream = TcpStream::connect(address).await?;
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
        let mut session = connector.connect(ServerName::try_from(name).unwrap(), stream).await?;
        session.read_exact(&mut [0; 1]).await?;
        session.shutdown().await?;
        Ok(session)
    };
    tokio::join!(ours, theirs)
}

fn kind(session: &Session) -> HandshakeKind {
    session.get_ref().1.handshake_kind().unwrap()
}

#[tokio::test]
async fn a_handshake_tells_version_name_and_protocol() {
    let ca = Ca::new();
    let server = build(&listener(vec![ca.issue(params(&["a.example"])), ca.issue(params(&["b.example"]))]));
    let mut config = client(&ca, None);
    config.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    let (handshake, session) = meet(&server, &Arc::new(config), "B.example").await;
    let handshake = handshake.unwrap();
    assert_eq!(
        (handshake.version, handshake.sni.as_deref(), handshake.alpn),
        ("TLSv1.3", Some("b.example"), Some(Alpn::H2))
    );
    assert!(handshake.identity.is_none() && !handshake.asked && handshake.misdirects(b"a.example"));
    let session = session.unwrap();
    assert_eq!(session.get_ref().1.peer_certificates().unwrap()[0], server.pair(1).unwrap().cert[0]);
    let group = session.get_ref().1.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), rustls::NamedGroup::X25519MLKEM768, "a group that a quantum computer does not break");
    let (handshake, _) = meet(&server, &Arc::new(only(&ca, &TLS12)), "a.example").await;
    let handshake = handshake.unwrap();
    assert_eq!((handshake.version, handshake.alpn), ("TLSv1.2", None));
}

#[tokio::test]
async fn each_kind_of_failure_has_its_word() {
    let (ca, strangers) = (Ca::new(), Ca::new());
    let server = build(&asking(&ca, ca.roots(), true));
    let fails =
        async |server: &Arc<Server>, config: ClientConfig| meet(server, &Arc::new(config), "a.example").await.0.err();
    assert_eq!(fails(&server, client(&ca, None)).await, Some(TlsFailure::ClientCertificate), "missing");
    let stranger = strangers.issue(params(&[]));
    assert_eq!(fails(&server, client(&ca, Some(stranger))).await, Some(TlsFailure::ClientCertificate), "unknown CA");
    let open = build(&listener(vec![ca.issue(params(&["a.example"]))]));
    assert_eq!(fails(&open, client(&strangers, None)).await, Some(TlsFailure::Certificate), "ours is not taken");
    let mut other = client(&ca, None);
    other.alpn_protocols = vec![b"imap".to_vec()];
    assert_eq!(fails(&open, other).await, Some(TlsFailure::Alpn));
    let modern = ListenerTls { min_version: TlsVersion::Tls13, ..listener(vec![ca.issue(params(&["a.example"]))]) };
    assert_eq!(fails(&build(&modern), only(&ca, &TLS12)).await, Some(TlsFailure::Version));
    assert_eq!(fails(&build(&modern), only(&ca, &TLS13)).await, None);
    let with_rsa = listener(vec![ca.issue_with(params(&["a.example"]), &rsa())]);
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .retain(|suite| suite.suite() == rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
    let builder = ClientConfig::builder_with_provider(provider.into()).with_protocol_versions(&[&TLS12]).unwrap();
    let narrow = builder.with_root_certificates(ca.roots()).with_no_client_auth();
    assert_eq!(fails(&build(&with_rsa), narrow).await, Some(TlsFailure::Cipher));
}

/// What a client that sends `bytes`, and stays or goes, comes to.
async fn raw(bytes: &[u8], stays: bool) -> Option<TlsFailure> {
    let ca = Ca::new();
    let server = build(&listener(vec![ca.issue(params(&["a.example"]))]));
    let (listener, address) = listening().await;
    let mut peer = TcpStream::connect(address).await.unwrap();
    peer.write_all(bytes).await.unwrap();
    let _held = stays.then_some(peer);
    serve(&listener, &server, Duration::from_millis(200)).await.err()
}

/// What a client says first that knows TLS 1.1 and nothing newer: no `signature_algorithms`, as OpenSSL sends it.
fn old_hello() -> Vec<u8> {
    let mut hello = b"\x16\x03\x01\x00\x3b\x01\x00\x00\x37\x03\x02".to_vec();
    hello.extend([7; 32]);
    // No session, two suites with SHA-1, no compression, and the curve P-256.
    hello.extend(b"\x00\x00\x04\xc0\x09\xc0\x13\x01\x00\x00\x08\x00\x0a\x00\x04\x00\x02\x00\x17");
    let length = u8::try_from(hello.len()).unwrap();
    (hello[4], hello[8]) = (length - 5, length - 9);
    hello
}

#[tokio::test]
async fn what_is_no_handshake_is_told_apart() {
    assert_eq!(raw(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", true).await, Some(TlsFailure::NotTls));
    assert_eq!(raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true).await, Some(TlsFailure::NotTls));
    assert_eq!(raw(b"\x16\x03\x01\x00\x04\x05\x00\x00\x00", true).await, Some(TlsFailure::Malformed));
    assert_eq!(raw(b"\x16\x03\x01\xff\xff\x01", true).await, Some(TlsFailure::Malformed));
    assert_eq!(raw(b"\x15\x03\x01\x00\x02\x02\x28", true).await, Some(TlsFailure::Cipher), "an alert of the client");
    assert_eq!(raw(&old_hello(), true).await, Some(TlsFailure::Version));
    assert_eq!(raw(b"\x16\x03\x01\x02\x00\x01", true).await, Some(TlsFailure::Timeout));
    assert_eq!(raw(b"", true).await, Some(TlsFailure::Timeout));
    assert_eq!(raw(b"\x16\x03\x01\x02\x00\x01", false).await, Some(TlsFailure::Closed));
    assert_eq!(raw(b"", false).await, Some(TlsFailure::Closed));
}

#[tokio::test]
async fn a_client_is_known_by_its_certificate_also_when_its_session_is_resumed() {
    let ca = Ca::new();
    let mut alice = params(&[]);
    alice.distinguished_name.push(rcgen::DnType::CommonName, "alice");
    let alice = ca.issue(alice);
    let expected = Identity::of(&alice.cert[0]);
    let server = build(&asking(&ca, ca.roots(), false));
    let config = Arc::new(client(&ca, Some(alice)));
    for resumed in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let (handshake, session) = meet(&server, &config, "a.example").await;
        let handshake = handshake.unwrap();
        assert_eq!((handshake.identity.as_ref(), handshake.asked), (Some(&expected), true));
        assert_eq!(&*expected.subject, "CN=alice");
        assert_eq!(kind(&session.unwrap()), resumed);
    }
    let (handshake, _) = meet(&server, &Arc::new(client(&ca, None)), "a.example").await;
    assert_eq!(handshake.unwrap().identity, None);
}

/// Whether a session with a listener is resumed by the one that takes its place.
async fn resumes(
    ca: &Ca,
    old: &ListenerTls,
    new: &ListenerTls,
    version: &'static rustls::SupportedProtocolVersion,
) -> bool {
    let config = Arc::new(only(ca, version));
    let old = build(old);
    let (handshake, session) = meet(&old, &config, "a.example").await;
    handshake.unwrap();
    assert_eq!(kind(&session.unwrap()), HandshakeKind::Full);
    let new = Server::build(new, Some(&old)).unwrap();
    let (handshake, session) = meet(&new, &config, "a.example").await;
    handshake.unwrap();
    kind(&session.unwrap()) == HandshakeKind::Resumed
}

#[tokio::test]
async fn tickets_outlive_a_reload_unless_other_clients_are_let_in() {
    let (ca, others) = (Ca::new(), Ca::new());
    let plain = listener(vec![ca.issue(params(&["a.example"]))]);
    for version in [&TLS12, &TLS13] {
        assert!(resumes(&ca, &plain, &plain, version).await);
        let renewed = listener(vec![ca.issue(params(&["a.example"]))]);
        assert!(resumes(&ca, &plain, &renewed, version).await, "another certificate");
        let (optional, of_others) = (asking(&ca, ca.roots(), false), asking(&ca, others.roots(), false));
        assert!(resumes(&ca, &optional, &asking(&ca, ca.roots(), false), version).await);
        assert!(!resumes(&ca, &plain, &optional, version).await, "clients are asked now");
        assert!(!resumes(&ca, &optional, &of_others, version).await, "another CA");
        assert!(!resumes(&ca, &optional, &plain, version).await);
    }
}

#[tokio::test]
async fn a_certificate_is_replaced_while_it_is_in_use() {
    let ca = Ca::new();
    let server = build(&listener(vec![ca.issue(params(&["a.example"]))]));
    let new = Arc::new(ca.issue(params(&["a.example"])));
    server.replace(0, &new);
    let (_, session) = meet(&server, &Arc::new(client(&ca, None)), "a.example").await;
    assert_eq!(session.unwrap().get_ref().1.peer_certificates().unwrap()[0], new.cert[0]);
}

fn pool(roots: Option<Arc<RootCertStore>>, name: Option<&'static str>) -> PoolTls {
    let server_name = name.map(|name| ServerName::try_from(name).unwrap());
    PoolTls { roots, server_name, identity: None, verify: true }
}

/// A backend with that listener's TLS, and a client of it.
struct Backend {
    listener: TcpListener,
    server: Arc<Server>,
    address: Address,
}

impl Backend {
    async fn new(tls: &ListenerTls) -> Self {
        let (listener, address) = listening().await;
        Self { listener, server: build(tls), address: Address::Tcp(address) }
    }

    fn client(&self, tls: &PoolTls, protocol: Protocol, before: Option<&Client>) -> Arc<Client> {
        Client::build(tls, protocol, [&self.address].into_iter(), before, &SystemRoots::default()).unwrap()
    }

    /// What both sides know of a session.
    async fn meet(&self, client: &Client) -> (Result<Box<Handshake>, TlsFailure>, Result<(), Refused>) {
        let Address::Tcp(address) = self.address else { unreachable!() };
        let ours = async {
            let (mut stream, handshake) = serve(&self.listener, &self.server, Duration::from_secs(10)).await?;
            let _ = stream.write_all(b"!").await;
            Ok(handshake)
        };
        let theirs = async {
            let stream = Stream::tcp(TcpStream::connect(address).await?);
            let mut stream = connect(client, &self.address, stream, true).await?;
            stream.read_exact(&mut [0; 1]).await?;
            Ok(())
        };
        tokio::join!(ours, theirs)
    }
}

#[tokio::test]
async fn a_backend_is_verified_unless_it_is_said_not_to_be() {
    let (ca, strangers) = (Ca::new(), Ca::new());
    let backend = Backend::new(&listener(vec![ca.issue(params(&["api.internal"]))])).await;
    let tell = async |tls: PoolTls| backend.meet(&backend.client(&tls, Protocol::H1, None)).await;
    let (handshake, met) = tell(pool(Some(ca.roots()), Some("api.internal"))).await;
    let handshake = handshake.unwrap();
    assert_eq!((handshake.sni.as_deref(), handshake.alpn), (Some("api.internal"), Some(Alpn::Http11)));
    met.unwrap();
    for (tls, why) in [
        (pool(Some(ca.roots()), Some("other.internal")), "another name"),
        (pool(Some(ca.roots()), None), "its address is not in the certificate"),
        (pool(Some(strangers.roots()), Some("api.internal")), "another CA"),
    ] {
        let (handshake, refused) = tell(tls).await;
        assert!(refused.is_err_and(|refused| refused.certificate), "{why}");
        assert_eq!(handshake.err(), Some(TlsFailure::Certificate), "{why}");
    }
    let (handshake, met) = tell(PoolTls { verify: false, ..pool(None, None) }).await;
    assert_eq!(handshake.unwrap().sni, None, "no name is sent of an address");
    met.unwrap();
}

#[tokio::test]
async fn a_backend_by_its_address_needs_it_in_its_certificate() {
    let ca = Ca::new();
    let mut by_address = params(&[]);
    by_address.subject_alt_names.push(rcgen::SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
    let backend = Backend::new(&listener(vec![ca.issue(by_address)])).await;
    let client = backend.client(&pool(Some(ca.roots()), None), Protocol::Auto, None);
    let (handshake, met) = backend.meet(&client).await;
    met.unwrap();
    assert_eq!(handshake.unwrap().alpn, Some(Alpn::H2), "the first of both");
}

#[tokio::test]
async fn we_show_our_certificate_and_the_one_that_takes_its_place() {
    let ca = Ca::new();
    let backend = Backend::new(&asking(&ca, ca.roots(), true)).await;
    let (first, second) = (ca.issue(params(&[])), Arc::new(ca.issue(params(&[]))));
    let expected = [Identity::of(&first.cert[0]), Identity::of(&second.cert[0])];
    let tls = PoolTls { identity: Some(certificate(first)), ..pool(Some(ca.roots()), Some("a.example")) };
    let client = backend.client(&tls, Protocol::H1, None);
    assert_eq!(backend.meet(&client).await.0.unwrap().identity.as_ref(), Some(&expected[0]));
    client.replace(&second);
    let fresh = backend.client(&PoolTls { verify: false, ..tls.clone() }, Protocol::H1, Some(&client));
    assert_eq!(backend.meet(&fresh).await.0.unwrap().identity.as_ref(), Some(&expected[0]), "other settings");
    assert_eq!(client.pair().unwrap().cert, second.cert);
    let nobody = backend.client(&pool(Some(ca.roots()), Some("a.example")), Protocol::H1, None);
    let (handshake, refused) = backend.meet(&nobody).await;
    assert_eq!(handshake.err(), Some(TlsFailure::ClientCertificate));
    assert!(refused.is_err_and(|refused| !refused.certificate), "it is ours that is missing");
}

#[tokio::test]
async fn sessions_with_backends_outlive_a_reload_with_the_same_settings() {
    let ca = Ca::new();
    let backend = Backend::new(&listener(vec![ca.issue(params(&["api.internal"]))])).await;
    let tls = pool(Some(ca.roots()), Some("api.internal"));
    let client = backend.client(&tls, Protocol::H1, None);
    let same = backend.client(&pool(Some(ca.roots()), Some("api.internal")), Protocol::H1, Some(&client));
    let target = |client: &Client| (Arc::as_ptr(client.config()), Arc::as_ptr(&client.target(&backend.address)));
    assert_eq!(target(&client), target(&same));
    for other in [
        backend.client(&tls, Protocol::H2, Some(&client)),
        backend.client(&PoolTls { verify: false, ..tls.clone() }, Protocol::H1, Some(&client)),
        backend.client(&pool(Some(Ca::new().roots()), Some("api.internal")), Protocol::H1, Some(&client)),
        backend.client(&pool(Some(ca.roots()), None), Protocol::H1, Some(&client)),
    ] {
        assert!(target(&client).0 != target(&other).0 && target(&client).1 != target(&other).1);
    }
}

#[test]
fn a_listener_needs_roots_for_its_clients() {
    let ca = Ca::new();
    let none = Arc::new(RootCertStore::empty());
    assert!(Server::build(&asking(&ca, none, true), None).unwrap_err().starts_with("client_ca: "));
}
