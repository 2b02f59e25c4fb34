//! A client's handshake, and why it failed. Hot path for new connections: a bad one costs no more than its bytes, is
//! counted by one word, and is said at the level `debug` alone.

use super::{Handshake, Server};
use crate::{
    net::{Peer, Stream},
    telemetry::metrics::TlsFailure,
};
use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible};
use std::{io, pin::Pin, sync::Arc};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

/// A handshake that is under way. Boxed, so that what it needs does not stay in the task of the connection.
pub type Accepting = Pin<Box<dyn Future<Output = Result<(Stream, Box<Handshake>), TlsFailure>>>>;

/// Makes a TLS session of a fresh connection from `peer`, before `deadline`. What fails is closed; the client is told why by an alert
/// where TLS has one.
pub fn accept(server: Arc<Server>, stream: Stream, peer: Peer, deadline: Option<Instant>) -> Accepting {
    Box::pin(async move {
        let stream = stream.into_tcp().map_err(|_| TlsFailure::Closed)?;
        let accepting = TlsAcceptor::from(server.config()).accept(stream);
        let accepted = match deadline {
            Some(deadline) => timeout_at(deadline, accepting).await.map_err(|_| TlsFailure::Timeout)?,
            None => accepting.await,
        };
        match accepted {
            Ok(session) => {
                let handshake = Handshake::of(&server, session.get_ref().1);
                Ok((Stream::tls(session.into()), handshake))
            }
            Err(error) => {
                let failure = reason(&error);
                tracing::debug!(?peer, reason = failure.word(), %error, "a TLS handshake has failed");
                Err(failure)
            }
        }
    })
}

fn reason(error: &io::Error) -> TlsFailure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => of_protocol(error),
        None if error.kind() == io::ErrorKind::InvalidData => TlsFailure::Malformed,
        None => TlsFailure::Closed,
    }
}

fn of_protocol(error: &Error) -> TlsFailure {
    match error {
        // Whatever speaks TLS begins with a type of record that TLS knows.
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => TlsFailure::NotTls,
        Error::PeerIncompatible(what) => of_incompatible(what),
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented => TlsFailure::ClientCertificate,
        Error::NoApplicationProtocol => TlsFailure::Alpn,
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_)
        | Error::PeerSentOversizedRecord
        | Error::DecryptError => TlsFailure::Malformed,
        _ => TlsFailure::Other,
    }
}

fn of_incompatible(what: &PeerIncompatible) -> TlsFailure {
    match what {
        PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        // Looked for before the version is: TLS 1.1 and older have no such extension, and who speaks 1.2 sends it, as
        // without it there is SHA-1 alone (RFC 5246 section 7.4.1.4.1).
        | PeerIncompatible::SignatureAlgorithmsExtensionRequired => TlsFailure::Version,
        _ => TlsFailure::Cipher,
    }
}

fn of_alert(alert: AlertDescription) -> TlsFailure {
    match alert {
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA => TlsFailure::Certificate,
        AlertDescription::ProtocolVersion => TlsFailure::Version,
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => TlsFailure::Cipher,
        AlertDescription::CloseNotify | AlertDescription::UserCanceled => TlsFailure::Closed,
        _ => TlsFailure::Other,
    }
}
