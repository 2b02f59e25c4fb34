//! Who a client is by its X.509 certificate. Called once a handshake that has one.

use aws_lc_rs::digest;
use std::fmt::Write;
use x509_cert::{Certificate, der::Decode, name::Name};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::{Ca, params};
    use rcgen::DnType;

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
