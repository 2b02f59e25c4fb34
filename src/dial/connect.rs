//! A new connection to a backend: time-out, source addresses, TLS.

use super::{Connection, Dialer};
use crate::{
    error::{Error, Kind},
    http::{Spares, h1::Wire},
    net::{self, Stream},
    plan::Settings,
    pool::{Backend, Counted},
    tls,
};
use std::{io, rc::Rc};

/// Connects to `backend` within the pool's `connect_timeout`, handshake included.
///
/// # Errors
/// `connect_refused`, `connect_failed`, `connect_timeout`, `ports_exhausted`, `backend_tls`.
pub async fn connect(
    dialer: &Dialer,
    backend: &Backend,
    settings: &Settings,
    counted: Counted,
    spares: &Rc<Spares>,
) -> Result<Box<Connection>, Error> {
    let dial = async {
        let stream = plain(dialer, backend, settings).await?;
        match &settings.tls {
            Some(tls) => tls::connect(tls, &backend.address, stream).await.map_err(insecure),
            None => Ok(stream),
        }
    };
    let stream = match settings.connect_timeout {
        Some(time) => tokio::time::timeout(time, dial).await.map_err(|_| Error::from(Kind::ConnectTimeout))??,
        None => dial.await?,
    };
    Ok(Box::new(Connection::new(Wire::new(stream, Rc::clone(spares)), counted)))
}

/// From each source address in turn until one has a port left.
async fn plain(dialer: &Dialer, backend: &Backend, settings: &Settings) -> Result<Stream, Error> {
    let sources = &settings.sources;
    let first = if sources.is_empty() { 0 } else { dialer.turn() };
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    for turn in 0..sources.len().max(1) {
        let source = (!sources.is_empty()).then(|| sources[(first + turn) % sources.len()]);
        match net::connect(&backend.address, source).await {
            Err(error) if matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse) => {
                last = error;
            }
            Err(error) => return Err(refused(error)),
            Ok(stream) => return Ok(stream),
        }
    }
    Err(Error::new(Kind::PortsExhausted, last))
}

fn refused(error: io::Error) -> Error {
    let kind = match error.kind() {
        // A unix socket whose file is gone has nobody behind it either.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Kind::ConnectRefused,
        io::ErrorKind::TimedOut => Kind::ConnectTimeout,
        // Out of descriptors: a limit of ours, not the backend's fault.
        _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => Kind::QueueFull,
        _ => Kind::ConnectFailed,
    };
    Error::new(kind, error)
}

fn insecure(refused: tls::Refused) -> Error {
    let kind = if refused.certificate { Kind::BackendCertificate } else { Kind::BackendTls };
    Error::new(kind, refused)
}
