//! What is read out of an X.509 certificate: the names that it is for, its end, its subject. Called when certificates are
//! loaded, and once a handshake with a client's certificate.

use aws_lc_rs::digest;
use std::fmt::Write;
use x509_cert::{
    Certificate,
    der::{Decode, asn1::Ia5StringRef, asn1::PrintableStringRef, asn1::Utf8StringRef},
    ext::pkix::{SubjectAltName, name::GeneralName},
    name::Name,
};

/// `commonName` (RFC 4519 section 2.3).
const COMMON_NAME: &str = "2.5.4.3";

/// Who a client has proved to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The subject by RFC 4514, in ASCII: what is not is escaped as `\C3\A9`. Empty if the certificate has none.
    pub subject: Box<str>,
    /// SHA-256 of the certificate, in hex.
    pub fingerprint: Box<str>,
}

impl Identity {
    /// That of a certificate in DER, which has been verified.
    pub(super) fn of(certificate: &[u8]) -> Self {
        let subject = Certificate::from_der(certificate).map(|parsed| printable(parsed.tbs_certificate().subject()));
        let digest = digest::digest(&digest::SHA256, certificate);
        let mut fingerprint = String::with_capacity(64);
        for byte in digest.as_ref() {
            let _ = write!(fingerprint, "{byte:02x}");
        }
        Self { subject: subject.unwrap_or_default().into(), fingerprint: fingerprint.into() }
    }
}

/// A name as it may stand in a header field: RFC 4514 lets any character be written in hex.
fn printable(name: &Name) -> String {
    let text = name.to_string();
    let mut ascii = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' => ascii.push(char::from(byte)),
            other => {
                let _ = write!(ascii, "\\{other:02X}");
            }
        }
    }
    ascii
}

/// The host names that a certificate in DER is for, in lower case: the dNSNames of its SAN, and its common name only where
/// it has no SAN at all (RFC 6125 section 6.4.4).
pub(super) fn host_names(certificate: &[u8]) -> Vec<String> {
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
    let is_host = !host.is_empty() && name.len() <= super::names::LONGEST && host.bytes().all(fine);
    is_host.then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::{Ca, params};
    use rcgen::{DnType, SanType};

    #[test]
    fn names_are_those_of_the_san_and_the_common_name_only_without_one() {
        let ca = Ca::new();
        let names = |params| host_names(&ca.issue(params).cert[0]);
        let mut with = params(&["A.example", "*.B.example", "bad name", "f*.example", "*"]);
        with.distinguished_name.push(DnType::CommonName, "common.example");
        assert_eq!(names(with), ["a.example", "*.b.example"]);
        let mut without = params(&[]);
        without.distinguished_name.push(DnType::CommonName, "Common.example");
        assert_eq!(names(without.clone()), ["common.example"]);
        without.subject_alt_names.push(SanType::IpAddress("127.0.0.1".parse().unwrap()));
        assert!(names(without).is_empty(), "there is a SAN, though without host names");
        assert!(host_names(b"no certificate").is_empty());
    }

    #[test]
    fn an_identity_is_fit_for_a_header_field() {
        let ca = Ca::new();
        let mut params = params(&[]);
        params.distinguished_name.push(DnType::OrganizationName, "Caf\u{e9}, Inc.\r\nX-Evil: 1");
        params.distinguished_name.push(DnType::CommonName, "alice");
        let certificate = ca.issue(params).cert[0].to_vec();
        let identity = Identity::of(&certificate);
        assert_eq!(&*identity.subject, r"CN=alice,O=Caf\C3\A9\, Inc.\0d\0aX-Evil: 1");
        let digest = digest::digest(&digest::SHA256, &certificate);
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((&*identity.fingerprint, identity.fingerprint.len()), (&*hex, 64));
        assert_eq!(&*Identity::of(b"\x30\x00").subject, "");
    }
}
