//! Listening sockets: one of each address per worker, shared by the kernel (`SO_REUSEPORT`, socket(7)).

use super::sys;
use crate::config::{Address, Listener};
use socket2::{Domain, Socket, Type};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::unix::{fs::FileTypeExt, net::UnixListener},
    path::Path,
};

/// Seconds that the kernel waits for the first bytes when `defer_accept` is on, if `header_timeout` is off.
const DEFER_SECONDS: i32 = 10;

/// The sockets of one listener.
#[derive(Debug)]
pub enum Listening {
    /// One a worker, all bound to the same address.
    Tcp(Vec<TcpListener>),
    /// One for all: control accepts and deals out.
    Unix(UnixListener),
}

impl Listening {
    /// Where clients reach it: with the port that the kernel chose if 0 was asked.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(sockets) => sockets.first()?.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

/// A socket that listens already: the service manager's, or another process's.
#[derive(Debug)]
pub enum Passed {
    /// With an IP address and a port.
    Tcp(TcpListener),
    /// With a path.
    Unix(UnixListener),
}

impl Passed {
    /// Where it listens; `None` for a unix socket without a path.
    pub fn address(&self) -> Option<Address> {
        match self {
            Self::Tcp(socket) => socket.local_addr().ok().map(Address::Tcp),
            Self::Unix(socket) => Some(Address::Unix(socket.local_addr().ok()?.as_pathname()?.to_path_buf())),
        }
    }
}

/// The sockets of `listener`, made of one that listens already instead of being bound. All of `workers` wait on the same
/// TCP socket: more sockets could share its address only if whoever bound it had asked for that.
///
/// # Errors
/// The kernel refuses a copy, or one of the listener's settings.
pub fn adopt(listener: &Listener, socket: Passed, workers: usize) -> io::Result<Listening> {
    match socket {
        Passed::Unix(socket) => {
            socket.set_nonblocking(true)?;
            Ok(Listening::Unix(socket))
        }
        Passed::Tcp(socket) => {
            let socket = Socket::from(socket);
            socket.set_nonblocking(true)?;
            defer(listener, &socket)?;
            // A second listen(2) sets the backlog anew and loses nothing.
            socket.listen(backlog(listener))?;
            let copies = (1..workers).map(|_| socket.try_clone().map(TcpListener::from));
            let mut sockets = copies.collect::<io::Result<Vec<_>>>()?;
            sockets.push(TcpListener::from(socket));
            Ok(Listening::Tcp(sockets))
        }
    }
}

/// Binds `listener` once for each of `workers`.
///
/// # Errors
/// Those of bind(2). An address in use is one of them: a socket without `SO_REUSEPORT` is bound first, so that two
/// daemons never share a port by accident.
pub fn bind(listener: &Listener, workers: usize) -> io::Result<Listening> {
    match &listener.address {
        Address::Unix(path) => bind_unix(path).map(Listening::Unix),
        Address::Named(..) => Err(io::Error::new(io::ErrorKind::InvalidInput, "a listener has an IP address")),
        Address::Tcp(address) => {
            let probe = socket(listener, *address)?;
            let address = probe.local_addr()?.as_socket().unwrap_or(*address);
            drop(probe);
            let sockets = (0..workers).map(|_| {
                let socket = socket_shared(listener, address)?;
                socket.listen(backlog(listener))?;
                Ok(TcpListener::from(socket))
            });
            sockets.collect::<io::Result<Vec<_>>>().map(Listening::Tcp)
        }
    }
}

fn socket(listener: &Listener, address: SocketAddr) -> io::Result<Socket> {
    let socket = open(listener, address)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn socket_shared(listener: &Listener, address: SocketAddr) -> io::Result<Socket> {
    let socket = open(listener, address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    defer(listener, &socket)?;
    Ok(socket)
}

fn defer(listener: &Listener, socket: &Socket) -> io::Result<()> {
    if !listener.defer_accept {
        return Ok(());
    }
    let seconds = listener.header_timeout.map_or(DEFER_SECONDS, |time| time.as_secs().clamp(1, 3600) as i32);
    sys::defer_accept(socket, seconds)
}

fn backlog(listener: &Listener) -> i32 {
    i32::try_from(listener.backlog).unwrap_or(i32::MAX)
}

fn open(listener: &Listener, address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    socket.set_cloexec(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(listener.ipv6_only)?;
    }
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Binds a unix socket. A socket file that nobody listens on any more is replaced; one that answers is in use.
///
/// # Errors
/// Those of bind(2).
pub fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let stale = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if stale {
        std::fs::remove_file(path)?;
    }
    let socket = UnixListener::bind(path)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
