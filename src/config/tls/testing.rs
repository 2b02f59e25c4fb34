//! What tests of TLS share: a folder of PEM files, good and bad.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ED25519, PKCS_RSA_SHA256};

/// A folder of its own, gone with its value.
pub(in super::super) struct Certs(pub(in super::super) PathBuf);

impl Certs {
    /// `ca.pem` = `clients.pem`, and what it vouches for: `a`, `b` (RSA), `ed`, `evenkeel`, and `a` again; beside many that are wrong.
    pub(in super::super) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("evenkeel-certs-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let certs = Self(env::temp_dir().join(name));
        fs::create_dir_all(&certs.0).unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        certs.write("ca.pem", &ca);
        certs.write("clients.pem", &ca);
        let make = |name: &str, key: &KeyPair, years: (i32, i32)| {
            let mut params = CertificateParams::new([format!("{name}.example.com")]).unwrap();
            params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
            params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
            params.signed_by(key, &issuer).unwrap()
        };
        let key = KeyPair::generate().unwrap();
        let a = make("a", &key, (2020, 4000));
        certs.write("a.pem", &a.pem());
        certs.write("a.key", &key.serialize_pem());
        certs.write("open.key", &key.serialize_pem());
        fs::set_permissions(certs.path("open.key"), fs::Permissions::from_mode(0o644)).unwrap();
        certs.write("both.pem", &format!("{}{}{ca}", key.serialize_pem(), a.pem()));
        certs.write("chain.pem", &format!("{}{ca}", a.pem()));
        certs.write("reversed.pem", &format!("{ca}{}", a.pem()));
        certs.write("expired.pem", &make("old", &key, (2018, 2020)).pem());
        certs.write("future.pem", &make("new", &key, (3000, 4000)).pem());
        for (name, kind) in [("b", &PKCS_RSA_SHA256), ("ed", &PKCS_ED25519), ("evenkeel", &PKCS_ED25519)] {
            let key = KeyPair::generate_for(kind).unwrap();
            certs.write(&format!("{name}.pem"), &make(name, &key, (2020, 4000)).pem());
            certs.write(&format!("{name}.key"), &key.serialize_pem());
        }
        let rsa = KeyPair::from_pem(&fs::read_to_string(certs.path("b.key")).unwrap()).unwrap();
        certs.write("a-rsa.pem", &make("a", &rsa, (2020, 4000)).pem());
        let again = KeyPair::generate().unwrap();
        certs.write("a-again.pem", &make("a", &again, (2020, 4000)).pem());
        certs.write("a-again.key", &again.serialize_pem());
        certs.write_bad(&a.pem(), a.der());
        certs
    }

    fn write_bad(&self, good: &str, der: &[u8]) {
        let label = |kind: &str, text: &str| format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n");
        self.write("empty.pem", "");
        self.write("cut.pem", &good[..good.len() / 2]);
        self.write("letters.pem", &label("CERTIFICATE", "it is $ no base64"));
        self.write("junk.pem", &label("CERTIFICATE", "AAAA"));
        self.write("junk.key", &label("PRIVATE KEY", "AAAA"));
        self.write("second.pem", &format!("{good}{}", label("CERTIFICATE", "AAAA")));
        self.write("encrypted.key", &label("ENCRYPTED PRIVATE KEY", "AAAA"));
        self.write("old.key", &label("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA"));
        fs::write(self.path("der.pem"), der).unwrap();
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The file that a configuration is said to stand in.
    pub(super) fn file(&self) -> PathBuf {
        self.path("evenkeel.toml")
    }
}

impl Drop for Certs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(Path::new(&self.0));
    }
}
