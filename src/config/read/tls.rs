//! `[listener.tls]`, `tls` of a pool, and the certificates, keys and CAs that they name: read with the configuration, so
//! that what cannot be used is told before it is needed.

use std::{collections::HashMap, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::SystemTime};

use rustls::{RootCertStore, pki_types::ServerName, sign::CertifiedKey};
use toml::de::DeValue;

use super::super::{
    Alpn, Certificate, ClientAuth, ListenerTls, PoolTls, TlsVersion, files, keys,
    report::Wrong,
    section::{Field, Section},
    tls::{self, PairError},
    units::quoted,
    values,
};

const VERSIONS: &[(&str, TlsVersion)] = &[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
const PEERS_VERSIONS: &[(&str, &str)] = &[
    ("tls12", "1.2"),
    ("tls1.2", "1.2"),
    ("tlsv1.2", "1.2"),
    ("tlsv1_2", "1.2"),
    ("versiontls12", "1.2"),
    ("tls13", "1.3"),
    ("tls1.3", "1.3"),
    ("tlsv1.3", "1.3"),
    ("tlsv1_3", "1.3"),
    ("versiontls13", "1.3"),
];
const ALPN: &[(&str, Alpn)] = &[("h2", Alpn::H2), ("http/1.1", Alpn::Http11)];
const PEERS_ALPN: &[(&str, &str)] = &[
    ("h1", "http/1.1"),
    ("http", "http/1.1"),
    ("http1", "http/1.1"),
    ("http1.1", "http/1.1"),
    ("http/1", "http/1.1"),
    ("http2", "h2"),
    ("http/2", "h2"),
    ("h2c", "h2"),
];
const REQUIRED: &[(&str, bool)] = &[("required", true), ("optional", false)];
const PEERS_REQUIRED: &[(&str, &str)] = &[
    ("on", "required"),
    ("require", "required"),
    ("require_and_verify", "required"),
    ("requireandverifyclientcert", "required"),
    ("request", "optional"),
    ("verify_if_given", "optional"),
    ("verifyclientcertifgiven", "optional"),
    ("want", "optional"),
];

/// `tls` of `listener`; the inner `None` if it cannot be built, which has been reported.
pub(super) fn listener(listener: &Section<'_>) -> Option<Option<ListenerTls>> {
    let Some(field) = listener.field("tls") else { return Some(None) };
    if field.value().as_bool() == Some(false) {
        field.wrong(values::wanted(field.value(), "a table").help("take it out: without `tls` nothing is encrypted"));
        return None;
    }
    let section = field.section(&keys::LISTENER_TLS)?;
    let certificates = certificates(&section);
    let tls = ListenerTls {
        certificates: Vec::new(),
        min_version: section.read("min_version", TlsVersion::Tls12, min_version),
        alpn: alpn(&section),
        client_auth: client_auth(&section),
    };
    Some(Some(ListenerTls { certificates: certificates?, ..tls }))
}

/// `tls` of `pool`: `true`, `false` or a table; `None` if there is none, or it cannot be built.
pub(super) fn pool(pool: &Section<'_>) -> Option<PoolTls> {
    let field = pool.field("tls")?;
    if !field.value().is_table() {
        let flag = |field: &Field<'_>| {
            values::flag(field).map_err(|wrong| {
                let message = values::wanted(field.value(), "`true`, `false` or a table").message;
                Wrong {
                    message,
                    help: wrong.help.or_else(|| Some(format!("write {}", keys::POOL_TLS.example))),
                    ..wrong
                }
            })
        };
        let tls = PoolTls { roots: None, server_name: None, identity: None, verify: true };
        return field.read(flag)?.then_some(tls);
    }
    let section = field.section(&keys::POOL_TLS)?;
    let verify = section.read("verify", true, values::flag);
    if let Some(field) = section.field("verify").filter(|_| !verify) {
        let wrong = Wrong::new("whoever answers is believed: anybody on the way can pretend to be the backend");
        field.warn(wrong.help("write `ca` with the file of its CA, or of its own certificate, instead"));
        if let Some(ca) = section.field("ca") {
            ca.warn_because(Wrong::new("`ca` has no effect: nothing is verified"), &field, "because of this");
        }
    }
    Some(PoolTls {
        roots: section.field("ca").and_then(|field| roots(&field)).map(|(_, roots)| roots),
        server_name: section.field("server_name").and_then(|field| field.read(server_name)),
        identity: identity(&section),
        verify,
    })
}

fn certificates(tls: &Section<'_>) -> Option<Vec<Certificate>> {
    const WHAT: &str = "a listener with tls wants at least one certificate";
    let help = format!("write {}", keys::CERTIFICATE.example);
    let Some(field) = tls.field("certificates") else {
        tls.missing("certificates", Wrong::new(WHAT).help(help));
        return None;
    };
    let fields = field.list();
    if fields.is_empty() {
        field.wrong(Wrong::new(WHAT).help(help));
        return None;
    }
    let read: Vec<_> = fields.iter().map(listed).collect();
    for (index, certificate) in read.iter().enumerate() {
        let same = |other: &&Option<Certificate>| matches!((other, certificate), (Some(other), Some(one)) if other.pair.cert == one.pair.cert);
        if let Some(first) = read[..index].iter().position(|other| same(&other)) {
            let wrong = Wrong::new("this certificate stands in the list already");
            fields[index].clash(wrong.help("keep one of them"), &fields[first]);
        }
    }
    unseen(&read, &fields);
    read.into_iter().collect()
}

/// Warns of certificates that no client gets.
fn unseen(read: &[Option<Certificate>], fields: &[Field<'_>]) {
    let mut seen: HashMap<_, (&Certificate, &Field<'_>)> = HashMap::new();
    for (certificate, field) in read.iter().zip(fields).filter_map(|(read, field)| Some((read.as_ref()?, field))) {
        let Some(clients) = tls::clients(&certificate.pair) else { continue };
        let (first, place) = *seen.entry(clients).or_insert((certificate, field));
        // The same chain twice has been reported.
        if first.pair.cert != certificate.pair.cert {
            let wrong = Wrong::new(
                "no client gets this certificate: of several for the same names and with the same kind of key, only the first is served",
            );
            let help = "keep one of them; one with another kind of key is for clients that know no other";
            field.warn_because(wrong.help(help), place, "this one is served");
        }
    }
}

/// One of `certificates`.
fn listed(field: &Field<'_>) -> Option<Certificate> {
    match field.value().as_str().and_then(stem) {
        Some((path, stem)) => {
            let help = format!("write certificates = [{{ cert = {path}, key = {} }}]", quoted(&format!("{stem}.key")));
            field.wrong(values::wanted(field.value(), "a table").help(help));
            None
        }
        None => certificate(&field.section(&keys::CERTIFICATE)?),
    }
}

/// `text` in quotes and without its ending, if it is the path of a certificate; never what stands in one.
fn stem(text: &str) -> Option<(String, &str)> {
    const LONGEST: usize = 80;
    let short = text.len() <= LONGEST && !text.contains(char::is_whitespace) && !text.contains("-----");
    let stem = [".pem", ".crt", ".cer"].iter().find_map(|ending| text.strip_suffix(ending))?;
    short.then(|| (quoted(text), stem))
}

/// `cert` and `key` of `section`, of which both must be written.
fn certificate(section: &Section<'_>) -> Option<Certificate> {
    match (section.field("cert"), section.field("key")) {
        (Some(cert), Some(key)) => pair(&cert, &key),
        (cert, key) => {
            if let Some(field) = cert.as_ref().or(key.as_ref()) {
                field.read(files::path);
            }
            for (key, missing) in [("cert", cert.is_none()), ("key", key.is_none())] {
                if missing {
                    section.missing(key, lone(key));
                }
            }
            None
        }
    }
}

/// `cert` and `key` of a pool's `tls`, if one is written.
fn identity(section: &Section<'_>) -> Option<Certificate> {
    let written = section.field("cert").is_some() || section.field("key").is_some();
    written.then(|| certificate(section)).flatten()
}

fn lone(key: &str) -> Wrong {
    if key == "key" {
        return Wrong::new("a certificate wants its `key`")
            .help("write key = \"…\" as well; of a file that holds both, its path once more");
    }
    Wrong::new("a key wants its certificate, `cert`").help("write cert = \"…\" as well")
}

/// Both files are read; reports and gives `None` if they cannot be used.
fn pair(cert: &Field<'_>, key: &Field<'_>) -> Option<Certificate> {
    let label = cert.value().as_str().unwrap_or_default().to_owned();
    let (cert_path, key_path) = (cert.read(files::path), key.read(files::path));
    let (cert_path, key_path) = (cert_path?, key_path?);
    match tls::load_pair(&cert_path, &key_path) {
        Ok(pair) => {
            timely(&pair, cert);
            guarded(&key_path, key);
            Some(Certificate { cert: cert_path, key: key_path, label, pair: Arc::new(pair) })
        }
        Err(error) => {
            // Where the same file is written twice, it is the certificate that is looked for first.
            let field = if error.is_of_key() || error.file != cert_path { key } else { cert };
            field.wrong(wrong(&error));
            // The key has not been looked at then, and may be wrong as well.
            if error.file == cert_path && key_path != cert_path {
                if let Err(error) = tls::check_key(&key_path) {
                    key.wrong(wrong(&error));
                }
            }
            None
        }
    }
}

fn wrong(error: &PairError) -> Wrong {
    Wrong::new(error.to_string()).help(error.help())
}

/// Warns of a certificate that no client accepts today, or soon. It may be renewed while we run.
fn timely(pair: &CertifiedKey, field: &Field<'_>) {
    let Some((from, to)) = tls::validity(pair) else { return };
    let day = |time: SystemTime| humantime::format_rfc3339_seconds(time).to_string();
    let now = SystemTime::now();
    if now > to {
        let wrong = Wrong::new(format!("the certificate expired at {}", day(to)));
        field.warn(wrong.help("renew it: clients refuse it"));
    } else if now < from {
        let wrong = Wrong::new(format!("the certificate is not valid before {}", day(from)));
        field.warn(wrong.help("look at the clock of this host: clients refuse the certificate until then"));
    } else if to.duration_since(now).is_ok_and(|left| left <= tls::ENDS_SOON) {
        let wrong = Wrong::new(format!("the certificate ends soon, at {}", day(to)));
        field.warn(wrong.help("renew it: clients refuse it then; new files are taken while we run"));
    }
}

/// Warns of a key that every user of this host can read.
fn guarded(path: &Path, field: &Field<'_>) {
    const OTHERS_READ: u32 = 0o004;
    let Ok(metadata) = std::fs::metadata(path) else { return };
    if metadata.permissions().mode() & OTHERS_READ != 0 {
        let wrong = Wrong::new("every user of this host can read the key");
        field.warn(wrong.help(format!("chmod o= {}", path.display())));
    }
}

/// The CAs in the file that `field` names, and its path.
fn roots(field: &Field<'_>) -> Option<(std::path::PathBuf, Arc<RootCertStore>)> {
    let path = field.read(files::path)?;
    match tls::roots(&path) {
        Ok(roots) => Some((path, Arc::new(roots))),
        Err(error) => {
            field.wrong(wrong(&error));
            None
        }
    }
}

fn client_auth(tls: &Section<'_>) -> Option<ClientAuth> {
    let mode = tls.field("client_auth");
    let off = mode.as_ref().is_some_and(|field| matches!(field.value().as_str(), Some("off" | "none" | "no")));
    let required = mode.as_ref().map(|field| {
        let choice = values::choice(REQUIRED, &[], PEERS_REQUIRED);
        field.read(|field| {
            choice(field).map_err(|wrong| if off { wrong.help("leave it and `client_ca` out") } else { wrong })
        })
    });
    let Some(ca) = tls.field("client_ca") else {
        if let Some(field) = mode.filter(|_| !off && !tls.meant(&["client_ca"])) {
            let wrong = Wrong::new("`client_auth` wants `client_ca`: nothing says whose certificates are good");
            field.wrong(wrong.help("write client_ca = \"…\" with the file of the CA of your clients"));
        }
        return None;
    };
    let (ca, roots) = roots(&ca)?;
    Some(ClientAuth { ca, roots, required: required.flatten().unwrap_or(true) })
}

fn min_version(field: &Field<'_>) -> Result<TlsVersion, Wrong> {
    const WHAT: &str = "\"1.2\" or \"1.3\"";
    let written = match field.value() {
        DeValue::Float(number) => number.as_str(),
        value => value.as_str().unwrap_or_default(),
    };
    let old = ["1.0", "1.1", "tlsv1", "tlsv1.0", "tlsv1.1", "tls1.0", "tls1.1", "tls10", "tls11", "sslv3", "ssl3"];
    if old.contains(&written.to_ascii_lowercase().as_str()) {
        return Err(values::wanted(field.value(), WHAT).help("what is older than TLS 1.2 is broken (RFC 8996)"));
    }
    match field.value() {
        DeValue::Float(number) if matches!(written, "1.2" | "1.3") => {
            Err(values::wanted(field.value(), WHAT).help(format!("write it in quotes: \"{number}\"")))
        }
        DeValue::Float(_) | DeValue::String(_) if is_other_version(written) => {
            Err(values::wanted(field.value(), WHAT)
                .help("write \"1.2\", or \"1.3\", which is the newest that there is"))
        }
        _ => values::choice(VERSIONS, &[], PEERS_VERSIONS)(field),
    }
}

/// `text` is the number of no version that we know: no slip of the fingers, but something else that is meant.
fn is_other_version(text: &str) -> bool {
    !VERSIONS.iter().any(|(known, _)| *known == text) && text.parse::<f32>().is_ok()
}

fn alpn(tls: &Section<'_>) -> Vec<Alpn> {
    let default = vec![Alpn::H2, Alpn::Http11];
    let Some(field) = tls.field("alpn") else { return default };
    let fields = field.list();
    if fields.is_empty() {
        let wrong = Wrong::new("found an empty list, wanted at least one protocol");
        field.wrong(wrong.help("write [\"h2\", \"http/1.1\"], or [\"http/1.1\"] without HTTP/2"));
        return default;
    }
    let choice = values::choice(ALPN, &["h3"], PEERS_ALPN);
    let mut seen: Vec<(Alpn, &Field<'_>)> = Vec::new();
    for field in &fields {
        let Some(protocol) = field.read(&choice) else { continue };
        match seen.iter().find(|(other, _)| *other == protocol) {
            Some((_, first)) => {
                field.clash(Wrong::new("this protocol stands in the list already").help("keep one of them"), first);
            }
            None => seen.push((protocol, field)),
        }
    }
    seen.into_iter().map(|(protocol, _)| protocol).collect()
}

/// Asked for in the handshake if it is a name, and verified in any case.
fn server_name(field: &Field<'_>) -> Result<ServerName<'static>, Wrong> {
    const WHAT: &str = "the name or the address in the backends' certificate";
    let text = values::text(field, WHAT)?;
    ServerName::try_from(text.to_owned()).map_err(|_| {
        let wrong = values::wanted(field.value(), WHAT);
        let host = text.split_once("://").map_or(text, |(_, rest)| rest);
        let host = host.split(['/', ':']).next().unwrap_or_default();
        match ServerName::try_from(host) {
            Ok(_) if host != text => wrong.help(format!("write {}", quoted(host))),
            _ if text.starts_with("*.") => wrong.help("write one name that the wildcard is for"),
            _ => wrong
                .help("write \"api.internal\", for example; \"Host\" of the request is another matter: `pass_host`"),
        }
    })
}
