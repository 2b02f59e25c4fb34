//! A new connection to a backend: time-out, source addresses, TLS.

use super::{Connection, Dialer};
use crate::{
    error::{Error, Kind},
    http::{Spares, h1::Wire},
    net::{self, Stream},
    plan::{Settings, Tls},
    pool::{Backend, Counted},
};
use std::{
    future::poll_fn,
    io::{self, IoSlice},
    rc::Rc,
};
use tokio_rustls::TlsConnector;

/// Connects to `backend` within the pool's `connect_timeout`, handshake included. `header` goes out before all else: a
/// PROXY header, if it is not empty.
///
/// # Errors
/// `connect_refused`, `connect_failed`, `connect_timeout`, `ports_exhausted`, `backend_tls`.
pub async fn connect(
    dialer: &Dialer,
    backend: &Backend,
    settings: &Settings,
    counted: Counted,
    spares: &Rc<Spares>,
    header: &[u8],
) -> Result<Box<Connection>, Error> {
    let dial = async {
        let stream = plain(dialer, backend, settings).await?;
        send(&stream, header).await.map_err(|error| Error::new(Kind::ConnectFailed, error))?;
        match &settings.tls {
            Some(tls) => secure(stream, tls).await,
            None => Ok(stream),
        }
    };
    let stream = match settings.connect_timeout {
        Some(time) => tokio::time::timeout(time, dial).await.map_err(|_| Error::from(Kind::ConnectTimeout))??,
        None => dial.await?,
    };
    Ok(Box::new(Connection::new(Wire::new(stream, Rc::clone(spares)), counted)))
}

/// Sends all of `bytes`.
async fn send(stream: &Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = poll_fn(|cx| stream.poll_write(cx, &[IoSlice::new(bytes)])).await?;
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[sent..];
    }
    Ok(())
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

async fn secure(stream: Stream, tls: &Tls) -> Result<Stream, Error> {
    let stream = stream.into_tcp().map_err(|error| Error::new(Kind::ConnectFailed, error))?;
    let connector = TlsConnector::from(std::sync::Arc::clone(&tls.config));
    let session = connector.connect(tls.server_name.clone(), stream).await;
    let session = session.map_err(|error| Error::new(Kind::BackendTls, error))?;
    Ok(Stream::tls(session.into()))
}
