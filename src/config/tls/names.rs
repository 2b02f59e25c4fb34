//! The host names in X.509 certificates. Called by `read::tls`, and by `tls` for which certificate a name gets.

use std::collections::BTreeSet;

use rustls::{SignatureScheme, sign::CertifiedKey};
use x509_cert::{
    Certificate,
    der::{Decode, asn1::Ia5StringRef, asn1::PrintableStringRef, asn1::Utf8StringRef},
    ext::pkix::{SubjectAltName, name::GeneralName},
    name::Name,
};

/// The longest host name (RFC 1035 section 2.3.4).
pub const LONGEST_NAME: usize = 253;

/// `commonName` (RFC 4519 section 2.3).
const COMMON_NAME: &str = "2.5.4.3";

/// One for each kind of key.
const KINDS: [SignatureScheme; 5] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA256,
];

/// Which clients get the certificate of `pair`: those that ask for one of its names and verify its kind of signature; `None`
/// if it has no name. Of two with the same, one is never shown.
pub(in super::super) fn clients(pair: &CertifiedKey) -> Option<(Option<u16>, BTreeSet<String>)> {
    let kind = pair.key.choose_scheme(&KINDS).map(|signer| u16::from(signer.scheme()));
    let names: BTreeSet<_> = host_names(pair.cert.first()?).into_iter().collect();
    (!names.is_empty()).then_some((kind, names))
}

/// The host names that a certificate in DER is for, in lower case: the dNSNames of its SAN, and its common name only where
/// it has no SAN at all (RFC 6125 section 6.4.4).
pub fn host_names(certificate: &[u8]) -> Vec<String> {
    let Ok(certificate) = Certificate::from_der(certificate) else { return Vec::new() };
    let certificate = certificate.tbs_certificate();
    match certificate.get_extension::<SubjectAltName>() {
        Ok(Some((_, SubjectAltName(names)))) => names.iter().filter_map(dns_name).collect(),
        Ok(None) => common_name(certificate.subject()).into_iter().collect(),
        Err(_) => Vec::new(),
    }
}

fn dns_name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => host_name(name.as_str()),
        _ => None,
    }
}

fn common_name(subject: &Name) -> Option<String> {
    let attributes = subject.iter().filter(|attribute| attribute.oid.to_string() == COMMON_NAME);
    // The most specific one stands last.
    let value = &attributes.last()?.value;
    let text = Utf8StringRef::try_from(value).map(|text| text.as_str().to_owned());
    let text = text.or_else(|_| PrintableStringRef::try_from(value).map(|text| text.as_str().to_owned()));
    let text = text.or_else(|_| Ia5StringRef::try_from(value).map(|text| text.as_str().to_owned()));
    host_name(&text.ok()?)
}

/// `name` in lower case, if it is a host name, or `*.` before one.
fn host_name(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let host = name.strip_prefix("*.").unwrap_or(name);
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_host = !host.is_empty() && name.len() <= LONGEST_NAME && host.bytes().all(fine);
    is_host.then(|| name.to_ascii_lowercase())
}
