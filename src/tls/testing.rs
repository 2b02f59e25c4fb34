//! A CA, its certificates, and a folder, for the tests of this layer.

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256};
use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::CertifiedKey,
};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

/// An authority of its own.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // Two of the same name would be taken for one, with another signature.
        let name = format!("CA {:?}", key.public_key_raw());
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// A certificate with a new ECDSA key.
    pub(crate) fn issue(&self, params: CertificateParams) -> CertifiedKey {
        self.issue_with(params, &KeyPair::generate().unwrap())
    }

    /// A certificate for that key.
    pub(crate) fn issue_with(&self, params: CertificateParams, key: &KeyPair) -> CertifiedKey {
        let certificate = params.signed_by(key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        CertifiedKey::from_der(vec![certificate], key, &aws_lc_rs::default_provider()).unwrap()
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        Arc::new(roots)
    }
}

/// For these host names, without a subject.
pub(crate) fn params(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    let name = |name: &&str| rcgen::SanType::DnsName((*name).try_into().unwrap());
    params.subject_alt_names = names.iter().map(name).collect();
    params.distinguished_name = DistinguishedName::new();
    params
}

/// A new RSA key.
pub(crate) fn rsa() -> KeyPair {
    KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap()
}

/// A folder that goes with its owner.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("evenkeel-tls-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
