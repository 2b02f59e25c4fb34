//! A new connection to a backend: time-out, source addresses, TLS.

use super::{Connection, Dialer, Own, Room, Shared, place::Place};
use crate::{
    config::Protocol,
    error::{Error, Kind},
    http::{Spares, h1::Wire, h2},
    net::{self, Sources, Stream},
    plan::Settings,
    pool::Backend,
    tls,
};
use std::{
    future::poll_fn,
    io::{self, IoSlice},
    rc::Rc,
    sync::Arc,
};

/// Connects to `backend` within the pool's `connect_timeout`, handshake included. `header` goes out before all else: a
/// PROXY header, if it is not empty.
///
/// # Errors
/// `connect_refused`, `connect_failed`, `connect_timeout`, `ports_exhausted`, `backend_tls`; `dns` where nobody knows where it
/// is.
pub async fn connect(
    dialer: &Dialer,
    backend: &Backend,
    settings: &Settings,
    room: Room,
    spares: &Rc<Spares>,
    header: &[u8],
) -> Result<Connection, Error> {
    let dial = async {
        let stream = plain(dialer, backend, settings).await?;
        send(&stream, header).await.map_err(|error| Error::new(Kind::ConnectFailed, error))?;
        let stream = match &settings.tls {
            Some(tls) => tls::connect(tls, &backend.address, stream, !room.raw).await.map_err(insecure)?,
            None => stream,
        };
        speak(dialer, backend, settings, &room, stream, spares).await
    };
    let connected = match settings.connect_timeout {
        Some(time) => tokio::time::timeout(time, dial).await.unwrap_or_else(|_| Err(Kind::ConnectTimeout.into())),
        None => dial.await,
    };
    connected.inspect_err(|error| room.failed(error.kind()))
}

/// Agrees on what is spoken on `stream`.
async fn speak(
    dialer: &Dialer,
    backend: &Backend,
    settings: &Settings,
    room: &Room,
    stream: Stream,
    spares: &Rc<Spares>,
) -> Result<Connection, Error> {
    let gone = || Error::from(Kind::ConnectFailed);
    let tls = settings.tls.as_ref().map(|tls| Arc::clone(tls.config()));
    // Of what a tunnel carries, we speak nothing.
    let protocol = if room.raw { Protocol::H1 } else { settings.protocol };
    let multiplexed = protocol != Protocol::H1 && (tls.is_none() || stream.agreed_on_h2());
    let counted = room.counted.take().ok_or_else(gone)?;
    let place = Place::of(&stream, backend);
    if !multiplexed {
        match protocol {
            Protocol::H1 => {}
            Protocol::H2 => {
                let why = io::Error::other("the backend does not agree on h2 (ALPN)");
                return Err(Error::new(Kind::BackendTls, why));
            }
            Protocol::Auto => dialer.chose_h1(backend.id),
        }
        return Ok(Connection::H1(Box::new(Own::new(Wire::new(stream, Rc::clone(spares)), tls, place, counted))));
    }
    let connected = h2::connect(stream, tls.is_some(), spares).await;
    let (session, driver) = connected.map_err(|error| Error::new(Kind::ConnectFailed, error))?;
    tokio::task::spawn_local(async move {
        // What its streams do not hear, nobody needs to.
        let _ = driver.await;
        drop(counted);
    });
    let shared = Shared::new(session, tls, place, settings.idle_timeout);
    let first = match settings.proxy_protocol {
        // It is one client's, and ends with its stream.
        Some(_) => shared.share(),
        None => dialer.add(backend.id, &shared),
    };
    first.map(Connection::H2).ok_or_else(gone)
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

/// To an address of the backend, from a source address that has a port left.
async fn plain(dialer: &Dialer, backend: &Backend, settings: &Settings) -> Result<Stream, Error> {
    if backend.is_unresolved() {
        return Err(Kind::Dns.into());
    }
    let from = Sources { list: &settings.sources, turn: dialer.turn(backend.id) };
    net::connect(&backend.address, backend.question.as_deref(), from).await.map_err(|error| {
        if !net::is_shortage(&error) {
            return refused(error);
        }
        if let Some(times) = settings.shortage.happens() {
            let (pool, backend) = (&*backend.pool, &*backend.name);
            tracing::warn!(pool, backend, times, %error, "no local port is left; `source_address` gives more");
        }
        Error::new(Kind::PortsExhausted, error)
    })
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
