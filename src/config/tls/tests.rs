//! PEM files, good and bad, and the tables that name them.

use std::{fs, time::Duration};

use super::{
    super::{Config, GrpcProbe, HealthCheck, Http2, Listener, Pool, Probe, Protocol, ProxyVersion},
    testing::Certs,
    *,
};

const LISTENER: &str = "[[listener]]\naddress = \"127.0.0.1:8443\"\n";
const POOL: &str = "[pool.web]\nbackends = \"10.0.0.1:443\"\n";

impl Certs {
    fn parse(&self, text: &str) -> Config {
        let config = Config::parse(text, &self.file()).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(config.warnings, None);
        config
    }

    fn listener(&self, keys: &str) -> Listener {
        self.parse(&format!("{LISTENER}{keys}\n{POOL}")).listeners.remove(0)
    }

    fn pool(&self, keys: &str) -> Pool {
        self.parse(&format!("{LISTENER}{POOL}{keys}\n")).pools.remove(0)
    }

    fn load(&self, cert: &str, key: &str) -> Result<CertifiedKey, PairError> {
        load_pair(&self.path(cert), &self.path(key))
    }
}

#[test]
fn pairs_of_every_kind_are_read() {
    let certs = Certs::new();
    for (cert, key, length) in [
        ("a.pem", "a.key", 1),
        ("b.pem", "b.key", 1),
        ("ed.pem", "ed.key", 1),
        ("chain.pem", "a.key", 2),
        ("both.pem", "both.pem", 2),
        ("expired.pem", "a.key", 1),
    ] {
        let pair = certs.load(cert, key).unwrap_or_else(|error| panic!("{cert}: {error}"));
        assert_eq!(pair.cert.len(), length, "{cert}");
        assert!(pair.keys_match().is_ok(), "{cert}");
    }
    let (from, to) = validity(&certs.load("expired.pem", "a.key").unwrap()).unwrap();
    let day = |time| humantime::format_rfc3339_seconds(time).to_string();
    assert_eq!((day(from), day(to)), ("2018-01-01T00:00:00Z".into(), "2020-01-01T00:00:00Z".into()));
    assert_eq!(load_roots(&certs.path("ca.pem")).unwrap().len(), 1);
    assert_eq!(load_roots(&certs.path("chain.pem")).unwrap().len(), 2);
}

#[test]
fn each_fault_is_told_of_the_file_that_has_it() {
    let certs = Certs::new();
    let told = |cert: &str, key: &str| {
        let error = certs.load(cert, key).unwrap_err();
        assert!(!error.help().is_empty());
        let name = error.file.file_name().unwrap().to_string_lossy().into_owned();
        let fault = format!("{:?}", error.fault);
        (name, fault.split('(').next().unwrap().to_owned(), error.is_of_key())
    };
    for (cert, key, file, fault, of_key) in [
        ("none.pem", "a.key", "none.pem", "Read", false),
        ("a.pem", "none.key", "none.key", "Read", false),
        (".", "a.key", "", "Read", false),
        ("der.pem", "a.key", "der.pem", "Binary", false),
        ("cut.pem", "a.key", "cut.pem", "Pem", false),
        ("letters.pem", "a.key", "letters.pem", "Pem", false),
        ("empty.pem", "a.key", "empty.pem", "NoCertificate", false),
        ("a.key", "a.key", "a.key", "NoCertificate", false),
        ("junk.pem", "a.key", "junk.pem", "BadCertificate", false),
        ("a.pem", "a.pem", "a.pem", "NoKey", true),
        ("a.pem", "encrypted.key", "encrypted.key", "Encrypted", true),
        ("a.pem", "old.key", "old.key", "Encrypted", true),
        ("a.pem", "junk.key", "junk.key", "BadKey", true),
        ("a.pem", "b.key", "b.key", "Mismatch", true),
        ("reversed.pem", "a.key", "reversed.pem", "Order", false),
    ] {
        let (name, what, of) = told(cert, key);
        assert_eq!((what.as_str(), of), (fault, of_key), "{cert} {key}");
        assert!(file.is_empty() || name == file, "{cert} {key}: {name}");
    }
    for (file, what) in [
        ("none.pem", "cannot be read"),
        ("empty.pem", "no certificate"),
        ("der.pem", "binary"),
        ("second.pem", "number 2"),
    ] {
        let error = load_roots(&certs.path(file)).unwrap_err();
        assert!(error.contains(what) && error.contains(file), "{error}");
    }
}

#[test]
fn a_file_that_may_not_be_read_says_whom_to_let() {
    let denied = PairError::new(Path::new("/x/a.key"), Fault::Read(io::ErrorKind::PermissionDenied.into()));
    assert_eq!(denied.to_string(), "the file \"/x/a.key\" cannot be read: permission denied");
    assert!(denied.help().contains("chmod 640"), "{}", denied.help());
    let certs = Certs::new();
    fs::write(certs.path("large.pem"), vec![b' '; usize::try_from(MAX_PEM).unwrap() + 1]).unwrap();
    assert!(load_roots(&certs.path("large.pem")).unwrap_err().contains("larger than 4 MiB"));
    assert!(load_roots(Path::new("/dev/zero")).unwrap_err().contains("not a regular file"));
}

#[test]
fn a_certificate_that_ends_within_14_days_is_warned_of() {
    let certs = Certs::new();
    let warned = |left: Duration| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.not_after = (SystemTime::now() + left).into();
        certs.write("x.pem", &params.self_signed(&key).unwrap().pem());
        certs.write("x.key", &key.serialize_pem());
        let text = format!("{LISTENER}tls.certificates = {{ cert = \"x.pem\", key = \"x.key\" }}\n{POOL}");
        let warnings = Config::parse(&text, &certs.file()).unwrap().warnings;
        warnings.map(|warnings| warnings.iter().map(|warning| warning.message.clone()).collect::<String>())
    };
    let hour = Duration::from_secs(3600);
    assert_eq!(warned(ENDS_SOON + hour), None);
    for left in [ENDS_SOON - hour, hour] {
        let told = warned(left).unwrap();
        assert!(told.starts_with("the certificate ends soon, at "), "{told}");
    }
}

#[test]
fn every_key_of_a_listener_with_tls_is_read() {
    let certs = Certs::new();
    let read = certs.listener(
        "max_connection_age = \"1h\"\nh2 = { max_streams = 65536, window = 65535, reset_rate = \"off\" }\n[listener.tls]\n\
         certificates = [{ cert = \"a.pem\", key = \"a.key\" }, { cert = \"b.pem\", key = \"b.key\" }]\nmin_version = \"1.3\"\n\
         alpn = \"h2\"\nclient_ca = \"clients.pem\"\nclient_auth = \"optional\"",
    );
    assert_eq!(read.max_connection_age, Some(Duration::from_secs(3600)));
    assert_eq!(read.h2, Http2 { max_streams: 65_536, window: 65_535, reset_rate: None });
    let tls = read.tls.unwrap();
    let labels: Vec<_> = tls.certificates.iter().map(|certificate| certificate.label.as_str()).collect();
    assert_eq!(labels, ["a.pem", "b.pem"]);
    assert_eq!(tls.certificates[1].cert, certs.path("b.pem"));
    assert_eq!(tls.certificates[1].key, certs.path("b.key"));
    assert_eq!(tls.certificates[1].pair.cert.len(), 1);
    assert_eq!((tls.min_version, tls.alpn.as_slice()), (TlsVersion::Tls13, &[Alpn::H2][..]));
    let auth = tls.client_auth.unwrap();
    assert_eq!((auth.roots.len(), auth.required, auth.ca), (1, false, certs.path("clients.pem")));
}

#[test]
fn the_defaults_of_tls_are_the_products() {
    let certs = Certs::new();
    // A list of one as its one element; absolute paths.
    let cert = certs.path("both.pem");
    let text = format!("tls.certificates = {{ cert = {cert:?}, key = {cert:?} }}\ntls.client_ca = \"ca.pem\"");
    let tls = certs.listener(&text).tls.unwrap();
    assert_eq!((tls.min_version, tls.alpn), (TlsVersion::Tls12, vec![Alpn::H2, Alpn::Http11]));
    assert!(tls.client_auth.unwrap().required);
    assert_eq!(tls.certificates[0].label, cert.to_str().unwrap());
    let plain = certs.listener("");
    assert_eq!((plain.tls, plain.max_connection_age, plain.proxy_protocol), (None, None, false));
    assert_eq!(plain.h2, Http2 { max_streams: 128, window: 262_144, reset_rate: Some(100) });
    let pool = certs.pool("tls = true");
    assert_eq!(pool.tls, Some(PoolTls { roots: None, server_name: None, identity: None, verify: true }));
    assert_eq!((pool.protocol, pool.send_proxy_protocol), (Protocol::H1, None));
    assert_eq!(certs.pool("tls = false").tls, None);
    let empty = certs.pool("tls = {}").tls.unwrap();
    assert!(empty.verify && empty.roots.is_none());
}

#[test]
fn every_key_of_a_pool_with_tls_is_read() {
    let certs = Certs::new();
    let read = certs.pool(
        "protocol = \"auto\"\nsend_proxy_protocol = \"v2\"\n[pool.web.tls]\nca = \"ca.pem\"\nserver_name = \"api.internal\"\n\
         cert = \"evenkeel.pem\"\nkey = \"evenkeel.key\"\nverify = true\n[pool.web.retry]\non = [\"reset\", \
         \"grpc:unavailable\", \"grpc:cancelled\"]\n[[pool.web.health_check]]\ntype = \"https\"\npath = \"/health\"\n\
         [[pool.web.health_check]]\ntype = \"grpc\"\nservice = \"shop.v1.Orders\"\nhost = \"api.internal\"\nport = 9000\n",
    );
    assert_eq!((read.protocol, read.send_proxy_protocol), (Protocol::Auto, Some(ProxyVersion::V2)));
    let tls = read.tls.unwrap();
    assert_eq!(tls.roots.unwrap().len(), 1);
    assert_eq!(tls.server_name, Some(ServerName::try_from("api.internal").unwrap()));
    assert_eq!(tls.identity.unwrap().label, "evenkeel.pem");
    assert!(tls.verify);
    assert_eq!((read.retry.on_connect, read.retry.on_reset, read.retry.on_grpc), (false, true, 1 << 14 | 1 << 1));
    let [https, grpc] = read.health_checks.as_slice() else { panic!("{:?}", read.health_checks) };
    assert!(matches!(&https.probe, Probe::Http(probe) if probe.tls && probe.path == "/health"));
    let probe = GrpcProbe { service: "shop.v1.Orders".into(), host: Some("api.internal".into()) };
    assert_eq!(*grpc, HealthCheck { probe: Probe::Grpc(probe), port: 9000, ..HealthCheck::tcp() });
    let plain = certs.pool("protocol = \"h2\"\nsend_proxy_protocol = \"v1\"\nhealth_check.type = \"grpc\"");
    assert_eq!((plain.protocol, plain.send_proxy_protocol), (Protocol::H2, Some(ProxyVersion::V1)));
    let whole = Probe::Grpc(GrpcProbe { service: String::new(), host: None });
    assert_eq!((&plain.health_checks[0].probe, plain.tls), (&whole, None));
}

#[test]
fn files_that_changed_make_another_configuration() {
    let certs = Certs::new();
    certs.write("x.pem", &fs::read_to_string(certs.path("a.pem")).unwrap());
    certs.write("x.key", &fs::read_to_string(certs.path("a.key")).unwrap());
    let text = "tls = { certificates = { cert = \"x.pem\", key = \"x.key\" }, client_ca = \"ca.pem\" }";
    let before = certs.listener(text);
    assert_eq!(before, certs.listener(text));
    certs.write("ca.pem", &fs::read_to_string(certs.path("a.pem")).unwrap());
    let other_ca = certs.listener(text);
    assert_ne!(before, other_ca);
    certs.write("x.pem", &fs::read_to_string(certs.path("b.pem")).unwrap());
    certs.write("x.key", &fs::read_to_string(certs.path("b.key")).unwrap());
    assert_ne!(other_ca, certs.listener(text));
    let pool = |ca: &str| certs.pool(&format!("tls = {{ ca = \"{ca}\" }}"));
    assert_eq!(pool("clients.pem"), pool("clients.pem"));
    assert_ne!(pool("clients.pem"), pool("a.pem"));
}

#[test]
fn a_key_is_never_shown() {
    let certs = Certs::new();
    let key = fs::read_to_string(certs.path("a.key")).unwrap();
    let secret = key.lines().nth(1).unwrap();
    let read = certs.listener("tls.certificates = { cert = \"a.pem\", key = \"a.key\" }");
    assert!(!format!("{read:?}").contains("PrivateKey"), "{read:?}");
    let line = key.trim().replace('\n', "\\n");
    for written in [format!("\"\"\"{key}\"\"\""), format!("\"{line}\""), format!("'{line}'"), format!("\"{line}")] {
        for table in ["certificates = { cert = \"a.pem\", key = KEY }", "certificate = KEY", "key = KEY"] {
            let text = format!("{LISTENER}[listener.tls]\n{}\n{POOL}", table.replace("KEY", &written));
            let problems = Config::parse(&text, &certs.file()).unwrap_err();
            assert!(!problems.to_string().contains(secret), "{text}\n{problems}");
            let messages = problems.iter().map(|problem| format!("{}{:?}", problem.message, problem.help));
            assert!(!messages.collect::<String>().contains(secret), "{text}\n{problems}");
        }
    }
}

#[test]
fn the_17_statuses_of_grpc_have_their_codes() {
    let certs = Certs::new();
    let names = [
        "cancelled",
        "unknown",
        "invalid_argument",
        "deadline_exceeded",
        "not_found",
        "already_exists",
        "permission_denied",
        "resource_exhausted",
        "failed_precondition",
        "aborted",
        "out_of_range",
        "unimplemented",
        "internal",
        "unavailable",
        "data_loss",
        "unauthenticated",
    ];
    for (name, code) in names.iter().zip(1..) {
        assert_eq!(
            certs.pool(&format!("protocol = \"h2\"\nretry.on = \"grpc:{name}\"")).retry.on_grpc,
            1 << code,
            "{name}"
        );
    }
    let all: Vec<_> = names.iter().map(|name| format!("\"grpc:{name}\"")).collect();
    assert_eq!(certs.pool(&format!("protocol = \"h2\"\nretry.on = [{}]", all.join(", "))).retry.on_grpc, 0x1_fffe);
}
